//! The protocol of Redis, as much of it as accounts take (RESP2, https://redis.io/docs/latest/develop/reference/protocol-spec/):
//! commands are lists of words, answers come in their order. Every answer is bounded, whatever the server says of its length.

use std::io::{self, ErrorKind};

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use zeroize::Zeroizing;

/// Longest line in bytes.
const MAX_LINE: usize = 64 * 1024;
/// Longest answer in bytes, all in all.
const MAX_ANSWER: usize = 32 * 1024 * 1024;
/// Most parts of an answer.
const MAX_PARTS: usize = 1_000_000;
/// Deepest nesting of lists.
const MAX_DEPTH: usize = 8;

/// A stream to a server, encrypted or not.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// A connection.
pub struct Connection {
    stream: BufReader<Box<dyn Stream>>,
}

/// An answer.
#[derive(Debug, PartialEq)]
pub enum Reply {
    /// A text or a number.
    Text(String),
    /// A list.
    List(Vec<Reply>),
    /// Nothing is there.
    Nothing,
    /// What the server refuses to do, and why.
    Error(String),
}

/// What is left of an answer's bounds.
struct Room {
    bytes: usize,
    parts: usize,
}

impl Connection {
    /// On a stream on which nothing was said yet.
    pub fn new(stream: Box<dyn Stream>) -> Self {
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Errors
    /// The connection broke, or what came is no answer: it cannot be used any more.
    pub async fn ask(&mut self, words: &[&str]) -> io::Result<Reply> {
        // Its whole length at once: what a growing buffer leaves behind would not be wiped.
        let length = words.iter().map(|word| word.len() + 32).sum::<usize>() + 32;
        let mut command = Zeroizing::new(Vec::with_capacity(length));
        command.extend(format!("*{}\r\n", words.len()).bytes());
        for word in words {
            command.extend(format!("${}\r\n", word.len()).bytes());
            command.extend(word.bytes());
            command.extend(b"\r\n");
        }
        self.stream.write_all(&command).await?;
        self.stream.flush().await?;
        let mut room = Room {
            bytes: MAX_ANSWER,
            parts: MAX_PARTS,
        };
        self.reply(&mut room, MAX_DEPTH).await
    }

    async fn reply(&mut self, room: &mut Room, depth: usize) -> io::Result<Reply> {
        room.parts = room.parts.checked_sub(1).ok_or_else(too_long)?;
        let line = self.line(room).await?;
        let (kind, rest) = line.split_at_checked(1).ok_or_else(nonsense)?;
        match kind {
            "+" | ":" => Ok(Reply::Text(rest.to_owned())),
            "-" => Ok(Reply::Error(rest.to_owned())),
            "$" | "*" if rest == "-1" => Ok(Reply::Nothing),
            "$" => {
                let length: usize = rest.parse().map_err(|_| nonsense())?;
                self.text(length, room).await
            }
            "*" => {
                let length: usize = rest.parse().map_err(|_| nonsense())?;
                let deeper = depth.checked_sub(1).ok_or_else(too_long)?;
                let mut list = Vec::new();
                for _ in 0..length {
                    // Boxed: an answer within an answer.
                    list.push(Box::pin(self.reply(room, deeper)).await?);
                }
                Ok(Reply::List(list))
            }
            _ => Err(nonsense()),
        }
    }

    async fn text(&mut self, length: usize, room: &mut Room) -> io::Result<Reply> {
        room.bytes = room.bytes.checked_sub(length).ok_or_else(too_long)?;
        // As it comes: a length that is only claimed takes no memory.
        let mut bytes = Vec::new();
        let claimed = u64::try_from(length).unwrap_or(u64::MAX);
        (&mut self.stream).take(claimed).read_to_end(&mut bytes).await?;
        let mut end = [0; 2];
        self.stream.read_exact(&mut end).await?;
        match &end {
            b"\r\n" => Ok(Reply::Text(String::from_utf8_lossy(&bytes).into_owned())),
            _ => Err(nonsense()),
        }
    }

    async fn line(&mut self, room: &mut Room) -> io::Result<String> {
        let mut bytes = Vec::new();
        let limit = u64::try_from(MAX_LINE.min(room.bytes)).unwrap_or(0);
        (&mut self.stream)
            .take(limit)
            .read_until(b'\n', &mut bytes)
            .await?;
        if bytes.is_empty() && limit > 0 {
            return Err(io::Error::new(
                ErrorKind::UnexpectedEof,
                "the target closed the connection",
            ));
        }
        room.bytes = room.bytes.saturating_sub(bytes.len());
        let line = bytes.strip_suffix(b"\r\n").ok_or_else(too_long)?;
        Ok(String::from_utf8_lossy(line).into_owned())
    }
}

fn nonsense() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "the target answers what no Redis server would",
    )
}

fn too_long() -> io::Error {
    io::Error::new(
        ErrorKind::InvalidData,
        "the target's answer is cut off or too long",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn answered(answer: &[u8]) -> io::Result<Reply> {
        let (ours, mut theirs) = tokio::io::duplex(1 << 18);
        theirs.write_all(answer).await?;
        theirs.shutdown().await?;
        // It hears what is asked and says nothing more.
        tokio::spawn(async move {
            let mut heard = [0; 256];
            let _ = theirs.read(&mut heard).await;
        });
        Connection::new(Box::new(ours)).ask(&["PING"]).await
    }

    #[tokio::test]
    async fn answers_are_read() {
        let text = |text: &str| Reply::Text(text.to_owned());
        for (answer, reply) in [
            ("+OK\r\n", text("OK")),
            (":7\r\n", text("7")),
            ("$4\r\na\r\nb\r\n", text("a\r\nb")),
            ("$-1\r\n", Reply::Nothing),
            ("-WRONGPASS no\r\n", Reply::Error("WRONGPASS no".to_owned())),
            (
                "*2\r\n+a\r\n*1\r\n:1\r\n",
                Reply::List(vec![text("a"), Reply::List(vec![text("1")])]),
            ),
        ] {
            assert_eq!(answered(answer.as_bytes()).await.unwrap(), reply, "{answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_no_answer_ends_the_connection() {
        let nested = "*1\r\n".repeat(100);
        let long = format!("+{}\r\n", "x".repeat(MAX_LINE));
        for answer in [
            "",
            "\r\n",
            "+OK",
            "+OK\n",
            "$3\r\nab",
            "$3\r\nabcd\r\n",
            "$99999999999\r\nab\r\n",
            "$x\r\n",
            "*-2\r\n",
            "*99999999999\r\n",
            "HTTP/1.1 400 Bad Request\r\n\r\n",
            &nested,
            &long,
        ] {
            assert!(answered(answer.as_bytes()).await.is_err(), "{answer:.40?}");
        }
    }
}
