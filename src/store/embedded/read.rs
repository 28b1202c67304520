//! Questions that are answered from the table alone: pages, heads, who follows what. It
//! changes nothing.

use super::key;
use super::record;
use super::table::View;
use crate::model::clock::Timestamp;
use crate::model::cursor::Cursor;
use crate::model::id::{MessageId, Receiver, TenantId, UserId};
use crate::model::log::{Head, LogId, Offset};
use crate::model::message::Entry;
use crate::store::{Error, Following, Page};

/// Most expired entries that one page walks over; what is behind them comes with the next page. A guess: some
/// milliseconds of work, a thread of the runtime is not to be held longer.
const WALKED_MAX: usize = 1_024;

/// A log's record; `None` for a log that does not exist.
pub(super) fn log(view: &impl View, id: &LogId) -> Result<Option<record::Log>, Error> {
    view.get(&key::log(id))?.map(|bytes| record::Log::decode(&bytes)).transpose()
}

/// A log's head; the default one for a log that does not exist.
pub(super) fn head(view: &impl View, id: &LogId) -> Result<Head, Error> {
    Ok(log(view, id)?.unwrap_or_default().head)
}

/// A message's record.
pub(super) fn message(view: &impl View, tenant: &TenantId, id: MessageId) -> Result<Option<record::Message>, Error> {
    let bytes = view.get(&key::message(tenant, id))?;
    bytes.map(|bytes| record::Message::decode(tenant, id, &bytes)).transpose()
}

/// A device's record.
pub(super) fn device(view: &impl View, receiver: &Receiver) -> Result<Option<record::Device>, Error> {
    view.get(&key::device(receiver))?.map(|bytes| record::Device::decode(&bytes)).transpose()
}

/// The known devices of a user.
pub(super) fn devices(view: &impl View, tenant: &TenantId, user: &UserId) -> Result<Vec<Receiver>, Error> {
    let rows = view.prefix(&key::devices(tenant, user));
    rows.map(|row| key::receiver_of(&row?.0)).collect()
}

/// The cursor of a device in its inbox.
pub(super) fn cursor(view: &impl View, receiver: &Receiver, inbox: &LogId) -> Result<Option<Cursor>, Error> {
    let bytes = view.get(&key::cursor(receiver, inbox))?;
    Ok(bytes.map(|bytes| record::Follow::decode(&bytes)).transpose()?.map(|follow| follow.cursor))
}

/// All that is recorded of how a device follows logs, the inbox first.
pub(super) fn follows(view: &impl View, receiver: &Receiver) -> Result<Vec<(LogId, record::Follow)>, Error> {
    let prefix = key::cursors(receiver);
    let rows = view.prefix(&prefix);
    rows.map(|row| {
        let (key, value) = row?;
        Ok((key::log_of(&key, prefix.len(), &receiver.tenant)?, record::Follow::decode(&value)?))
    })
    .collect()
}

/// Adds the heads to cursors.
pub(super) fn following(view: &impl View, cursors: Vec<(LogId, Cursor)>) -> Result<Vec<Following>, Error> {
    let with_head = |(log, cursor)| Ok(Following { head: head(view, &log)?, log, cursor });
    cursors.into_iter().map(with_head).collect()
}

/// The entries from one offset on up to the head, expired ones included.
///
/// None should stand beyond the head, but it is not left to chance: its offset would be given again, and a session that
/// had seen it would take that one for settled.
pub(super) fn entries<'a>(
    view: &'a impl View,
    log: &LogId,
    from: Offset,
    head: &Head,
) -> impl Iterator<Item = Result<Entry, Error>> + 'a {
    let (from, before) = (key::entry(log, from), key::after(&key::entry(log, head.last)));
    let tenant = log.tenant().clone();
    view.range(&from, &before).map(move |row| {
        let (key, value) = row?;
        record::decode_entry(&tenant, key::offset_of(&key)?, &value)
    })
}

/// See [`crate::store::Store::read`].
pub(super) fn page(
    view: &impl View,
    log: &LogId,
    after: Offset,
    entries_max: usize,
    bytes_max: usize,
    now: Timestamp,
) -> Result<Page, Error> {
    let record = self::log(view, log)?.unwrap_or_default();
    let head = record.head;
    if after >= head.last {
        return Ok(Page { entries: Vec::new(), looked: head.last, head });
    }
    if entries_max == 0 {
        return Ok(Page { entries: Vec::new(), looked: after, head });
    }
    let (mut page, mut bytes, mut walked) = (Vec::new(), 0, 0);
    for entry in entries(view, log, after.next().max(record.first), &head) {
        let entry = entry?;
        let looked = entry.offset;
        if entry.expired(now) {
            walked += 1;
        } else {
            bytes += entry.body.len();
            page.push(entry);
        }
        if page.len() >= entries_max || bytes >= bytes_max && !page.is_empty() || walked >= WALKED_MAX {
            return Ok(Page { entries: page, looked, head });
        }
    }
    Ok(Page { entries: page, looked: head.last, head })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{key, record};
    use crate::model::clock::Timestamp;
    use crate::model::id::{MessageId, TenantId, UserId};
    use crate::model::log::{LogId, Offset};
    use crate::model::message::{Durability, Entry, Urgency};
    use crate::store::embedded::table::Table;
    use crate::store::open::{Options, open};
    use crate::store::{Append, Store};

    async fn append(store: &dyn Store, log: &LogId, number: u8) -> Offset {
        let append = Append {
            log: log.clone(),
            id: MessageId::from_bytes([number; 16]),
            now: Timestamp::ZERO,
            expires_at: Timestamp::from_millis(1),
            urgency: Urgency::Normal,
            device: None,
            collapse_key: None,
            idempotency: None,
            durability: Durability::Fsync,
            body: Bytes::from(vec![number]),
            wishes: crate::store::Wishes::default(),
        };
        store.append(append).await.unwrap().offset
    }

    /// A session that saw them would take the places that are given again for settled.
    #[tokio::test]
    async fn entries_beyond_the_head_do_not_exist() {
        let log = LogId::Inbox(TenantId::new("acme").unwrap(), UserId::new("ann").unwrap());
        let folder = tempfile::tempdir().unwrap();
        let options = Options { data: folder.path().to_owned(), ..Options::default() };
        assert_eq!(append(&*open(&options).unwrap(), &log, 1).await, Offset(1));
        let table = Table::open(folder.path(), 1 << 20, 1 << 20).unwrap();
        let left_over = (2..5).map(|number| {
            let entry = Entry {
                offset: Offset(number),
                id: MessageId::from_bytes([9; 16]),
                accepted_at: Timestamp::ZERO,
                expires_at: Timestamp::from_millis(1),
                urgency: Urgency::Normal,
                device: None,
                aim: None,
                receipts: true,
                body: Bytes::from_static(&[9]),
            };
            (key::entry(&log, entry.offset), Some(record::encode_entry(&entry).into()))
        });
        table.write(left_over, true).unwrap();
        drop(table);

        let store = open(&options).unwrap();
        assert_eq!(append(&*store, &log, 2).await, Offset(2));
        let page = store.read(&log, Offset::ZERO, usize::MAX, usize::MAX, Timestamp::ZERO).await.unwrap();
        let bodies: Vec<_> = page.entries.iter().map(|entry| (entry.offset.0, entry.body[0])).collect();
        assert_eq!((bodies, page.looked), (vec![(1, 1), (2, 2)], Offset(2)));
    }
}
