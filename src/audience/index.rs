//! The sets of one tenant, and how they change. What conditions make of them is in `evaluate`.

use std::collections::{BTreeMap, HashMap};

use crate::model::id::{DeviceNumber, TopicName};
use crate::model::set::DeviceSet;

/// Who follows what and is like what, of one tenant.
///
/// A device here is whatever has a [`DeviceNumber`]: a device, or a user that none was seen of yet (rule 4 of
/// docs/targeting.md). The caller says so when one takes the place of the other: nothing changes then.
///
/// All methods that change something may be called again with the same words: the second call changes nothing. What
/// nobody follows and nobody is leaves nothing behind. Clones of sets that were given away are not changed later.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// All devices: what a negation is taken from.
    pub(super) all: DeviceSet,
    /// Who follows a topic, by whatever means: own subscription, group, or both. No set is empty.
    pub(super) topics: HashMap<TopicName, DeviceSet>,
    /// Who has which value of which attribute, in the order of the values' bytes. No map and no set is empty.
    pub(super) attributes: HashMap<String, BTreeMap<String, DeviceSet>>,
}

impl Index {
    /// Makes a device known. One that follows nothing and has no attribute counts only where a condition negates.
    pub fn add(&mut self, device: DeviceNumber) {
        if !self.all.contains(device) {
            self.all.insert(device);
        }
    }

    /// Takes a device out of everything: of the topics it follows and of its attributes' values, which the caller names,
    /// and of all devices. Costs what the device has, not what the tenant has. A topic or value that is not named keeps
    /// the device, and conditions would count a ghost.
    pub fn forget<'t>(
        &mut self,
        device: DeviceNumber,
        topics: impl IntoIterator<Item = &'t TopicName>,
        attributes: &BTreeMap<String, String>,
    ) {
        for topic in topics {
            self.unfollow(topic, device);
        }
        for (name, value) in attributes {
            self.leave(name, value, device);
        }
        self.all.remove(device);
    }

    /// A device follows a topic now. It becomes known if it was not. The caller counts the reasons: a device follows as
    /// long as it has one (own subscription, one of its user's groups).
    pub fn follow(&mut self, topic: &TopicName, device: DeviceNumber) {
        self.add(device);
        match self.topics.get_mut(topic) {
            Some(followers) => {
                followers.insert(device);
            }
            None => {
                self.topics.insert(topic.clone(), [device].into_iter().collect());
            }
        }
    }

    /// A device follows a topic no longer: its last reason to is gone.
    pub fn unfollow(&mut self, topic: &TopicName, device: DeviceNumber) {
        if let Some(followers) = self.topics.get_mut(topic) {
            followers.remove(device);
            if followers.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// The attributes of a device are `new` from now on; they were `old` (empty for one that had none). It becomes known
    /// if it was not. Costs what differs.
    pub fn describe(&mut self, device: DeviceNumber, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
        self.add(device);
        for (name, value) in old.iter().filter(|(name, value)| new.get(*name) != Some(*value)) {
            self.leave(name, value, device);
        }
        for (name, value) in new {
            if !self.attributes.contains_key(name) {
                self.attributes.insert(name.clone(), BTreeMap::new());
            }
            let values = self.attributes.get_mut(name);
            if let Some(set) = values.and_then(|values| {
                if !values.contains_key(value) {
                    values.insert(value.clone(), DeviceSet::default());
                }
                values.get_mut(value)
            }) {
                set.insert(device);
            }
        }
    }

    /// All devices that are known.
    #[must_use]
    pub const fn all(&self) -> &DeviceSet {
        &self.all
    }

    /// Who follows a topic: the set that its pushes are for. Costs nothing: the set is shared.
    #[must_use]
    pub fn followers(&self, topic: &TopicName) -> DeviceSet {
        self.topics.get(topic).cloned().unwrap_or_default()
    }

    /// About how many bytes it takes in memory. Looks at each set.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// Of a map for a key and a value, with the slack that it keeps. A guess.
        const ENTRY: usize = 64;
        let topics = self.topics.iter().map(|(topic, set)| ENTRY + topic.as_str().len() + set.bytes()).sum::<usize>();
        let values = self.attributes.iter().map(|(name, values)| {
            let values = values.iter().map(|(value, set)| ENTRY + value.len() + set.bytes());
            ENTRY + name.len() + values.sum::<usize>()
        });
        self.all.bytes() + topics + values.sum::<usize>()
    }

    fn leave(&mut self, name: &str, value: &str, device: DeviceNumber) {
        let Some(values) = self.attributes.get_mut(name) else {
            return;
        };
        let Some(set) = values.get_mut(value) else {
            return;
        };
        set.remove(device);
        if set.is_empty() {
            values.remove(value);
            if values.is_empty() {
                self.attributes.remove(name);
            }
        }
    }
}
