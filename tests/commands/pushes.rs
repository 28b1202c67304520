//! `push` in all its forms, and `cancel`.

use serde_json::{Value, json};

use super::support::{Gateway, next, text};
use super::terminal::Terminal;

#[tokio::test(flavor = "multi_thread")]
async fn a_push_reaches_those_it_names_and_no_others() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let (mut ada, mut bob) = (gateway.client("ada", "phone").await, gateway.client("bob", "phone").await);
    terminal.says(&["group", "add", "berlin", "ada", "bob"]);
    let said = terminal.says(&["push", "--topic", "berlin", "--exclude", "ada", "not for ada"]);
    assert!(said.contains("  log       topic/berlin, offset 1\n  audience  1 receiver\n"), "{said}");
    let said = terminal.says(&["push", "--condition", "'berlin' in topics", "--exclude", "bob/phone", "not for bob"]);
    assert!(said.contains("  log       broadcast, offset 1\n"), "{said}");
    assert_eq!([text(&next(&mut ada).await), text(&next(&mut bob).await)], ["not for bob", "not for ada"]);

    let said = terminal.says(&["push", "--users", "ada,bob,ada", "to both"]);
    assert!(said.lines().next().is_some_and(|line| line.starts_with("user  outcome  id")), "{said}");
    assert!(said.ends_with("2 users pushed to, 0 refused\n"), "{said}");
    assert_eq!([text(&next(&mut ada).await), text(&next(&mut bob).await)], ["to both", "to both"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_users_are_pushed_to_in_as_many_calls_as_it_takes() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let users: String = (0..1_500).map(|n| format!("user-{n}\n")).collect();
    let arguments = ["--json", "push", "--users", "-", "--idempotency-key", "k", "hi"];
    let first = terminal.run_with(&arguments, &users);
    assert_eq!(first.code, 0, "{}", first.err);
    let lines = |out: &str| out.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()).collect::<Vec<_>>();
    let answers = lines(&first.out);
    assert_eq!(answers.len(), 1_500);
    assert_eq!((&answers[1_499]["user"], &answers[1_499]["accepted"]["offset"]), (&json!("user-1499"), &json!(1)));
    // Each user has the key for itself: repeated, nothing is pushed anew.
    let again = lines(&terminal.run_with(&arguments, &users).out);
    assert!(again.iter().all(|line| line["accepted"]["duplicate"] == true));
    assert_eq!(again[700]["accepted"]["id"], answers[700]["accepted"]["id"]);
    // Another content under the same key is refused, for those who have it; the command tells, and fails.
    let ran = terminal.run(&["push", "--users", "user-7,new", "--idempotency-key", "k", "ho"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.out.contains("idempotency_conflict") && ran.out.ends_with("1 user pushed to, 1 refused\n"), "{ran:?}");
    let ran = terminal.run(&["--json", "push", "--users", "user-7,new", "--idempotency-key", "k", "ho"]);
    let refused = &lines(&ran.out)[0];
    assert_eq!(
        (&refused["user"], &refused["error"]["error"], &refused["error"]["code"]),
        (&json!("user-7"), &json!("idempotency_conflict"), &json!(409))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_makes_no_sense_is_refused() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    for arguments in [
        &["push", "hi"][..],
        &["push", "--topic", "t"],
        &["push", "--topic", "t", "--user", "u", "hi"],
        &["push", "--any-of-user", "u", "--device", "d", "hi"],
        &["push", "--topic", "t", "--exclude", "a b", "hi"],
        &["push", "--topic", "t", "--at", "noon", "hi"],
        &["cancel", "x"],
    ] {
        terminal.fails(arguments, 2);
    }
    for (arguments, code) in [
        (&["push", "--user", "u", "--in", "40days", "hi"][..], "invalid_option"),
        (&["push", "--topic", "t", "--fallback-after", "5m", "hi"], "invalid_option"),
        (&["push", "--user", "u", "--fallback-after", "8days", "hi"], "invalid_option"),
    ] {
        assert_eq!(terminal.refused(arguments), code, "{arguments:?}");
    }
    let gone = terminal.command(&["group", "list", "--backend", "http://127.0.0.1:1"]).output().unwrap();
    let words = String::from_utf8(gone.stderr).unwrap();
    assert!(words.contains("is the gateway running there?"), "{words}");
    let wrong = terminal.command(&["group", "list", "--key", "wrong"]).output().unwrap();
    let words = String::from_utf8(wrong.stderr).unwrap();
    assert!(words.contains("invalid_credentials") && words.contains("auth/api-key"), "{words}");
}
