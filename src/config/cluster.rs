//! The kinds of values of the section `cluster`: a node's name, nodes, rules, what becomes of misplaced devices. It knows no
//! option.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::Value as Json;

use crate::assign::{self, Misplaced, RULES_MAX, Rule, SITES_MAX, Site};
use crate::config::kind::{Expected, Kind, Raw, Words};
use crate::model::id::NodeName;

/// The name of a node, or nothing.
pub(super) struct OwnName;

impl Kind for OwnName {
    type Value = Option<NodeName>;
    const EXPECTED: &'static str = "a name of 1 to 128 letters, digits and - _ . ~ % @ : + =, or nothing";

    fn read(raw: &Raw) -> Result<Option<NodeName>, Expected> {
        match raw {
            Raw::Text(text) if text.is_empty() => Ok(None),
            Raw::Text(text) => NodeName::new(text).map(Some).map_err(|_| Self::EXPECTED.into()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &Option<NodeName>) -> Json {
        value.as_ref().map_or(Json::Null, |name| Json::from(name.as_str()))
    }
}

/// The nodes of the deployment.
pub(super) struct Sites;

impl Kind for Sites {
    type Value = Vec<Site>;
    const EXPECTED: &'static str = "up to 256 of \"NAME HOST:PORT [weight=0 to 1000] [tag=TAG]...\", in TOML a list of strings, elsewhere with commas between them";

    fn read(raw: &Raw) -> Result<Vec<Site>, Expected> {
        let sites: Vec<Site> = lines(raw, SITES_MAX, Self::EXPECTED)?;
        let twice =
            sites.iter().enumerate().find(|(at, site)| sites[..*at].iter().any(|known| known.name == site.name));
        match twice {
            Some((_, site)) => Err(format!("each name once ({} stands there twice)", site.name).into()),
            None => Ok(sites),
        }
    }

    fn write(value: &Vec<Site>) -> Json {
        written(value)
    }
}

/// The rules that choose among which nodes.
pub(super) struct Rules;

impl Kind for Rules {
    type Value = Vec<Rule>;
    const EXPECTED: &'static str = "up to 256 of \"NAME [tenant=TENANT] [user=USER or user=PREFIX*] [attribute.KEY=VALUE]... -> node=NODE... or tag=TAG...\", in TOML a list of strings, elsewhere with commas between them";

    fn read(raw: &Raw) -> Result<Vec<Rule>, Expected> {
        let rules: Vec<Rule> = lines(raw, RULES_MAX, Self::EXPECTED)?;
        let twice =
            rules.iter().enumerate().find(|(at, rule)| rules[..*at].iter().any(|known| known.name() == rule.name()));
        match twice {
            Some((_, rule)) => Err(format!("each name once ({} stands there twice)", rule.name()).into()),
            None => Ok(rules),
        }
    }

    fn write(value: &Vec<Rule>) -> Json {
        written(value)
    }
}

/// What becomes of misplaced devices.
pub(super) struct Way;

impl Kind for Way {
    type Value = Misplaced;
    const EXPECTED: &'static str = "serve or move";

    fn read(raw: &Raw) -> Result<Misplaced, Expected> {
        match raw {
            Raw::Text(text) => Misplaced::parse(text).ok_or(Self::EXPECTED.into()),
            _ => Err(Self::EXPECTED.into()),
        }
    }

    fn write(value: &Misplaced) -> Json {
        Json::from(value.as_str())
    }
}

/// Reads each string of a list.
fn lines<T: FromStr<Err = assign::Error>>(raw: &Raw, most: usize, expected: &'static str) -> Result<Vec<T>, Expected> {
    let items = Words::read(raw).map_err(|_| expected)?;
    if items.len() > most {
        return Err(expected.into());
    }
    items.iter().map(|item| item.parse().map_err(|error| format!("{expected} ({item}: {error})").into())).collect()
}

fn written<T: Display>(values: &[T]) -> Json {
    values.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::{OwnName, Rules, Sites, Way};
    use crate::config::kind::{Kind, Raw};

    fn text(text: &str) -> Raw {
        Raw::Text(text.to_owned())
    }

    #[test]
    fn nodes_and_rules_are_lists_and_read_back() {
        let sites = Sites::read(&text("a h:1 weight=5 tag=eu, b h:2")).expect("nodes");
        assert_eq!(Sites::write(&sites).to_string(), r#"["a h:1 weight=5 tag=eu","b h:2 weight=100"]"#);
        assert_eq!(Sites::read(&Raw::List(vec!["a h:1 weight=5 tag=eu".into(), "b h:2".into()])), Ok(sites));
        assert_eq!(Sites::read(&text("")), Ok(Vec::new()));
        let rules = Rules::read(&text("eu user=a* -> tag=eu")).expect("rules");
        assert_eq!(Rules::write(&rules).to_string(), r#"["eu user=a* -> tag=eu"]"#);
        let many = |line: &str| Raw::List((0..257).map(|number| line.replace('#', &number.to_string())).collect());
        assert!(Sites::read(&many("n# h:1")).is_err() && Rules::read(&many("r# -> tag=a")).is_err());
    }

    #[test]
    fn refusals_say_which_and_why() {
        for (found, words) in [
            (Sites::read(&text("a h:1,b")).err(), "(b: it has too few words"),
            (Sites::read(&text("a h:1,a h:2")).err(), "a stands there twice"),
            (Rules::read(&text("r tenant=t")).err(), "(r tenant=t: a rule has its nodes behind `->`"),
            (Rules::read(&text("r -> tag=a, r -> tag=b")).err(), "r stands there twice"),
            (Sites::read(&Raw::Boolean(true)).err(), "up to 256"),
            (OwnName::read(&text("a b")).err(), "a name"),
            (Way::read(&text("drop")).err(), "serve or move"),
        ] {
            assert!(found.as_ref().is_some_and(|found| found.contains(words)), "{words}: {found:?}");
        }
        assert_eq!(OwnName::read(&text("")), Ok(None));
    }
}
