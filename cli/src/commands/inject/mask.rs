//! Hides values in a stream of bytes, however it is cut into pieces. Pure.

/// Values shorter than this are not hidden: they would be found everywhere.
pub const MIN_BYTES: usize = 4;
/// What stands in their place.
const STARS: &[u8] = b"***";

/// Hides values in what passes through.
#[derive(Clone)]
pub struct Mask {
    values: Vec<Vec<u8>>,
    held: Vec<u8>,
}

impl Mask {
    /// Hides these values, and each line of those that have several.
    pub fn new<'a>(values: impl Iterator<Item = &'a String>) -> Self {
        let mut all: Vec<Vec<u8>> = Vec::new();
        for value in values {
            all.extend(value.lines().map(|line| line.as_bytes().to_vec()));
            all.push(value.as_bytes().to_vec());
        }
        all.retain(|value| value.len() >= MIN_BYTES);
        // The longest first: it may begin with a shorter one.
        all.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        all.dedup();
        Self {
            values: all,
            held: Vec::new(),
        }
    }

    /// What can be shown after these bytes came; a part that may be the beginning of a value is held back.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        self.take(false)
    }

    /// The rest.
    pub fn finish(&mut self) -> Vec<u8> {
        self.take(true)
    }

    fn take(&mut self, is_end: bool) -> Vec<u8> {
        let held = std::mem::take(&mut self.held);
        let (mut out, mut rest) = (Vec::with_capacity(held.len()), held.as_slice());
        while let Some((first, tail)) = rest.split_first() {
            let is_open = |value: &&Vec<u8>| value.len() > rest.len() && value.starts_with(rest);
            if !is_end && self.values.iter().any(|value| is_open(&value)) {
                break;
            }
            match self
                .values
                .iter()
                .find_map(|value| rest.strip_prefix(value.as_slice()))
            {
                Some(after) => {
                    out.extend_from_slice(STARS);
                    rest = after;
                }
                None => {
                    out.push(*first);
                    rest = tail;
                }
            }
        }
        self.held = rest.to_vec();
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(values: &[&str], text: &str, piece: usize) -> String {
        let values: Vec<String> = values.iter().map(|value| (*value).to_owned()).collect();
        let mut mask = Mask::new(values.iter());
        let mut out = Vec::new();
        for piece in text.as_bytes().chunks(piece) {
            out.extend(mask.push(piece));
        }
        out.extend(mask.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn values_are_hidden_however_the_stream_is_cut() {
        let values = ["hunter22", "hunt", "abc", "first line\nsecond line"];
        let text = "x hunter22 hunter2 hunt abc hu first line / second line\nhunter22hunter22 hunte";
        let hidden = "x *** ***er2 *** abc hu *** / ***\n****** ***e";
        for piece in 1..text.len() {
            assert_eq!(through(&values, text, piece), hidden, "in pieces of {piece}");
        }
    }

    #[test]
    fn nothing_is_held_back_that_can_be_shown() {
        let value = "secret".to_owned();
        let mut mask = Mask::new(std::iter::once(&value));
        assert_eq!(mask.push(b"Password: "), b"Password: ");
        assert_eq!(mask.push(b"a sec"), b"a ");
        assert_eq!(mask.push(b"ond"), b"second");
    }
}
