//! `group`, `user`, `topic`, `audience`.

use serde_json::json;

use super::support::{self, Gateway};
use super::terminal::Terminal;

/// P4.1, P4.7: groups are made by people, and arise.
#[tokio::test(flavor = "multi_thread")]
async fn groups_are_made_filled_listed_and_deleted() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let said = terminal.says(&["group", "create", "staff", "--topic", "news", "--topic", "{group}-urgent"]);
    assert!(said.contains("topics   news, staff-urgent") && said.contains("members  0"), "{said}");
    assert_eq!(
        terminal.object(&["group", "create", "staff", "--topic", "news", "--topic", "staff-urgent"]),
        terminal.twin("/v1/groups/staff").await
    );
    assert_eq!(terminal.refused(&["group", "create", "staff"]), "group_exists");

    assert_eq!(terminal.says(&["group", "add", "berlin", "ada", "bob"]), "2 users added; berlin has 2 members\n");
    let said = terminal.says(&["group", "add", "berlin", "bob", "cleo"]);
    assert_eq!(said, "1 user added, 1 were members before; berlin has 3 members\n");
    assert_eq!(terminal.says(&["group", "members", "berlin"]), "ada\nbob\ncleo\n");
    assert_eq!(terminal.says(&["group", "members", "berlin", "--after", "ada", "--limit", "1"]), "bob\n");
    assert_eq!(terminal.objects(&["group", "members", "berlin"])[2], json!({ "user": "cleo" }));
    let said = terminal.says(&["group", "remove", "berlin", "bob", "dora"]);
    assert_eq!(said, "1 user removed, 1 were no members; berlin has 2 members\n");

    let listed = terminal.says(&["group", "list"]);
    let lines: Vec<_> = listed.lines().collect();
    assert!(lines[0].starts_with("group   members  made "), "{listed}");
    assert!(lines[1].starts_with("berlin        2  20"), "numbers end below each other: {listed}");
    assert!(lines[2].starts_with("staff         0  20") && lines[2].ends_with("news, staff-urgent"), "{listed}");
    assert_eq!(json!(terminal.objects(&["group", "list"])), terminal.twin("/v1/groups").await["groups"]);
    assert!(terminal.says(&["group", "list", "--limit", "1"]).ends_with("1 group; more with --after berlin\n"));

    let said = terminal.says(&["group", "delete", "berlin"]);
    assert_eq!(said, "deleted; 2 members left\n");
    assert_eq!(terminal.refused(&["group", "show", "berlin"]), "group_not_found");
    let words = terminal.fails(&["group", "members", "berlin"], 1);
    assert!(words.contains("`pushline group list` shows all"), "{words}");
}

#[tokio::test(flavor = "multi_thread")]
async fn long_lists_come_from_files_and_pipes_with_progress() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let users: String = (0..2_500).map(|n| format!("user-{n}\n")).collect();
    let ran = terminal.run_with(&["group", "add", "crowd", "-"], &users);
    assert_eq!((ran.code, ran.out.as_str()), (0, "2,500 users added; crowd has 2,500 members\n"), "{ran:?}");
    assert!(ran.err.contains("add: 1,000 of 2,500") && ran.err.contains("add: 2,500 of 2,500"), "{ran:?}");
    assert_eq!(terminal.says(&["group", "members", "crowd"]).lines().count(), 2_500);

    std::fs::write(terminal.folder().join("users.txt"), &users).unwrap();
    let answers = terminal.objects(&["group", "remove", "crowd", "--file", "users.txt"]);
    let expected =
        |named: u64, members: u64| json!({ "named": named, "added": 0, "removed": named, "members": members });
    assert_eq!(answers, [expected(1_000, 1_500), expected(2_000, 500), expected(2_500, 0)]);

    // One bad name, and nothing is sent.
    std::fs::write(terminal.folder().join("users.txt"), format!("{users}x y\n")).unwrap();
    let words = terminal.fails(&["group", "add", "crowd", "--file", "users.txt"], 1);
    assert!(words.contains("users.txt, line 2501: \"x y\" is no name of a user"), "{words}");
    assert_eq!(terminal.object(&["group", "show", "crowd"])["members"], 0);
    for arguments in [&["group", "add", "crowd"][..], &["group", "add", "crowd", "ada", "--file", "users.txt"]] {
        terminal.fails(arguments, 2);
    }
    assert!(terminal.fails(&["group", "add", "crowd", "--file", "none"], 1).contains("cannot read none"));
}

/// Who stood in a request that was refused was no member before, and a refused request knows no number of members.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_of_a_long_list_is_told_apart() {
    let gateway = Gateway::start_with(|config| config.store.groups_per_user_max = 1).await;
    let terminal = Terminal::new(&gateway);
    assert_eq!(terminal.says(&["group", "add", "one", "ada", "ada"]), "1 user added; one has 1 member\n");
    let users: String = (0..1_000).map(|n| format!("user-{n}\n")).chain(["user-7\nada\nbob\n".to_owned()]).collect();
    let ran = terminal.run_with(&["group", "add", "two", "-"], &users);
    assert_eq!((ran.code, ran.out.as_str()), (1, "1,000 users added; two has 1,000 members\n"), "{ran:?}");
    assert!(ran.err.contains("2 users stood in requests that were refused"), "{ran:?}");
    let ran = terminal.run(&["group", "add", "two", "ada"]);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{ran:?}");
}

/// P4.3: a user's groups are set at login, and a stale login does not win.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_has_groups_quiet_hours_and_devices() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let _phone = gateway.client("ada", "phone").await;
    let said = terminal.says(&["group", "set", "ada", "--groups", "berlin,beta", "--version", "7"]);
    assert!(said.contains("groups       berlin, beta (version 7)"), "{said}");
    assert_eq!(terminal.refused(&["group", "set", "ada", "--groups", "berlin", "--version", "6"]), "stale_version");
    assert_eq!(terminal.refused(&["group", "set", "ada", "--groups", "berlin", "--version", "7"]), "stale_version");
    let again = terminal.object(&["group", "set", "ada", "--groups", "berlin, beta", "--version", "7"]);
    assert_eq!(again["groups"], json!(["berlin", "beta"]));

    let said =
        terminal.says(&["user", "quiet", "ada", "--from", "22:00", "--to", "07:00", "--time-zone", "Europe/Berlin"]);
    assert!(said.contains("quiet hours  22:00 to 07:00, Europe/Berlin"), "{said}");
    let lines: Vec<_> = said.lines().collect();
    assert!(lines.iter().any(|line| line.starts_with("phone   online  20")), "{said}");
    assert_eq!(terminal.object(&["user", "show", "ada"]), terminal.twin("/v1/users/ada").await);
    assert!(terminal.says(&["user", "quiet", "ada", "--off"]).contains("quiet hours  none"));
    assert!(terminal.says(&["group", "set", "ada", "--groups", "", "--version", "8"]).contains("groups       none"));
    assert!(terminal.says(&["user", "show", "nobody"]).contains("devices      none seen yet"));

    let zone = |zone| ["user", "quiet", "ada", "--from", "22:00", "--to", "07:00", "--time-zone", zone];
    assert_eq!(terminal.refused(&zone("Europe/Atlantis")), "invalid_option");
    for arguments in [
        &["user", "quiet", "ada"][..],
        &["user", "quiet", "ada", "--from", "22:00"],
        &["user", "quiet", "ada", "--off", "--from", "22:00"],
        &["user", "quiet", "ada", "--from", "22:60", "--to", "07:00", "--time-zone", "UTC"],
        &["group", "set", "ada", "--groups", "a", "--version", "0"],
        &["group", "set", "ada", "--groups", "a"],
        &["user", "show", "a b"],
    ] {
        terminal.fails(arguments, 2);
    }
    let same = ["user", "quiet", "ada", "--from", "22:00", "--to", "22:00", "--time-zone", "UTC"];
    assert!(terminal.fails(&same, 1).contains("are the same time"));
    assert!(terminal.fails(&["group", "set", "ada", "--groups", "a/b", "--version", "9"], 1).contains("'/' at byte 1"));
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_shown_and_set() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let client = gateway.client("ada", "phone").await;
    support::soon("an answer", client.subscribe(["scores"])).await.expect("subscribed");
    let said = terminal.says(&["topic", "set", "scores", "--conflate"]);
    let expected =
        "scores\n  followed by  1 device\n  last         nothing pushed yet\n  keeps        only the newest push\n";
    assert_eq!(said, expected);
    assert_eq!(terminal.object(&["topic", "show", "scores"]), terminal.twin("/v1/topics/scores").await);
    let said = terminal.says(&["topic", "set", "scores", "--conflate=false"]);
    assert!(said.contains("keeps        every push"), "{said}");
    terminal.says(&["push", "--topic", "scores", "1:0"]);
    assert!(terminal.says(&["topic", "show", "scores"]).contains("last         offset 1"));
    terminal.fails(&["topic", "set", "scores"], 2);
    terminal.fails(&["topic", "show", "no topic"], 2);
}

/// P4.5: the subscriber list can be asked for.
#[tokio::test(flavor = "multi_thread")]
async fn an_audience_is_counted_and_listed_page_by_page() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    let mut client = gateway.client("ada", "phone").await;
    terminal.says(&["group", "add", "berlin", "ada", "bob"]);
    let said = terminal.says(&["audience", "--topic", "berlin", "--list"]);
    let expected =
        "user  device    state\nada   phone     online\nbob   none yet  offline\n2 receivers of 2 users, 1 online\n";
    assert_eq!(said, expected);
    assert_eq!(terminal.says(&["audience", "--topic", "berlin"]), "2 receivers of 2 users, 1 online\n");
    let condition = "'berlin' in topics && !('muted' in topics)";
    assert_eq!(
        terminal.object(&["audience", "--condition", condition, "--list"]),
        terminal.twin("/v1/audience?topic=berlin&limit=1000").await
    );
    // What asks pushes nothing.
    assert_eq!(terminal.says(&["push", "--condition", condition, "--dry-run"]), "2 receivers of 2 users, 1 online\n");
    let dry = terminal.run(&["push", "--topic", "berlin", "--exclude", "ada", "--dry-run"]);
    assert!(dry.code == 0 && dry.err.contains("those excluded are still counted"), "{dry:?}");
    let said = terminal.says(&["push", "--user", "ada", "--exclude", "ada/phone", "--dry-run"]);
    assert!(said.contains("ada         0       0"), "{said}");
    assert_eq!(
        terminal.objects(&["push", "--users", "ada,bob", "--dry-run"]),
        [json!({ "user": "ada", "devices": 1, "online": 1 }), json!({ "user": "bob", "devices": 0, "online": 0 }),]
    );
    assert_eq!(terminal.object(&["topic", "show", "berlin"])["last"], 0);

    let users: String = (0..2_100).map(|n| format!("user-{n}\n")).collect();
    terminal.run_with(&["group", "add", "crowd", "-"], &users);
    let pages = terminal.objects(&["audience", "--topic", "crowd", "--list", "--limit", "2050"]);
    let sizes: Vec<_> = pages.iter().map(|page| page["page"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [1_000, 1_000, 50]);

    // It still takes what is pushed.
    terminal.says(&["push", "--condition", condition, "hi"]);
    assert_eq!(support::text(&support::next(&mut client).await), "hi");
}

/// What is refused is shown, with a caret below the byte at fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_condition_that_is_none_is_shown_with_its_fault() {
    let gateway = Gateway::start().await;
    let terminal = Terminal::new(&gateway);
    for (condition, caret) in [
        ("'a' in topics and 'b' in topics", 14),
        ("'a' in topics && 'b' in topics || 'c' in topics", 31),
        ("'gr\u{fc}n' in topics", 3),
        ("!('a' in topics", 15),
        ("", 0),
    ] {
        for command in [&["audience", "--condition", condition][..], &["push", "--condition", condition, "hi"]] {
            let words = terminal.fails(command, 1);
            let lines: Vec<_> = words.lines().collect();
            assert!(
                lines[0].starts_with("error: refused: ") && lines[0].contains("(invalid_condition, errno 114"),
                "{words}"
            );
            assert_eq!(lines[1..], [format!("  {condition}"), format!("{}^", " ".repeat(2 + caret))], "{words}");
            assert_eq!(terminal.refused(command), "invalid_condition");
        }
    }
    terminal.fails(&["audience"], 2);
    terminal.fails(&["audience", "--topic", "a", "--condition", "x"], 2);
    terminal.fails(&["audience", "--topic", "a", "--limit", "5"], 2);
}
