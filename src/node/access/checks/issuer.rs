//! The keys of identity providers: fetched by one task for each provider, kept while it is down, fetched anew when they are
//! old or a token names one that is not known. It judges no tokens.
//!
//! ```text
//!           login          age is over, or an unknown key (at most one in `unknown_pause`)
//! (none) ----------> fetching <---------------------------------------- resting
//!                     |    ^ \______ fetched, or failed with old keys _____^  |
//!              failed |    | pause is over                                    | no login for `idle_max`
//!                     v    |                                                  v
//!                    without keys                                          (none)
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use tokio::sync::{Notify, watch};

use crate::auth::key_set::{KeySet, KeySetError};
use crate::hook::{self, Place, PlaceError};
use crate::model::clock::Moment;
use crate::model::tenant::JwtLogin;
use crate::node::access::checks::Checks;

/// Where a provider's keys are found. Tenants that name the same share them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Source {
    issuer: String,
    /// Empty: the provider's own description says it.
    jwks_url: String,
}

/// Why there are no new keys.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Asked(#[from] hook::Error),
    #[error("the page with the keys: {0}")]
    Keys(#[from] KeySetError),
    #[error("the URL of the keys: {0}")]
    Place(#[from] PlaceError),
    #[error("its description (.well-known/openid-configuration) {0}")]
    Description(&'static str),
}

/// The providers that logins named, each with a task that fetches its keys.
#[derive(Default)]
pub(super) struct Issuers {
    known: Mutex<HashMap<Source, Arc<Issuer>>>,
}

/// A provider.
pub(super) struct Issuer {
    source: Source,
    /// What its task has found.
    state: watch::Sender<State>,
    /// Rings when a token named a key that is not known.
    wanted: Notify,
    /// When a login named it last, in microseconds of the clock. Written below the lock of [`Issuers`].
    used: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct State {
    /// The newest that were fetched.
    keys: Option<Arc<KeySet>>,
    /// When that was.
    fetched_at: Moment,
    /// Fetches that came to an end.
    tries: u64,
    /// The last one brought nothing.
    failed: bool,
    /// Before this moment no token causes a fetch.
    unknown_from: Moment,
}

/// What a look for newer keys brought.
pub(super) enum Newer {
    /// Keys that were fetched now.
    Keys(Arc<KeySet>),
    /// They were fetched a moment ago: the token's key is not among them.
    Known,
    /// The provider cannot be reached: nothing is known of the token's key.
    Unreachable,
}

impl Source {
    pub(super) fn of(way: &JwtLogin) -> Self {
        Self { issuer: way.issuer.clone(), jwks_url: way.jwks_url.clone() }
    }

    /// The page to begin with: the keys themselves, or the description that says where they are.
    pub(super) fn first_page(&self) -> Result<Place, PlaceError> {
        match self.jwks_url.as_str() {
            "" => Place::parse(&format!("{}{DESCRIPTION}", self.issuer.trim_end_matches('/'))),
            url => Place::parse(url),
        }
    }
}

impl Checks {
    /// The provider of a tenant, whose keys are fetched from now on. `None`: there are too many.
    pub(super) fn issuer(&self, source: Source) -> Option<Arc<Issuer>> {
        let now = self.clock.now().moment.as_micros();
        let mut known = self.issuers.lock();
        if let Some(issuer) = known.get(&source) {
            issuer.used.store(now, Ordering::Relaxed);
            return Some(Arc::clone(issuer));
        }
        if known.len() >= ISSUERS_MAX {
            return None;
        }
        let issuer = Arc::new(Issuer {
            source: source.clone(),
            state: watch::Sender::default(),
            wanted: Notify::new(),
            used: AtomicU64::new(now),
        });
        known.insert(source, Arc::clone(&issuer));
        drop(known);
        let keeper = Keeper {
            issuer: Arc::clone(&issuer),
            issuers: Arc::clone(&self.issuers),
            asker: self.asker.clone(),
            options: Arc::clone(&self.options),
            clock: self.clock,
        };
        let drained = self.drained.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = keeper.keep() => {}
                () = drained.cancelled() => {}
            }
            keeper.end();
        });
        Some(issuer)
    }

    /// The keys of a provider; waits for them when they are fetched for the first time.
    pub(super) async fn keys(&self, issuer: &Issuer) -> Option<Arc<KeySet>> {
        let mut seen = issuer.state.subscribe();
        let first = seen.wait_for(|state| state.keys.is_some() || state.tries > 0);
        let state = tokio::time::timeout(self.longest_fetch(), first).await.ok()?.ok()?.clone();
        let age = self.clock.now().moment.since(state.fetched_at);
        let is_too_old = state.failed && age > self.options.age_max + self.options.kept_max;
        state.keys.filter(|_| !is_too_old)
    }

    /// Looks for newer keys, since a token names one that is not among those at hand.
    pub(super) async fn newer(&self, issuer: &Issuer) -> Newer {
        let mut seen = issuer.state.subscribe();
        let before = seen.borrow().clone();
        if self.clock.now().moment < before.unknown_from {
            return if before.failed { Newer::Unreachable } else { Newer::Known };
        }
        issuer.wanted.notify_one();
        let next = seen.wait_for(|state| state.tries > before.tries);
        match tokio::time::timeout(self.longest_fetch(), next).await {
            Ok(Ok(state)) if !state.failed => state.keys.clone().map_or(Newer::Unreachable, Newer::Keys),
            _ => Newer::Unreachable,
        }
    }

    /// Two pages, and some time for the task to come to it.
    fn longest_fetch(&self) -> Duration {
        self.options.page_timeout * 3
    }
}

impl Issuers {
    fn lock(&self) -> MutexGuard<'_, HashMap<Source, Arc<Issuer>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The task of a provider.
struct Keeper {
    issuer: Arc<Issuer>,
    issuers: Arc<Issuers>,
    asker: hook::Asker,
    options: Arc<super::Options>,
    clock: crate::model::clock::Clock,
}

impl Keeper {
    /// Fetches, rests, fetches; ends when nobody uses the provider any more.
    async fn keep(&self) {
        let mut pause = self.options.retry_first;
        loop {
            let rest = match self.fetch().await {
                Ok((keys, fresh_for)) => {
                    pause = self.options.retry_first;
                    self.fetched(keys);
                    let age = fresh_for.unwrap_or(self.options.age_default);
                    // Nodes that began together do not all come back together.
                    age.clamp(self.options.age_min, self.options.age_max).mul_f64(0.9 + fastrand::f64() / 10.0)
                }
                Err(error) => {
                    self.failed(&error);
                    let rest = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
                    pause = (pause * 2).min(self.options.retry_max);
                    rest
                }
            };
            self.rest(rest).await;
            if self.is_forgotten() {
                return;
            }
        }
    }

    async fn fetch(&self) -> Result<(KeySet, Option<Duration>), Error> {
        let (source, timeout) = (&self.issuer.source, self.options.page_timeout);
        let mut place = source.first_page()?;
        if source.jwks_url.is_empty() {
            let page = self.asker.fetch(&place, timeout).await?;
            let description: Description =
                serde_json::from_slice(&page.body).map_err(|_| Error::Description("cannot be read"))?;
            // OpenID Connect Discovery, section 4.3: whoever serves the page must not speak for another.
            if description.issuer != source.issuer {
                return Err(Error::Description("is that of another issuer"));
            }
            let keys = Place::parse(&description.jwks_uri)?;
            if place.is_tls() && !keys.is_tls() {
                return Err(Error::Description("names a URL for the keys that is not https"));
            }
            place = keys;
        }
        let page = self.asker.fetch(&place, timeout).await?;
        Ok((KeySet::parse(&page.body)?, page.fresh_for))
    }

    fn fetched(&self, keys: KeySet) {
        let now = self.clock.now().moment;
        let mut failed = false;
        self.issuer.state.send_modify(|state| {
            failed = state.failed;
            let unknown_from = state.unknown_from;
            let tries = state.tries + 1;
            *state = State { keys: Some(Arc::new(keys)), fetched_at: now, tries, failed: false, unknown_from };
        });
        if failed {
            tracing::info!(issuer = self.issuer.source.issuer, "the keys of an identity provider can be fetched again");
        }
    }

    fn failed(&self, error: &Error) {
        let mut state = State::default();
        self.issuer.state.send_modify(|found| {
            state = found.clone();
            found.tries += 1;
            found.failed = true;
        });
        if !state.failed {
            let issuer = &self.issuer.source.issuer;
            let kept = state.keys.is_some();
            tracing::warn!(issuer, %error, kept, "the keys of an identity provider cannot be fetched; it is tried again");
        }
    }

    /// Waits until the keys are old, or a token names an unknown one.
    async fn rest(&self, time: Duration) {
        let over = tokio::time::sleep(time);
        tokio::pin!(over);
        loop {
            tokio::select! {
                () = &mut over => return,
                () = self.issuer.wanted.notified() => {}
            }
            let now = self.clock.now().moment;
            let begins = self.issuer.state.send_if_modified(|state| {
                let begins = now >= state.unknown_from;
                if begins {
                    state.unknown_from = now + self.options.unknown_pause;
                }
                begins
            });
            if begins {
                return;
            }
        }
    }

    /// Forgets the provider when no login has named it for long.
    fn is_forgotten(&self) -> bool {
        let now = self.clock.now().moment;
        let mut known = self.issuers.lock();
        let used = Moment::from_micros(self.issuer.used.load(Ordering::Relaxed));
        let is_idle = now.since(used) >= self.options.idle_max;
        if is_idle {
            known.remove(&self.issuer.source);
        }
        is_idle
    }

    /// Tells whoever waits that nothing comes any more.
    fn end(&self) {
        self.issuer.state.send_modify(|state| {
            state.tries += 1;
            state.failed = true;
        });
    }
}

/// What matters here of a provider's description (OpenID Connect Discovery, section 3).
#[derive(Deserialize)]
struct Description {
    issuer: String,
    jwks_uri: String,
}

/// Where a provider describes itself (OpenID Connect Discovery, section 4).
const DESCRIPTION: &str = "/.well-known/openid-configuration";
/// Providers that are known at most. A guess: tenants have one each, and this many would be fetched from every second.
const ISSUERS_MAX: usize = 1_000;
