//! Finds marks in bytes, in every form in which a program could have written them.

use std::collections::{HashMap, HashSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;

/// Letters of a mark that count: fewer would occur by chance.
const FRAGMENT: usize = 12;
/// Bytes that are looked up.
const GRAM: usize = 8;
/// From one look to the next: any twelve bytes hold a whole gram at one of these places, and only one.
const STRIDE: usize = FRAGMENT - GRAM + 1;
/// Bits by which most grams are told from those of marks.
const FILTER_BITS: u32 = 22;
/// Zeros that are passed over together.
const EMPTY: usize = 4096;
static ZEROS: [u8; EMPTY] = [0; EMPTY];

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

/// Looks for fragments of marks. Memory of a node is hundreds of megabytes: a look at every fifth place finds all.
pub struct Scanner {
    fragments: Vec<Fragment>,
    /// Each eight bytes that a fragment has at one of its first places: which fragment, and where in it.
    grams: HashMap<u64, Vec<(usize, usize)>>,
    /// Whether such bytes may be among them, by a few bits of theirs.
    filter: Vec<bool>,
}

struct Fragment {
    bytes: Vec<u8>,
    mark: usize,
    form: &'static str,
}

impl Scanner {
    /// Looks for any twelve letters of these marks, texts or keys, in any form.
    pub fn new<M: AsRef<[u8]>>(marks: &[M]) -> Self {
        let mut scanner = Self {
            fragments: Vec::new(),
            grams: HashMap::new(),
            filter: vec![false; 1 << FILTER_BITS],
        };
        for (mark, letters) in marks.iter().enumerate() {
            for form in forms(letters.as_ref()) {
                for units in form.letters.windows(form.width) {
                    scanner.add(Fragment {
                        bytes: units.concat(),
                        mark,
                        form: form.name,
                    });
                }
            }
        }
        scanner
    }

    fn add(&mut self, fragment: Fragment) {
        assert!(fragment.bytes.len() >= FRAGMENT, "a letter is a byte or more");
        for place in 0..STRIDE {
            let gram = gram(&fragment.bytes, place);
            assert_ne!(gram, 0, "what is empty is passed over");
            self.filter[filter_place(gram)] = true;
            let of_gram = self.grams.entry(gram).or_default();
            of_gram.push((self.fragments.len(), place));
        }
        self.fragments.push(fragment);
    }

    /// The first occurrence of each mark and form.
    pub fn scan(&self, bytes: &[u8]) -> Vec<Finding> {
        let mut known = HashSet::new();
        let mut found = self.occurrences(bytes);
        found.retain(|finding| known.insert((finding.mark, finding.form)));
        found
    }

    /// Every occurrence, named once however many fragments of it are there.
    pub fn occurrences(&self, bytes: &[u8]) -> Vec<Finding> {
        let mut found = self.fragments_in(bytes);
        found.sort_by_key(|finding| finding.at);
        let mut last = HashMap::new();
        found.retain(|Finding { mark, form, at }| {
            let before = last.insert((*mark, *form), *at);
            before.is_none_or(|before| at - before > FRAGMENT)
        });
        found
    }

    fn fragments_in(&self, bytes: &[u8]) -> Vec<Finding> {
        let mut found = Vec::new();
        let mut at = 0;
        while at + GRAM <= bytes.len() {
            let gram = gram(bytes, at);
            if gram == 0 && is_empty(&bytes[at..]) {
                at += EMPTY - EMPTY % STRIDE - 2 * STRIDE;
                continue;
            }
            if self.filter[filter_place(gram)] {
                for (fragment, place) in self.grams.get(&gram).into_iter().flatten() {
                    let Fragment {
                        bytes: wanted,
                        mark,
                        form,
                    } = &self.fragments[*fragment];
                    if at >= *place && bytes[at - place..].starts_with(wanted) {
                        found.push(Finding {
                            mark: *mark,
                            form,
                            at: at - place,
                        });
                    }
                }
            }
            at += STRIDE;
        }
        found
    }
}

/// Whether nothing but zeros is there for a while.
pub fn is_empty(bytes: &[u8]) -> bool {
    bytes.get(..EMPTY).is_some_and(|bytes| bytes == ZEROS)
}

/// Eight bytes as a number.
fn gram(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + GRAM].try_into().expect("eight bytes"))
}

/// Bits from all over the gram (Knuth's multiplicative hash).
fn filter_place(gram: u64) -> usize {
    usize::try_from(gram.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - FILTER_BITS)).expect("few bits")
}

/// The bytes of base64 text.
pub fn unbase64(text: &str) -> Vec<u8> {
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .expect("base64")
}

/// One way to write a mark.
struct Form {
    name: &'static str,
    /// Its letters, each as it is written.
    letters: Vec<Vec<u8>>,
    /// How many of them make a fragment.
    width: usize,
}

/// A mark as programs write text: as it is, in hexadecimal, UTF-16, escaped, base64 at each of three offsets.
fn forms(mark: &[u8]) -> Vec<Form> {
    let each = |name, write: fn(u8) -> Vec<u8>| Form {
        name,
        letters: mark.iter().copied().map(write).collect(),
        width: FRAGMENT,
    };
    let mut forms = vec![
        each("raw", |byte| vec![byte]),
        each("hexadecimal", |byte| format!("{byte:02x}").into_bytes()),
        each("HEXADECIMAL", |byte| format!("{byte:02X}").into_bytes()),
        each("UTF-16, little end first", |byte| vec![byte, 0]),
        each("UTF-16, big end first", |byte| vec![0, byte]),
        each("escaped as \\u", |byte| format!("\\u{byte:04x}").into_bytes()),
        each("escaped as %", |byte| format!("%{byte:02X}").into_bytes()),
        each("numbers", |byte| format!("{byte}, ").into_bytes()),
    ];
    for offset in 0..3 {
        let text = base64_inside(mark, offset);
        forms.push(Form {
            name: "base64",
            letters: text.into_iter().map(|letter| vec![letter]).collect(),
            // Four characters for three bytes.
            width: FRAGMENT / 3 * 4,
        });
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
    let escaped: String = mark.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
    let utf16 = |write: fn(u16) -> [u8; 2]| mark.encode_utf16().flat_map(write).collect::<Vec<u8>>();
    let planted: Vec<(&str, Vec<u8>)> = vec![
        ("raw", mark.as_bytes().to_vec()),
        ("a fragment", mark.as_bytes()[5..17].to_vec()),
        ("hexadecimal", hex::encode(mark).into_bytes()),
        ("HEXADECIMAL", hex::encode_upper(mark).into_bytes()),
        ("UTF-16, little end first", utf16(u16::to_le_bytes)),
        ("UTF-16, big end first", utf16(u16::to_be_bytes)),
        ("escaped", escaped.into_bytes()),
        (
            "bytes as Rust prints them",
            format!("{:?}", mark.as_bytes()).into_bytes(),
        ),
    ];
    for (form, bytes) in planted {
        let mut file = vec![0x5a; 1000];
        file.extend_from_slice(&bytes);
        file.extend(vec![0xa5; 1000]);
        let found = scanner.scan(&file);
        assert!(!found.is_empty(), "{form} is not found");
        let near = |found: &Finding| found.mark == 1 && (999..=1001).contains(&found.at);
        assert!(found.iter().all(near), "{form}: {found:?}");
    }
    for before in 0..4 {
        let text = format!("{}{mark}tail", "x".repeat(before));
        let file = base64::engine::general_purpose::STANDARD.encode(text);
        let found = scanner.scan(file.as_bytes());
        assert!(
            found.iter().any(|found| found.form == "base64"),
            "after {before} bytes: {found:?}"
        );
    }
    assert_eq!(
        scanner.scan(&mark.as_bytes()[..11]),
        [],
        "eleven letters may be chance"
    );
    assert_eq!(scanner.scan(&[0; 4096]), []);
}

#[test]
fn a_mark_is_found_wherever_it_lies() {
    let mark = "canary7f3k9x2m5q8w1z";
    let scanner = Scanner::new(&[mark]);
    for at in (0..40).chain(EMPTY - 30..EMPTY + 30).chain([3 * EMPTY + 7]) {
        let mut memory = vec![0; 4 * EMPTY];
        memory[at..at + mark.len()].copy_from_slice(mark.as_bytes());
        let found = scanner.occurrences(&memory);
        assert_eq!(found.len(), 1, "at {at}: {found:?}");
        assert_eq!((found[0].at, found[0].form), (at, "raw"));
        // A fragment at the end of what is read, with nothing behind it.
        let found = scanner.occurrences(&memory[..at + FRAGMENT]);
        assert_eq!(found.len(), 1, "cut off at {at}");
        assert_eq!(scanner.occurrences(&memory[..at + FRAGMENT - 1]), []);
    }
    let twice = format!("{mark}{}{mark}", "-".repeat(FRAGMENT));
    assert_eq!(scanner.occurrences(twice.as_bytes()).len(), 2);
}
