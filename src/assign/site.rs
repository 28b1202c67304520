//! A node as assignment sees it: where it is, how much it takes, what rules may ask for.

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

use crate::assign::error::Error;
use crate::model::id::NodeName;

/// Greatest weight of a node.
pub const WEIGHT_MAX: u32 = 1_000;

/// Weight of a node that names none.
const WEIGHT: u32 = 100;

/// How a node is written.
const FORM: &str = "NAME HOST:PORT [weight=N] [tag=TAG]...";

/// A node that devices can be assigned to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Its name. Users are drawn by it: a node that gets another address keeps its users.
    pub name: NodeName,
    /// `host:port` that devices are given.
    pub address: String,
    /// Its share of the users, beside those of the others; 0 to [`WEIGHT_MAX`].
    pub weight: u32,
    /// What rules may ask for.
    pub tags: Vec<String>,
    /// It is being emptied.
    pub draining: bool,
}

impl Site {
    /// The greater, the rather it is assigned.
    pub(super) const fn tier(&self) -> u8 {
        match (self.draining, self.weight) {
            (true, _) => 0,
            (false, 0) => 1,
            (false, _) => 2,
        }
    }
}

impl FromStr for Site {
    type Err = Error;

    /// Reads `NAME HOST:PORT [weight=N] [tag=TAG]...`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let mut words = text.split_whitespace();
        let (Some(name), Some(address)) = (words.next(), words.next()) else {
            return Err(Error::TooShort(FORM));
        };
        let mut site = Self {
            name: name_of(name)?,
            address: checked(address)?,
            weight: WEIGHT,
            tags: Vec::new(),
            draining: false,
        };
        let mut weighted = false;
        for word in words {
            match word.split_once('=') {
                Some(("weight", _)) if weighted => return Err(Error::Twice("weight".to_owned())),
                Some(("weight", number)) => {
                    let weight = number.parse().ok().filter(|weight| *weight <= WEIGHT_MAX);
                    site.weight = weight.ok_or_else(|| Error::Weight(number.to_owned()))?;
                    weighted = true;
                }
                Some(("tag", tag)) => site.tags.push(name_of(tag)?.as_str().to_owned()),
                _ => return Err(Error::Word(word.to_owned(), FORM)),
            }
        }
        Ok(site)
    }
}

/// As it is read.
impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} weight={}", self.name, self.address, self.weight)?;
        self.tags.iter().try_for_each(|tag| write!(f, " tag={tag}"))
    }
}

/// Checks a name of a node, or a tag: they are made of the same characters.
pub(super) fn name_of(word: &str) -> Result<NodeName, Error> {
    NodeName::new(word).map_err(|error| Error::Name(word.to_owned(), error))
}

fn checked(address: &str) -> Result<String, Error> {
    let good = address.rsplit_once(':').is_some_and(|(host, port)| {
        let is_port = port.parse::<u16>().is_ok_and(|port| port != 0) && !port.starts_with('+');
        is_port && is_host(host)
    });
    if good { Ok(address.to_owned()) } else { Err(Error::Address(address.to_owned())) }
}

/// A name of the DNS or an IPv4 address, both of the same characters, or an IPv6 address in brackets.
fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().is_ok(),
        None => {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            (1..=253).contains(&host.len()) && host.chars().all(allowed)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Error, Site};

    #[test]
    fn a_node_is_read_as_it_is_written() {
        let site: Site = "a1 push-a1.example:7443 tag=eu weight=300 tag=vip".parse().expect("a node");
        assert_eq!((site.name.as_str(), site.address.as_str(), site.weight), ("a1", "push-a1.example:7443", 300));
        assert_eq!((&*site.tags, site.draining), (&["eu".to_owned(), "vip".to_owned()][..], false));
        assert_eq!(site.to_string().parse(), Ok(site));
        let plain: Site = " b  [2001:db8::1]:1 ".parse().expect("a node");
        assert_eq!((plain.address.as_str(), plain.weight), ("[2001:db8::1]:1", 100));
    }

    #[test]
    fn what_is_no_node_is_refused_in_words() {
        for (text, words) in [
            ("", "NAME HOST:PORT"),
            ("a", "NAME HOST:PORT"),
            ("a/b h:1", "character '/'"),
            ("a h", "`h` is no address"),
            ("a h:0", "no address"),
            ("a h:65536", "no address"),
            ("a h:+1", "no address"),
            ("a :1", "no address"),
            ("a 2001:db8::1:1", "no address"),
            ("a [::g]:1", "no address"),
            ("a h h:1", "no address"),
            ("a h:1 heavy", "`heavy` means nothing here"),
            ("a h:1 weight=1001", "`1001` is no weight"),
            ("a h:1 weight=-1", "`-1` is no weight"),
            ("a h:1 weight=1 weight=1", "twice"),
            ("a h:1 tag=", "it is empty"),
        ] {
            let error: Error = text.parse::<Site>().expect_err(text);
            assert!(error.to_string().contains(words), "{text}: {error}");
        }
    }
}
