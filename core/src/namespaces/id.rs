//! A namespace's number, as keys hold it, and its id, as clients see it at the end of tokens and accessors: six characters
//! that say the number to whoever knows how, so that a token leads to its rows without a look at any table.

use crate::store::layout::ROOT_NAMESPACE;

/// The id of the root.
pub const ROOT: &str = "root";
/// Characters of every other id.
const LENGTH: usize = 6;
/// Shortest token or accessor that an id can follow.
const MIN_SHOWN: usize = 24;
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Odd, so that multiplying can be undone.
const FIRST: u32 = 0x9e37_79b1;
const SECOND: u32 = 0x85eb_ca6b;
const SHIFT: u32 = 15;

/// The id of a namespace. Numbers that follow each other do not look like it.
pub fn text_of(number: u32) -> String {
    if number == ROOT_NAMESPACE {
        return ROOT.to_owned();
    }
    let mixed = number.wrapping_mul(FIRST);
    let mut left = (mixed ^ mixed >> SHIFT).wrapping_mul(SECOND);
    let mut digits = [b'0'; LENGTH];
    for digit in digits.iter_mut().rev() {
        *digit = usize::try_from(left % 62)
            .ok()
            .and_then(|at| DIGITS.get(at).copied())
            .unwrap_or(b'0');
        left /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

/// The number behind an id; `None` for what is no id.
pub fn number_of(text: &str) -> Option<u32> {
    if text == ROOT {
        return Some(ROOT_NAMESPACE);
    }
    if text.len() != LENGTH {
        return None;
    }
    let mut value = 0_u64;
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|known| *known == byte)?;
        value = value * 62 + u64::try_from(digit).ok()?;
    }
    let mixed = u32::try_from(value).ok()?.wrapping_mul(inverse(SECOND));
    let mixed = mixed ^ mixed >> SHIFT ^ mixed >> (2 * SHIFT);
    Some(mixed.wrapping_mul(inverse(FIRST))).filter(|number| *number != ROOT_NAMESPACE)
}

/// The namespace that a token or an accessor says it is of, by the id at its end.
pub fn of_shown(shown: &str) -> u32 {
    let suffix = shown.rsplit_once('.');
    suffix
        .filter(|(head, _)| head.len() >= MIN_SHOWN)
        .and_then(|(_, suffix)| number_of(suffix))
        .unwrap_or(ROOT_NAMESPACE)
}

/// A token or accessor of a namespace, made of one without its id.
pub fn mark(shown: &str, number: u32) -> String {
    match number {
        ROOT_NAMESPACE => shown.to_owned(),
        number => format!("{shown}.{}", text_of(number)),
    }
}

/// Characters of a token or accessor of a namespace that has so many without its id.
pub fn marked_length(length: usize, number: u32) -> usize {
    match number {
        ROOT_NAMESPACE => length,
        _ => length + 1 + LENGTH,
    }
}

/// The number by which multiplying with an odd one is undone, modulo 2^32 (Newton's iteration: each step doubles the bits
/// that are right, beginning with three).
const fn inverse(odd: u32) -> u32 {
    let mut found = odd;
    let mut step = 0;
    while step < 4 {
        found = found.wrapping_mul(2_u32.wrapping_sub(odd.wrapping_mul(found)));
        step += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ids_say_their_number(number in 1_u32..) {
            let text = text_of(number);
            prop_assert_eq!(text.len(), LENGTH);
            prop_assert_eq!(number_of(&text), Some(number));
            let token = mark("s.abcdefghijklmnopqrstuvwx", number);
            prop_assert_eq!(of_shown(&token), number);
        }

        #[test]
        fn whatever_is_shown_is_of_one_namespace(shown in "\\PC{0,60}") {
            let number = of_shown(&shown);
            if number != ROOT_NAMESPACE {
                prop_assert!(shown.ends_with(&text_of(number)));
            }
        }
    }

    #[test]
    fn what_has_no_id_is_the_roots() {
        for shown in ["", "root", "s.abcdefghijklmnopqrstuvwx", "my.secret", "a.b.c"] {
            assert_eq!(of_shown(shown), ROOT_NAMESPACE, "{shown}");
        }
        assert_eq!(number_of("root"), Some(0));
        for text in ["", "zzzzzz", "00000", "0000000", "00000-", "000000"] {
            assert_eq!(number_of(text), None, "{text}");
        }
    }
}
