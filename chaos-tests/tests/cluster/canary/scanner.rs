//! Finds marks in bytes, in every form in which a program could have written them.

use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Length of a fragment that counts: shorter ones would occur by chance.
const FRAGMENT: usize = 12;

/// A form of a mark that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which mark, by its number.
    pub mark: usize,
    /// How it was written.
    pub form: &'static str,
    /// Where the fragment begins.
    pub at: usize,
}

/// Looks for fragments of marks.
pub struct Scanner {
    /// The fragments by their first bytes, so that one pass over the bytes does.
    fragments: HashMap<[u8; FRAGMENT], (usize, &'static str)>,
    filter: Vec<bool>,
}

impl Scanner {
    /// Looks for any twelve bytes of any form of these marks.
    pub fn new(marks: &[String]) -> Self {
        let mut fragments = HashMap::new();
        for (number, mark) in marks.iter().enumerate() {
            for (form, bytes) in forms(mark) {
                for fragment in bytes.windows(FRAGMENT) {
                    let fragment = <[u8; FRAGMENT]>::try_from(fragment).expect("a window");
                    fragments.entry(fragment).or_insert((number, form));
                }
            }
        }
        let mut filter = vec![false; 1 << 16];
        for fragment in fragments.keys() {
            filter[start(fragment)] = true;
        }
        Self { fragments, filter }
    }

    /// The first occurrence of each mark and form.
    pub fn scan(&self, bytes: &[u8]) -> Vec<Finding> {
        let mut found: Vec<Finding> = Vec::new();
        for (at, window) in bytes.windows(FRAGMENT).enumerate() {
            if !self.filter[start(window)] {
                continue;
            }
            let Some((mark, form)) = self.fragments.get(window) else {
                continue;
            };
            if !found
                .iter()
                .any(|known| known.mark == *mark && known.form == *form)
            {
                found.push(Finding {
                    mark: *mark,
                    form,
                    at,
                });
            }
        }
        found
    }
}

/// The bytes of base64 text.
pub fn unbase64(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("base64")
}

fn start(window: &[u8]) -> usize {
    usize::from(window[0]) << 8 | usize::from(window[1])
}

/// A mark as programs write text: as it is, in hexadecimal, base64 at each of three offsets, UTF-16, escaped.
fn forms(mark: &str) -> Vec<(&'static str, Vec<u8>)> {
    let utf16 = |swap: fn(u16) -> [u8; 2]| mark.encode_utf16().flat_map(swap).collect::<Vec<u8>>();
    let mut forms = vec![
        ("raw", mark.as_bytes().to_vec()),
        ("hexadecimal", hex::encode(mark).into_bytes()),
        ("HEXADECIMAL", hex::encode_upper(mark).into_bytes()),
        ("UTF-16, little end first", utf16(u16::to_le_bytes)),
        ("UTF-16, big end first", utf16(u16::to_be_bytes)),
        (
            "escaped as \\u",
            mark.encode_utf16()
                .flat_map(|unit| format!("\\u{unit:04x}").into_bytes())
                .collect(),
        ),
        (
            "escaped as %",
            mark.bytes()
                .flat_map(|byte| format!("%{byte:02X}").into_bytes())
                .collect(),
        ),
        (
            "list of numbers",
            mark.bytes()
                .map(|byte| byte.to_string())
                .collect::<Vec<_>>()
                .join(", ")
                .into_bytes(),
        ),
    ];
    for offset in 0..3 {
        forms.push(("base64", base64_inside(mark.as_bytes(), offset)));
    }
    forms
}

/// The part of base64 text that is the mark's alone when `offset` bytes (modulo three) stand before it.
fn base64_inside(mark: &[u8], offset: usize) -> Vec<u8> {
    let mut padded = vec![0; offset];
    padded.extend_from_slice(mark);
    let text = STANDARD_NO_PAD.encode(&padded).into_bytes();
    // The first characters hold bits of what stands before, the last one of what follows.
    let first = [0, 2, 3][offset];
    text[first..text.len() - 1].to_vec()
}

#[test]
fn planted_marks_are_found_in_every_form() {
    let marks = [
        "canary7f3k9x2m5q8w1z".to_owned(),
        "another0mark1of2letters".to_owned(),
    ];
    let scanner = Scanner::new(&marks);
    let mark = marks[1].as_str();
    let json_escaped: String = mark.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let planted: Vec<(&str, Vec<u8>)> = vec![
        ("raw", mark.as_bytes().to_vec()),
        ("fragment", mark.as_bytes()[5..17].to_vec()),
        ("hexadecimal", hex::encode(mark).into_bytes()),
        ("HEXADECIMAL", hex::encode_upper(mark).into_bytes()),
        (
            "UTF-16, little end first",
            mark.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        (
            "UTF-16, big end first",
            mark.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        ),
        ("escaped", json_escaped.into_bytes()),
        ("debug of bytes", format!("{:?}", mark.as_bytes()).into_bytes()),
    ];
    for (form, bytes) in planted {
        let mut file = vec![0x5a; 1000];
        file.extend_from_slice(&bytes);
        file.extend(vec![0xa5; 1000]);
        let found = scanner.scan(&file);
        assert!(!found.is_empty(), "{form} is not found");
        assert!(
            found.iter().all(|found| found.mark == 1 && found.at >= 900),
            "{form}: {found:?}"
        );
    }
    for before in 0..4 {
        let text = format!("{}{mark}tail", "x".repeat(before));
        let file = base64::engine::general_purpose::STANDARD.encode(text);
        assert!(
            !scanner.scan(file.as_bytes()).is_empty(),
            "base64 after {before} bytes is not found"
        );
    }
    assert_eq!(
        scanner.scan(&mark.as_bytes()[..11]),
        [],
        "eleven bytes may be chance"
    );
    assert_eq!(scanner.scan(&[0; 4096]), []);
}
