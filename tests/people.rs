//! Groups, users, topics and audiences as backends keep them, over real sockets: both surfaces say the same, a change counts
//! what it did, and no tenant sees another's.

mod support;

use std::collections::BTreeSet;

use pushline::wire::pb;
use serde_json::json;
use support::{Audience, Gateway, audience, soon, word};
use tokio_stream::StreamExt;
use tonic::Status;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("{prefix}{number:06}")).collect()
}

fn change(group: &str, add: &[&str], remove: &[&str]) -> pb::ChangeMembersRequest {
    pb::ChangeMembersRequest { group: group.into(), add: names(add), remove: names(remove) }
}

/// The answers to changes on one stream.
async fn change_members(
    backend: &mut Audience,
    changes: Vec<pb::ChangeMembersRequest>,
) -> Result<Vec<pb::ChangeMembersResponse>, Status> {
    let answers = soon("a stream", backend.change_members(tokio_stream::iter(changes))).await?.into_inner();
    soon("all answers", answers.collect::<Result<Vec<_>, _>>()).await
}

fn done(answer: &pb::ChangeMembersResponse) -> (u64, u64, u64, u64) {
    assert_eq!(answer.error, None);
    (answer.named, answer.added, answer.removed, answer.members)
}

async fn group(backend: &mut Audience, name: &str) -> Result<pb::Group, Status> {
    soon("a group", backend.get_group(pb::GetGroupRequest { name: name.into() })).await.map(|group| group.into_inner())
}

async fn all_members(backend: &mut Audience, group: &str, limit: u32) -> Vec<String> {
    let (mut users, mut after) = (Vec::new(), String::new());
    loop {
        let request = pb::ListMembersRequest { group: group.into(), after, limit };
        let page = soon("a page", backend.list_members(request)).await.expect("a page").into_inner();
        assert!(page.users.len() <= if limit == 0 { 100 } else { limit as usize });
        users.extend(page.users);
        if page.next.is_empty() {
            return users;
        }
        after = page.next;
    }
}

/// P4.7: groups are made by people, or arise when somebody is put in one.
#[tokio::test]
async fn groups_are_made_or_arise_and_are_listed() {
    let gateway = Gateway::start_with(|config| {
        let rule = vec!["{group}".to_owned(), "all".to_owned()];
        config.groups.topics = pushline::model::rule::TopicRule::new(rule).expect("a rule");
    })
    .await;
    let mut backend = gateway.audience().await;
    let create = |name: &str, topics: &[&str]| pb::CreateGroupRequest { name: name.into(), topics: names(topics) };
    let made = backend.create_group(create("staff", &["{group}.news", "{group}"])).await.expect("a group").into_inner();
    assert_eq!((made.name.as_str(), made.topics, made.members), ("staff", names(&["staff", "staff.news"]), 0));
    assert!(made.created_at_ms > 0);
    let again = backend.create_group(create("staff", &["staff", "staff.news"])).await.expect("the same").into_inner();
    assert_eq!(again.created_at_ms, made.created_at_ms, "making it again is harmless");
    let other = backend.create_group(create("staff", &["staff"])).await.expect_err("other topics");
    assert_eq!((word(&other), other.code()), ("group_exists", tonic::Code::AlreadyExists));

    let answers = change_members(&mut backend, vec![change("beta", &["ada", "bob"], &[])]).await.expect("a change");
    assert_eq!(answers.iter().map(done).collect::<Vec<_>>(), [(2, 2, 0, 2)]);
    assert_eq!(group(&mut backend, "beta").await.expect("it arose").topics, names(&["all", "beta"]));
    let set = pb::SetGroupsRequest { user: "ada".into(), groups: names(&["berlin", "beta"]), version: 1 };
    backend.set_groups(set).await.expect("set");

    let list = |after: &str, limit| pb::ListGroupsRequest { after: after.into(), limit };
    let page = backend.list_groups(list("", 2)).await.expect("a page").into_inner();
    let listed = |page: &pb::ListGroupsResponse| page.groups.iter().map(|group| group.name.clone()).collect::<Vec<_>>();
    assert_eq!((listed(&page), page.next.as_str()), (names(&["berlin", "beta"]), "beta"));
    let page = backend.list_groups(list("beta", 2)).await.expect("a page").into_inner();
    assert_eq!((listed(&page), page.next.as_str()), (names(&["staff"]), ""), "the last page says so");

    let missing = group(&mut backend, "gamma").await.expect_err("there is none");
    assert_eq!((word(&missing), missing.code()), ("group_not_found", tonic::Code::NotFound));
    let request = pb::ListMembersRequest { group: "gamma".into(), ..Default::default() };
    assert_eq!(word(&backend.list_members(request).await.expect_err("there is none")), "group_not_found");
    let removed = change_members(&mut backend, vec![change("gamma", &[], &["ada"])]).await.expect("an answer");
    assert_eq!(removed[0].error.as_ref().map(|error| error.code.as_str()), Some("group_not_found"), "and none arises");
}

/// P4.3: a hundred thousand on one stream, each request answered with the progress so far.
#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_members_join_on_one_stream() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.audience().await;
    let users = numbered("user", 100_000);
    let changes = users.chunks(1_000).map(|users| pb::ChangeMembersRequest {
        group: "everyone".into(),
        add: users.to_vec(),
        remove: Vec::new(),
    });
    let answers = change_members(&mut backend, changes.collect()).await.expect("answers");
    let told: Vec<_> = answers.iter().map(done).collect();
    assert_eq!(told, (1..=100).map(|n| (n * 1_000, n * 1_000, 0, n * 1_000)).collect::<Vec<_>>());
    assert_eq!(group(&mut backend, "everyone").await.expect("a group").members, 100_000);
    assert_eq!(all_members(&mut backend, "everyone", 1_000).await, users);

    // Its twin in lines, for the first of them.
    let some = &users[..20_000];
    let line = |users: &[String]| format!("{}\n", json!({"group": "others", "add": users}));
    let lines: String = some.chunks(1_000).map(line).collect();
    let reply = gateway.json().send_as("application/x-ndjson", "POST /v1/members/stream", lines.as_bytes()).await;
    let lines = reply.lines();
    assert_eq!(lines.len(), 20);
    assert_eq!(lines[19], json!({"named": 20_000, "added": 20_000, "removed": 0, "members": 20_000}));

    let count = |of| pb::GetAudienceRequest { of: Some(of), ..Default::default() };
    let of = pb::get_audience_request::Of::Condition("'everyone' in topics && 'others' in topics".into());
    let both = backend.get_audience(count(of)).await.expect("an answer").into_inner();
    assert_eq!((both.count, both.users, both.online, both.page.len()), (20_000, 20_000, 0, 0));

    let gone = backend.delete_group(pb::DeleteGroupRequest { name: "others".into() }).await.expect("gone").into_inner();
    assert_eq!(gone.members, 20_000);
    assert_eq!(word(&group(&mut backend, "others").await.expect_err("it is gone")), "group_not_found");
    let again = backend.delete_group(pb::DeleteGroupRequest { name: "others".into() }).await.expect_err("gone");
    assert_eq!(word(&again), "group_not_found");
}

/// What is refused changes nothing, says which name it was, and the stream goes on.
#[tokio::test]
async fn a_change_is_whole_or_refused_and_the_stream_goes_on() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.audience().await;
    let many = pb::ChangeMembersRequest { group: "g".into(), add: numbered("u", 1_001), remove: Vec::new() };
    let changes = vec![
        change("g", &["ada", "bob", "ada"], &[]),
        change("g", &["cid", "no user"], &[]),
        change("no group", &["cid"], &[]),
        change("g", &["cid"], &["bob", "cid"]),
        change("g", &[], &[]),
        many,
        change("g", &["bob", "cid"], &["ada", "eve"]),
    ];
    let answers = change_members(&mut backend, changes).await.expect("answers");
    let refused: Vec<_> = answers
        .iter()
        .map(|answer| answer.error.as_ref().map(|error| (error.code.as_str(), error.status, error.message.clone())))
        .collect();
    let codes: Vec<_> = refused.iter().map(|refused| refused.as_ref().map_or("", |(code, ..)| code)).collect();
    assert_eq!(codes, ["", "invalid_name", "invalid_name", "invalid_option", "invalid_option", "invalid_option", ""]);
    assert!(refused.iter().flatten().all(|(_, status, _)| *status == tonic::Code::InvalidArgument as u32));
    let words: Vec<_> = refused.iter().flatten().map(|(.., words)| words.as_str()).collect();
    assert!(words[0].starts_with("add[1]: ") && words[1].starts_with("group: "), "{words:?}");
    assert!(words[2].contains("cid") && words[4].contains("1001"), "{words:?}");
    let last = answers.last().expect("an answer");
    assert_eq!((last.added, last.removed, last.members), (3, 1, 2), "what was refused is not counted as done");
    assert_eq!(all_members(&mut backend, "g", 1).await, names(&["bob", "cid"]));

    let ndjson = [
        r#"{"group": "g", "add": ["dan"]}"#,
        r#"{"group": "g", "ad": ["eve"]}"#,
        "nonsense",
        r#"{"group": "g", "remove": ["dan"]}"#,
    ]
    .join("\n");
    let reply = gateway.json().send_as("application/x-ndjson", "POST /v1/members/stream", ndjson.as_bytes()).await;
    let lines = reply.lines();
    assert_eq!(lines.len(), 4, "{lines:?}");
    assert_eq!(lines[1]["error"]["errno"], 101);
    assert!(lines[1]["error"]["message"].as_str().is_some_and(|words| words.starts_with("line 2: ")), "{lines:?}");
    assert!(lines[2]["error"]["message"].as_str().is_some_and(|words| words.starts_with("line 3: ")), "{lines:?}");
    assert_eq!(lines[3], json!({"named": 2, "added": 1, "removed": 1, "members": 2}));
}

/// P4.1, P4.3: a login sets all groups at once, and a late call cannot undo a newer one.
#[tokio::test]
async fn all_groups_of_a_user_are_set_at_once_and_a_stale_call_is_refused() {
    let gateway = Gateway::start_with(|config| config.store.groups_per_user_max = 3).await;
    let mut backend = gateway.audience().await;
    let set = |groups: &[&str], version| pb::SetGroupsRequest { user: "ada".into(), groups: names(groups), version };
    let user = backend.set_groups(set(&["b", "a", "b"], 5)).await.expect("set").into_inner();
    assert_eq!((user.groups, user.version), (names(&["a", "b"]), 5));
    backend.set_groups(set(&["a", "b"], 5)).await.expect("the same again is harmless");
    for (groups, version) in [(&["a"][..], 5), (&["c"][..], 4)] {
        let stale = backend.set_groups(set(groups, version)).await.expect_err("stale");
        assert_eq!((word(&stale), stale.code()), ("stale_version", tonic::Code::FailedPrecondition));
    }
    let many = backend.set_groups(set(&["a", "b", "c", "d"], 6)).await.expect_err("too many");
    assert_eq!(word(&many), "too_many_groups");
    assert_eq!(word(&backend.set_groups(set(&["a"], 0)).await.expect_err("no version")), "invalid_option");
    let user = backend.get_user(pb::GetUserRequest { user: "ada".into() }).await.expect("a user").into_inner();
    assert_eq!((user.groups, user.version), (names(&["a", "b"]), 5), "nothing of what was refused was done");
    let user = backend.set_groups(set(&[], 7)).await.expect("none").into_inner();
    assert_eq!((user.groups.len(), user.version), (0, 7));
    assert_eq!(group(&mut backend, "a").await.expect("it stays").members, 0);

    let nobody = backend.get_user(pb::GetUserRequest { user: "zoe".into() }).await.expect("an answer").into_inner();
    assert_eq!(nobody, pb::User { user: "zoe".into(), ..Default::default() });
}

/// What one surface writes the other reads, in the same numbers.
#[tokio::test]
async fn the_twin_in_json_says_the_same() {
    let gateway = Gateway::start().await;
    let (mut backend, json) = (gateway.audience().await, gateway.json());
    let made = json.call("PUT /v1/groups/beta").await;
    let twin = group(&mut backend, "beta").await.expect("a group");
    let shown = json!({"name": "beta", "topics": ["beta"], "members": 0, "created_at_ms": twin.created_at_ms});
    assert_eq!((made.status, made.json()), (200, shown.clone()));
    assert_eq!(json.call("GET /v1/groups/beta").await.json(), shown);
    let reply = json.send("PUT /v1/groups/beta", &json!({"topics": ["other"]})).await;
    reply.assert_refused(409, 308, "beta");
    let change = json!({"add": ["bob", "ada", "cid"], "remove": ["eve"]});
    let reply = json.send("POST /v1/groups/beta/members", &change).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"named": 4, "added": 3, "removed": 0, "members": 3})));
    let reply = json.call("GET /v1/groups/beta/members?after=ada&limit=1").await;
    assert_eq!(reply.json(), json!({"users": ["bob"], "next": "bob"}));
    let reply = json.call("GET /v1/groups/beta/members?after=bob").await;
    assert_eq!(reply.json(), json!({"users": ["cid"], "next": null}));
    let reply = json.call("GET /v1/groups?limit=1").await;
    assert_eq!(reply.json()["groups"][0]["members"], 3);

    let reply = json.send("PUT /v1/users/ada/groups", &json!({"groups": ["berlin"], "version": 9})).await;
    let nothing = json!({"user": "ada", "groups": ["berlin"], "version": 9, "quiet_hours": null, "devices": []});
    assert_eq!((reply.status, reply.json()), (200, nothing.clone()));
    let hours = json!({"from": "22:00", "to": "07:00", "time_zone": "Europe/Berlin"});
    let reply = json.send("PUT /v1/users/ada/quiet-hours", &hours).await;
    assert_eq!((reply.status, &reply.json()["quiet_hours"]), (200, &hours));
    let twin = backend.get_user(pb::GetUserRequest { user: "ada".into() }).await.expect("a user").into_inner();
    assert_eq!(twin.quiet_hours.map(|hours| hours.time_zone).as_deref(), Some("Europe/Berlin"));
    assert_eq!(json.call("DELETE /v1/users/ada/quiet-hours").await.json(), nothing);
    assert_eq!(json.call("GET /v1/users/ada").await.json(), nothing);

    let reply = json.send("PUT /v1/topics/scores", &json!({"conflate": true})).await;
    assert_eq!(reply.json(), json!({"topic": "scores", "conflate": true, "devices": 0, "last": 0}));
    assert_eq!(
        json.call("GET /v1/topics/beta").await.json()["devices"],
        2,
        "users without a device that will follow it"
    );

    let line = |user: &str| json!({"user": user, "device": null, "online": false});
    let first = json.call("GET /v1/audience?condition=%27beta%27%20in%20topics&limit=1").await.json();
    assert_eq!((&first["count"], &first["users"], &first["online"]), (&json!(2), &json!(2), &json!(0)));
    let next = first["next"].as_str().expect("there is more").to_owned();
    let asked = json!({"condition": "'beta' in topics", "after": next, "limit": 5});
    let second = json.send("POST /v1/audience", &asked).await.json();
    assert_eq!(second["next"], json!(null));
    let mut page = [first["page"][0].clone(), second["page"][0].clone()];
    page.sort_by_key(|line| line["user"].to_string());
    assert_eq!(page, [line("bob"), line("cid")]);
    assert_eq!(json.call("GET /v1/audience?topic=beta").await.json()["page"], json!([]), "none are asked for");

    assert_eq!(json.call("DELETE /v1/groups/beta").await.json(), json!({"members": 2}));
    json.call("GET /v1/groups/beta").await.assert_refused(404, 307, "beta");
}

/// Every bound and every name is checked, on both surfaces by the same hands.
#[tokio::test]
async fn what_cannot_be_is_refused_with_a_stable_code() {
    let gateway = Gateway::start().await;
    let json = gateway.json();
    let many: Vec<_> = (0..17).map(|n| format!("t{n}")).collect();
    let hours = |from: &str, zone: &str| json!({"from": from, "to": "07:00", "time_zone": zone});
    let long = json!({"condition": format!("'a' in topics || {}", "x".repeat(5_000))});
    for (head, body, status, errno, words) in [
        ("PUT /v1/groups/a%20b", json!({}), 400, 103, "name: character ' '"),
        ("PUT /v1/groups/%ff", json!({}), 400, 103, "name: it is empty"),
        ("PUT /v1/groups/a", json!({"topics": many}), 400, 103, "topics: there are 17"),
        ("PUT /v1/groups/a", json!({"topics": ["{user}"]}), 400, 103, "{user}"),
        ("PUT /v1/groups/a", json!({"topics": []}), 400, 104, "none"),
        ("PUT /v1/groups/a", json!({"topic": ["x"]}), 400, 101, "did you mean `topics`?"),
        ("PUT /v1/groups/a?limit=1", json!({}), 400, 101, "unknown field `?limit`"),
        ("POST /v1/groups/a/members", json!({"add": ["a"], "remove": ["a"]}), 400, 104, "user a"),
        ("POST /v1/groups/a/members", json!({}), 400, 104, "name 1 to 1000"),
        ("POST /v1/groups/a/members", json!({"add": ["a", ""]}), 400, 103, "add[1]"),
        ("PUT /v1/users/a/groups", json!({"version": 1}), 400, 101, "groups is missing"),
        ("PUT /v1/users/a/groups", json!({"groups": ["a"]}), 400, 104, "version is missing"),
        ("PUT /v1/users/a/quiet-hours", hours("7:00", "UTC"), 400, 104, "quiet_hours.from"),
        ("PUT /v1/users/a/quiet-hours", hours("22:00", "Mars/Base"), 400, 104, "no time zone"),
        ("PUT /v1/users/a/quiet-hours", hours("07:00", "UTC"), 400, 104, "begin and end at 07:00"),
        ("PUT /v1/topics/a", json!({}), 400, 101, "conflate is missing"),
        ("POST /v1/audience", json!({}), 400, 102, "topic or a condition"),
        ("POST /v1/audience", json!({"topic": "a", "condition": "b"}), 400, 102, "both there"),
        ("POST /v1/audience", json!({"condition": "a in topics"}), 400, 114, "byte"),
        ("POST /v1/audience", long, 400, 114, "4096"),
        ("POST /v1/audience", json!({"topic": "a", "limit": 1001}), 400, 104, "limit is 1001"),
        ("POST /v1/audience", json!({"topic": "a", "after": "x"}), 400, 104, "after is not"),
    ] {
        let reply = json.send(head, &body).await;
        let fault = reply.json();
        assert_eq!((reply.status, fault["errno"].as_u64()), (status, Some(errno)), "{head} {body}: {fault}");
        assert!(fault["message"].as_str().is_some_and(|told| told.contains(words)), "{words}: {fault}");
    }
    for (head, errno, words) in [
        ("GET /v1/groups?limit=1001", 104, "limit is 1001"),
        ("GET /v1/groups?limt=1", 101, "unknown field `?limt`; did you mean `limit`?"),
        ("GET /v1/groups?after=a%20b", 103, "after: "),
        ("GET /v1/audience?topic=a&topic=b", 101, "twice"),
        ("GET /v1/users/a%2Fb", 103, "user: "),
    ] {
        json.call(head).await.assert_refused(400, errno, words);
    }
    json.send_as("text/plain", "PUT /v1/groups/a", b"{}").await.assert_refused(415, 111, "application/json");
    json.send_as("application/json", "POST /v1/groups/a/members", &vec![b' '; 2 << 20])
        .await
        .assert_refused(413, 109, "");
    let reply = json.send_as("application/json", "POST /v1/members/stream", b"{}").await;
    reply.assert_refused(415, 111, "application/x-ndjson");
}

/// Every method asks for a key first, and a tenant's people do not exist for another.
#[tokio::test]
async fn no_method_tells_a_stranger_anything() {
    let gateway = Gateway::start().await;
    let mut own = gateway.audience().await;
    change_members(&mut own, vec![change("beta", &["ada"], &[])]).await.expect("a change");
    let hours = json!({"from": "22:00", "to": "07:00", "time_zone": "UTC"});
    let id = "01a20065-4465-7102-8304-050607080001";
    let calls = [
        ("GET /v1/groups".to_owned(), None),
        ("PUT /v1/groups/beta".to_owned(), Some(json!({}))),
        ("GET /v1/groups/beta".to_owned(), None),
        ("DELETE /v1/groups/beta".to_owned(), None),
        ("GET /v1/groups/beta/members".to_owned(), None),
        ("POST /v1/groups/beta/members".to_owned(), Some(json!({"remove": ["ada"]}))),
        ("POST /v1/members/stream".to_owned(), Some(json!({"group": "beta", "remove": ["ada"]}))),
        ("GET /v1/users/ada".to_owned(), None),
        ("PUT /v1/users/ada/groups".to_owned(), Some(json!({"groups": [], "version": 1}))),
        ("PUT /v1/users/ada/quiet-hours".to_owned(), Some(hours)),
        ("DELETE /v1/users/ada/quiet-hours".to_owned(), None),
        ("PUT /v1/topics/beta".to_owned(), Some(json!({"conflate": true}))),
        ("GET /v1/topics/beta".to_owned(), None),
        ("GET /v1/audience?topic=beta".to_owned(), None),
        ("POST /v1/audience".to_owned(), Some(json!({"topic": "beta"}))),
        ("POST /v1/push/users".to_owned(), Some(json!({"users": ["ada"], "push": {}}))),
        (format!("DELETE /v1/messages/{id}"), None),
        (format!("GET /v1/messages/{id}"), None),
    ];
    for (key, errno) in [("", 201), ("not-a-key-of-this-gateway-at-all-no", 202)] {
        for (head, body) in &calls {
            let media = if head.ends_with("stream") { "application/x-ndjson" } else { "application/json" };
            let bearer = format!("Bearer {key}");
            let authorization = ("authorization", bearer.as_str());
            let content_type = ("content-type", media);
            let headers = if key.is_empty() { vec![content_type] } else { vec![authorization, content_type] };
            let body = body.as_ref().map(ToString::to_string).unwrap_or_default();
            let reply = support::http::http(gateway.backend, head, &headers, body.as_bytes()).await;
            reply.assert_refused(401, errno, "");
        }
        let mut stranger = audience(gateway.backend, key).await;
        let refused = refusals(&mut stranger).await;
        let expected = if errno == 201 { "missing_credentials" } else { "invalid_credentials" };
        // An empty key is one that is wrong, to gRPC.
        assert!(refused.iter().all(|word| word == expected || word == "invalid_credentials"), "{refused:?}");
        assert_eq!(refused.len(), 12);
    }

    let mut other = audience(gateway.backend, &gateway.other_key).await;
    assert_eq!(word(&group(&mut other, "beta").await.expect_err("not theirs")), "group_not_found");
    let answers = change_members(&mut other, vec![change("beta", &[], &["ada"])]).await.expect("an answer");
    assert_eq!(answers[0].error.as_ref().map(|error| error.code.as_str()), Some("group_not_found"));
    let user = other.get_user(pb::GetUserRequest { user: "ada".into() }).await.expect("an answer").into_inner();
    assert_eq!(user.groups, [""; 0]);
    let of = Some(pb::get_audience_request::Of::Topic("beta".into()));
    let seen =
        other.get_audience(pb::GetAudienceRequest { of, after: String::new(), limit: 10 }).await.expect("an answer");
    assert_eq!(seen.into_inner(), pb::GetAudienceResponse::default());
    other.create_group(pb::CreateGroupRequest { name: "beta".into(), topics: names(&["x"]) }).await.expect("their own");
    assert_eq!(group(&mut own, "beta").await.expect("a group").topics, names(&["beta"]));
    assert_eq!(all_members(&mut own, "beta", 0).await, names(&["ada"]));
}

/// The word that each method refuses a stranger with.
async fn refusals(stranger: &mut Audience) -> Vec<String> {
    let mut words = Vec::new();
    macro_rules! refused {
        ($method:ident, $request:expr) => {
            words.push(word(&stranger.$method($request).await.expect_err(stringify!($method))).to_owned())
        };
    }
    refused!(create_group, pb::CreateGroupRequest { name: "beta".into(), topics: Vec::new() });
    refused!(get_group, pb::GetGroupRequest { name: "beta".into() });
    refused!(list_groups, pb::ListGroupsRequest::default());
    refused!(delete_group, pb::DeleteGroupRequest { name: "beta".into() });
    refused!(list_members, pb::ListMembersRequest { group: "beta".into(), ..Default::default() });
    refused!(change_members, tokio_stream::iter([change("beta", &[], &["ada"])]));
    refused!(set_groups, pb::SetGroupsRequest { user: "ada".into(), groups: Vec::new(), version: 1 });
    refused!(get_user, pb::GetUserRequest { user: "ada".into() });
    refused!(set_quiet_hours, pb::SetQuietHoursRequest { user: "ada".into(), quiet_hours: None });
    refused!(set_topic, pb::SetTopicRequest { topic: "beta".into(), conflate: true });
    refused!(get_topic, pb::GetTopicRequest { topic: "beta".into() });
    refused!(get_audience, pb::GetAudienceRequest::default());
    let distinct: BTreeSet<_> = words.iter().collect();
    assert_eq!(distinct.len(), 1, "{words:?}");
    words
}
