//! The way of the business server: it is asked, and what it answers is checked like any other request.

use std::time::Duration;

use crate::hook::{BusinessServer, Found, Question, Sealed, Secret};
use crate::model::attributes::check_attributes;
use crate::model::clock::Timestamp;
use crate::model::fault::Fault;
use crate::model::id::{GroupName, TopicName, UserId};
use crate::model::tenant::BusinessLogin;
use crate::node::access::checks::{Ask, Checked, Checks, GROUPS_MAX, TOPICS_MAX, refused, unavailable};

impl Checks {
    /// Asks the tenant's business server whether a credential is good.
    ///
    /// # Errors
    /// `login_refused`, or `login_unavailable` when the server gave no answer that can be used.
    pub async fn business(&self, way: &BusinessLogin, ask: &Ask<'_>, credential: &[u8]) -> Result<Checked, Fault> {
        let tenant = ask.tenant;
        let (Ok(server), Ok(secret)) = (BusinessServer::parse(&way.url), Secret::parse(&way.secret)) else {
            tracing::error!(%tenant, "the URL or the secret of the tenant's business server cannot be used");
            return Err(unavailable());
        };
        let Some(seat) = self.servers.seat(tenant) else {
            tracing::debug!(%tenant, "the business server is asked too much at the same time");
            return Err(unavailable());
        };
        let question = Question {
            tenant: tenant.as_str(),
            device: ask.device.as_str(),
            credential,
            address: ask.address,
            agent: ask.agent,
        };
        let now = self.clock.now().wall;
        let id = format!("login-{:032x}", fastrand::u128(..));
        let sealed = Sealed { secret: &secret, id: &id, at: now };
        let asked = self.asker.check_login(&server, sealed, question, timeout(way)).await;
        let judged = match asked {
            Ok(None) => Ok(None),
            Ok(Some(found)) => checked(found, now).map(Some).map_err(|why| format!("the answer cannot be used: {why}")),
            Err(error) => Err(error.to_string()),
        };
        match judged {
            Ok(good) => {
                if seat.note(false) {
                    tracing::info!(%tenant, ?server, "the business server can be asked about logins again");
                }
                good.ok_or_else(|| {
                    tracing::debug!(%tenant, device = %ask.device, "the business server refused a login");
                    refused()
                })
            }
            Err(why) => {
                if seat.note(true) {
                    tracing::warn!(%tenant, ?server, why, "the business server cannot be asked about logins");
                }
                Err(unavailable())
            }
        }
    }
}

/// Checks what a server found. What cannot be used is its fault and no refusal: the credential is good.
fn checked(found: Found, now: Timestamp) -> Result<Checked, String> {
    let user = UserId::new(&found.user).map_err(|why| format!("user: {why}"))?;
    check_attributes(&found.attributes).map_err(|fault| fault.words.into_owned())?;
    if found.topics.len() > TOPICS_MAX {
        return Err(format!("topics: there are {}; the limit is {TOPICS_MAX}", found.topics.len()));
    }
    let topic = |name: &String| TopicName::new(name).map_err(|why| format!("topics: {why}"));
    let topics = found.topics.iter().map(topic).collect::<Result<_, _>>()?;
    let groups = found.groups.map(|names| groups(&names)).transpose()?;
    let version = if found.groups_version == 0 { now.as_millis() } else { found.groups_version };
    Ok(Checked {
        user,
        attributes: (!found.attributes.is_empty()).then_some(found.attributes),
        groups: groups.map(|groups| (groups, version)),
        topics,
        ttl: (found.token_ttl_seconds > 0).then(|| Duration::from_secs(found.token_ttl_seconds.into())),
    })
}

fn groups(names: &[String]) -> Result<Vec<GroupName>, String> {
    if names.len() > GROUPS_MAX {
        return Err(format!("groups: there are {}; the limit is {GROUPS_MAX}", names.len()));
    }
    let name = |name: &String| GroupName::new(name).map_err(|why| format!("groups: {why}"));
    let mut groups = names.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

fn timeout(way: &BusinessLogin) -> Duration {
    match way.timeout_ms {
        0 => TIMEOUT,
        millis => Duration::from_millis(millis.into()),
    }
}

/// How long a server is waited for whose tenant names no time. A device waits for its login meanwhile.
const TIMEOUT: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::{Found, GROUPS_MAX, TOPICS_MAX, checked};
    use crate::model::clock::Timestamp;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn found(change: impl FnOnce(&mut Found)) -> Found {
        let mut found = Found { user: "ada".into(), ..Found::default() };
        change(&mut found);
        found
    }

    #[test]
    fn what_a_server_leaves_out_stays_as_it_is() {
        let bare = checked(found(|_| ()), NOW).unwrap();
        assert_eq!((bare.attributes, bare.groups, bare.ttl), (None, None, None));
        let none = checked(found(|found| found.groups = Some(Vec::new())), NOW).unwrap();
        assert_eq!(none.groups, Some((Vec::new(), NOW.as_millis())), "an empty list takes all groups away");
        let all = found(|found| {
            found.attributes = BTreeMap::from([("plan".into(), "pro".into())]);
            found.groups = Some(["b", "a", "b"].map(String::from).to_vec());
            found.groups_version = 7;
            found.topics = vec!["news".into()];
            found.token_ttl_seconds = 90;
        });
        let all = checked(all, NOW).unwrap();
        let (groups, version) = all.groups.unwrap();
        let names: Vec<_> = groups.iter().map(|group| group.as_str()).collect();
        assert_eq!((&names[..], version, all.topics[0].as_str()), (&["a", "b"][..], 7, "news"));
        assert_eq!((all.attributes.unwrap()["plan"].as_str(), all.ttl), ("pro", Some(Duration::from_secs(90))));
    }

    #[test]
    fn what_cannot_be_is_not_taken_over() {
        let many = |most: usize| (0..=most).map(|n| format!("n{n}")).collect::<Vec<_>>();
        let attribute = |value: &str| BTreeMap::from([("plan".to_owned(), value.to_owned())]);
        for (bad, word) in [
            (found(|found| found.user.clear()), "user"),
            (found(|found| found.user = "a/b".into()), "user"),
            (found(|found| found.attributes = attribute("a\nb")), "plan"),
            (found(|found| found.attributes = attribute(&"x".repeat(129))), "plan"),
            (found(|found| found.groups = Some(vec!["a b".into()])), "groups"),
            (found(|found| found.groups = Some(many(GROUPS_MAX))), "groups"),
            (found(|found| found.topics = vec![String::new()]), "topics"),
            (found(|found| found.topics = many(TOPICS_MAX)), "topics"),
        ] {
            let why = checked(bad, NOW).unwrap_err();
            assert!(why.contains(word), "{why}");
        }
    }
}
