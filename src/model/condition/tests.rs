//! Conditions are read as they are written, and what is none is refused with the place of the fault.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use proptest::prelude::*;

use super::parse::parse_counted;
use super::{CONDITION_BYTES_MAX, Condition, DEPTH_MAX, Expression, Facts, OPERANDS_MAX, Operator, compare};
use crate::model::id::TopicName;

fn topic(name: &str) -> Expression {
    Expression::Topic(TopicName::new(name).expect("a name"))
}

fn attribute(name: &str, operator: Operator, value: &str) -> Expression {
    Expression::Attribute { name: name.to_owned(), operator, value: value.to_owned() }
}

fn not(inner: Expression) -> Expression {
    Expression::Not(Box::new(inner))
}

#[test]
fn it_is_read_as_it_is_written() {
    let (a, b, c) = (topic("a"), topic("b"), topic("c"));
    for (text, expected) in [
        ("'a' in topics", a.clone()),
        ("  ( ( 'a'\tin\ntopics ) )\r\n", a.clone()),
        ("'a'in topics", a.clone()),
        ("'m@x.de:+=%~' in topics", topic("m@x.de:+=%~")),
        ("!'a' in topics", not(a.clone())),
        ("!(!('a' in topics))", not(not(a.clone()))),
        ("'a' in topics && 'b' in topics && 'c' in topics", Expression::All(vec![a.clone(), b.clone(), c.clone()])),
        (
            "'a' in topics && ('b' in topics || !('c' in topics))",
            Expression::All(vec![a.clone(), Expression::Any(vec![b.clone(), not(c.clone())])]),
        ),
        (
            "('a' in topics&&'b' in topics)||'c' in topics",
            Expression::Any(vec![Expression::All(vec![a.clone(), b.clone()]), c.clone()]),
        ),
        ("('a' in topics || 'b' in topics) || 'c' in topics", Expression::Any(vec![Expression::Any(vec![a, b]), c])),
        ("platform=='ios'", attribute("platform", Operator::Equal, "ios")),
        ("app_version >= '2.3'", attribute("app_version", Operator::GreaterOrEqual, "2.3")),
        ("locale startsWith 'de'", attribute("locale", Operator::StartsWith, "de")),
        ("_x.y-z:1<'b'", attribute("_x.y-z:1", Operator::Less, "b")),
        ("a > ''", attribute("a", Operator::Greater, "")),
        ("a <= ' (&&\") '", attribute("a", Operator::LessOrEqual, " (&&\") ")),
        (r"a != 'it\'s a \\ \u{1f600}'".replace(r"\u{1f600}", "\u{1f600}").as_str(), {
            attribute("a", Operator::NotEqual, "it's a \\ \u{1f600}")
        }),
        ("not == 'x'", attribute("not", Operator::Equal, "x")),
    ] {
        let condition = Condition::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(*condition.root(), expected, "{text:?}");
        assert_eq!((condition.as_str(), condition.to_string()), (text, text.to_owned()), "kept as it was written");
    }
}

#[test]
fn a_condition_is_asked_about_one_device() {
    struct Device;
    impl Facts for Device {
        fn follows(&self, topic: &TopicName) -> bool {
            topic.as_str() == "a"
        }

        fn attribute(&self, name: &str) -> Option<&str> {
            (name == "v").then_some("2.10")
        }
    }
    for (text, matches) in [
        ("'a' in topics", true),
        ("'b' in topics", false),
        ("!('b' in topics) && v > '2.9'", true),
        ("'b' in topics || v == '2.10'", true),
        ("'a' in topics && v == '2.1'", false),
        ("w == 'x'", false),
        ("w != 'x'", false),
        ("w <= 'x'", false),
        ("w startsWith ''", false),
        ("v startsWith ''", true),
        ("!(w == 'x')", true),
    ] {
        assert_eq!(Condition::parse(text).expect(text).matches(&Device), matches, "{text}");
    }
}

#[test]
fn a_fault_is_told_with_its_place() {
    for (text, at, words) in [
        ("", 0, "the condition is empty"),
        (" \n\t", 3, "the condition is empty"),
        ("'a' in topics &&", 16, "and the condition ends"),
        ("'a' in topics and 'b' in topics", 14, "write `&&` for `and`"),
        ("'a' in topics OR 'b' in topics", 14, "write `||` for `OR`"),
        ("not 'a' in topics", 0, "write `!` for `not`"),
        ("not ('a' in topics)", 0, "write `!` for `not`"),
        ("\"a\" in topics", 0, "put texts in single quotes"),
        ("\u{2018}a\u{2019} in topics", 0, "put texts in single quotes"),
        ("'a' in topics\u{a0}&& 'b' in topics", 13, "use a plain one"),
        ("'a' in topics \u{1f600}", 14, "not allowed outside of quotes"),
        ("a in topics", 0, "put the topic in single quotes: `'a' in topics`"),
        ("'a' in", 6, "expected `topics` after `in`"),
        ("'a' in topic", 7, "expected `topics` after `in`, not `topic`"),
        ("'a'", 3, "expected `in topics` after the topic"),
        ("'a' == 'b'", 4, "an attribute stands on the left"),
        ("'a in topics", 0, "is not closed"),
        ("'' in topics", 1, "it is empty"),
        ("'a b' in topics", 2, "character ' ' at byte 1 is not allowed"),
        ("'a\u{e9}' in topics", 2, "is not allowed"),
        ("a = 'b'", 2, "expected `==`"),
        ("a == b", 5, "put the value in single quotes: `'b'`"),
        ("a >= 2.3", 5, "put the value in single quotes: `'2.3'`"),
        ("a == \"b\"", 5, "put texts in single quotes"),
        ("a == 'b", 5, "is not closed"),
        ("a == 'b\\n'", 7, "a backslash stands before"),
        ("a == 'b\\", 7, "a backslash stands before"),
        ("a == 'b\nc'", 7, "control character '\\n'"),
        ("a == ", 5, "expected a value in single quotes after `==`, and the condition ends"),
        ("a", 1, "expected `==`, `!=`, `<`"),
        ("a startswith 'b'", 2, "expected `startsWith`"),
        ("a like 'b'", 2, "expected `==`, `!=`, `<`"),
        ("1a == 'b'", 0, "names begin with a letter"),
        ("topics == 'b'", 0, "is a word of the language"),
        ("in == 'b'", 0, "is a word of the language"),
        ("startsWith == 'b'", 0, "is a word of the language"),
        ("a <> 'b'", 3, "expected a value in single quotes after `<`, not `>`"),
        ("a === 'b'", 4, "expected `==`"),
        ("'a' in topics & 'b' in topics", 14, "expected `&&`"),
        ("'a' in topics | 'b' in topics", 14, "expected `||`"),
        ("('a' in topics", 14, "the `)` that closes the `(` at byte 0"),
        ("!('a' in topics && ('b' in topics)", 34, "the `)` that closes the `(` at byte 1"),
        ("'a' in topics)", 13, "this `)` closes nothing"),
        ("()", 1, "expected `'TOPIC' in topics`"),
        ("!", 1, "and the condition ends"),
        ("'a' in topics 'b' in topics", 14, "expected `&&`, `||` or the end"),
        ("a == 'b' == 'c'", 9, "expected `&&`, `||` or the end"),
    ] {
        let error = Condition::parse(text).expect_err(text);
        assert!(error.words.contains(words), "{text:?}: {:?}", error.words);
        assert_eq!(error.at, at, "{text:?}: {:?}", error.words);
    }
}

#[test]
fn mixed_operators_are_refused_with_parentheses_to_choose() {
    for (text, at, shown) in [
        ("'a' in topics && 'b' in topics || 'c' in topics", 31, "`('a' in topics && 'b' in topics) || 'c' in topics`"),
        (
            "!('a' in topics || a == '\u{1f600}'&& 'c' in topics ) && b == 'x'",
            30,
            "`'a' in topics || (a == '\u{1f600}'&& 'c' in topics)`",
        ),
        ("a=='1'||b=='2'||c=='3'&&d=='4'", 22, "`a=='1' || b=='2' || (c=='3'&&d=='4')`"),
        ("a=='1'&&(b=='2'||c=='3')||d=='4'", 24, "`(a=='1'&&(b=='2'||c=='3')) || d=='4'`"),
    ] {
        let error = Condition::parse(text).expect_err(text);
        assert!(error.words.ends_with(&format!("for example {shown}")), "{text:?}: {}", error.words);
        assert_eq!(error.at, at, "{text:?}");
        // What is proposed is a condition.
        let proposed = &shown[1..shown.len() - 1];
        assert!(Condition::parse(proposed).is_ok(), "{proposed:?}");
    }
    let long = "x".repeat(500);
    let text = format!("a == 'b' || a == '{long}' && b == 'c'");
    let error = Condition::parse(&text).expect_err("mixed");
    assert!(error.words.ends_with("for example `(` at byte 12 and `)` at byte 531"), "{}", error.words);
    assert!(Condition::parse(&format!("{}({}){}", &text[..12], &text[12..531], &text[531..])).is_ok());
}

#[test]
fn bounds_are_exact() {
    let operands = |count| vec!["'a' in topics"; count].join(" && ");
    assert!(Condition::parse(&operands(OPERANDS_MAX)).is_ok());
    let error = Condition::parse(&operands(OPERANDS_MAX + 1)).expect_err("one too many");
    assert_eq!((error.at, error.words.contains("more than 32")), (operands(OPERANDS_MAX).len() + 4, true), "{error}");

    for (open, close) in [("(", ")"), ("!", ""), ("!(", ")")] {
        let levels = DEPTH_MAX / open.len();
        let nested = |levels| format!("{}a == 'b'{}", open.repeat(levels), close.repeat(levels));
        assert!(Condition::parse(&nested(levels)).is_ok());
        for levels in [levels + 1, 500] {
            let error = Condition::parse(&nested(levels)).expect_err("too deep");
            assert_eq!((error.at, error.words.contains("deeper than 32")), (DEPTH_MAX, true), "{error}");
        }
    }

    let length = |bytes: usize| format!("a == '{}'", "x".repeat(bytes - 7));
    assert!(Condition::parse(&length(CONDITION_BYTES_MAX)).is_ok());
    let error = Condition::parse(&length(CONDITION_BYTES_MAX + 1)).expect_err("too long");
    assert_eq!((error.at, error.words.contains("has 4097 bytes")), (CONDITION_BYTES_MAX, true), "{error}");
    let error = Condition::parse(&"\u{1f600}".repeat(10_000).replacen('\u{1f600}', "a", 1)).expect_err("too long");
    assert_eq!(error.at, CONDITION_BYTES_MAX - 3, "a position between characters");

    let name = |bytes: usize| format!("{} == 'b'", "n".repeat(bytes));
    assert!(Condition::parse(&name(64)).is_ok());
    let error = Condition::parse(&name(65)).expect_err("a long name");
    assert_eq!((error.at, error.words.contains("has 65 bytes")), (0, true), "{error}");
    let error = Condition::parse(&format!("'{}' in topics", "t".repeat(129))).expect_err("a long topic");
    assert_eq!((error.at, error.words.contains("has 129 bytes")), (1, true), "{error}");
}

/// Lines of the page's blocks of this kind.
fn block<'p>(page: &'p str, kind: &str) -> Vec<&'p str> {
    let lines = page.lines().skip_while(|line| *line != format!("```{kind}")).skip(1);
    lines.take_while(|line| *line != "```").collect()
}

#[test]
fn the_page_shows_conditions_as_they_are() {
    let page = include_str!("../../../docs/targeting.md");
    let conditions = block(page, "condition");
    assert!(conditions.len() >= 7, "{conditions:?}");
    for text in conditions {
        assert!(Condition::parse(text).is_ok(), "{text}: {:?}", Condition::parse(text));
    }
    let ascending = block(page, "ascending");
    assert!(ascending.len() >= 9 && ascending.is_sorted_by(|a, b| compare(a, b).is_lt()), "{ascending:?}");
    let rows = page.lines().skip_while(|line| !line.starts_with("| condition | at byte")).skip(2);
    let rows: Vec<_> = rows.take_while(|line| line.starts_with("| ")).collect();
    assert_eq!(rows.len(), 10, "faults that the page shows");
    for row in rows {
        let row = row.replace("\\|", "\u{1}");
        let cells: Vec<_> = row.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        let error = Condition::parse(cells[1].trim_matches('`')).expect_err(&cells[1]);
        assert_eq!((error.at.to_string(), error.words), (cells[2].clone(), cells[3].clone()), "{}", cells[1]);
    }
}

/// Writes an expression down, with blanks and more parentheses than are needed as `style` says.
fn print(expression: &Expression, style: &mut impl Iterator<Item = u8>) -> String {
    let blank =
        |style: &mut dyn Iterator<Item = u8>| [" ", "", "\n\t ", "  "][usize::from(style.next().unwrap_or(0) % 4)];
    let inner = |part: &Expression, style: &mut _| {
        let text = print(part, style);
        if matches!(part, Expression::All(_) | Expression::Any(_)) { format!("({text})") } else { text }
    };
    let joined = |parts: &[Expression], sign: &str, style: &mut _| {
        let parts: Vec<String> = parts.iter().map(|part| inner(part, style)).collect();
        let (before, after) = (blank(style), blank(style));
        parts.join(&format!("{before}{sign}{after}"))
    };
    let text = match expression {
        Expression::Topic(topic) => format!("'{topic}'{}in topics", blank(style)),
        Expression::Attribute { name, operator: Operator::StartsWith, value } => {
            format!("{name} startsWith{}'{}'", blank(style), escaped(value))
        }
        Expression::Attribute { name, operator, value } => {
            format!("{name}{}{operator}{}'{}'", blank(style), blank(style), escaped(value))
        }
        Expression::Not(part) => format!("!{}{}", blank(style), inner(part, style)),
        Expression::All(parts) => joined(parts, "&&", style),
        Expression::Any(parts) => joined(parts, "||", style),
    };
    if style.next().is_some_and(|byte| byte % 8 == 1) { format!("({text}{})", blank(style)) } else { text }
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('\'', r"\'")
}

fn expression() -> impl Strategy<Value = Expression> {
    let operator = prop::sample::select(&Operator::ALL[..]);
    let name = "[a-zA-Z_][a-zA-Z0-9_.~%@:+-]{0,12}".prop_filter("a word of the language", |name: &String| {
        !["in", "topics", "startsWith"].contains(&name.as_str())
    });
    let operand = prop_oneof![
        "[a-zA-Z0-9_.~%@:+=-]{1,20}".prop_map(|name| topic(&name)),
        (name, operator, "\\PC{0,12}").prop_map(|(name, operator, value)| attribute(&name, operator, &value)),
    ];
    operand.prop_recursive(5, 30, 5, |inner| {
        prop_oneof![
            inner.clone().prop_map(not),
            prop::collection::vec(inner.clone(), 2..5).prop_map(Expression::All),
            prop::collection::vec(inner, 2..5).prop_map(Expression::Any),
        ]
    })
}

fn operands(expression: &Expression) -> usize {
    match expression {
        Expression::Topic(_) | Expression::Attribute { .. } => 1,
        Expression::Not(part) => operands(part),
        Expression::All(parts) | Expression::Any(parts) => parts.iter().map(operands).sum(),
    }
}

/// What holds for every text.
fn check_any(text: &str) {
    let (read, steps) = parse_counted(text);
    // Each byte is looked at once as part of a token, each token is one more step, and a token has a byte.
    assert!(steps <= 2 * text.len().min(CONDITION_BYTES_MAX) + 1, "{steps} steps for {} bytes", text.len());
    match read {
        Ok(root) => {
            assert!(operands(&root) <= OPERANDS_MAX);
            let printed = print(&root, &mut std::iter::empty());
            if printed.len() <= CONDITION_BYTES_MAX {
                assert_eq!(parse_counted(&printed).0, Ok(root), "printed and read again: {text:?}");
            }
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.at), "{text:?}: byte {} is within a character", error.at);
            assert!(error.words.len() <= 600, "{} bytes of words", error.words.len());
        }
    }
}

/// Pieces of the language, and what people and attackers write instead.
const PIECES: &[&str] = &[
    "'a' in topics",
    "'b'",
    "in",
    "topics",
    "platform",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "startsWith",
    "'2.10'",
    "&&",
    "||",
    "!",
    "(",
    ")",
    " ",
    "\n",
    "'",
    "\\'",
    "\\",
    "\"",
    "and",
    "or",
    "not",
    "=",
    "&",
    "|",
    "\u{e9}",
    "\u{1f600}",
    "\u{202e}",
    "\u{a0}",
    "\u{feff}",
    "\0",
    "\u{2019}",
    "''",
    "9",
    "a=='b'",
    "((((((((",
    "!!!!!!!!",
    "))))",
];

/// Makes and checks `count` hostile texts: pieces strung together, and seeds with a few bytes changed.
fn soak(count: u64, seed: u64, seeds: &[String]) {
    let mut chance = fastrand::Rng::with_seed(seed);
    for round in 0..count {
        let most = [8, 40, 600][chance.usize(0..3)];
        let pieces = chance.usize(0..most);
        let mut text: String = (0..pieces).map(|_| PIECES[chance.usize(0..PIECES.len())]).collect();
        if chance.bool() {
            text.clone_from(&seeds[chance.usize(0..seeds.len())]);
            for _ in 0..chance.usize(1..4) {
                let at = text.floor_char_boundary(chance.usize(0..=text.len()));
                let until = text.ceil_char_boundary((at + chance.usize(0..3)).min(text.len()));
                text.replace_range(at..until, PIECES[chance.usize(0..PIECES.len())]);
            }
        }
        let checked = std::panic::catch_unwind(|| check_any(&text));
        assert!(checked.is_ok(), "round {round} of seed {seed}: {text:?}");
    }
}

/// `PUSHLINE_FUZZ` says how many texts; fuzz/ looks for them with coverage.
#[test]
fn hostile_texts_cost_little_and_break_nothing() {
    let count =
        std::env::var("PUSHLINE_FUZZ").ok().map_or(5_000, |count| count.parse().expect("PUSHLINE_FUZZ: a number"));
    let seed = std::env::var("PUSHLINE_SEED").ok().map_or(1, |seed| seed.parse().expect("PUSHLINE_SEED: a number"));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/condition");
    let files = fs::read_dir(folder).expect("the seeds can be read");
    let files: BTreeSet<_> = files.map(|file| file.expect("the seeds can be read").path()).collect();
    let seeds: Vec<_> = files.iter().map(|file| fs::read_to_string(file).expect("seeds are texts")).collect();
    seeds.iter().for_each(|seed| check_any(seed));
    soak(count, seed, &seeds);
}

proptest! {
    #[test]
    fn what_is_printed_is_read_again(root in expression(), style in prop::collection::vec(any::<u8>(), 0..200)) {
        prop_assume!(operands(&root) <= OPERANDS_MAX);
        let text = print(&root, &mut style.into_iter());
        prop_assume!(text.len() <= CONDITION_BYTES_MAX);
        let condition = Condition::parse(&text).map_err(|error| TestCaseError::fail(format!("{text:?}: {error}")))?;
        prop_assert_eq!(condition.root(), &root, "{}", text);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        check_any(&text);
        check_any(&String::from_utf8_lossy(&bytes));
    }
}
