//! The way of a JWT: checked with its provider's keys, then its claims become what the tenant wants to know.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::auth::identity::{self, IDENTITY_BYTES_MAX, Identity, Refusal, Rules, as_name, word};
use crate::model::attributes::check_attribute;
use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::GroupName;
use crate::model::tenant::JwtLogin;
use crate::node::access::checks::issuer::{Newer, Source};
use crate::node::access::checks::{Ask, Checked, Checks, GROUPS_MAX, refused, unavailable};

impl Checks {
    /// Checks a JWT of the tenant's identity provider.
    ///
    /// # Errors
    /// `login_refused`, or `login_unavailable` when the keys could not be had.
    pub async fn jwt(&self, way: &JwtLogin, ask: &Ask<'_>, token: &str) -> Result<Checked, Fault> {
        let refuse = |why: &dyn std::fmt::Display| {
            tracing::debug!(tenant = %ask.tenant, device = %ask.device, %why, "a JWT was refused at login");
            refused()
        };
        if token.len() > IDENTITY_BYTES_MAX {
            return Err(refuse(&Refusal::TooLarge));
        }
        let source = Source::of(way);
        let rules = match (Rules::new(way), source.first_page()) {
            (Ok(rules), Ok(_)) => rules,
            (rules, place) => {
                let (rules, place) = (rules.err(), place.err());
                tracing::error!(tenant = %ask.tenant, ?rules, ?place, "the tenant's identity provider cannot be used");
                return Err(unavailable());
            }
        };
        let Some(issuer) = self.issuer(source) else {
            tracing::error!(tenant = %ask.tenant, "there are too many identity providers to keep the keys of one more");
            return Err(unavailable());
        };
        let keys = self.keys(&issuer).await.ok_or_else(unavailable)?;
        let now = self.clock.now().wall;
        let mut checked = identity::check(token, &rules, &keys, now);
        if checked == Err(Refusal::UnknownKey) {
            match self.newer(&issuer).await {
                Newer::Keys(keys) => checked = identity::check(token, &rules, &keys, now),
                Newer::Known => {}
                Newer::Unreachable => return Err(unavailable()),
            }
        }
        let identity = checked.map_err(|why| refuse(&why))?;
        let groups = groups(way, &identity, now).map_err(|why| refuse(&why))?;
        let attributes = attributes(way, &identity);
        Ok(Checked { user: identity.user, attributes, groups, topics: Vec::new(), ttl: None })
    }
}

/// The attributes that the tenant wants. All of them are set: what the provider says no more, the device has no more. A value
/// that cannot be one is left out.
fn attributes(way: &JwtLogin, identity: &Identity) -> Option<BTreeMap<String, String>> {
    if way.attributes.is_empty() {
        return None;
    }
    let mut attributes = BTreeMap::new();
    for (name, claim) in &way.attributes {
        let Some(value) = identity.claim(claim).and_then(word) else { continue };
        match check_attribute(name, &value) {
            Ok(()) => drop(attributes.insert(name.clone(), value)),
            Err(why) => tracing::debug!(%why, "a claim of a JWT cannot be an attribute"),
        }
    }
    Some(attributes)
}

/// The user's groups, if the tenant wants them. A claim that is not there means none: a provider that has nothing to say
/// leaves it out, and whoever lost all groups must not keep them.
fn groups(way: &JwtLogin, identity: &Identity, now: Timestamp) -> Result<Option<(Vec<GroupName>, u64)>, &'static str> {
    if way.groups_claim.is_empty() {
        return Ok(None);
    }
    let words: Vec<&str> = match identity.claim(&way.groups_claim) {
        None | Some(Value::Null) => Vec::new(),
        // As `scope` has it (RFC 6749, section 3.3).
        Some(Value::String(text)) => text.split_ascii_whitespace().collect(),
        Some(Value::Array(list)) => {
            list.iter().map(Value::as_str).collect::<Option<_>>().ok_or("its groups are not all texts")?
        }
        Some(_) => return Err("its groups are no list"),
    };
    if words.len() > GROUPS_MAX {
        return Err("it names too many groups");
    }
    let name = |word: &str| GroupName::new(&as_name(word)).map_err(|_| "the name of a group is empty or too long");
    let mut groups = words.into_iter().map(name).collect::<Result<Vec<_>, _>>()?;
    groups.sort_unstable();
    groups.dedup();
    // An older token that comes later must not bring back what a newer one took away.
    let version = identity.issued_at.unwrap_or(now).as_millis();
    Ok(Some((groups, version)))
}
