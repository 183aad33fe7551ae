//! Answers of the query protocol: XML whose leaves are what is told. Knows no action; whatever it cannot read is an error, and
//! nothing in it is followed anywhere.

use quick_xml::Reader;
use quick_xml::escape::resolve_predefined_entity;
use quick_xml::events::Event;

/// Deepest nesting, and most leaves of one answer.
const MAX_DEPTH: usize = 32;
const MAX_LEAVES: usize = 50_000;
/// What one member of a list is called.
const MEMBER: &str = "member";

/// An answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Names and texts of leaves in their order. A member of a list ends with a leaf without name.
    leaves: Vec<(String, String)>,
}

impl Answer {
    /// Reads one. `None`: it is none.
    pub fn read(xml: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        let (mut answer, mut open, mut text, mut is_leaf) =
            (Self::default(), Vec::<String>::new(), String::new(), false);
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    open.push(start.local_name().as_ref().to_owned());
                    text.clear();
                    is_leaf = true;
                    if open.len() > MAX_DEPTH {
                        return None;
                    }
                }
                Event::Empty(empty) => {
                    let name = empty.local_name().as_ref().to_owned();
                    answer.leaves.push((name, String::new()));
                    is_leaf = false;
                }
                Event::Text(part) => text.push_str(&part),
                Event::CData(part) => text.push_str(&part),
                Event::GeneralRef(entity) => match entity.resolve_char_ref().ok()? {
                    Some(letter) => text.push(letter),
                    None => text.push_str(resolve_predefined_entity(&entity)?),
                },
                Event::End(_) => {
                    let name = open.pop()?;
                    let is_member = name == MEMBER;
                    if is_leaf {
                        answer.leaves.push((name, text.trim().to_owned()));
                    }
                    if is_member {
                        answer.leaves.push((String::new(), String::new()));
                    }
                    is_leaf = false;
                }
                Event::Eof => break,
                // Entities of its own are nothing that an answer has.
                Event::DocType(_) => return None,
                Event::Decl(_) | Event::Comment(_) | Event::PI(_) => {}
            }
            if answer.leaves.len() > MAX_LEAVES {
                return None;
            }
        }
        (open.is_empty() && !answer.leaves.is_empty()).then_some(answer)
    }

    /// The first leaf of this name.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.all(name).next()
    }

    /// All leaves of this name.
    pub fn all<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a str> {
        self.leaves
            .iter()
            .filter(move |(leaf, _)| leaf == name)
            .map(|(_, text)| text.as_str())
    }

    /// Pairs of these two leaves, the second after the first.
    pub fn pairs<'a>(&'a self, first: &str, second: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.all(first).zip(self.all(second))
    }

    /// `NAME=TEXT` of each leaf; a member of a list ends with an empty text.
    pub fn told(self) -> Vec<String> {
        let line = |(name, text): (String, String)| match name.as_str() {
            "" => text,
            name => format!("{name}={text}"),
        };
        self.leaves.into_iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaves_are_told_in_their_order() {
        let answer = Answer::read(
            "<?xml version=\"1.0\"?><ListAccessKeysResponse xmlns=\"x\"><ListAccessKeysResult><AccessKeyMetadata>\
             <member><AccessKeyId>A</AccessKeyId><Status>Active</Status></member>\
             <member><AccessKeyId>B</AccessKeyId><Status/></member></AccessKeyMetadata>\
             <Note>a &lt;b&gt; &#38; c</Note></ListAccessKeysResult></ListAccessKeysResponse>",
        )
        .unwrap();
        assert_eq!(answer.all("AccessKeyId").collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(answer.first("Note"), Some("a <b> & c"));
        assert_eq!(
            answer.told(),
            [
                "AccessKeyId=A",
                "Status=Active",
                "",
                "AccessKeyId=B",
                "Status=",
                "",
                "Note=a <b> & c"
            ]
        );
    }

    #[test]
    fn members_may_be_leaves() {
        let answer = Answer::read("<A><PolicyNames><member>p1</member><member>p2</member></PolicyNames></A>");
        assert_eq!(answer.unwrap().all("member").collect::<Vec<_>>(), ["p1", "p2"]);
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        let deep = "<a>".repeat(100) + &"</a>".repeat(100);
        let bomb = "<!DOCTYPE x [<!ENTITY a \"aaaa\">]><x><y>&a;</y></x>";
        for bad in [
            "",
            "nothing",
            "{}",
            "<a>",
            "<a></b>",
            "<a><b>&nope;</b></a>",
            &deep,
            bomb,
        ] {
            assert_eq!(Answer::read(bad), None, "{bad}");
        }
    }
}
