//! Keys of what few pushes ask for: to wait for their time, to be the only one of their topic, to be seen once.

use super::{COLLAPSE, message, push, push_log};
use crate::model::id::{MessageId, TenantId, UserId};
use crate::model::log::LogId;

/// Kind of a note that a user has dismissed a message that stands for others.
pub(in crate::store::embedded) const SEEN: u8 = b'V';

const SCHEDULED: u8 = b'S';
const WAITING: u8 = b'P';

/// The newest entry of a topic that keeps one only. No collapse key of the log has this key: those go on after the log.
pub(in crate::store::embedded) fn conflated(log: &LogId) -> Vec<u8> {
    let mut key = vec![COLLAPSE];
    push_log(&mut key, log);
    key
}

/// What a message is that waits for its time, besides its record.
pub(in crate::store::embedded) fn scheduled(tenant: &TenantId, id: MessageId) -> Vec<u8> {
    let mut key = message(tenant, id);
    key[0] = SCHEDULED;
    key
}

/// How many messages of a tenant wait for their time.
pub(in crate::store::embedded) fn waiting(tenant: &TenantId) -> Vec<u8> {
    let mut key = vec![WAITING];
    push(&mut key, tenant.as_str());
    key
}

/// A note that a user has dismissed a message that stands for others.
pub(in crate::store::embedded) fn seen(tenant: &TenantId, id: MessageId, user: &UserId) -> Vec<u8> {
    let mut key = message(tenant, id);
    key[0] = SEEN;
    push(&mut key, user.as_str());
    key
}

#[cfg(test)]
mod tests {
    use super::conflated;
    use crate::model::id::{TenantId, TopicName};
    use crate::model::log::LogId;
    use crate::store::embedded::key::collapse;

    #[test]
    fn the_key_of_a_conflated_topic_is_no_collapse_key() {
        let log = |name| LogId::Topic(TenantId::new("acme").unwrap(), TopicName::new(name).unwrap());
        for text in ["", "a", "b\0"] {
            for name in ["a", "aa"] {
                assert_ne!(conflated(&log("a")), collapse(&log(name), None, text));
            }
        }
    }
}
