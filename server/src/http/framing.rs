//! Follows the bytes of an HTTP/1 connection beside the real parser, to see two things the parser hides: whether a
//! request is being received, and whether its length is stated in two ways (request smuggling, RFC 9112 section 11.2).
//! It only ever adds refusals; it decodes nothing.

/// Bytes of a header line that are looked at: longer than any honest line about lengths.
const LINE_BYTES: usize = 128;

/// Where the connection stands between bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Between two messages.
    Between,
    /// Within the head of a message.
    Head,
    /// Within a body.
    Body,
}

/// The state of one connection.
pub struct Framing {
    state: State,
    /// Start of the current line, without its end.
    line: [u8; LINE_BYTES],
    kept: usize,
    /// Bytes of the current line, kept or not.
    length: usize,
    lengths: Lengths,
    ambiguous: bool,
}

/// What the current head says about the body's length.
#[derive(Default)]
struct Lengths {
    fixed: Option<u64>,
    fixed_lines: u32,
    coded_lines: u32,
}

enum State {
    Between,
    Head,
    Fixed(u64),
    ChunkSize,
    Chunk(u64),
    ChunkEnd,
    Trailers,
    /// Not HTTP/1 any more, as far as can be seen: the real parser will say so.
    Lost,
}

impl Default for Framing {
    fn default() -> Self {
        Self {
            state: State::Between,
            line: [0; LINE_BYTES],
            kept: 0,
            length: 0,
            lengths: Lengths::default(),
            ambiguous: false,
        }
    }
}

impl Framing {
    /// Whether any head so far stated its body's length in more than one way.
    pub fn ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Where the connection stands.
    pub fn phase(&self) -> Phase {
        match self.state {
            State::Between => Phase::Between,
            State::Head => Phase::Head,
            _ => Phase::Body,
        }
    }

    /// Takes the next bytes received.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Fixed(left) => self.skip(bytes, left, State::Fixed, State::Between),
                State::Chunk(left) => self.skip(bytes, left, State::Chunk, State::ChunkEnd),
                State::Lost => return,
                _ => self.line(bytes),
            };
        }
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, stay: fn(u64) -> State, then: State) -> &'a [u8] {
        let taken = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left.saturating_sub(taken as u64);
        self.state = if left == 0 { then } else { stay(left) };
        bytes.get(taken..).unwrap_or_default()
    }

    /// Takes bytes up to the end of the current line.
    fn line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (part, rest) = bytes
            .split_at_checked(end.unwrap_or(bytes.len()))
            .unwrap_or((bytes, &[]));
        if let Some(room) = self.line.get_mut(self.kept..) {
            let taken = room.len().min(part.len());
            if let (Some(room), Some(part)) = (room.get_mut(..taken), part.get(..taken)) {
                room.copy_from_slice(part);
            }
            self.kept += taken;
        }
        self.length = self.length.saturating_add(part.len());
        if matches!(self.state, State::Between) && self.length > 0 {
            self.state = State::Head;
            self.lengths = Lengths::default();
        }
        if end.is_none() {
            return rest;
        }
        self.end_of_line();
        self.kept = 0;
        self.length = 0;
        rest.get(1..).unwrap_or_default()
    }

    fn end_of_line(&mut self) {
        let line = self.line.get(..self.kept).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let blank = line.is_empty();
        let cut = self.length > LINE_BYTES;
        self.state = match self.state {
            State::Between => State::Between,
            State::Head if blank => self.lengths.body(&mut self.ambiguous),
            State::Head => {
                self.lengths.note(line, cut, &mut self.ambiguous);
                State::Head
            }
            State::ChunkSize => match chunk_size(line) {
                Some(0) => State::Trailers,
                Some(size) => State::Chunk(size),
                None => State::Lost,
            },
            State::ChunkEnd if blank => State::ChunkSize,
            State::Trailers if blank => State::Between,
            State::Trailers => State::Trailers,
            _ => State::Lost,
        };
    }
}

impl Lengths {
    fn note(&mut self, line: &[u8], cut: bool, ambiguous: &mut bool) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return;
        };
        let (name, value) = line.split_at_checked(colon).unwrap_or((line, &[]));
        let name = name.trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            self.fixed_lines += 1;
            let value = std::str::from_utf8(value).unwrap_or("");
            self.fixed = value.trim_start_matches(':').trim().parse().ok();
            *ambiguous |= cut;
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.coded_lines += 1;
            *ambiguous |= cut;
        }
    }

    /// The head ended: how the body goes on.
    fn body(&self, ambiguous: &mut bool) -> State {
        *ambiguous |= self.fixed_lines + self.coded_lines > 1;
        match self.fixed {
            _ if self.coded_lines > 0 => State::ChunkSize,
            Some(0) => State::Between,
            Some(length) => State::Fixed(length),
            None if self.fixed_lines > 0 => State::Lost,
            None => State::Between,
        }
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?;
    let digits = std::str::from_utf8(digits).ok()?.trim();
    u64::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `text` in pieces of `step` bytes.
    fn fed(text: &str, step: usize) -> Framing {
        let mut framing = Framing::default();
        for piece in text.as_bytes().chunks(step) {
            framing.advance(piece);
        }
        framing
    }

    #[test]
    fn messages_are_followed_to_their_end_in_pieces_of_any_size() {
        let honest = [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\na;x=y\r\n0123456789\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nTrailer: a\r\n\r\nGET / HTTP/1.1\r\n\r\n",
        ];
        for text in honest {
            for step in [1, 2, 7, 1000] {
                let framing = fed(text, step);
                assert_eq!(framing.phase(), Phase::Between, "{text:?} by {step}");
                assert!(!framing.ambiguous(), "{text:?} by {step}");
            }
        }
    }

    #[test]
    fn two_lengths_are_ambiguous() {
        let bad = [
            "POST / HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\nPOST / HTTP/1.1\nContent-Length: 5\nTransfer-Encoding: chunked\n\n",
        ];
        for text in bad {
            for step in [1, 3, 1000] {
                assert!(fed(text, step).ambiguous(), "{text:?} by {step}");
            }
        }
        let long = format!(
            "POST / HTTP/1.1\r\nTransfer-Encoding: {}chunked\r\n\r\n",
            " ".repeat(200)
        );
        assert!(fed(&long, 16).ambiguous());
    }

    #[test]
    fn a_message_under_way_is_seen() {
        assert_eq!(fed("GET /", 1).phase(), Phase::Head);
        assert_eq!(fed("GET / HTTP/1.1\r\nA: b\r\n", 1).phase(), Phase::Head);
        assert_eq!(
            fed("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel", 1).phase(),
            Phase::Body
        );
        assert_eq!(
            fed("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nh", 4).phase(),
            Phase::Body
        );
    }
}
