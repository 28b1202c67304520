//! A rule: which devices it is about, and which nodes are meant for them.

use std::fmt;
use std::str::FromStr;

use crate::assign::error::Error;
use crate::assign::site::{Site, name_of};
use crate::assign::subject::Subject;
use crate::model::id::{NodeName, TenantId, TopicName, UserId};

/// How a rule is written.
const FORM: &str =
    "NAME [tenant=TENANT] [user=USER or user=PREFIX*] [attribute.KEY=VALUE]... -> node=NODE... or tag=TAG...";

/// Devices of this kind belong to those nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Told with the assignments that it decides.
    name: NodeName,
    /// Only this tenant's.
    tenant: Option<TenantId>,
    /// Only this user, or those whose names begin so.
    user: Option<Users>,
    /// Only devices that have all of these.
    attributes: Vec<(TopicName, String)>,
    /// These nodes are meant.
    nodes: Vec<NodeName>,
    /// And those that have all of these tags, if any are named.
    tags: Vec<String>,
}

/// Which users.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Users {
    /// This one.
    One(UserId),
    /// Those whose names begin so.
    Beginning(UserId),
    /// All; it is written `*`.
    All,
}

impl Rule {
    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        self.name.as_str()
    }

    /// Whether it is about this device.
    pub(super) fn matches(&self, subject: &Subject<'_>) -> bool {
        let user = subject.user.as_str();
        let user_fits = match &self.user {
            None | Some(Users::All) => true,
            Some(Users::One(only)) => only.as_str() == user,
            Some(Users::Beginning(prefix)) => user.starts_with(prefix.as_str()),
        };
        let has = |(key, value): &(TopicName, String)| subject.attributes.get(key.as_str()) == Some(value);
        user_fits && self.tenant.as_ref().is_none_or(|only| only == subject.tenant) && self.attributes.iter().all(has)
    }

    /// Whether it means this node.
    pub(super) fn means(&self, site: &Site) -> bool {
        let tagged = !self.tags.is_empty() && self.tags.iter().all(|tag| site.tags.contains(tag));
        tagged || self.nodes.contains(&site.name)
    }

    /// Whether all nodes and tags that it names are there, and it means at least one node.
    pub(super) fn fits(&self, sites: &[Site]) -> bool {
        let known = |name: &NodeName| sites.iter().any(|site| site.name == *name);
        let carried = |tag: &String| sites.iter().any(|site| site.tags.contains(tag));
        let means_one = sites.iter().any(|site| self.means(site));
        means_one && self.nodes.iter().all(known) && self.tags.iter().all(carried)
    }

    /// Whether it looks at attributes.
    pub(super) const fn asks_for_attributes(&self) -> bool {
        !self.attributes.is_empty()
    }

    fn condition(&mut self, word: &str) -> Result<(), Error> {
        let twice = |there: bool| if there { Err(Error::Twice(word.to_owned())) } else { Ok(()) };
        match word.split_once('=') {
            Some(("tenant", tenant)) => {
                twice(self.tenant.is_some())?;
                self.tenant = Some(TenantId::new(tenant).map_err(|error| Error::Name(tenant.to_owned(), error))?);
            }
            Some(("user", user)) => {
                twice(self.user.is_some())?;
                let name = |text: &str| UserId::new(text).map_err(|error| Error::Name(text.to_owned(), error));
                self.user = Some(match user.strip_suffix('*') {
                    Some("") => Users::All,
                    Some(prefix) => Users::Beginning(name(prefix)?),
                    None => Users::One(name(user)?),
                });
            }
            Some((key, value)) if key.starts_with(ATTRIBUTE) => {
                let key = &key[ATTRIBUTE.len()..];
                // Names of attributes are made as those of topics are.
                let name = TopicName::new(key).map_err(|error| Error::Name(key.to_owned(), error))?;
                twice(self.attributes.iter().any(|(known, _)| *known == name))?;
                self.attributes.push((name, value.to_owned()));
            }
            _ => return Err(Error::Word(word.to_owned(), FORM)),
        }
        Ok(())
    }

    fn destination(&mut self, word: &str) -> Result<(), Error> {
        match word.split_once('=') {
            Some(("node", name)) => self.nodes.push(name_of(name)?),
            Some(("tag", tag)) => self.tags.push(name_of(tag)?.as_str().to_owned()),
            _ => return Err(Error::Word(word.to_owned(), FORM)),
        }
        Ok(())
    }
}

/// Stands before the name of an attribute.
const ATTRIBUTE: &str = "attribute.";

impl FromStr for Rule {
    type Err = Error;

    /// Reads `NAME [tenant=T] [user=U] [attribute.K=V]... -> node=N... tag=T...`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = text.split_whitespace();
        let name = name_of(words.next().ok_or(Error::TooShort(FORM))?)?;
        let mut rule =
            Self { name, tenant: None, user: None, attributes: Vec::new(), nodes: Vec::new(), tags: Vec::new() };
        let mut arrow = false;
        for word in words {
            match word {
                "->" if arrow => return Err(Error::Twice(word.to_owned())),
                "->" => arrow = true,
                _ if arrow => rule.destination(word)?,
                _ => rule.condition(word)?,
            }
        }
        match (arrow, rule.nodes.is_empty() && rule.tags.is_empty()) {
            (false, _) => Err(Error::Arrow(FORM)),
            (true, true) => Err(Error::TooShort(FORM)),
            (true, false) => Ok(rule),
        }
    }
}

/// As it is read.
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.tenant.iter().try_for_each(|tenant| write!(f, " tenant={tenant}"))?;
        match &self.user {
            None => {}
            Some(Users::One(user)) => write!(f, " user={user}")?,
            Some(Users::Beginning(prefix)) => write!(f, " user={prefix}*")?,
            Some(Users::All) => f.write_str(" user=*")?,
        }
        self.attributes.iter().try_for_each(|(key, value)| write!(f, " {ATTRIBUTE}{key}={value}"))?;
        f.write_str(" ->")?;
        self.nodes.iter().try_for_each(|node| write!(f, " node={node}"))?;
        self.tags.iter().try_for_each(|tag| write!(f, " tag={tag}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Error, Rule};
    use crate::assign::subject::Subject;
    use crate::model::id::{TenantId, UserId};

    fn matches(rule: &str, tenant: &str, user: &str, attributes: &[(&str, &str)]) -> bool {
        let rule: Rule = rule.parse().expect("a rule");
        let attributes: BTreeMap<_, _> =
            attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let (tenant, user) = (TenantId::new(tenant).expect("a name"), UserId::new(user).expect("a name"));
        rule.matches(&Subject { tenant: &tenant, user: &user, attributes: &attributes })
    }

    #[test]
    fn all_that_a_rule_says_must_hold() {
        assert!(matches("r -> tag=eu", "t", "u", &[]));
        assert!(matches("r user=* -> tag=eu", "t", "u", &[]));
        assert!(matches("r tenant=t -> tag=eu", "t", "u", &[]));
        assert!(!matches("r tenant=t -> tag=eu", "tt", "u", &[]));
        assert!(matches("r user=vip-* -> tag=eu", "t", "vip-1", &[]));
        assert!(!matches("r user=vip-* -> tag=eu", "t", "xvip-1", &[]));
        assert!(matches("r user=vip -> tag=eu", "t", "vip", &[]));
        assert!(!matches("r user=vip -> tag=eu", "t", "vip1", &[]));
        let two = "r attribute.region=eu attribute.os=a=b -> tag=eu";
        assert!(matches(two, "t", "u", &[("region", "eu"), ("os", "a=b"), ("more", "")]));
        assert!(!matches(two, "t", "u", &[("region", "eu")]));
        assert!(!matches("r tenant=t user=u attribute.a=1 -> tag=eu", "t", "v", &[("a", "1")]));
    }

    #[test]
    fn it_means_nodes_by_name_or_by_all_tags() {
        let means =
            |rule: &str, site: &str| rule.parse::<Rule>().expect("a rule").means(&site.parse().expect("a node"));
        assert!(means("r -> node=a node=b", "b h:1"));
        assert!(!means("r -> node=a", "b h:1 tag=a"));
        assert!(means("r -> tag=eu tag=big", "a h:1 tag=big tag=eu tag=x"));
        assert!(!means("r -> tag=eu tag=big", "a h:1 tag=eu"));
        assert!(means("r -> tag=eu node=a", "a h:1"), "either is enough");
    }

    #[test]
    fn a_rule_is_read_as_it_is_written() {
        for text in
            ["eu tenant=t user=a.* attribute.k=v -> node=a node=b tag=c", "r user=u -> tag=c", "r user=* -> tag=c"]
        {
            assert_eq!(text.parse::<Rule>().expect("a rule").to_string(), text);
        }
        for (text, words) in [
            ("", "NAME"),
            ("r", "behind `->`"),
            ("r tenant=t", "behind `->`"),
            ("r ->", "NAME"),
            ("r -> tag=a -> tag=b", "twice"),
            ("r tenant=a tenant=b -> tag=a", "twice"),
            ("r user=a user=b -> tag=a", "twice"),
            ("r attribute.a=1 attribute.a=2 -> tag=a", "twice"),
            ("r user=a*b -> tag=a", "character '*'"),
            ("r attribute.=1 -> tag=a", "empty"),
            ("r region=eu -> tag=a", "`region=eu` means nothing here"),
            ("r -> eu", "`eu` means nothing here"),
            ("r -> tag=", "empty"),
            ("-> tag=a", "character '>'"),
        ] {
            let error: Error = text.parse::<Rule>().expect_err(text);
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }
}
