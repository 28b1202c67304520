//! Shares: tokens with which people without an account follow a few topics.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::auth::{SHARE_LIFE_MAX, ShareClaims, new_id};
use crate::model::audit::{Action, Actor};
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::id::{ShareId, TenantId, TopicName, UserId};
use crate::node::Node;
use crate::store::{Expected, Put, Record, Shelf};

/// A share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// Its id.
    pub id: ShareId,
    /// What viewers follow.
    pub topics: Vec<TopicName>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its token expires.
    pub expires_at: Timestamp,
    /// Viewers at the same time.
    pub viewers_max: u32,
    /// Viewers on this node now.
    pub viewers: u32,
    /// For whoever looks at the list.
    pub note: String,
}

/// What is asked for; `None` for the default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewShare {
    /// What viewers follow.
    pub topics: Vec<TopicName>,
    /// How long it is good.
    pub ttl: Option<Duration>,
    /// Viewers at the same time.
    pub viewers_max: Option<u32>,
    /// For whoever looks at the list.
    pub note: String,
}

/// The shares of all tenants, in memory.
#[derive(Debug, Default)]
pub(crate) struct Shares(RwLock<HashMap<TenantId, BTreeMap<ShareId, Arc<Kept>>>>);

/// What is kept of a share.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) topics: Arc<[TopicName]>,
    pub(crate) viewers_max: u32,
    created_at: Timestamp,
    expires_at: Timestamp,
    note: String,
}

/// The record's form.
#[derive(Serialize, Deserialize)]
struct Written {
    topics: Vec<String>,
    viewers_max: u32,
    created_at: Timestamp,
    expires_at: Timestamp,
    #[serde(default)]
    note: String,
}

impl Kept {
    fn read(record: &Record) -> Option<Self> {
        let written: Written = serde_json::from_slice(&record.value).ok()?;
        let topics: Option<_> = written.topics.iter().map(|topic| TopicName::new(topic).ok()).collect();
        let Written { viewers_max, created_at, expires_at, note, .. } = written;
        Some(Self { topics: topics?, viewers_max, created_at, expires_at, note })
    }

    fn write(&self) -> Vec<u8> {
        let written = Written {
            topics: self.topics.iter().map(ToString::to_string).collect(),
            viewers_max: self.viewers_max,
            created_at: self.created_at,
            expires_at: self.expires_at,
            note: self.note.clone(),
        };
        serde_json::to_vec(&written).expect("strings and numbers are always JSON")
    }
}

impl Shares {
    /// Takes a record in, or out. Gives whose viewers are to end; `Err` when it cannot be read.
    pub(super) fn recorded(&self, name: &str, record: Option<&Record>) -> Result<Option<(TenantId, UserId)>, ()> {
        let (tenant, share) = name.split_once('/').ok_or(())?;
        let (tenant, share) = (TenantId::new(tenant).map_err(drop)?, ShareId::new(share).map_err(drop)?);
        let kept = record.map(|record| Kept::read(record).ok_or(())).transpose()?;
        let mut tenants = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let of_tenant = tenants.entry(tenant.clone()).or_default();
        let viewers = kept.is_none().then(|| viewers_of(&share));
        match kept {
            Some(kept) => drop(of_tenant.insert(share, Arc::new(kept))),
            None => drop(of_tenant.remove(&share)),
        }
        if of_tenant.is_empty() {
            tenants.remove(&tenant);
        }
        Ok(viewers.map(|viewers| (tenant, viewers)))
    }

    /// A share.
    pub(crate) fn get(&self, tenant: &TenantId, share: &ShareId) -> Option<Arc<Kept>> {
        self.read().get(tenant)?.get(share).cloned()
    }

    /// How many a tenant has.
    fn count(&self, tenant: &TenantId) -> usize {
        self.read().get(tenant).map_or(0, BTreeMap::len)
    }

    /// Those of a tenant after one that are wanted, by id, at most so many.
    fn page(
        &self,
        tenant: &TenantId,
        after: Option<&ShareId>,
        most: usize,
        wanted: impl Fn(&Kept) -> bool,
    ) -> Vec<(ShareId, Arc<Kept>)> {
        let shares = self.read();
        let Some(of_tenant) = shares.get(tenant) else { return Vec::new() };
        let rest = of_tenant.range::<ShareId, _>((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let page = rest.filter(|(_, kept)| wanted(kept)).take(most);
        page.map(|(id, kept)| (id.clone(), Arc::clone(kept))).collect()
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<TenantId, BTreeMap<ShareId, Arc<Kept>>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Node {
    /// Makes a share; answers with its token and what it is.
    ///
    /// # Errors
    /// A refusal, or the store's fault.
    pub async fn create_share(
        &self,
        tenant: &TenantId,
        share: NewShare,
        actor: Actor,
    ) -> Result<(String, Share), Fault> {
        let (ttl, viewers_max) = check(&share)?;
        if self.live.shares.count(tenant) >= SHARES_MAX {
            let words = format!("the tenant has {SHARES_MAX} shares, which is the limit; revoke some");
            return Err(Fault::new(Code::TooManyRecords, words));
        }
        let now = self.clock.now().wall;
        let created_at = self.live.revocations.stamp(now);
        // What the token says, which is rounded.
        let expires_at = Timestamp::from_millis((now + ttl).as_millis() / 1000 * 1000);
        let id = ShareId::new(&new_id().to_string()).expect("digits and dashes are a name");
        let topics: Arc<[TopicName]> = share.topics.into();
        let kept = Kept { topics, viewers_max, created_at, expires_at, note: share.note };
        let put = Put {
            shelf: Shelf::Shares,
            name: format!("{tenant}/{id}"),
            value: Some(kept.write().into()),
            expected: Expected::Absent,
            until: Some(expires_at),
        };
        let mut event = self.audit_event(tenant, actor, Action::ShareCreated, format!("share:{id}"));
        let topics: Vec<_> = kept.topics.iter().map(TopicName::as_str).collect();
        event.details = [
            ("topics".to_owned(), topics.join(" ")),
            ("viewers_max".to_owned(), viewers_max.to_string()),
            ("expires_at_ms".to_owned(), expires_at.as_millis().to_string()),
        ]
        .into();
        self.write_records(vec![put], event).await?;
        let claims = ShareClaims { tenant: tenant.clone(), share: id.clone(), issued_at: created_at, expires_at };
        Ok((self.authority.sign_share(&claims), self.shown(tenant, id, &kept)))
    }

    /// Shares after one, by id, at most so many; and whether there are more.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn shares(
        &self,
        tenant: &TenantId,
        after: Option<ShareId>,
        most: usize,
    ) -> Result<(Vec<Share>, bool), Fault> {
        let (now, revoked) = (self.clock.now().wall, self.live.revocations.all(tenant));
        let good = |kept: &Kept| kept.expires_at > now && revoked.is_none_or(|at| kept.created_at > at);
        let mut page = self.live.shares.page(tenant, after.as_ref(), most.saturating_add(1), good);
        let more = page.len() > most;
        page.truncate(most);
        Ok((page.into_iter().map(|(id, kept)| self.shown(tenant, id, &kept)).collect(), more))
    }

    /// Takes a share back; answers with how many viewers of this node were told to end.
    ///
    /// # Errors
    /// [`Code::ShareNotFound`], or the store's fault.
    pub async fn revoke_share(&self, tenant: &TenantId, share: &ShareId, actor: Actor) -> Result<u32, Fault> {
        if self.live.shares.get(tenant, share).is_none() {
            return Err(Fault::new(Code::ShareNotFound, format!("the tenant has no share {share}")));
        }
        let name = format!("{tenant}/{share}");
        let count = self.live.count(Shelf::Shares, name.clone());
        let put = Put { shelf: Shelf::Shares, name, value: None, expected: Expected::Any, until: None };
        let event = self.audit_event(tenant, actor, Action::ShareRevoked, format!("share:{share}"));
        self.write_records(vec![put], event).await?;
        Ok(count.ended())
    }

    fn shown(&self, tenant: &TenantId, id: ShareId, kept: &Kept) -> Share {
        Share {
            topics: kept.topics.to_vec(),
            created_at: kept.created_at,
            expires_at: kept.expires_at,
            viewers_max: kept.viewers_max,
            viewers: self.hub.connected_of(tenant, &viewers_of(&id)),
            note: kept.note.clone(),
            id,
        }
    }
}

/// The user that the viewers of a share are: nobody else can have such a name.
pub(crate) fn viewers_of(share: &ShareId) -> UserId {
    UserId::new(&format!("_share:{share}")).expect("an id of a share is a short name")
}

/// Its life and the most viewers.
fn check(share: &NewShare) -> Result<(Duration, u32), Fault> {
    let refuse = |words: String| Err(Fault::new(Code::InvalidOption, words));
    let mut topics: Vec<_> = share.topics.iter().collect();
    topics.sort_unstable();
    topics.dedup();
    if !(1..=TOPICS_MAX).contains(&share.topics.len()) || topics.len() < share.topics.len() {
        return refuse(format!("topics: give 1 to {TOPICS_MAX}, each once"));
    }
    let ttl = share.ttl.unwrap_or(TTL);
    if !(TTL_MIN..=SHARE_LIFE_MAX).contains(&ttl) {
        return refuse(format!("ttl_seconds: give {} to {}", TTL_MIN.as_secs(), SHARE_LIFE_MAX.as_secs()));
    }
    let viewers_max = share.viewers_max.unwrap_or(VIEWERS);
    if !(1..=VIEWERS_MAX).contains(&viewers_max) {
        return refuse(format!("viewers_max: give 1 to {VIEWERS_MAX}"));
    }
    if share.note.len() > NOTE_BYTES_MAX {
        return refuse(format!("note: give at most {NOTE_BYTES_MAX} bytes"));
    }
    Ok((ttl, viewers_max))
}

/// Shares of one tenant. A guess: 5 MiB.
pub(crate) const SHARES_MAX: usize = 10_000;
/// Topics of one share.
const TOPICS_MAX: usize = 10;
/// Life of a share that names none.
const TTL: Duration = Duration::from_secs(86_400);
/// Shortest life of a share.
const TTL_MIN: Duration = Duration::from_secs(60);
/// Viewers of a share that names no number.
const VIEWERS: u32 = 100;
/// Most viewers of one share.
const VIEWERS_MAX: u32 = 10_000;
/// Longest note.
const NOTE_BYTES_MAX: usize = 256;
