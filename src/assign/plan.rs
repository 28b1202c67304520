//! Nodes and rules together: the assignment itself.

use crate::assign::lot;
use crate::assign::rule::Rule;
use crate::assign::site::Site;
use crate::assign::subject::Subject;
use crate::model::id::NodeName;

/// Nodes that a plan may have. A guess: far more than anybody runs, and a few microseconds of drawing lots.
pub const SITES_MAX: usize = 256;

/// Rules that a plan may have. A guess.
pub const RULES_MAX: usize = 256;

/// Nodes that a device is told of: the one it belongs to, and where to go when that is down. A guess: who finds none of four
/// has no network.
pub const CHOICES_MAX: usize = 4;

/// The answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment<'p> {
    /// At most [`CHOICES_MAX`] nodes, best first. Empty only when there are none that the rule means.
    pub sites: Vec<&'p Site>,
    /// The rule that chose among which; `None`: all were candidates.
    pub rule: Option<&'p str>,
}

/// Nodes and rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// All nodes, each name once.
    pub sites: Vec<Site>,
    /// The first that matches decides.
    pub rules: Vec<Rule>,
}

impl Plan {
    /// Where a device belongs.
    ///
    /// Of the nodes that are meant, those are candidates that are not being emptied and have a weight; if there are none,
    /// those without a weight; if there are none, those that are being emptied: a rule that keeps users on certain nodes is
    /// never broken, and nobody is sent nowhere.
    #[must_use]
    pub fn assign(&self, subject: &Subject<'_>) -> Assignment<'_> {
        let rule = self.rules.iter().find(|rule| rule.matches(subject));
        let meant = || self.sites.iter().filter(|site| rule.is_none_or(|rule| rule.means(site)));
        let tier = meant().map(Site::tier).max();
        let candidates = meant().filter(|site| Some(site.tier()) == tier);
        Assignment {
            sites: lot::draw(subject.tenant, subject.user, candidates, CHOICES_MAX),
            rule: rule.map(Rule::name),
        }
    }

    /// Whether an assignment may depend on attributes: who asks need not look them up otherwise.
    #[must_use]
    pub fn asks_for_attributes(&self) -> bool {
        self.rules.iter().any(Rule::asks_for_attributes)
    }

    /// A node.
    #[must_use]
    pub fn site(&self, name: &NodeName) -> Option<&Site> {
        self.sites.iter().find(|site| site.name == *name)
    }

    /// The first rule that names a node or a tag that is not there, as a slip of the finger has it, or that means no node.
    #[must_use]
    pub fn lost_rule(&self) -> Option<&Rule> {
        self.rules.iter().find(|rule| !rule.fits(&self.sites))
    }
}

#[cfg(test)]
mod tests;
