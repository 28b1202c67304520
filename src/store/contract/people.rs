//! Groups, members, users: who follows what because of them. Checks of the store's contract.

use super::{
    Place, at, cursor_with, device, group_name, inbox, join, leave, minutes, push, receiver, settle, sweep_all, tenant,
    topic, topic_name, user,
};
use crate::model::cursor::Following;
use crate::model::id::{Receiver, TopicName, UserId};
use crate::model::log::{LogId, Offset};
use crate::model::quiet::{QuietHours, TimeOfDay};
use crate::store::{Append, Changed, Error, Follows, Group, Limits, MembersChange, Store, User};

fn topics(names: &[&str]) -> Vec<TopicName> {
    names.iter().map(|name| topic_name(name)).collect()
}

fn users(names: &[&str]) -> Vec<UserId> {
    names.iter().map(|name| user(name)).collect()
}

async fn open(store: &dyn Store, receiver: &Receiver) -> Follows {
    store.open(receiver, at(0)).await.unwrap().follows
}

/// What a device has settled in a topic; `None` when it does not follow it.
fn settled(follows: &Follows, log: &LogId) -> Option<Vec<(u64, u64)>> {
    let following = follows.following.iter().find(|following| following.log == *log)?;
    assert_eq!(following.cursor.epoch, following.head.epoch, "a place is one of the log's present life");
    Some(following.cursor.settled.iter().collect())
}

async fn settled_of(store: &dyn Store, receiver: &Receiver, log: &LogId) -> Option<Vec<(u64, u64)>> {
    settled(&store.follows(receiver).await.unwrap(), log)
}

pub(in crate::store) async fn groups_are_made_found_and_removed(place: &dyn Place) {
    let store = place.open(Limits::default());
    let acme = tenant("acme");
    let group = |name: &str, names: &[&str], members| Group {
        name: group_name(name),
        topics: topics(names),
        members,
        created_at: at(5),
    };
    let make = |name, names: &[&str], now| store.create_group(&acme, group_name(name), topics(names), at(now));
    assert_eq!(make("staff", &["a", "b", "a"], 5).await, Ok(group("staff", &["a", "b"], 0)));
    assert_eq!(make("staff", &["b", "a"], 6).await, Ok(group("staff", &["a", "b"], 0)), "the same again is harmless");
    for other in [&["a"][..], &["a", "b", "c"], &[]] {
        assert_eq!(make("staff", other, 6).await, Err(Error::GroupExists("a, b".to_owned())));
    }
    let many: Vec<_> = (0..17).map(|number| number.to_string()).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(make("many", &many, 5).await, Err(Error::TooManyGroups(16)));
    make("many", &many[1..], 5).await.unwrap();
    make("none", &[], 5).await.unwrap();
    drop(store);

    let store = place.open(Limits::default());
    let names = |after: Option<&str>, most| {
        let groups = store.groups(&acme, after.map(group_name), most);
        async { groups.await.unwrap().into_iter().map(|group| group.name.to_string()).collect::<Vec<_>>() }
    };
    assert_eq!(names(None, 9).await, ["many", "none", "staff"]);
    assert_eq!(names(None, 2).await, ["many", "none"]);
    assert_eq!(names(Some("none"), 2).await, ["staff"]);
    assert_eq!(names(Some("n"), 1).await, ["none"]);
    assert_eq!(store.groups(&tenant("acme2"), None, 9).await, Ok(Vec::new()), "groups of tenants are apart");
    assert_eq!(store.group(&acme, &group_name("staff")).await, Ok(Some(group("staff", &["a", "b"], 0))));
    assert_eq!(store.group(&acme, &group_name("staf")).await, Ok(None));
    join(&*store, "staff", &["ann"], at(7)).await;
    assert_eq!(store.group(&acme, &group_name("staff")).await, Ok(Some(group("staff", &["a", "b"], 1))));
    assert_eq!(store.remove_group(&acme, &group_name("staff")).await, Err(Error::GroupNotEmpty(1)));
    leave(&*store, "staff", &["ann"], at(7)).await;
    assert_eq!(store.remove_group(&acme, &group_name("staff")).await, Ok(()));
    let gone = Err(Error::UnknownGroup(group_name("staff")));
    assert_eq!(store.remove_group(&acme, &group_name("staff")).await, gone);
    assert_eq!(names(None, 9).await, ["many", "none"]);
}

pub(in crate::store) async fn members_join_and_leave(place: &dyn Place) {
    let store = place.open(Limits::default());
    let acme = tenant("acme");
    let change = |add: &[&str], remove: &[&str]| {
        let (group, add, remove) = (group_name("staff"), users(add), users(remove));
        store.change_members(&acme, MembersChange { group, add, remove, arises: topics(&["news"]) }, at(3))
    };
    let unknown = Error::UnknownGroup(group_name("staff"));
    assert_eq!(change(&[], &["ann"]).await, Err(unknown.clone()), "nobody is added: it does not arise");
    assert_eq!(store.members(&acme, &group_name("staff"), None, 9).await, Err(unknown));
    let changed = |added: &[&str], removed: &[&str], members| {
        Ok(Changed { added: users(added), removed: users(removed), members })
    };
    assert_eq!(change(&["cid", "ann", "cid"], &["bob"]).await, changed(&["cid", "ann"], &[], 2));
    let arisen = store.group(&acme, &group_name("staff")).await.unwrap().unwrap();
    assert_eq!((arisen.topics, arisen.created_at), (topics(&["news"]), at(3)));
    assert_eq!(change(&["bob", "ann"], &["cid", "dan"]).await, changed(&["bob"], &["cid"], 2));
    assert_eq!(change(&["ann"], &[]).await, changed(&[], &[], 2));
    change(&["dan", "anna"], &[]).await.unwrap();
    drop(store);

    let store = place.open(Limits::default());
    let members = |after: Option<&str>, most| store.members(&acme, &group_name("staff"), after.map(user), most);
    assert_eq!(members(None, 9).await, Ok(users(&["ann", "anna", "bob", "dan"])));
    assert_eq!(members(Some("ann"), 2).await, Ok(users(&["anna", "bob"])));
    assert_eq!(store.user(&acme, &user("ann")).await.unwrap().groups, [group_name("staff")]);
    assert_eq!(store.user(&tenant("acme2"), &user("ann")).await, Ok(User::default()));
    assert_eq!(store.user(&acme, &user("cid")).await, Ok(User::default()), "nothing is left of who left");
}

pub(in crate::store) async fn too_many_groups_are_refused_whole(place: &dyn Place) {
    let store = place.open(Limits { groups_per_user_max: 2, ..Limits::default() });
    let acme = tenant("acme");
    join(&*store, "a", &["ann"], at(0)).await;
    join(&*store, "b", &["ann"], at(0)).await;
    let group = group_name("c");
    let change = MembersChange { group, add: users(&["bob", "ann"]), remove: Vec::new(), arises: topics(&["c"]) };
    assert_eq!(store.change_members(&acme, change, at(0)).await, Err(Error::TooManyGroups(2)));
    assert_eq!(store.user(&acme, &user("bob")).await, Ok(User::default()), "nobody joined");
    assert_eq!(store.group(&acme, &group_name("c")).await, Ok(None), "and nothing arose");
    let three = ["a", "b", "c"].map(|name| (group_name(name), topics(&[name]))).to_vec();
    assert_eq!(store.set_groups(&acme, &user("ann"), three, 1, at(0)).await, Err(Error::TooManyGroups(2)));
    let other = vec![(group_name("b"), topics(&["b"])), (group_name("c"), topics(&["c"]))];
    store.set_groups(&acme, &user("ann"), other, 1, at(0)).await.expect("one for another");
    let seventeen = (0..17).map(|number| topic_name(&number.to_string())).collect();
    let arises = MembersChange { group: group_name("d"), add: users(&["bob"]), remove: Vec::new(), arises: seventeen };
    assert_eq!(store.change_members(&acme, arises, at(0)).await, Err(Error::TooManyGroups(16)));
}

pub(in crate::store) async fn who_joins_begins_at_the_heads_on_all_devices(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad) = (receiver("ann", "phone"), receiver("ann", "pad"));
    open(&*store, &phone).await;
    open(&*store, &pad).await;
    let news = topic("news");
    store.append(push(&news, 1)).await.unwrap();
    store.subscribe(&phone, topics(&["news"])).await.unwrap();
    store.append(push(&news, 2)).await.unwrap();
    join(&*store, "news", &["ann"], at(0)).await;
    store.append(push(&news, 3)).await.unwrap();
    assert_eq!(settled_of(&*store, &phone, &news).await.unwrap(), [(1, 1)], "its own subscription began before");
    assert_eq!(settled_of(&*store, &pad, &news).await.unwrap(), [(1, 2)]);
    let follows = open(&*store, &pad).await;
    assert_eq!(follows, store.follows(&pad).await.unwrap());
    assert_eq!(follows.group_topics, topics(&["news"]));
    let logs: Vec<_> = follows.following.iter().map(|following| following.log.clone()).collect();
    assert_eq!(logs, [inbox("ann"), LogId::Broadcast(tenant("acme")), news.clone()]);
    // One that is seen later begins then.
    assert_eq!(settled(&open(&*store, &receiver("ann", "watch")).await, &news).unwrap(), [(1, 3)]);
    assert_eq!(store.follows(&receiver("ann", "tv")).await, Err(Error::UnknownDevice));
    assert_eq!(store.topic(&tenant("acme"), &topic_name("news")).await.unwrap().devices, 3);
}

pub(in crate::store) async fn who_leaves_stops_at_once_and_comes_back_at_the_heads(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, pad, news) = (receiver("ann", "phone"), receiver("ann", "pad"), topic("news"));
    open(&*store, &phone).await;
    join(&*store, "news", &["ann"], at(0)).await;
    open(&*store, &pad).await;
    let first = store.append(push(&news, 1)).await.unwrap();
    settle(&*store, &phone, &news, cursor_with(first, &[(1, 1)])).await.unwrap();
    assert_eq!(settled_of(&*store, &phone, &news).await.unwrap(), [(1, 1)], "a commit is accepted");
    store.append(push(&news, 2)).await.unwrap();
    leave(&*store, "news", &["ann"], at(0)).await;
    for device in [&phone, &pad] {
        assert_eq!(settled_of(&*store, device, &news).await, None);
        settle(&*store, device, &news, cursor_with(first, &[(2, 2)])).await.unwrap();
        assert_eq!(settled_of(&*store, device, &news).await, None, "a commit is not accepted any more");
    }
    store.append(push(&news, 3)).await.unwrap();
    join(&*store, "news", &["ann"], at(0)).await;
    settle(&*store, &pad, &news, cursor_with(first, &[(1, 1)])).await.unwrap();
    for device in [&phone, &pad] {
        assert_eq!(
            settled_of(&*store, device, &news).await.unwrap(),
            [(1, 3)],
            "what was pushed between is not for it"
        );
    }
}

pub(in crate::store) async fn a_topic_stays_while_another_group_brings_it(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (phone, news, acme) = (receiver("ann", "phone"), topic("news"), tenant("acme"));
    open(&*store, &phone).await;
    for name in ["a", "b"] {
        store.create_group(&acme, group_name(name), topics(&["news", name]), at(0)).await.unwrap();
    }
    join(&*store, "a", &["ann"], at(0)).await;
    let first = store.append(push(&news, 1)).await.unwrap();
    join(&*store, "b", &["ann"], at(0)).await;
    leave(&*store, "a", &["ann"], at(0)).await;
    let follows = store.follows(&phone).await.unwrap();
    assert_eq!(settled(&follows, &news).unwrap(), [], "it went on");
    assert_eq!(follows.group_topics, topics(&["b", "news"]));
    settle(&*store, &phone, &news, cursor_with(first, &[(1, 1)])).await.unwrap();
    // All at once from one group to another: it goes on too.
    store.append(push(&news, 2)).await.unwrap();
    store.set_groups(&acme, &user("ann"), vec![(group_name("a"), Vec::new())], 1, at(0)).await.unwrap();
    let follows = store.follows(&phone).await.unwrap();
    assert_eq!((settled(&follows, &news), settled(&follows, &topic("b"))), (Some(vec![(1, 1)]), None));
    assert_eq!(store.group(&acme, &group_name("b")).await.unwrap().unwrap().members, 0);
}

pub(in crate::store) async fn own_subscriptions_and_those_of_groups_are_told_apart(place: &dyn Place) {
    let store = place.open(Limits { subscriptions_per_device_max: 1, ..Limits::default() });
    let (phone, news) = (receiver("ann", "phone"), topic("news"));
    open(&*store, &phone).await;
    for name in ["news", "other"] {
        join(&*store, name, &["ann"], at(0)).await;
    }
    let first = store.append(push(&news, 1)).await.unwrap();
    store.append(push(&news, 2)).await.unwrap();
    settle(&*store, &phone, &news, cursor_with(first, &[(1, 1)])).await.unwrap();
    assert_eq!(store.unsubscribe(&phone, topics(&["news"])).await, Ok(0), "it was not its own");
    assert_eq!(settled_of(&*store, &phone, &news).await.unwrap(), [(1, 1)]);
    let (following, count) = store.subscribe(&phone, topics(&["news"])).await.unwrap();
    let Following { cursor, .. } = &following[0];
    assert_eq!((cursor.settled.iter().collect::<Vec<_>>(), count), (vec![(1, 1)], 1), "it goes on where it is");
    let refused = store.subscribe(&phone, topics(&["other"])).await;
    assert_eq!(refused, Err(Error::TooManySubscriptions(1)), "the limit is for what it asked for itself");
    leave(&*store, "news", &["ann"], at(0)).await;
    assert_eq!(settled_of(&*store, &phone, &news).await.unwrap(), [(1, 1)], "its own goes on");
    join(&*store, "news", &["ann"], at(0)).await;
    assert_eq!(store.unsubscribe(&phone, topics(&["news", "other"])).await, Ok(0));
    assert_eq!(settled_of(&*store, &phone, &news).await.unwrap(), [(1, 1)], "the group's goes on, from where it was");
    settle(&*store, &phone, &news, cursor_with(first, &[(2, 2)])).await.unwrap();
    leave(&*store, "news", &["ann"], at(0)).await;
    assert_eq!(settled_of(&*store, &phone, &news).await, None);
    assert_eq!(store.user(&tenant("acme"), &user("ann")).await.unwrap().devices[0].subscriptions, 0);
}

pub(in crate::store) async fn the_first_device_takes_the_seat_of_its_user(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (news, acme) = (topic("news"), tenant("acme"));
    store.append(push(&news, 1)).await.unwrap();
    join(&*store, "news", &["ann"], at(0)).await;
    store.append(push(&news, 2)).await.unwrap();
    assert_eq!(store.topic(&acme, &topic_name("news")).await.unwrap().devices, 1, "she counts already");
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(store.topic(&acme, &topic_name("news")).await.unwrap().devices, 1);
    let phone = open(&*store, &receiver("ann", "phone")).await;
    assert_eq!(settled(&phone, &news).unwrap(), [(1, 1)], "since she joined");
    assert_eq!(store.topic(&acme, &topic_name("news")).await.unwrap().devices, 1, "it took her place");
    let pad = open(&*store, &receiver("ann", "pad")).await;
    assert_eq!(settled(&pad, &news).unwrap(), [(1, 2)], "since it was seen");
    assert_ne!(phone.number, pad.number);
    assert_eq!(store.topic(&acme, &topic_name("news")).await.unwrap().devices, 2);
}

pub(in crate::store) async fn a_user_whose_devices_are_forgotten_has_a_seat_again(place: &dyn Place) {
    let limits = Limits { device_absence_max: minutes(10), ..Limits::default() };
    let store = place.open(limits.clone());
    let (news, acme, phone) = (topic("news"), tenant("acme"), receiver("ann", "phone"));
    join(&*store, "news", &["ann"], at(0)).await;
    let before = open(&*store, &phone).await;
    store.subscribe(&phone, topics(&["own"])).await.unwrap();
    store.describe(&phone, [("platform".to_owned(), "ios".to_owned())].into()).await.unwrap();
    let first = store.append(Append { expires_at: at(9_000_000), ..push(&news, 1) }).await.unwrap();
    settle(&*store, &phone, &news, cursor_with(first, &[(1, 1)])).await.unwrap();
    settle(&*store, &phone, &LogId::Broadcast(acme.clone()), before.following[1].cursor.clone()).await.unwrap();
    store.append(Append { expires_at: at(9_000_000), ..push(&news, 2) }).await.unwrap();
    store.leave(&phone, at(0)).await.unwrap();
    sweep_all(&*store, at(0) + minutes(10)).await;
    let check = async |store: &dyn Store| {
        let of = |name| store.topic(&acme, &topic_name(name));
        assert_eq!((of("news").await.unwrap().devices, of("own").await.unwrap().devices), (1, 0));
    };
    check(&*store).await;
    store.append(Append { expires_at: at(9_000_000), ..push(&news, 3) }).await.unwrap();
    drop(store);
    let store = place.open(limits);
    check(&*store).await;
    let after = open(&*store, &phone).await;
    assert_eq!(settled(&after, &news).unwrap(), [(1, 2)], "as if she had joined when it was forgotten");
    assert_eq!(settled(&after, &topic("own")), None);
    assert!(after.number > before.number, "numbers are never given again");
    assert_eq!(store.user(&acme, &user("ann")).await.unwrap().devices[0].attributes.len(), 0);
}

pub(in crate::store) async fn nothing_is_remembered_of_a_forgotten_device(place: &dyn Place) {
    let store = place.open(Limits { device_absence_max: minutes(10), ..Limits::default() });
    let (news, phone) = (topic("news"), receiver("ann", "phone"));
    join(&*store, "news", &["ann"], at(0)).await;
    open(&*store, &phone).await;
    let first = store.append(Append { expires_at: at(9_000_000), ..push(&news, 1) }).await.unwrap();
    // Nothing new: it is not written down, but the store has looked at it.
    settle(&*store, &phone, &news, cursor_with(first, &[])).await.unwrap();
    store.leave(&phone, at(0)).await.unwrap();
    sweep_all(&*store, at(0) + minutes(10)).await;
    open(&*store, &phone).await;
    store.append(Append { expires_at: at(9_000_000), ..push(&news, 2) }).await.unwrap();
    settle(&*store, &phone, &news, cursor_with(first, &[(2, 2)])).await.unwrap();
    assert_eq!(settled_of(&*store, &phone, &news).await.unwrap(), [(1, 2)]);
}

pub(in crate::store) async fn stale_groups_cannot_win(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (acme, ann) = (tenant("acme"), user("ann"));
    let set = |names: &[&str], version| {
        let groups = names.iter().map(|name| (group_name(name), topics(&[name]))).collect();
        store.set_groups(&acme, &ann, groups, version, at(0))
    };
    let stale = |version| Err(Error::StaleVersion(version));
    assert_eq!(set(&["a"], 0).await, stale(0));
    assert_eq!(set(&["a", "b", "a"], 5).await, Ok(()));
    assert_eq!(store.group(&acme, &group_name("a")).await.unwrap().unwrap().members, 1);
    assert_eq!(set(&["b", "a"], 5).await, Ok(()), "the same again is harmless");
    assert_eq!((set(&["a"], 5).await, set(&["a", "b"], 4).await, set(&[], 1).await), (stale(5), stale(5), stale(5)));
    leave(&*store, "a", &["ann"], at(0)).await;
    assert_eq!(set(&["a", "b"], 5).await, Ok(()), "a repeated call changes nothing");
    assert_eq!(store.user(&acme, &ann).await.unwrap().groups, [group_name("b")]);
    assert_eq!(set(&["a", "c"], 6).await, Ok(()));
    assert_eq!(set(&["b"], 5).await, stale(6));
    let known = store.user(&acme, &ann).await.unwrap();
    assert_eq!((known.groups, known.version), (vec![group_name("a"), group_name("c")], 6));
    let member_of = async |name| store.members(&acme, &group_name(name), None, 9).await.unwrap();
    assert_eq!((member_of("b").await, member_of("c").await), (Vec::new(), vec![ann.clone()]));
    assert_eq!(set(&[], 7).await, Ok(()));
    drop(store);
    let store = place.open(Limits::default());
    let known = store.user(&acme, &ann).await.unwrap();
    assert_eq!((known.groups.len(), known.version), (0, 7), "the version is known when the groups are gone");
    assert_eq!(store.set_groups(&acme, &ann, Vec::new(), 6, at(0)).await, stale(7));
}

pub(in crate::store) async fn quiet_hours_and_settings_of_topics_are_kept(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (acme, ann, phone) = (tenant("acme"), user("ann"), receiver("ann", "phone"));
    let time = |minutes| TimeOfDay::from_minutes(minutes).unwrap();
    let hours = QuietHours { from: time(1_320), to: time(420), time_zone: "Europe/Berlin".to_owned() };
    store.set_quiet_hours(&acme, &ann, Some(hours.clone())).await.unwrap();
    store.set_topic(&acme, &topic_name("scores"), true).await.unwrap();
    store.set_topic(&acme, &topic_name("news"), true).await.unwrap();
    store.set_topic(&acme, &topic_name("news"), false).await.unwrap();
    open(&*store, &phone).await;
    drop(store);
    let store = place.open(Limits::default());
    assert_eq!(store.user(&acme, &ann).await.unwrap().quiet_hours, Some(hours.clone()));
    assert_eq!(store.follows(&phone).await.unwrap().quiet_hours, Some(hours));
    let conflates = async |name| store.topic(&acme, &topic_name(name)).await.unwrap().conflate;
    assert_eq!((conflates("scores").await, conflates("news").await, conflates("other").await), (true, false, false));
    assert!(!store.topic(&tenant("acme2"), &topic_name("scores")).await.unwrap().conflate);
    store.set_quiet_hours(&acme, &ann, None).await.unwrap();
    assert_eq!(store.follows(&phone).await.unwrap().quiet_hours, None);
    assert_eq!(store.user(&acme, &ann).await.unwrap().devices[0].device, device("phone"));
}

pub(in crate::store) async fn the_log_of_a_groups_topic_lives_on(place: &dyn Place) {
    let store = place.open(Limits::default());
    let (news, acme) = (topic("news"), tenant("acme"));
    store.create_group(&acme, group_name("g"), topics(&["news"]), at(0)).await.unwrap();
    let first = store.append(push(&news, 1)).await.unwrap();
    join(&*store, "g", &["ann"], at(0)).await;
    sweep_all(&*store, at(60_000)).await;
    drop(store);
    let store = place.open(Limits::default());
    let second = store.append(push(&news, 2)).await.unwrap();
    assert_eq!((second.epoch, second.offset), (first.epoch, Offset(2)), "nobody follows it but the group");
    assert_eq!(settled(&open(&*store, &receiver("ann", "phone")).await, &news).unwrap(), [(1, 1)]);
    leave(&*store, "g", &["ann"], at(0)).await;
    store.remove_group(&acme, &group_name("g")).await.unwrap();
    sweep_all(&*store, at(120_000)).await;
    assert_ne!(store.append(push(&news, 3)).await.unwrap().epoch, first.epoch, "the group held it");
}

/// 100,000 users in calls of 1,000, as a streamed change brings them.
pub(in crate::store) async fn a_hundred_thousand_users_join(place: &dyn Place) {
    let store = place.open(Limits::default());
    let acme = tenant("acme");
    let names: Vec<_> = (0..100_000).map(|number| user(&format!("user{number:06}"))).collect();
    for add in names.chunks(1_000) {
        let (group, arises) = (group_name("all"), topics(&["all"]));
        let change = MembersChange { group, add: add.to_vec(), remove: Vec::new(), arises };
        assert_eq!(store.change_members(&acme, change, at(0)).await.unwrap().added.len(), 1_000);
    }
    assert_eq!(store.topic(&acme, &topic_name("all")).await.unwrap().devices, 100_000);
    assert_eq!(store.append(push(&topic("all"), 1)).await.unwrap().audience, Some(100_000));
    let phone = open(&*store, &receiver("user077777", "phone")).await;
    assert_eq!(settled(&phone, &topic("all")).unwrap(), []);
    for remove in names.chunks(1_000) {
        let (group, add, remove) = (group_name("all"), Vec::new(), remove.to_vec());
        store.change_members(&acme, MembersChange { group, add, remove, arises: Vec::new() }, at(0)).await.unwrap();
    }
    assert_eq!(store.topic(&acme, &topic_name("all")).await.unwrap().devices, 0);
    store.remove_group(&acme, &group_name("all")).await.unwrap();
}
