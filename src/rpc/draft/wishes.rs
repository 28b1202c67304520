//! Checks what few pushes ask for: a tag, exclusions, a time, taking another's place, a hand-off. It gives times that the
//! store can go by.

use std::time::Duration;

use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, MessageId, NameError, Tag, UserId};
use crate::model::message::{Durability, Exclusion, Target};
use crate::node::push::Wishes;
use crate::wire::pb;

/// Most exclusions (proto).
const EXCLUSIONS_MAX: usize = 100;
/// How far ahead a push may be scheduled (proto).
const SCHEDULE_AHEAD_MAX: Duration = Duration::from_secs(30 * 86_400);
/// The shortest and the longest wait for an ack before a hand-off, in seconds (proto).
const FALLBACK_SECONDS: std::ops::RangeInclusive<u64> = 1..=7 * 86_400;

/// What kind of target a push has: some options go with some kinds only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::rpc) enum Form {
    /// All devices of a user.
    User,
    /// One device.
    Device,
    /// Any device of a user.
    AnyOfUser,
    /// A topic or a condition.
    Many,
}

impl Form {
    /// The kind of a target.
    pub(super) const fn of(target: &Target) -> Self {
        match target {
            Target::User(_) => Self::User,
            Target::Device(..) => Self::Device,
            Target::AnyOfUser(_) => Self::AnyOfUser,
            Target::Topic(_) | Target::Condition(_) => Self::Many,
        }
    }
}

/// Checks the wishes of a request that came `now`. What follows from the target itself is not among them.
///
/// # Errors
/// The first thing that is wrong, in the order of the fields.
pub(super) fn check(
    request: &pb::PushRequest,
    form: Form,
    durability: Durability,
    now: Timestamp,
) -> Result<Wishes, Fault> {
    check_stored(request, form, durability)?;
    let tag = match request.tag.as_str() {
        "" => None,
        name => Some(Tag::new(name).map_err(|error| invalid_name("tag", &error))?),
    };
    let exclude = check_exclusions(&request.exclude, form)?;
    let replaces = match request.replaces.as_str() {
        "" => None,
        id => Some(MessageId::parse(id).ok_or_else(|| {
            invalid("replaces is not a message id, which is a UUID as the push's answer gave it".to_owned())
        })?),
    };
    let send_at = check_send_at(request.send_at_ms, now)?;
    let fallback_at = check_fallback(request.fallback_after_seconds, form, send_at.unwrap_or(now))?;
    Ok(Wishes {
        condition: None,
        exclude,
        any_of_user: false,
        replaces,
        send_at,
        tag,
        without_receipts: request.without_receipts,
        fallback_at,
    })
}

/// Refuses what a push that is stored nowhere cannot keep.
fn check_stored(request: &pb::PushRequest, form: Form, durability: Durability) -> Result<(), Fault> {
    let why = match (durability, request.ttl_seconds) {
        (Durability::None, _) => "durability none stores nothing: use fsync or relaxed",
        (_, Some(0)) => "a time to live of 0 stores nothing: give it seconds to live",
        _ => return Ok(()),
    };
    let asked = [
        ("target.any_of_user", form == Form::AnyOfUser),
        ("tag", !request.tag.is_empty()),
        ("replaces", !request.replaces.is_empty()),
        ("send_at_ms", request.send_at_ms != 0),
        ("fallback_after_seconds", request.fallback_after_seconds.is_some()),
    ];
    match asked.into_iter().find(|(_, asked)| *asked) {
        Some((field, _)) => Err(invalid(format!("{field} needs a stored push, and {why}"))),
        None => Ok(()),
    }
}

fn check_exclusions(asked: &[pb::Exclusion], form: Form) -> Result<Vec<Exclusion>, Fault> {
    if asked.len() > EXCLUSIONS_MAX {
        return Err(invalid(format!("exclude: there are {}; the limit is {EXCLUSIONS_MAX}", asked.len())));
    }
    if form == Form::Device && !asked.is_empty() {
        return Err(invalid("exclude does not go with a push to one device: who is not to get it is not named".into()));
    }
    let check = |(at, exclusion): (usize, &pb::Exclusion)| {
        let user =
            UserId::new(&exclusion.user).map_err(|error| invalid_name(&format!("exclude[{at}].user"), &error))?;
        let device = match exclusion.device.as_str() {
            "" => None,
            device => {
                let device = DeviceId::new(device);
                Some(device.map_err(|error| invalid_name(&format!("exclude[{at}].device"), &error))?)
            }
        };
        Ok(Exclusion { user, device })
    };
    asked.iter().enumerate().map(check).collect()
}

/// When to send; `None` for at once, which a time that has passed means too.
fn check_send_at(asked_ms: u64, now: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let asked = Timestamp::from_millis(asked_ms);
    if asked > now + SCHEDULE_AHEAD_MAX {
        let days = SCHEDULE_AHEAD_MAX.as_secs() / 86_400;
        return Err(invalid(format!(
            "send_at_ms is more than {days} days from now, which is {} in unix milliseconds",
            now.as_millis()
        )));
    }
    Ok((asked > now).then_some(asked))
}

fn check_fallback(asked: Option<u64>, form: Form, begins: Timestamp) -> Result<Option<Timestamp>, Fault> {
    let Some(seconds) = asked else { return Ok(None) };
    if !FALLBACK_SECONDS.contains(&seconds) {
        let (least, most) = (FALLBACK_SECONDS.start(), FALLBACK_SECONDS.end());
        return Err(invalid(format!("fallback_after_seconds is {seconds}; give {least} to {most}")));
    }
    if form == Form::Many {
        let words = "fallback_after_seconds goes with pushes to users and devices, not with topics and conditions";
        return Err(invalid(words.to_owned()));
    }
    Ok(Some(begins + Duration::from_secs(seconds)))
}

fn invalid_name(field: &str, error: &NameError) -> Fault {
    Fault::new(Code::InvalidName, format!("{field}: {error}"))
}

fn invalid(words: String) -> Fault {
    Fault::new(Code::InvalidOption, words)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Form, check};
    use crate::model::clock::Timestamp;
    use crate::model::fault::Code;
    use crate::model::id::{DeviceId, MessageId, Tag, UserId};
    use crate::model::message::{Durability, Exclusion};
    use crate::node::push::Wishes;
    use crate::wire::pb;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const DAY_MS: u64 = 86_400_000;

    fn request() -> pb::PushRequest {
        pb::PushRequest::default()
    }

    fn excluded(user: &str, device: &str) -> pb::Exclusion {
        pb::Exclusion { user: user.into(), device: device.into() }
    }

    #[test]
    fn what_is_wished_arrives_with_times_that_stand() {
        let id = MessageId::new(7, [7; 10]);
        let asked = pb::PushRequest {
            tag: "spring".into(),
            without_receipts: true,
            exclude: vec![excluded("u", ""), excluded("v", "phone")],
            replaces: id.to_string(),
            send_at_ms: NOW.as_millis() + 30 * DAY_MS,
            fallback_after_seconds: Some(7 * 86_400),
            ..request()
        };
        let user = |name| UserId::new(name).expect("a name");
        let send_at = NOW + Duration::from_secs(30 * 86_400);
        let expected = Wishes {
            condition: None,
            exclude: vec![
                Exclusion { user: user("u"), device: None },
                Exclusion { user: user("v"), device: Some(DeviceId::new("phone").expect("a name")) },
            ],
            any_of_user: false,
            replaces: Some(id),
            send_at: Some(send_at),
            tag: Some(Tag::new("spring").expect("a name")),
            without_receipts: true,
            fallback_at: Some(send_at + Duration::from_secs(7 * 86_400)),
        };
        assert_eq!(check(&asked, Form::User, Durability::Fsync, NOW), Ok(expected));
        assert_eq!(check(&request(), Form::Many, Durability::None, NOW), Ok(Wishes::default()));
    }

    /// A sender whose clock is behind, or whose call took long, still gets it out.
    #[test]
    fn a_time_that_has_passed_means_at_once() {
        for send_at_ms in [0, 1, NOW.as_millis()] {
            let asked = pb::PushRequest { send_at_ms, fallback_after_seconds: Some(1), ..request() };
            let wishes = check(&asked, Form::Device, Durability::Relaxed, NOW).expect("good wishes");
            assert_eq!((wishes.send_at, wishes.fallback_at), (None, Some(NOW + Duration::from_secs(1))));
        }
    }

    #[test]
    fn each_refusal_has_its_code_and_names_its_field() {
        let seconds = |seconds| pb::PushRequest { fallback_after_seconds: Some(seconds), ..request() };
        let exclude = |exclude: Vec<pb::Exclusion>| pb::PushRequest { exclude, ..request() };
        let tag = |tag: &str| pb::PushRequest { tag: tag.into(), ..request() };
        let later = pb::PushRequest { send_at_ms: NOW.as_millis() + 1, ..request() };
        let too_late = pb::PushRequest { send_at_ms: NOW.as_millis() + 30 * DAY_MS + 1, ..request() };
        let replaces = |id: &str| pb::PushRequest { replaces: id.into(), ..request() };
        let id = MessageId::new(7, [7; 10]).to_string();
        let now_or_never = |request| pb::PushRequest { ttl_seconds: Some(0), ..request };
        let (fsync, none) = (Durability::Fsync, Durability::None);
        let cases = [
            (Code::InvalidName, "tag: ", tag("a b"), Form::User, fsync),
            (Code::InvalidName, "tag: ", tag(&"x".repeat(129)), Form::Many, fsync),
            (Code::InvalidOption, "exclude: there are 101", exclude(vec![excluded("u", ""); 101]), Form::Many, fsync),
            (
                Code::InvalidName,
                "exclude[1].user",
                exclude(vec![excluded("u", ""), excluded("", "d")]),
                Form::Many,
                fsync,
            ),
            (Code::InvalidName, "exclude[0].device", exclude(vec![excluded("u", "a/b")]), Form::User, fsync),
            (Code::InvalidOption, "exclude does not go", exclude(vec![excluded("u", "")]), Form::Device, fsync),
            (Code::InvalidOption, "replaces is not", replaces("yesterday's"), Form::User, fsync),
            (Code::InvalidOption, "send_at_ms is more than 30 days", too_late, Form::Many, fsync),
            (Code::InvalidOption, "fallback_after_seconds is 0", seconds(0), Form::User, fsync),
            (Code::InvalidOption, "fallback_after_seconds is 604801", seconds(604_801), Form::AnyOfUser, fsync),
            (Code::InvalidOption, "fallback_after_seconds goes with", seconds(60), Form::Many, fsync),
            (Code::InvalidOption, "target.any_of_user needs", request(), Form::AnyOfUser, none),
            (Code::InvalidOption, "tag needs", tag("a"), Form::User, none),
            (Code::InvalidOption, "replaces needs", replaces(&id), Form::User, none),
            (Code::InvalidOption, "send_at_ms needs", later.clone(), Form::User, none),
            (Code::InvalidOption, "send_at_ms needs", now_or_never(later), Form::Many, fsync),
            (Code::InvalidOption, "fallback_after_seconds needs", seconds(60), Form::User, none),
            (Code::InvalidOption, "fallback_after_seconds needs", now_or_never(seconds(60)), Form::User, fsync),
        ];
        for (code, words, request, form, durability) in cases {
            let fault = check(&request, form, durability, NOW).expect_err(words);
            assert_eq!(fault.code, code, "{request:?}: {fault}");
            assert!(fault.words.starts_with(words), "{words}: {fault}");
        }
        let most = exclude(vec![excluded("u", ""); 100]);
        assert!(check(&most, Form::Many, none, NOW).is_ok(), "the limits themselves are allowed");
    }
}
