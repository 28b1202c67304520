//! Who gets a push, with a real gateway and real devices: each form of a target, what is left out, who joins and leaves
//! while it runs, and that what can be asked before is what happens then (docs/targeting.md).

mod support;

use std::collections::BTreeSet;

use pushline::wire::device::Method;
use pushline::wire::pb;
use pushline::wire::pb::get_audience_request::Of;
use serde_json::json;
use support::listener::{END, Listener, text};
use support::{
    Audience, Backend, Gateway, audience, backend, push, soon, to_any_of_user, to_condition, to_device, to_topic,
    to_user, word,
};

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn excluding(request: pb::PushRequest, exclude: &[(&str, &str)]) -> pb::PushRequest {
    let exclusion = |(user, device): &(&str, &str)| pb::Exclusion { user: (*user).into(), device: (*device).into() };
    pb::PushRequest { exclude: exclude.iter().map(exclusion).collect(), ..request }
}

async fn members(people: &mut Audience, group: &str, add: &[&str], remove: &[&str]) {
    let change = pb::ChangeMembersRequest { group: group.into(), add: names(add), remove: names(remove) };
    let answers = soon("a stream", people.change_members(tokio_stream::iter([change]))).await.expect("a stream");
    let answer = soon("an answer", answers.into_inner().message()).await.expect("a good stream").expect("an answer");
    assert_eq!(answer.error, None);
}

async fn send(backend: &mut Backend, request: pb::PushRequest) -> pb::PushResponse {
    soon("the answer to a push", backend.push(request)).await.expect("an accepted push").into_inner()
}

async fn refused(backend: &mut Backend, request: pb::PushRequest) -> (String, String) {
    let status = soon("a refusal", backend.push(request)).await.expect_err("a refusal");
    (word(&status).to_owned(), status.message().to_owned())
}

async fn message(backend: &mut Backend, id: &str) -> pb::GetMessageResponse {
    let request = pb::GetMessageRequest { id: id.into() };
    soon("a message", backend.get_message(request)).await.expect("a known message").into_inner()
}

/// Ann has a phone and a tablet, bob a phone that follows news by itself, cid a watch of which nothing is known. All are
/// in the group all, ann and bob in beta.
async fn four_devices(gateway: &Gateway) -> [Listener; 4] {
    let mut people = gateway.audience().await;
    members(&mut people, "all", &["ann", "bob", "cid"], &[]).await;
    members(&mut people, "beta", &["ann", "bob"], &[]).await;
    let ios = |version: &'static str| [("platform", "ios"), ("app_version", version)];
    let phone = Listener::open(gateway, "ann", "phone", &ios("2.3")).await;
    let tablet = Listener::open(gateway, "ann", "tablet", &[("platform", "android"), ("app_version", "2.1")]).await;
    let mut bob = Listener::open(gateway, "bob", "phone", &ios("2.10")).await;
    let watch = Listener::open(gateway, "cid", "watch", &[]).await;
    bob.subscribe("news").await;
    [phone, tablet, bob, watch]
}

/// Ends the inboxes, the broadcast log and the topics: how many ends each device gets.
async fn end_all(backend: &mut Backend, listeners: &[Listener]) -> Vec<usize> {
    let mut ends = BTreeSet::new();
    for listener in listeners {
        let user = listener.name.split('/').next().expect("a user");
        ends.insert(("user", user.to_owned()));
        ends.extend(listener.topics.iter().map(|topic| ("topic", topic.clone())));
    }
    for (form, name) in &ends {
        push(backend, if *form == "user" { to_user(name, END) } else { to_topic(name, END) }).await;
    }
    push(backend, to_condition("'all' in topics", END)).await;
    listeners.iter().map(|listener| 2 + listener.topics.len()).collect()
}

/// P4.4 to P4.6, and the rule's first three parts and the sixth: each form of a target reaches whom it names and nobody
/// else.
#[tokio::test(flavor = "multi_thread")]
async fn each_target_reaches_whom_it_names() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut listeners = four_devices(&gateway).await;
    let ios_beta = "'beta' in topics && platform == 'ios'";
    let pushes = [
        (to_user("ann", "1 user"), None),
        (to_device("ann", "tablet", "2 device"), None),
        (to_any_of_user("cid", "3 any"), None),
        (to_topic("beta", "4 topic"), Some(3)),
        (to_topic("news", "5 own subscription"), Some(1)),
        (to_condition(ios_beta, "6 condition"), Some(2)),
        (excluding(to_user("ann", "7 user without"), &[("ann", "phone")]), None),
        (excluding(to_topic("beta", "8 topic without"), &[("ann", "")]), Some(1)),
        (excluding(to_condition("'all' in topics", "9 condition without"), &[("bob", ""), ("ann", "tablet")]), Some(2)),
        (to_topic("nobody", "10 none"), Some(0)),
    ];
    for (request, audience) in pushes {
        let shown = request.payload.clone();
        assert_eq!(send(&mut backend, request).await.audience, audience, "{shown:?}");
    }
    let ends = end_all(&mut backend, &listeners).await;
    let expected: [&[&str]; 4] = [
        &["1 user", "4 topic", "6 condition", "9 condition without"],
        &["1 user", "2 device", "4 topic", "7 user without"],
        &["4 topic", "5 own subscription", "6 condition", "8 topic without"],
        &["3 any", "9 condition without"],
    ];
    for ((listener, ends), expected) in listeners.iter_mut().zip(ends).zip(expected) {
        assert_eq!(listener.received(ends).await, expected, "{}", listener.name);
    }
}

/// P4.5: the list that can be asked for is the list of those who receive the push.
#[tokio::test(flavor = "multi_thread")]
async fn whom_a_push_would_reach_is_whom_it_reaches() {
    let gateway = Gateway::start().await;
    let (mut backend, mut people) = (gateway.backend().await, gateway.audience().await);
    let mut listeners = four_devices(&gateway).await;
    // Dan has no device yet, and eve's is away.
    members(&mut people, "all", &["dan", "eve"], &[]).await;
    drop(Listener::open(&gateway, "eve", "phone", &[("platform", "ios")]).await);
    let asked = [
        Of::Topic("beta".into()),
        Of::Topic("nobody".into()),
        Of::Condition("'all' in topics".into()),
        Of::Condition("'beta' in topics || 'news' in topics".into()),
        Of::Condition("'all' in topics && !('beta' in topics)".into()),
        Of::Condition("platform == 'ios' && app_version >= '2.4'".into()),
        Of::Condition("'all' in topics && platform != 'ios'".into()),
        Of::Condition("platform startsWith 'andr'".into()),
        Of::Condition("!('all' in topics)".into()),
    ];
    let mut expected = vec![BTreeSet::new(); listeners.len()];
    for (number, of) in asked.into_iter().enumerate() {
        let request = pb::GetAudienceRequest { of: Some(of.clone()), after: String::new(), limit: 1_000 };
        let told = soon("an audience", people.get_audience(request)).await.expect("an audience").into_inner();
        assert_eq!((told.count, told.next.as_str()), (told.page.len() as u64, ""), "{of:?}");
        let users: BTreeSet<_> = told.page.iter().map(|line| &line.user).collect();
        assert_eq!(told.users, users.len() as u64, "{of:?}");
        let payload = format!("push {number}");
        let request = match &of {
            Of::Topic(topic) => to_topic(topic, payload.clone()),
            Of::Condition(condition) => to_condition(condition, payload.clone()),
        };
        assert_eq!(send(&mut backend, request).await.audience, Some(told.count), "{of:?}");
        for line in &told.page {
            let name = format!("{}/{}", line.user, line.device);
            match listeners.iter().position(|listener| listener.name == name) {
                Some(at) => {
                    expected[at].insert(payload.clone());
                }
                None => assert!(["dan/", "eve/phone"].contains(&name.as_str()), "{name}"),
            }
        }
        // A page a line at a time tells the same.
        let (mut lines, mut after) = (Vec::new(), String::new());
        loop {
            let request = pb::GetAudienceRequest { of: Some(of.clone()), after, limit: 1 };
            let page = soon("a page", people.get_audience(request)).await.expect("a page").into_inner();
            lines.extend(page.page);
            if page.next.is_empty() {
                break;
            }
            after = page.next;
        }
        assert_eq!(lines, told.page, "{of:?}");
    }
    assert!(expected.iter().all(|payloads| !payloads.is_empty()), "each device is in one of them: {expected:?}");
    let ends = end_all(&mut backend, &listeners).await;
    for ((listener, ends), expected) in listeners.iter_mut().zip(ends).zip(expected) {
        let received = listener.received(ends).await;
        assert_eq!(received, expected.into_iter().collect::<Vec<_>>(), "{}", listener.name);
    }
}

/// P4.3, and the rule's fifth part: a device that is connected follows at once what its user joins, from then on, and
/// stops at once.
#[tokio::test(flavor = "multi_thread")]
async fn joining_and_leaving_take_effect_on_a_connected_device() {
    let gateway = Gateway::start().await;
    let (mut backend, mut people) = (gateway.backend().await, gateway.audience().await);
    let mut listener = Listener::open(&gateway, "ann", "phone", &[]).await;
    let set = |groups: &[&str], version| pb::SetGroupsRequest { user: "ann".into(), groups: names(groups), version };
    push(&mut backend, to_topic("beta", "before")).await;
    members(&mut people, "beta", &["ann"], &[]).await;
    push(&mut backend, to_topic("beta", "member")).await;
    assert_eq!(listener.text().await, "member", "what was pushed before is not for it");
    members(&mut people, "beta", &[], &["ann"]).await;
    push(&mut backend, to_topic("beta", "not a member")).await;
    people.set_groups(set(&["beta"], 1)).await.expect("set");
    push(&mut backend, to_topic("beta", "member again")).await;
    assert_eq!(listener.text().await, "member again", "what was pushed in between is not for it");
    people.set_groups(set(&[], 2)).await.expect("set");
    push(&mut backend, to_topic("beta", "not a member")).await;
    let change = json!({"add": ["ann"]});
    assert_eq!(gateway.json().send("POST /v1/groups/beta/members", &change).await.status, 200);
    push(&mut backend, to_topic("beta", "member by JSON")).await;
    assert_eq!(listener.text().await, "member by JSON");

    let user = people.get_user(pb::GetUserRequest { user: "ann".into() }).await.expect("a user").into_inner();
    let devices: Vec<_> = user.devices.iter().map(|device| (device.device.as_str(), device.online)).collect();
    assert_eq!((user.groups, devices), (names(&["beta"]), vec![("phone", true)]));

    // Deleted, the group leaves nothing behind, and the device's own subscription keeps it following.
    listener.subscribe("beta").await;
    people.delete_group(pb::DeleteGroupRequest { name: "beta".into() }).await.expect("gone");
    push(&mut backend, to_topic("beta", "its own")).await;
    assert_eq!(listener.text().await, "its own");
}

/// The rule's fourth part: a user that is known by a group only counts as one, and its first device gets what waited.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_device_of_a_user_takes_what_waited_for_it() {
    let gateway = Gateway::start().await;
    let (mut backend, mut people) = (gateway.backend().await, gateway.audience().await);
    members(&mut people, "beta", &["ann"], &[]).await;
    assert_eq!(send(&mut backend, to_topic("beta", "topic")).await.audience, Some(1));
    assert_eq!(send(&mut backend, to_condition("'beta' in topics", "condition")).await.audience, Some(1));
    let mut first = Listener::open(&gateway, "ann", "phone", &[]).await;
    let mut second = Listener::open(&gateway, "ann", "tablet", &[]).await;
    push(&mut backend, to_topic("beta", END)).await;
    push(&mut backend, to_condition("'beta' in topics", END)).await;
    assert_eq!(first.received(2).await, ["condition", "topic"]);
    assert_eq!(second.received(2).await, [""; 0], "later devices begin when they are first seen");
}

/// One call, a message of its own for each user, and one refusal does not touch the others.
#[tokio::test(flavor = "multi_thread")]
async fn many_users_get_a_message_of_their_own() {
    use pb::push_users_response::outcome::Outcome;
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let mut ann = Listener::open(&gateway, "ann", "phone", &[]).await;
    let mut bob = Listener::open(&gateway, "bob", "phone", &[]).await;
    let request = |users: &[&str]| pb::PushUsersRequest {
        users: names(users),
        push: Some(pb::PushRequest {
            payload: "hello".into(),
            idempotency_key: "k".into(),
            exclude: vec![pb::Exclusion { user: "cid".into(), device: String::new() }],
            ..Default::default()
        }),
    };
    let outcomes = backend.push_users(request(&["ann", "no user", "bob", "ann"])).await.expect("outcomes").into_inner();
    let told: Vec<_> = outcomes.outcomes.iter().map(|outcome| outcome.user.as_str()).collect();
    assert_eq!(told, ["ann", "no user", "bob"], "each user once, in the order asked");
    let accepted = |outcome: &pb::push_users_response::Outcome| match &outcome.outcome {
        Some(Outcome::Accepted(accepted)) => accepted.clone(),
        other => panic!("{other:?}"),
    };
    let (first, third) = (accepted(&outcomes.outcomes[0]), accepted(&outcomes.outcomes[2]));
    assert_eq!((first.log.as_str(), third.log.as_str()), ("inbox/ann", "inbox/bob"));
    assert_ne!(first.id, third.id);
    let Some(Outcome::Error(error)) = &outcomes.outcomes[1].outcome else { panic!("not refused") };
    assert_eq!((error.code.as_str(), error.errno), ("invalid_name", 103));
    let (to_ann, to_bob) = (ann.push().await, bob.push().await);
    assert_eq!((text(&to_ann), text(&to_bob)), ("hello".into(), "hello".into()));
    assert_eq!(to_ann.target.and_then(|target| target.to), Some(pb::target::To::User("ann".into())));

    // Again, with one more: only that one is new. A single push with the same key is another.
    let again = backend.push_users(request(&["bob", "ann", "dan"])).await.expect("outcomes").into_inner();
    let again: Vec<_> = again.outcomes.iter().map(accepted).map(|answer| (answer.id, answer.duplicate)).collect();
    assert_eq!(again[..2], [(third.id, true), (first.id, true)]);
    assert!(!again[2].1);
    let single = pb::PushRequest { idempotency_key: "k".into(), ..to_user("ann", "single") };
    assert!(!send(&mut backend, single).await.duplicate);
    assert_eq!(ann.text().await, "single");

    let body = json!({"users": ["ann", "b b"], "push": {"payload": "by JSON"}});
    let reply = gateway.json().send("POST /v1/push/users", &body).await;
    let outcomes = reply.json()["outcomes"].clone();
    assert_eq!((reply.status, &outcomes[0]["accepted"]["log"]), (200, &json!("inbox/ann")));
    assert_eq!((&outcomes[1]["user"], &outcomes[1]["error"]["errno"]), (&json!("b b"), &json!(103)));
    assert_eq!(ann.text().await, "by JSON");

    let none = pb::PushUsersRequest { users: Vec::new(), push: Some(pb::PushRequest::default()) };
    let many = pb::PushUsersRequest { users: vec!["u".into(); 1_001], push: Some(pb::PushRequest::default()) };
    let targeted = pb::PushUsersRequest { users: names(&["ann"]), push: Some(to_user("ann", "")) };
    let unset = pb::PushUsersRequest { users: names(&["ann"]), push: None };
    let replacing = pb::PushRequest { replaces: single_id(), ..Default::default() };
    let replacing = pb::PushUsersRequest { users: names(&["ann"]), push: Some(replacing) };
    for (request, code) in [
        (none, "invalid_option"),
        (many, "invalid_option"),
        (targeted, "invalid_target"),
        (unset, "malformed"),
        (replacing, "invalid_option"),
    ] {
        let status = backend.push_users(request).await.expect_err(code);
        assert_eq!(word(&status), code, "{status:?}");
    }
}

fn single_id() -> String {
    "01a20065-4465-7102-8304-050607080001".into()
}

/// A thousand large copies do not wait for the disk at the same time, and all arrive.
#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_users_get_a_large_push() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let users: Vec<_> = (0..1_000).map(|number| format!("user{number}")).collect();
    let push = pb::PushRequest { payload: vec![7; 64 * 1024].into(), ..Default::default() };
    let request = pb::PushUsersRequest { users: users.clone(), push: Some(push) };
    let outcomes = soon("outcomes", backend.push_users(request)).await.expect("outcomes").into_inner().outcomes;
    let accepted = |outcome: &pb::push_users_response::Outcome| matches!(&outcome.outcome, Some(pb::push_users_response::outcome::Outcome::Accepted(answer)) if answer.offset == 1);
    assert!(outcomes.iter().all(accepted));
    assert_eq!(outcomes.into_iter().map(|outcome| outcome.user).collect::<Vec<_>>(), users);
}

/// Stored nowhere, a push with a condition reaches those of its audience who are online at that moment.
#[tokio::test(flavor = "multi_thread")]
async fn an_online_only_push_with_a_condition_reaches_those_who_are_there() {
    let gateway = Gateway::start().await;
    let (mut backend, mut people) = (gateway.backend().await, gateway.audience().await);
    let mut listeners = four_devices(&gateway).await;
    members(&mut people, "beta", &["zoe"], &[]).await;
    let online = |request| pb::PushRequest { durability: pb::Durability::None.into(), ..request };
    let answer = send(&mut backend, online(to_condition("'beta' in topics", "1 beta"))).await;
    assert_eq!((answer.online, answer.log.as_str(), answer.audience), (3, "", None));
    let without = excluding(to_condition("'beta' in topics", "2 without"), &[("ann", "phone")]);
    assert_eq!(send(&mut backend, online(without)).await.online, 2);
    let without = excluding(to_user("ann", "3 user without"), &[("ann", "phone")]);
    assert_eq!(send(&mut backend, online(without)).await.online, 1);
    let never = pb::PushRequest { ttl_seconds: Some(0), ..to_condition("platform == 'android'", "4 now or never") };
    assert_eq!(send(&mut backend, never).await.online, 1);
    let ends = end_all(&mut backend, &listeners).await;
    let expected: [&[&str]; 4] =
        [&["1 beta"], &["1 beta", "2 without", "3 user without", "4 now or never"], &["1 beta", "2 without"], &[]];
    for ((listener, ends), expected) in listeners.iter_mut().zip(ends).zip(expected) {
        assert_eq!(listener.received(ends).await, expected, "{}", listener.name);
    }
}

/// What cannot be kept is refused before anything is stored, by the same hands on both surfaces.
#[tokio::test]
async fn wishes_that_do_not_go_together_are_refused() {
    let gateway = Gateway::start().await;
    let mut backend = gateway.backend().await;
    let fallback = |request, seconds| pb::PushRequest { fallback_after_seconds: Some(seconds), ..request };
    let online = |request| pb::PushRequest { durability: pb::Durability::None.into(), ..request };
    let later = pb::PushRequest { send_at_ms: u64::MAX / 2, ..to_user("ann", "") };
    for (request, code, words) in [
        (fallback(to_topic("t", ""), 60), "invalid_option", "fallback_after_seconds goes with"),
        (fallback(to_condition("'t' in topics", ""), 60), "invalid_option", "fallback_after_seconds goes with"),
        (fallback(to_user("ann", ""), 604_801), "invalid_option", "give 1 to 604800"),
        (online(fallback(to_user("ann", ""), 60)), "invalid_option", "fallback_after_seconds needs a stored push"),
        (later.clone(), "invalid_option", "30 days"),
        (online(pb::PushRequest { send_at_ms: 1, ..later }), "invalid_option", "send_at_ms needs a stored push"),
        (online(to_any_of_user("ann", "")), "invalid_option", "target.any_of_user needs a stored push"),
        (excluding(to_device("ann", "phone", ""), &[("bob", "")]), "invalid_option", "exclude does not go"),
        (excluding(to_topic("t", ""), &[("a b", "")]), "invalid_name", "exclude[0].user"),
        (to_condition("'a' in topics && 'b' in topics || 'c' in topics", ""), "invalid_condition", "byte"),
        (to_condition("", ""), "invalid_condition", "target.condition"),
        (to_any_of_user("", ""), "invalid_name", "target.any_of_user"),
    ] {
        let (told, message) = refused(&mut backend, request.clone()).await;
        assert!(told == code && message.contains(words), "{request:?}: {told}: {message}");
    }
    let json = gateway.json();
    for (fields, errno, words) in [
        (json!({"target": {"topic": "t"}, "fallback_after_seconds": 60}), 104, "fallback_after_seconds goes with"),
        (json!({"target": {"user": "u"}, "durability": "none", "send_at": "2126-01-01T00:00:00Z"}), 104, "needs"),
        (json!({"target": {"user": "u"}, "send_at": "2126-01-01T00:00:00Z"}), 104, "30 days"),
        (json!({"target": {"user": "u"}, "send_at": "tomorrow"}), 104, "RFC 3339"),
        (json!({"target": {"condition": "'a in topics"}}), 114, "target.condition"),
        (json!({"target": {"user": "u"}, "tag": "a b"}), 103, "tag: "),
    ] {
        json.send("POST /v1/push", &fields).await.assert_refused(400, errno, words);
    }
}

/// A push by the other tenant's key reaches none of this one's devices, whatever it names.
#[tokio::test(flavor = "multi_thread")]
async fn another_tenant_reaches_nobody_here() {
    let gateway = Gateway::start().await;
    let mut own = gateway.backend().await;
    let mut other = backend(gateway.backend, &gateway.other_key).await;
    let mut others = audience(gateway.backend, &gateway.other_key).await;
    let mut listeners = four_devices(&gateway).await;
    for request in [
        to_user("ann", "theirs"),
        to_device("ann", "phone", "theirs"),
        to_any_of_user("ann", "theirs"),
        to_topic("beta", "theirs"),
        to_condition("'beta' in topics", "theirs"),
        to_condition("!('x' in topics)", "theirs"),
    ] {
        let answer = send(&mut other, request).await;
        assert!(answer.audience.is_none_or(|audience| audience == 0), "{answer:?}");
    }
    let of = Some(Of::Condition("!('x' in topics)".into()));
    let seen = others.get_audience(pb::GetAudienceRequest { of, ..Default::default() }).await.expect("an answer");
    assert_eq!(seen.into_inner().count, 0);
    let id = push(&mut own, to_user("zoe", "ours")).await;
    let asked = other.get_message(pb::GetMessageRequest { id: id.clone() }).await.expect_err("not theirs");
    assert_eq!(word(&asked), "message_not_found");
    let ends = end_all(&mut own, &listeners).await;
    for (listener, ends) in listeners.iter_mut().zip(ends) {
        assert_eq!(listener.received(ends).await, [""; 0], "{}", listener.name);
    }
    assert_eq!(message(&mut own, &id).await.id, id);
}

/// The window has room for one push, and no ack is sent.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_dismissed_is_settled_on_the_device_that_did() {
    let gateway = Gateway::start_with(|config| config.session.window = 1).await;
    let mut phone = Listener::open(&gateway, "ann", "phone", &[]).await;
    let mut backend = gateway.backend().await;
    for text in ["first", "second"] {
        send(&mut backend, to_user("ann", text)).await;
    }
    let first = phone.pushes.push().await;
    assert_eq!(text(&first), "first");
    let request = pb::DismissRequest { ids: vec![first.id] };
    let (_, _, trailers) = phone.device.call(Method::Dismiss, &request).await;
    assert_eq!(trailers["grpc-status"], "0");
    assert_eq!(phone.text().await, "second", "seeing it is an ack");
}
