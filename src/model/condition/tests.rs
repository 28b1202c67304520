//! Conditions are read as they are written, and what is none is refused with the place of the fault.

use super::Condition;

/// What is refused: a text, where, and a part of the words.
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
