//! Tenants as the operator makes and changes them.

use std::sync::Arc;

use bytes::Bytes;

use crate::model::audit::{Action, Actor};
use crate::model::fault::{Code, Fault};
use crate::model::id::TenantId;
use crate::model::tenant::{Limits, LoginWays, Tenant};
use crate::node::access::changes::changes;
use crate::node::access::state::Known;
use crate::node::access::ways;
use crate::node::{Node, fault};
use crate::store::{self, Expected, Put, RECORD_BYTES_MAX, Shelf};

/// A tenant with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: TenantId,
    /// What is known of it. The secret of its business login is empty, but in the answer to the call that made or changed
    /// it.
    pub tenant: Tenant,
    /// Grows with each change; 0 for one without a record.
    pub version: u64,
    /// It stands in the configuration, or is the gateway's first, and has no record.
    pub implicit: bool,
}

impl Node {
    /// Makes a tenant.
    ///
    /// # Errors
    /// `tenant_exists`, another refusal, or the store's fault.
    pub async fn create_tenant(
        &self,
        name: &TenantId,
        limits: Limits,
        login: LoginWays,
        actor: Actor,
    ) -> Result<Named, Fault> {
        if name.is_reserved() {
            let words = "names that begin with an underscore are the gateway's own; choose another";
            return Err(Fault::new(Code::InvalidName, words));
        }
        let exists = || Fault::new(Code::TenantExists, format!("the tenant {name} exists"));
        if self.access.tenant(name).is_some() {
            return Err(exists());
        }
        if self.access.tenant_count() >= TENANTS_MAX {
            let words = format!("there are {TENANTS_MAX} tenants, which is the limit");
            return Err(Fault::new(Code::TooManyRecords, words));
        }
        check(&limits)?;
        let login = ways::checked(login, &LoginWays::default())?;
        let tenant = Tenant { created_at: self.clock.now().wall, suspended: false, limits, login };
        let known = self.put_tenant(name, &Known::default(), tenant, Action::TenantCreated, actor).await;
        let known = known.map_err(|fault| if fault.code == Code::StaleVersion { exists() } else { fault })?;
        Ok(shown(name, &Known::default(), known))
    }

    /// A tenant.
    ///
    /// # Errors
    /// `tenant_not_found`.
    pub fn tenant(&self, name: &TenantId) -> Result<Named, Fault> {
        let known = self.known(name)?;
        Ok(shown(name, &known, Known::clone(&known)))
    }

    /// Tenants after a name, at most so many; and whether there are more.
    #[must_use]
    pub fn tenants(&self, after: Option<&TenantId>, most: usize) -> (Vec<Named>, bool) {
        let mut page = self.access.tenants(after, most.saturating_add(1));
        let more = page.len() > most;
        page.truncate(most);
        (page.into_iter().map(|(name, known)| shown(&name, &known, Known::clone(&known))).collect(), more)
    }

    /// Changes limits and login ways, each as a whole, `None` to leave them. `version`: what it must have, 0 for any.
    ///
    /// # Errors
    /// `tenant_not_found`, `stale_version`, another refusal, or the store's fault.
    pub async fn update_tenant(
        &self,
        name: &TenantId,
        limits: Option<Limits>,
        login: Option<LoginWays>,
        version: u64,
        actor: Actor,
    ) -> Result<Named, Fault> {
        limits.as_ref().map_or(Ok(()), check)?;
        let change = |tenant: &mut Tenant| {
            if let Some(limits) = &limits {
                tenant.limits = limits.clone();
            }
            if let Some(login) = &login {
                tenant.login = ways::checked(login.clone(), &tenant.login)?;
            }
            Ok(())
        };
        self.change_tenant(name, version, change, Action::TenantUpdated, actor).await
    }

    /// Suspends a tenant, or lets it go on.
    ///
    /// # Errors
    /// `tenant_not_found`, or the store's fault.
    pub async fn suspend_tenant(&self, name: &TenantId, suspended: bool, actor: Actor) -> Result<Named, Fault> {
        let change = |tenant: &mut Tenant| {
            tenant.suspended = suspended;
            Ok(())
        };
        let action = if suspended { Action::TenantSuspended } else { Action::TenantResumed };
        self.change_tenant(name, 0, change, action, actor).await
    }

    /// What is known of a tenant.
    ///
    /// # Errors
    /// `tenant_not_found`.
    pub(crate) fn known(&self, name: &TenantId) -> Result<Arc<Known>, Fault> {
        let words = || Fault::new(Code::TenantNotFound, format!("there is no tenant {name}"));
        self.access.tenant(name).ok_or_else(words)
    }

    /// Gives a tenant that has no record one: what is kept under its name must not lose it with the configuration.
    pub(crate) async fn settle_tenant(&self, name: &TenantId, actor: Actor) -> Result<(), Fault> {
        let known = self.known(name)?;
        if known.version > 0 {
            return Ok(());
        }
        let put = self.put_tenant(name, &known, known.tenant.clone(), Action::TenantCreated, actor).await;
        // Another did it first.
        put.map(drop).or_else(|fault| if fault.code == Code::StaleVersion { Ok(()) } else { Err(fault) })
    }

    /// Changes a tenant, and tries again when another did so between reading and writing. Nothing is written when nothing
    /// changes.
    async fn change_tenant(
        &self,
        name: &TenantId,
        version: u64,
        change: impl Fn(&mut Tenant) -> Result<(), Fault>,
        action: Action,
        actor: Actor,
    ) -> Result<Named, Fault> {
        for _ in 0..TRIES {
            let before = self.known(name)?;
            if version != 0 && version != before.version {
                break;
            }
            let mut tenant = before.tenant.clone();
            change(&mut tenant)?;
            if tenant == before.tenant {
                return self.tenant(name);
            }
            match self.put_tenant(name, &before, tenant, action, actor.clone()).await {
                Ok(known) => return Ok(shown(name, &before, known)),
                Err(fault) if fault.code != Code::StaleVersion => return Err(fault),
                // A write behind all others: when it is answered, what is in memory is what they wrote.
                Err(_) => drop(self.store.write(Vec::new(), Vec::new()).await),
            }
        }
        let now = self.known(name)?.version;
        let words = format!("the tenant {name} was changed meanwhile: its version is {now}; look at it and try again");
        Err(Fault::new(Code::StaleVersion, words))
    }

    /// Writes a tenant's record over what was there before.
    async fn put_tenant(
        &self,
        name: &TenantId,
        before: &Known,
        tenant: Tenant,
        action: Action,
        actor: Actor,
    ) -> Result<Known, Fault> {
        let value = serde_json::to_vec(&tenant).expect("strings, numbers and lists are always JSON");
        if value.len() > RECORD_BYTES_MAX {
            let words = format!("limits and login ways take {} bytes, more than {RECORD_BYTES_MAX}", value.len());
            return Err(Fault::new(Code::InvalidOption, words));
        }
        let expected = if before.version == 0 { Expected::Absent } else { Expected::Version(before.version) };
        let (value, until) = (Some(Bytes::from(value)), None);
        let put = Put { shelf: Shelf::Tenants, name: name.to_string(), value, expected, until };
        let mut event = self.audit_event(name, actor, action, "tenant".to_owned());
        event.details = changes(&before.tenant, &tenant);
        let written = self.store.write(vec![put], vec![event]);
        // On a task of its own: whoever goes away before the answer must not leave the store with the older limits.
        let (access, store, name) = (Arc::clone(&self.access), Arc::clone(&self.store), name.clone());
        let told = self.tasks.spawn(async move {
            let versions = written.await?;
            access.limit(&*store, &name);
            Ok(versions)
        });
        let versions = told.await.unwrap_or_else(|_| Err(store::lost())).map_err(fault)?;
        Ok(Known { tenant, version: versions.first().copied().unwrap_or(before.version) })
    }
}

/// A tenant for whoever asks: with a secret only if it was not there before.
fn shown(name: &TenantId, before: &Known, now: Known) -> Named {
    let Known { mut tenant, version } = now;
    let known = before.tenant.login.business.as_ref().map(|business| business.secret.clone());
    if let Some(business) = tenant.login.business.as_mut().filter(|business| known.as_ref() == Some(&business.secret)) {
        business.secret.clear();
    }
    Named { name: name.clone(), tenant, version, implicit: version == 0 }
}

fn check(limits: &Limits) -> Result<(), Fault> {
    let refuse = |words: String| Err(Fault::new(Code::InvalidOption, format!("limits.{words}")));
    if limits.ttl_seconds == Some(0) {
        return refuse("ttl_seconds: 0 would let nothing be stored; give 1 or more".to_owned());
    }
    let rates = [
        ("pushes", limits.pushes),
        ("calls_per_key", limits.calls_per_key),
        ("requests_per_user", limits.requests_per_user),
        ("requests_per_device", limits.requests_per_device),
        ("logins_per_user", limits.logins_per_user),
    ];
    for (name, rate) in rates {
        if rate.is_some_and(|rate| rate.per_seconds.get() > PER_SECONDS_MAX) {
            return refuse(format!("{name}.per_seconds: give 1 to {PER_SECONDS_MAX}"));
        }
    }
    Ok(())
}

/// Tenants of a deployment. A guess: some hundred MiB when each sets all it can.
pub(crate) const TENANTS_MAX: usize = 100_000;
/// Times that a change is tried when others change the same tenant.
const TRIES: usize = 8;
/// A rate is measured over a day at most.
const PER_SECONDS_MAX: u32 = 86_400;
