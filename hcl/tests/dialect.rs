//! What the dialect takes and refuses, each learnt from `bao policy fmt` of OpenBao 2.7.2, and the places where this
//! parser refuses a mistake that upstream reads as something else.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use conclave_hcl::{Kind, MAX_DEPTH, MAX_INPUT_BYTES, MAX_NODES, parse};
use proptest::prelude::*;

/// The value of `v` in a text.
fn value(text: &str) -> Kind {
    let body = parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
    body.value("v").unwrap().expect("v is set").kind.clone()
}

fn string(text: &str) -> String {
    match value(text) {
        Kind::String(text) => text,
        other => panic!("{text:?} gave {other:?}"),
    }
}

#[test]
fn accepted_by_both() {
    for text in [
        "",
        "   ",
        "# only a comment",
        "# c\n// c\n/* c\n */ path \"a\" { policy = \"read\" /* x */ }",
        "path \"a\" { capabilities = [\"read\"] policy = \"read\" }",
        "path \"a\" { capabilities = [\"read\"], policy = \"read\" }",
        "path \"a\" { policy = \"read\", }",
        "path \"a\" { \"capabilities\" = [\"read\"] }",
        "path a { policy = \"read\" }",
        "path = {}",
        "path \"a\" {}",
        "path \"a\" {} path \"a\" {}",
        "path \"a\" { policy = \"read\" } , path \"b\" { policy = \"read\" }",
        "path \"a\" /* c */ { policy /* d */ = /* e */ \"read\" }",
        "path \"a\" { capabilities = [ # c\n \"read\", // d\n \"list\" /* e */ ] }",
        "path \"a\" { capabilities = [\"read\",] }",
        "path \"a\" { capabilities = [,\"read\"] }",
        "path \"a\" { capabilities = [\"read\",,\"list\"] }",
        "path \"a\" { capabilities = [] }",
        "path \"a\" { allowed_parameters { a = [] } }",
        "path \"a\" { allowed_parameters = { a = [] \"b\" = [\"x\", 1, 1.5, true, [1]], } }",
        "path \"a\" { policy = \"read\" }\r\npath \"b\" {\r\n policy = \"read\" }\r\n",
        "path \"a\" { policy = \"read\" }\rpath \"b\" { policy = \"read\" }",
        "a-b.c_d9 = 1",
        "_a = 1",
        "\"\" = 1",
        "é = 1",
        "path \"é\" { policy = \"read\" }",
        "name = \"\t\u{1}\"",
    ] {
        assert!(parse(text).is_ok(), "{text:?}: {:?}", parse(text));
    }
}

/// Text, line, column, message.
const REFUSED: &[(&str, u32, u32, &str)] = &[
    (
        "}",
        1,
        1,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE",
    ),
    (
        "[]",
        1,
        1,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: LBRACK",
    ),
    (
        ", a = 1",
        1,
        1,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: COMMA",
    ),
    (
        "a { , b = 1 }",
        1,
        5,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: COMMA",
    ),
    (
        "a { b = 1,, }",
        1,
        11,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: COMMA",
    ),
    (
        "a { b = 1 }}",
        1,
        12,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: RBRACE",
    ),
    ("a { b = 1 ", 1, 11, "object expected closing RBRACE got: EOF"),
    (
        "a \"x\" b = 1 }",
        1,
        9,
        "nested object expected: LBRACE got: ASSIGN",
    ),
    (
        "a \"x\" = { b = 1 }",
        1,
        7,
        "nested object expected: LBRACE got: ASSIGN",
    ),
    ("a { b = }", 1, 9, "expected a value, got: RBRACE"),
    (
        "a { b }",
        1,
        7,
        "key expected start of object ('{') or assignment ('=')",
    ),
    (
        "a",
        1,
        2,
        "key expected start of object ('{') or assignment ('=')",
    ),
    ("a { = 5 }", 1, 5, "no object keys found!"),
    ("a { {} }", 1, 5, "expected: IDENT | STRING got: LBRACE"),
    (
        "a { true = 1 }",
        1,
        5,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: BOOL",
    ),
    (
        "9 = 1",
        1,
        1,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: NUMBER",
    ),
    (
        "-a = 1",
        1,
        1,
        "expected: IDENT | STRING | ASSIGN | LBRACE got: SUB",
    ),
    ("a = read", 1, 5, "expected a value, got: IDENT"),
    ("a = TRUE", 1, 5, "expected a value, got: IDENT"),
    ("a = null", 1, 5, "expected a value, got: IDENT"),
    ("a = -.5", 1, 5, "expected a value, got: SUB"),
    ("a = +5", 1, 5, "expected a value, got: ADD"),
    ("a = - 5", 1, 5, "expected a value, got: SUB"),
    (
        "a = [\"b\" \"c\"]",
        1,
        10,
        "error parsing list, expected comma or list end, got: STRING",
    ),
    (
        "a = [\"b\"",
        1,
        9,
        "error parsing list, expected list end, got: EOF",
    ),
    ("a = [b]", 1, 6, "expected a value, got: IDENT"),
    (
        "a = \"b\" \"c\"",
        1,
        12,
        "key expected start of object ('{') or assignment ('=')",
    ),
    ("a: 1", 1, 2, "illegal char"),
    ("a = 1;", 1, 6, "illegal char"),
    ("a = 'b'", 1, 5, "illegal char"),
    ("\u{feff}a = 1", 1, 1, "illegal char"),
    ("a\u{a0}= 1", 1, 2, "illegal char"),
    ("/ a", 1, 1, "expected '/' for comment"),
    ("a = 1 /", 1, 7, "expected '/' for comment"),
    ("\n /* a", 2, 2, "comment not terminated"),
    ("a = \"x", 1, 7, "literal not terminated"),
    ("a = \"x\ny\"", 1, 5, "literal not terminated"),
    ("a = \"$x ${a} ${b\" ", 1, 19, "literal not terminated"),
    ("a = \"\\q\"", 1, 7, "illegal char escape"),
    ("a = \"\\'\"", 1, 7, "illegal char escape"),
    ("a = \"\\x4\"", 1, 7, "illegal char escape"),
    ("a = \"\\u00\"", 1, 7, "illegal char escape"),
    ("a = \"\\18\"", 1, 7, "illegal char escape"),
    ("# \0", 1, 3, "unexpected null character (0x00)"),
    ("a = \"\0\"", 1, 6, "unexpected null character (0x00)"),
    ("a = 0x", 1, 5, "illegal hexadecimal number"),
    ("a = 09", 1, 5, "illegal octal number"),
    ("a = 99999999999999999999", 1, 5, "number is out of range"),
    ("a = 0b1", 1, 5, "illegal number"),
    ("a = 1_000", 1, 5, "illegal number"),
    ("a = 1.5.3", 1, 5, "illegal number"),
    (
        "a = <EOF\nx\nEOF\n",
        1,
        6,
        "heredoc expected second '<', didn't see it",
    ),
    ("a = <<\nx\nEOF\n", 1, 7, "zero-length heredoc anchor"),
    ("a = <<-\nx\nEOF\n", 1, 8, "zero-length heredoc anchor"),
    (
        "a = <<E F\nx\nE F\n",
        1,
        8,
        "invalid characters in heredoc anchor",
    ),
    (
        "a = <<E-F\nx\nE-F\n",
        1,
        8,
        "invalid characters in heredoc anchor",
    ),
    ("a = <<EOF\nx\nEOF", 1, 5, "heredoc not terminated"),
    ("a = <<EOF\nx\nEOF }", 1, 5, "heredoc not terminated"),
    ("a = <<EOF", 1, 5, "heredoc not terminated"),
];

#[test]
fn refused_by_both() {
    for (text, line, column, message) in REFUSED {
        let error = parse(text).expect_err(text);
        assert_eq!(
            (error.line, error.column, error.message.as_str()),
            (*line, *column, *message),
            "{text:?}"
        );
    }
}

#[test]
fn refused_here_only() {
    for (text, why) in [
        ("a = 12abc = 3", "upstream: the number 12, then a key abc"),
        ("a = 1e", "upstream: a float token that its decoder cannot read"),
        (
            "a = \"\\777\"",
            "upstream: an octal escape above 255 that its decoder cannot read",
        ),
        ("a = \"\\xff\"", "upstream: a byte that is not UTF-8"),
        ("a = \"\\ud800\"", "upstream: a surrogate"),
        ("a = \"\\U00110000\"", "upstream: beyond Unicode"),
        ("{\"a\": 1} x", "upstream: ignores what follows the object"),
    ] {
        assert!(parse(text).is_err(), "{text:?} ({why})");
    }
}

#[test]
fn numbers() {
    for (text, expected) in [
        ("v = 0", 0),
        ("v = 7", 7),
        ("v = -3", -3),
        ("v = 0x10", 16),
        ("v = 0XfF", 255),
        ("v = -0x10", -16),
        ("v = 010", 8),
        ("v = -9223372036854775808", i64::MIN),
    ] {
        assert_eq!(value(text), Kind::Int(expected), "{text}");
    }
    for (text, expected) in [
        ("v = 1.5", 1.5),
        ("v = .5", 0.5),
        ("v = 1.", 1.0),
        ("v = 1e3", 1e3),
        ("v = 1.e+3", 1e3),
        ("v = -2.5e-1", -0.25),
    ] {
        assert_eq!(value(text), Kind::Float(expected), "{text}");
    }
    assert!(parse("v = 1e999").is_err());
}

#[test]
fn strings() {
    for (text, expected) in [
        (r#"v = "a/${x}""#, "a/${x}"),
        (r#"v = "a/${"q"}b""#, r#"a/${"q"}b"#),
        (r#"v = "${a{b}c}\n""#, "${a{b}c}\n"),
        (r#"v = "$${a}""#, "$${a}"),
        (r#"v = "a\"b\\""#, "a\"b\\"),
        (r#"v = "\n\t\x41\u0041\101\U0001f512""#, "\n\tAAA\u{1f512}"),
        (r#"v = "\xc3\xa9""#, "é"),
        ("v = \"a${\n}b\"", "a${\n}b"),
        ("v = <<EOF\nhello\nEOF\n", "hello\n"),
        ("v = <<EOF\nEOF\n", ""),
        ("v = <<EOF\nhello\n  EOF\n", "hello\n"),
        ("v = <<EOF\nx EOF\n\n  EOF2\nEOF\n", "x EOF\n\n  EOF2\n"),
        ("v = <<EOF\r\nhello\r\nEOF\r\n", "hello\n"),
        ("v = <<-EOF\n  hello\n    x\n  EOF\n", "hello\n  x\n"),
        ("v = <<-EOF\n  hello\n x\n  EOF\n", "  hello\n x\n"),
        ("v = <<EOF\n${\"not \\ quoted\"}\nEOF\n", "${\"not \\ quoted\"}\n"),
    ] {
        assert_eq!(string(text), expected, "{text:?}");
    }
}

#[test]
fn places_count_characters() {
    let body = parse("é = \"ü\" b = [\n  1,\r\n  {\"c\" = true}]\n").unwrap();
    let place = |name: &str| body.named(name).next().unwrap().key().pos;
    assert_eq!((place("é").line, place("é").column), (1, 1));
    assert_eq!((place("b").line, place("b").column), (1, 9));
    let list = body.value("b").unwrap().unwrap().list().unwrap();
    assert_eq!((list[0].pos.line, list[0].pos.column), (2, 3));
    let inner = list[1].object().unwrap().named("c").next().unwrap().key().pos;
    assert_eq!((inner.line, inner.column), (3, 4));
}

#[test]
fn limits_hold() {
    let nested = |depth: u32| {
        let depth = depth as usize;
        format!("a = {}{}", "[".repeat(depth), "]".repeat(depth))
    };
    assert!(parse(&nested(MAX_DEPTH)).is_ok());
    assert!(
        parse(&nested(MAX_DEPTH + 1))
            .unwrap_err()
            .message
            .contains("deeper")
    );
    assert!(
        parse(&"a {".repeat(100_000))
            .unwrap_err()
            .message
            .contains("deeper")
    );
    assert!(
        parse(&"{\"a\":".repeat(100_000))
            .unwrap_err()
            .message
            .contains("deeper")
    );
    assert!(
        parse(&"a {}\n".repeat(MAX_NODES as usize + 1))
            .unwrap_err()
            .message
            .contains("items")
    );
    assert!(
        parse(&format!("a = [{}]", "1,".repeat(MAX_NODES as usize)))
            .unwrap_err()
            .message
            .contains("items")
    );
    assert!(parse(&" ".repeat(MAX_INPUT_BYTES)).is_ok());
    assert!(
        parse(&" ".repeat(MAX_INPUT_BYTES + 1))
            .unwrap_err()
            .message
            .contains("larger")
    );
}

#[test]
fn errors_and_debug_quote_no_value() {
    for text in [
        "a = hunter2",
        "a = \"hunter2\" \"hunter2\"",
        "a = \"hunter2",
        "a = [\"hunter2\" hunter2]",
    ] {
        assert!(
            !parse(text).unwrap_err().to_string().contains("hunter2"),
            "{text}"
        );
    }
    let body = parse("a = \"hunter2\" b = [\"hunter2\"] c = { d = 4242 }").unwrap();
    assert!(!format!("{body:?}").contains("hunter2"));
    assert!(!format!("{body:?}").contains("4242"));
}

/// Pieces of the grammar: random strings alone would seldom get past the first token.
fn soup() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        "[a-z_.-]{1,6} ",
        "\"[^\"\\\\]{0,6}\"",
        "\"\\\\[a-zA-Z0-9\"\\\\]{1,5}\"",
        "-?[0-9xXeE.]{1,6}",
        "\\$\\{[^}]{0,4}\\}",
        Just("<<A\nb\nA\n".to_owned()),
        Just("<<-A\n b\n A\n".to_owned()),
        "[\\[\\]{}=,:#/*\n\r \"<$\\\\]{1,3}",
        any::<char>().prop_map(String::from),
    ];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn any_text_gives_an_answer(text in any::<String>()) {
        let _ = parse(&text);
    }

    #[test]
    fn any_soup_gives_an_answer_with_a_true_place(text in soup(), json in any::<bool>()) {
        let text = if json { format!("{{{text}") } else { text };
        if let Err(error) = parse(&text) {
            let lines = text.replace("\r\n", "\n").matches('\n').count() as u32 + 1;
            prop_assert!(error.line >= 1 && error.line <= lines, "{error}");
            prop_assert!(error.column >= 1);
        }
    }

    #[test]
    fn any_string_survives_quoting(text in "[^\0]{0,40}") {
        let mut quoted = String::new();
        for c in text.chars() {
            match c {
                '"' | '\\' => { quoted.push('\\'); quoted.push(c) }
                '\n' => quoted.push_str("\\n"),
                '\r' => quoted.push_str("\\r"),
                '$' => quoted.push_str("\\x24"),
                c => quoted.push(c),
            }
        }
        prop_assert_eq!(string(&format!("v = \"{quoted}\"")), text);
    }
}
