//! What every store must keep: the promises of `store/mod.rs`, checked through the trait alone. It knows no particular
//! store; one that wants to pass implements [`Place`] and calls [`contract!`].

pub(super) mod announcements;
pub(super) mod audiences;
pub(super) mod devices;
pub(super) mod journals;
pub(super) mod logs;
pub(super) mod memberships;
pub(super) mod messages;
pub(super) mod mind;
pub(super) mod mind_later;
pub(super) mod mind_random;
pub(super) mod mind_seen;
pub(super) mod people;
pub(super) mod quotas;
pub(super) mod random;
pub(super) mod receipts;
pub(super) mod receipts_random;
pub(super) mod records;
pub(super) mod records_random;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{DeviceId, GroupName, MessageId, Receiver, TenantId, TopicName, UserId};
use crate::model::log::{Head, LogId, Offset};
use crate::model::message::{Durability, Urgency};
use crate::store::{Answer, Append, Appended, Commit, Error, Idempotency, Limits, MembersChange, Page, Store, Usage};

/// Where the data of one test lies. A store opened in the same place again finds what the one before had answered.
pub(super) trait Place: Sync {
    /// Opens a store in this place. The one before was dropped.
    fn open(&self, limits: Limits) -> Arc<dyn Store>;
}

/// Makes a test of each check, for one kind of place.
macro_rules! contract {
    ($place:expr) => {
        crate::store::contract::contract!(
            $place,
            logs: offsets_follow_the_order_of_the_calls, an_absent_log_reads_as_empty, pages_keep_their_bounds,
                entries_expire_by_the_given_time, collapse_replaces_what_stands,
                a_full_inbox_lets_settled_entries_go_and_refuses_otherwise, a_full_inbox_lets_expired_entries_go,
                a_full_topic_trims_the_oldest, expired_entries_of_a_full_topic_are_not_missed, logs_without_use_begin_a_new_life, tenants_and_names_are_apart,
                many_callers_share_flushes_and_keep_their_order, answered_writes_are_there_after_reopening,
                reads_see_answered_writes, a_closed_store_refuses_writes, dropped_answers_are_written_all_the_same;
            announcements: each_append_is_announced_once_before_its_answer_and_in_order,
                what_is_announced_is_as_durable_as_asked_and_can_be_read, what_was_not_appended_is_not_announced,
                an_append_whose_caller_is_gone_is_announced;
            devices: a_new_device_begins_before_the_first_entry, a_device_too_many_is_refused,
                two_devices_have_cursors_of_their_own, older_and_newer_cursors_merge, void_cursors_are_ignored,
                a_topic_is_followed_from_its_head, subscribing_again_changes_nothing, subscriptions_have_a_limit,
                unknown_devices_cannot_subscribe, absent_devices_are_forgotten, open_devices_are_not_absent,
                cursors_and_subscriptions_survive_reopening, a_device_is_forgotten_at_once;
            messages: a_message_tells_its_state, a_message_of_another_tenant_is_unknown, a_message_tells_each_device,
                dead_letters_are_shown, a_repeated_key_gives_the_first_outcome, a_repeated_key_in_one_batch,
                a_key_with_other_content_is_a_conflict, keys_of_tenants_are_apart, a_refused_push_leaves_no_key,
                sweeps_remove_in_bounded_steps, sweeps_find_what_came_due_behind_them, health_counts;
            people: groups_are_made_found_and_removed, members_join_and_leave, too_many_groups_are_refused_whole,
                who_joins_begins_at_the_heads_on_all_devices, who_leaves_stops_at_once_and_comes_back_at_the_heads,
                a_topic_stays_while_another_group_brings_it, own_subscriptions_and_those_of_groups_are_told_apart,
                the_first_device_takes_the_seat_of_its_user, a_user_whose_devices_are_forgotten_has_a_seat_again,
                nothing_is_remembered_of_a_forgotten_device, stale_groups_cannot_win, quiet_hours_and_settings_of_topics_are_kept,
                the_log_of_a_groups_topic_lives_on, a_hundred_thousand_users_join;
            audiences: audiences_follow_what_devices_are_and_do, audiences_come_in_pages_and_count_users,
                a_condition_is_evaluated_at_its_place_in_the_order, excluded_devices_are_not_counted,
                entries_tell_their_wishes, a_repeated_condition_gives_the_first_audience,
                the_broadcast_log_is_followed_from_where_a_device_was_seen, a_full_broadcast_log_trims_the_oldest;
            receipts: what_devices_report_is_counted_once_and_told_in_order, an_ack_counts_only_with_the_cursor_that_settles_it,
                reports_that_concern_nobody_are_ignored,
                an_inbox_push_is_for_the_devices_known_and_for_those_that_come,
                the_end_of_a_message_is_told_with_its_counts, what_was_sent_before_the_end_is_noted_after_it, the_dead_are_counted_once,
                topics_are_counted_and_told_once_a_second, a_topic_that_was_left_is_not_reported_of,
                without_receipts_nothing_is_kept, a_forgotten_device_has_missed_it,
                what_was_sent_does_not_look_like_a_failure;
            quotas: a_tenants_bounds_hold_instead_of_the_stores, stored_bytes_follow_what_is_kept,
                no_tenant_stores_more_than_it_may, topics_are_counted_while_something_holds_them,
                no_tenant_has_more_topics_than_it_may, a_clock_that_goes_back_counts_nothing_twice,
                viewers_that_come_and_go_take_nothing;
            journals: a_journal_read_in_pieces_gives_every_event_once, journals_and_tenants_are_apart,
                old_events_go_and_positions_never_begin_again, an_end_that_is_noticed_late_is_told_all_the_same,
                who_listens_hears_of_new_events_before_the_answer, notes_wait_for_no_disk,
                tags_sum_by_the_hour_of_acceptance, webhooks_go_on_where_they_were, a_webhook_is_on_disk_when_it_is_set,
                receipts_of_many_callers_have_no_gap;
            records: records_are_written_read_and_removed, records_are_written_only_as_expected_all_or_none,
                of_many_who_take_a_record_one_has_it, a_record_that_cannot_be_is_refused_alone,
                a_record_is_gone_when_its_time_is_over, what_is_over_counts_as_none,
                records_are_on_disk_and_told_when_they_are_answered, the_audit_log_is_the_tenants_and_everyones,
                the_audit_log_is_kept_for_a_time_of_its_own;
            records_random: any_writes_of_records_match_a_plain_model;
            receipts_random: counts_add_up_and_equal_a_plain_model;
            mind: what_is_cancelled_goes_and_those_who_may_have_it_are_told,
                what_is_cancelled_silently_leaves_no_word, a_dismissal_is_for_the_device_its_message_was_for,
                what_is_over_or_unknown_cannot_be_cancelled,
                a_dismissal_expires_with_its_message_and_makes_room_like_one,
                a_dismissal_in_a_topic_is_trimmed_like_a_message, a_named_message_is_replaced,
                only_what_may_be_replaced_is, a_collapse_key_tells_by_which_message;
            mind_later: a_scheduled_message_is_sent_once_when_its_time_has_come,
                a_scheduled_message_is_accepted_when_it_is_sent, a_time_that_has_passed_is_now,
                a_scheduled_message_is_what_its_push_asked_for, a_repeated_scheduled_push_is_scheduled_once,
                so_many_may_wait_and_no_more, a_scheduled_message_can_be_cancelled,
                what_could_not_be_sent_in_its_life_expires, a_full_inbox_keeps_a_scheduled_message_waiting,
                a_scheduled_message_replaces_when_it_is_sent, who_has_not_settled_in_time_is_handed_off_once,
                a_device_that_is_not_known_is_handed_off_too, what_is_over_or_settled_is_not_handed_off,
                a_scheduled_message_falls_back_after_it_was_sent, the_answer_to_a_hand_off_is_recorded_once;
            mind_seen: the_first_ack_takes_a_message_from_the_others,
                only_an_ack_of_a_device_it_is_for_takes_a_message, two_acks_in_one_batch_have_one_winner,
                an_ack_after_the_end_takes_nothing, what_a_user_has_seen_goes_from_the_other_devices,
                what_a_topic_brought_is_dismissed_for_its_user_alone, a_topic_of_a_group_is_dismissed_too,
                a_condition_is_cancelled_and_dismissed_for_its_audience,
                what_is_over_is_not_dismissed_but_what_made_room_is, seeing_what_is_for_any_device_takes_it,
                an_unknown_device_dismisses_nothing, a_full_inbox_goes_without_a_dismissal,
                a_conflated_topic_keeps_its_newest_push, what_a_conflated_topic_held_goes_in_bounded_steps,
                a_dismissal_that_is_for_no_device_makes_room,
                no_push_is_refused_for_the_sake_of_dismissals, what_is_settled_makes_room_before_a_dismissal,
                what_a_conflated_topic_held_goes_though_its_newest_is_cancelled, nothing_is_left_of_a_changed_mind;
            mind_random: any_change_of_mind_matches_a_plain_model;
            memberships: who_follows_what_matches_a_plain_model;
            random: any_sequence_matches_a_plain_model;
        );
    };
    ($place:expr, $($file:ident: $($check:ident),+;)+) => {
        $($(
            #[tokio::test]
            async fn $check() {
                crate::store::contract::$file::$check(&$place).await;
            }
        )+)+
    };
}
pub(super) use contract;

/// A time that tests begin at, in milliseconds.
const START: u64 = 1_700_000_000_000;

/// Milliseconds after the start.
fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(START + millis)
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn inbox(user: &str) -> LogId {
    LogId::Inbox(tenant("acme"), UserId::new(user).unwrap())
}

fn topic(name: &str) -> LogId {
    LogId::Topic(tenant("acme"), topic_name(name))
}

fn topic_name(name: &str) -> TopicName {
    TopicName::new(name).unwrap()
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn group_name(name: &str) -> GroupName {
    GroupName::new(name).unwrap()
}

/// Users join a group, which arises with the topic of its name.
async fn join(store: &dyn Store, group: &str, users: &[&str], now: Timestamp) {
    let add = users.iter().map(|name| user(name)).collect();
    let change = MembersChange { group: group_name(group), add, remove: Vec::new(), arises: vec![topic_name(group)] };
    store.change_members(&tenant("acme"), change, now).await.unwrap();
}

async fn leave(store: &dyn Store, group: &str, users: &[&str], now: Timestamp) {
    let remove = users.iter().map(|name| user(name)).collect();
    let change = MembersChange { group: group_name(group), add: Vec::new(), remove, arises: Vec::new() };
    store.change_members(&tenant("acme"), change, now).await.unwrap();
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}

fn receiver(user: &str, name: &str) -> Receiver {
    Receiver { tenant: tenant("acme"), user: UserId::new(user).unwrap(), device: device(name) }
}

fn id(number: u64) -> MessageId {
    let mut bytes = [0; 16];
    bytes[8..].copy_from_slice(&number.to_be_bytes());
    MessageId::from_bytes(bytes)
}

/// A push with this number as id and body, accepted at the start, that lives for a minute.
fn push(log: &LogId, number: u64) -> Append {
    Append {
        log: log.clone(),
        id: id(number),
        now: at(0),
        expires_at: at(60_000),
        urgency: Urgency::Normal,
        device: None,
        collapse_key: None,
        idempotency: None,
        durability: Durability::Relaxed,
        body: Bytes::from(number.to_string()),
        wishes: crate::store::Wishes::default(),
    }
}

fn keyed(key: &str, fingerprint: u64, append: Append) -> Append {
    Append { idempotency: Some(Idempotency { key: key.to_owned(), fingerprint }), ..append }
}

fn cursor_with(appended: Appended, spans: &[(u64, u64)]) -> Cursor {
    Cursor { epoch: appended.epoch, settled: spans.iter().copied().collect(), ..Cursor::default() }
}

fn settle(store: &dyn Store, receiver: &Receiver, log: &LogId, cursor: Cursor) -> Answer<()> {
    store.commit(Commit {
        receiver: receiver.clone(),
        cursors: vec![(log.clone(), cursor)],
        dead: Vec::new(),
        reports: Vec::new(),
    })
}

async fn read_all(store: &dyn Store, log: &LogId, now: Timestamp) -> Page {
    let page = store.read(log, Offset::ZERO, usize::MAX, usize::MAX, now).await.unwrap();
    assert_eq!(page.looked, page.head.last, "a page without bounds reaches the end");
    page
}

/// The ids of all entries of a log, as numbers.
async fn numbers(store: &dyn Store, log: &LogId, now: Timestamp) -> Vec<u64> {
    let page = read_all(store, log, now).await;
    page.entries.iter().map(|entry| u64::from_be_bytes(entry.id.as_bytes()[8..].try_into().unwrap())).collect()
}

/// Sweeps until nothing is due; returns expired and forgotten.
async fn sweep_all(store: &dyn Store, now: Timestamp) -> (u64, u64) {
    let mut sum = (0, 0);
    loop {
        let swept = store.sweep(now).await.unwrap();
        sum = (sum.0 + swept.expired, sum.1 + swept.forgotten);
        if !swept.more {
            return sum;
        }
    }
}

/// What a tenant takes is what stands in these logs, which are all that it has, and what waits for its time.
pub(super) async fn check_usage(store: &dyn Store, tenant: &TenantId, logs: &[LogId], waiting: u64) {
    let mut expected = Usage { topics: 0, stored_bytes: waiting };
    for log in logs {
        // What is over counts until it is swept.
        let page = read_all(store, log, Timestamp::ZERO).await;
        expected.stored_bytes += page.entries.iter().map(|entry| entry.body.len() as u64).sum::<u64>();
        if let LogId::Topic(_, name) = log {
            let conflate = store.topic(tenant, name).await.unwrap().conflate;
            expected.topics += u64::from(conflate || page.head != Head::default());
        }
    }
    assert_eq!(store.usage(tenant).await, Ok(expected), "counted, and as it is");
}

fn is_failed<T: std::fmt::Debug>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Failed(_)))
}

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}
