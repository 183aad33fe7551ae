//! As much of AMQP 0-9-1 as it takes to log in, to declare a queue, and to hear that one is thrown out.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than a broker thinks about anything.
const PATIENCE: Duration = Duration::from_secs(30);
const METHOD: u8 = 1;
const FRAME_END: u8 = 0xce;

/// Class and method, as the protocol numbers them.
mod method {
    pub const START: (u16, u16) = (10, 10);
    pub const START_OK: (u16, u16) = (10, 11);
    pub const TUNE: (u16, u16) = (10, 30);
    pub const TUNE_OK: (u16, u16) = (10, 31);
    pub const OPEN: (u16, u16) = (10, 40);
    pub const OPEN_OK: (u16, u16) = (10, 41);
    pub const CHANNEL_OPEN: (u16, u16) = (20, 10);
    pub const CHANNEL_OPEN_OK: (u16, u16) = (20, 11);
    pub const DECLARE: (u16, u16) = (50, 10);
    pub const DECLARE_OK: (u16, u16) = (50, 11);
}

/// Somebody who is logged in, with one channel.
pub struct Session(TcpStream);

impl Session {
    /// Logs in to the virtual host `/`; what the broker says if it does not let us in.
    pub fn log_in(port: u16, user: &str, password: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut session = Self(stream);
        session.write(b"AMQP\0\0\x09\x01")?;
        session.hear(method::START)?;
        // That a refused login is told of, and not only cut off after a while.
        let told = [&short("authentication_failure_close")[..], b"t\x01"].concat();
        let capabilities = [&short("capabilities")[..], b"F", &long(&told)].concat();
        let secret = format!("\0{user}\0{password}");
        let login = [
            long(&capabilities),
            short("PLAIN"),
            long(secret.as_bytes()),
            short("en_US"),
        ];
        session.say(0, method::START_OK, &login.concat())?;
        let limits = session.hear(method::TUNE)?;
        // As offered, without heartbeats.
        session.say(0, method::TUNE_OK, &[&limits[..6], &[0, 0]].concat())?;
        session.say(0, method::OPEN, &[short("/"), vec![0, 0]].concat())?;
        session.hear(method::OPEN_OK)?;
        session.say(1, method::CHANNEL_OPEN, &[0])?;
        session.hear(method::CHANNEL_OPEN_OK)?;
        Ok(session)
    }

    /// Declares a queue that goes with the session.
    pub fn declare(&mut self, queue: &str) -> Result<(), String> {
        const EXCLUSIVE: u8 = 4;
        let wish = [vec![0, 0], short(queue), vec![EXCLUSIVE], long(&[])];
        self.say(1, method::DECLARE, &wish.concat())?;
        self.hear(method::DECLARE_OK).map(|_| ())
    }

    /// Waits until the broker ends the session; what it says of it.
    pub fn ended(&mut self) -> String {
        match self.hear(method::OPEN_OK) {
            Ok(_) => "nothing ended".to_owned(),
            Err(text) => text,
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.0.write_all(bytes).map_err(|error| error.to_string())
    }

    fn say(&mut self, channel: u16, (class, number): (u16, u16), arguments: &[u8]) -> Result<(), String> {
        let length = u32::try_from(4 + arguments.len()).expect("a short frame");
        let frame = [
            &[METHOD][..],
            &channel.to_be_bytes(),
            &length.to_be_bytes(),
            &class.to_be_bytes(),
            &number.to_be_bytes(),
            arguments,
            &[FRAME_END],
        ];
        self.write(&frame.concat())
    }

    /// The arguments of the next method, which must be this one.
    fn hear(&mut self, expected: (u16, u16)) -> Result<Vec<u8>, String> {
        loop {
            let mut head = [0; 7];
            self.0.read_exact(&mut head).map_err(|error| error.to_string())?;
            let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
            let mut frame = vec![0; length as usize + 1];
            self.0.read_exact(&mut frame).map_err(|error| error.to_string())?;
            if head[0] != METHOD {
                continue;
            }
            let heard = (
                u16::from_be_bytes([frame[0], frame[1]]),
                u16::from_be_bytes([frame[2], frame[3]]),
            );
            let arguments = frame[4..frame.len() - 1].to_vec();
            return match heard == expected {
                true => Ok(arguments),
                false => Err(format!("{heard:?} {}", String::from_utf8_lossy(&arguments))),
            };
        }
    }
}

fn short(text: &str) -> Vec<u8> {
    let length = u8::try_from(text.len()).expect("a short text");
    [&[length], text.as_bytes()].concat()
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short text");
    [&length.to_be_bytes(), bytes].concat()
}
