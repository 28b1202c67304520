//! What a condition makes of the sets. Slow and obvious is [`Condition::matches`]; this computes the same for all devices
//! at once, and a test compares the two.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::index::Index;
use crate::model::condition::{Condition, Expression, Operator};
use crate::model::set::DeviceSet;

/// What a part of a condition is true for.
enum Part {
    /// These devices.
    In(DeviceSet),
    /// All devices but these. Kept so until the end, because taking away is cheaper than the set of nearly all.
    Out(DeviceSet),
}

impl Index {
    /// The devices that a condition is true for now.
    ///
    /// The same as [`Condition::matches`] asked for each known device: a negation is true for all devices that the
    /// negated is not true for, also those that follow nothing and have no attributes; an attribute that a device does
    /// not have makes each comparison with it false.
    #[must_use]
    pub fn evaluate(&self, condition: &Condition) -> DeviceSet {
        match self.part(condition.root()) {
            Part::In(set) => set,
            Part::Out(set) => self.all.without(&set),
        }
    }

    /// How many values of attributes [`Index::evaluate`] may have to look at: what a condition costs at most.
    #[must_use]
    pub fn comparisons(&self, condition: &Condition) -> usize {
        self.comparisons_in(condition.root())
    }

    fn comparisons_in(&self, expression: &Expression) -> usize {
        match expression {
            Expression::Topic(_) | Expression::Attribute { operator: Operator::Equal, .. } => 0,
            Expression::Attribute { name, .. } => self.attributes.get(name).map_or(0, BTreeMap::len),
            Expression::Not(inner) => self.comparisons_in(inner),
            Expression::All(parts) | Expression::Any(parts) => parts.iter().map(|part| self.comparisons_in(part)).sum(),
        }
    }

    fn part(&self, expression: &Expression) -> Part {
        match expression {
            Expression::Topic(topic) => Part::In(self.followers(topic)),
            Expression::Attribute { name, operator, value } => Part::In(self.compared(name, *operator, value)),
            Expression::Not(inner) => match self.part(inner) {
                Part::In(set) => Part::Out(set),
                Part::Out(set) => Part::In(set),
            },
            Expression::All(parts) => self.all_of(parts),
            Expression::Any(parts) => self.any_of(parts),
        }
    }

    /// Devices in each part. Begins with the smallest set, so that no set on the way is larger than that, and looks at no
    /// attribute once nobody is left.
    fn all_of(&self, parts: &[Expression]) -> Part {
        let (mut within, mut without) = (Vec::new(), Vec::new());
        let (dear, cheap): (Vec<_>, Vec<_>) = parts.iter().partition(|part| is_dear(part));
        for part in cheap.into_iter().chain(dear) {
            match self.part(part) {
                Part::In(set) if set.is_empty() => return Part::In(set),
                Part::In(set) => within.push(set),
                Part::Out(set) => without.push(set),
            }
        }
        within.sort_unstable_by_key(DeviceSet::len);
        let mut within = within.into_iter();
        let Some(smallest) = within.next() else {
            return Part::Out(DeviceSet::union(&without));
        };
        let left = within.fold(smallest, |left, set| left.and(&set));
        Part::In(without.into_iter().fold(left, |left, set| left.without(&set)))
    }

    /// Devices in at least one part.
    fn any_of(&self, parts: &[Expression]) -> Part {
        let (mut within, mut without) = (Vec::new(), Vec::new());
        for part in parts {
            match self.part(part) {
                Part::In(set) => within.push(set),
                Part::Out(set) => without.push(set),
            }
        }
        without.sort_unstable_by_key(DeviceSet::len);
        let mut without = without.into_iter();
        let Some(smallest) = without.next() else {
            return Part::In(DeviceSet::union(&within));
        };
        // Left out are those that each negated part leaves out and no other part lets in.
        let left = without.fold(smallest, |left, set| left.and(&set));
        Part::Out(within.into_iter().fold(left, |left, set| left.without(&set)))
    }

    /// Devices that have the attribute, with a value that compares so.
    fn compared(&self, name: &str, operator: Operator, given: &str) -> DeviceSet {
        let Some(values) = self.attributes.get(name) else {
            return DeviceSet::default();
        };
        match operator {
            Operator::Equal => values.get(given).cloned().unwrap_or_default(),
            // Values with a common beginning are neighbours.
            Operator::StartsWith => {
                let from = values.range::<str, _>((Bound::Included(given), Bound::Unbounded));
                DeviceSet::union(from.take_while(|(value, _)| value.starts_with(given)).map(|(_, set)| set))
            }
            _ => DeviceSet::union(values.iter().filter(|(value, _)| operator.holds(value, given)).map(|(_, set)| set)),
        }
    }
}

/// Whether a part may have to look at many values of an attribute.
fn is_dear(part: &Expression) -> bool {
    match part {
        Expression::Topic(_) | Expression::Attribute { operator: Operator::Equal, .. } => false,
        Expression::Attribute { .. } => true,
        Expression::Not(inner) => is_dear(inner),
        Expression::All(parts) | Expression::Any(parts) => parts.iter().any(is_dear),
    }
}
