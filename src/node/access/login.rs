//! A login: the credential is checked in the way that the tenant has chosen, and an access token made. Whoever is refused
//! hears one sentence, whatever the reason; the reason is in the gateway's log.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::model::audit::{Action, Actor, Event};
use crate::model::clock::Timestamp;
use crate::model::fault::{Code, Fault};
use crate::model::frame::{Credential, LoggedIn, Login};
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
use crate::model::tenant::{LoginWays, TOKEN_TTL_SECONDS};
use crate::node::access::checks::{self, Ask, Checked, refused};
use crate::node::access::device_keys::Proven;
use crate::node::rates::network;
use crate::node::{Node, fault};
use crate::store::{self, Put};

/// A credential that is good.
struct Accepted {
    checked: Checked,
    /// What must be written before a token is given: what was used up, what was enrolled.
    puts: Vec<Put>,
    /// The device enrolled a key.
    enrolled: bool,
}

impl Node {
    /// Checks a credential and makes an access token. What the check says of the device and its user holds when this
    /// answers.
    ///
    /// # Errors
    /// `login_refused` whatever the reason, `login_unavailable` when it could not be checked, `rate_limited`, or the store's
    /// fault.
    pub async fn login(self: &Arc<Self>, login: &Login, from: IpAddr) -> Result<LoggedIn, Fault> {
        let way = way(&login.credential);
        let result = self.log_in(login, from).await;
        let Login { tenant, device, agent, .. } = login;
        match &result {
            Ok(told) => tracing::info!(%tenant, user = %told.user, %device, way, ?agent, "logged in"),
            Err(fault) => tracing::debug!(%tenant, %device, way, %from, code = fault.code.name(), "no login"),
        }
        result
    }

    async fn log_in(self: &Arc<Self>, login: &Login, from: IpAddr) -> Result<LoggedIn, Fault> {
        self.admit_login(&login.tenant, &who(login, from), from)?;
        let now = self.clock.now().wall;
        // A tenant that is not there is one that allows nothing.
        let known = self.known(&login.tenant).ok().filter(|known| !known.tenant.suspended);
        let ways = known.map_or_else(LoginWays::default, |known| known.tenant.login.clone());
        for _ in 0..TRIES {
            // Before the check, which may take long: what is revoked meanwhile takes this token back, too.
            let issued_at = self.live.revocations.stamp(self.clock.now().wall);
            let accepted = self.judge(login, &ways, from, now).await?;
            if let Some(told) = self.grant(login, &ways, accepted, issued_at).await? {
                return Ok(told);
            }
        }
        Err(refused())
    }

    /// Makes the token. `None` when what the check saw was changed meanwhile: nothing was written then.
    async fn grant(
        self: &Arc<Self>,
        login: &Login,
        ways: &LoginWays,
        accepted: Accepted,
        issued_at: Timestamp,
    ) -> Result<Option<LoggedIn>, Fault> {
        let (Accepted { checked, puts, enrolled }, Login { tenant, device, .. }) = (accepted, login);
        // What was judged in a way that the tenant does not have any more is not accepted.
        if self.known(tenant).is_ok_and(|known| known.tenant.suspended || known.tenant.login != *ways) {
            return Err(refused());
        }
        if checked.user.is_reserved() {
            tracing::warn!(%tenant, user = %checked.user, "a login named a user that is the gateway's own");
            return Err(refused());
        }
        let receiver = Receiver { tenant: tenant.clone(), user: checked.user.clone(), device: device.clone() };
        let issued = self.make_token_of(&receiver, life(ways, checked.ttl), issued_at);
        let now = self.clock.now().wall;
        let mut events = Vec::with_capacity(2);
        if enrolled {
            events.push(event(now, &receiver, Action::DeviceKeyEnrolled, BTreeMap::new()));
        }
        let details = [("way", way(&login.credential).to_owned()), ("token", issued.id.to_string())];
        let details = details.map(|(name, value)| (name.to_owned(), value)).into();
        events.push(event(now, &receiver, Action::LoggedIn, details));
        match self.store.write(puts, events).await {
            Ok(_) => {}
            Err(store::Error::Conflict(_)) => return Ok(None),
            Err(error) => return Err(fault(error)),
        }
        self.apply(&receiver, checked).await?;
        let (nodes, _) = self.assignment(&receiver).await?;
        let expires_at = issued.expires_at;
        let left = Duration::from_millis(expires_at.as_millis().saturating_sub(now.as_millis()));
        let refresh_after = refresh_after(left, fastrand::f64());
        let Receiver { user, device, .. } = receiver;
        Ok(Some(LoggedIn { token: issued.token, expires_at, refresh_after, user, device, nodes }))
    }

    async fn judge(&self, login: &Login, ways: &LoginWays, from: IpAddr, now: Timestamp) -> Result<Accepted, Fault> {
        let ask = Ask::of(login, from);
        let judged = |checked| Accepted { checked, puts: Vec::new(), enrolled: false };
        let proven = match &login.credential {
            Credential::Business(credential) => {
                let way = ways.business.as_ref().ok_or_else(refused)?;
                return checks::business(self, way, &ask, credential).await.map(judged);
            }
            Credential::Jwt(token) => {
                let way = ways.jwt.as_ref().ok_or_else(refused)?;
                return checks::jwt(self, way, &ask, token).await.map(judged);
            }
            Credential::Key { user, proof } => self.proven(ask.tenant, user, ask.device, proof, now).await?,
            Credential::Enrolment { code, public_key, proof } => {
                self.enrolled(ask.tenant, ask.device, (code, public_key), proof, now).await?
            }
        };
        // Looked at last: who asks for a tenant without keys waits as long as everybody.
        let Proven { user, puts } = proven.filter(|_| ways.device_key).ok_or_else(refused)?;
        let checked = Checked { user, attributes: None, groups: None, topics: Vec::new(), ttl: None };
        Ok(Accepted { checked, puts, enrolled: matches!(login.credential, Credential::Enrolment { .. }) })
    }

    /// Brings what was said of the device and its user into force.
    async fn apply(self: &Arc<Self>, receiver: &Receiver, checked: Checked) -> Result<(), Fault> {
        let Checked { user, attributes, groups, topics, .. } = checked;
        let tenant = &receiver.tenant;
        if let Some((groups, version)) = groups {
            match self.set_groups(tenant, &user, groups, version).await {
                Ok(_) => {}
                Err(fault) if fault.code == Code::StaleVersion => {}
                Err(fault) => return Err(fault),
            }
        }
        if attributes.is_none() && topics.is_empty() {
            return Ok(());
        }
        // The device may never have been here: it is made known, as if it had come and left.
        let mut presence = self.absent(receiver.clone());
        presence.open().await.map_err(fault)?;
        if let Some(attributes) = attributes {
            self.store.describe(receiver, attributes).await.map_err(fault)?;
        }
        if !topics.is_empty() {
            self.store.subscribe(receiver, topics).await.map_err(fault)?;
            // It may have a session now.
            self.changed(tenant, std::slice::from_ref(&user));
        }
        presence.leave("login").await.map_err(fault)
    }

    /// A challenge for a device, and until when it is good. Given to everybody, whether or not the device is known.
    ///
    /// # Errors
    /// `rate_limited`.
    pub fn challenge(&self, tenant: &TenantId, device: &DeviceId, _from: IpAddr) -> Result<(Bytes, Timestamp), Fault> {
        let (challenge, expires_at) = self.authority.challenges().make(tenant, device, self.clock.now().wall);
        Ok((challenge.into(), expires_at))
    }
}

/// Whose tries it counts among: those of the user, or of the device where no user is named, from this address. Were they
/// counted whatever the address, anybody could keep a user out by failing in the user's name.
fn who(login: &Login, from: IpAddr) -> String {
    let from = network(from);
    match &login.credential {
        Credential::Key { user, .. } => format!("{user} {from}"),
        Credential::Business(_) | Credential::Jwt(_) | Credential::Enrolment { .. } => {
            format!("{} {from}", login.device)
        }
    }
}

/// The way's word, for logs and the audit log.
const fn way(credential: &Credential) -> &'static str {
    match credential {
        Credential::Business(_) => "business",
        Credential::Jwt(_) => "jwt",
        Credential::Key { .. } => "key",
        Credential::Enrolment { .. } => "enrolment",
    }
}

/// Life of a token: the tenant's, or less if whoever checked the credential said so.
fn life(ways: &LoginWays, said: Option<Duration>) -> Duration {
    let seconds = if ways.token_ttl_seconds == 0 { TOKEN_TTL_SECONDS } else { ways.token_ttl_seconds };
    let most = Duration::from_secs(seconds.into());
    said.map_or(most, |said| said.min(most))
}

/// When to log in again: at 70 to 85 % of the token's life, so that devices that came together do not come together again,
/// and there is time for a second try.
fn refresh_after(life: Duration, chance: f64) -> Duration {
    life.mul_f64(0.70 + 0.15 * chance)
}

fn event(at: Timestamp, receiver: &Receiver, action: Action, details: BTreeMap<String, String>) -> Event {
    let Receiver { tenant, user, device } = receiver;
    let object = object(user, device);
    Event {
        at,
        tenant: Some(tenant.clone()),
        actor: Actor::Device(user.clone(), device.clone()),
        action,
        object,
        details,
    }
}

/// A device, as the audit log names it.
pub(super) fn object(user: &UserId, device: &DeviceId) -> String {
    format!("device:{user}/{device}")
}

/// A check whose ground was changed before it was written is made again so often: logins of one key at the same moment stand
/// in each other's way. A challenge or a code that another has used up is refused the second time.
const TRIES: usize = 4;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{life, refresh_after};
    use crate::model::tenant::LoginWays;

    #[test]
    fn a_token_lives_as_long_as_the_tenant_says_or_shorter() {
        let ways = |token_ttl_seconds| LoginWays { token_ttl_seconds, ..LoginWays::default() };
        let seconds = Duration::from_secs;
        assert_eq!(life(&ways(0), None), seconds(3600));
        assert_eq!(life(&ways(60), None), seconds(60));
        assert_eq!(life(&ways(60), Some(seconds(90))), seconds(60));
        assert_eq!(life(&ways(60), Some(seconds(30))), seconds(30));
    }

    #[test]
    fn the_next_login_is_spread_over_the_last_third() {
        let life = Duration::from_secs(1000);
        assert_eq!(refresh_after(life, 0.0), Duration::from_secs(700));
        assert_eq!(refresh_after(life, 1.0), Duration::from_secs(850));
    }
}
