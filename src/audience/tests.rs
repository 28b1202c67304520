//! The index against the slow and obvious evaluation, over random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::Index;
use crate::model::condition::{Condition, Facts};
use crate::model::id::{DeviceNumber, TopicName};

/// A device as one would write it down.
#[derive(Clone, Debug, Default)]
struct Plain {
    follows: BTreeSet<TopicName>,
    attributes: BTreeMap<String, String>,
}

impl Facts for Plain {
    fn follows(&self, topic: &TopicName) -> bool {
        self.follows.contains(topic)
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Add(u32),
    Follow(u8, u32),
    Unfollow(u8, u32),
    Describe(u32, BTreeMap<String, String>),
    Forget(u32),
}

fn topic(number: u8) -> TopicName {
    TopicName::new(&format!("t{number}")).expect("a name")
}

fn step() -> impl Strategy<Value = Step> {
    // Numbers in two containers of the bitmap.
    let device = (0_u32..12).prop_map(|number| if number < 8 { number } else { 65_530 + number });
    let attributes = prop::collection::btree_map("[ab]", "(1|1\\.2|1\\.10|2|x|xy)", 0..3);
    prop_oneof![
        1 => device.clone().prop_map(Step::Add),
        6 => (0_u8..4, device.clone()).prop_map(|(topic, device)| Step::Follow(topic, device)),
        2 => (0_u8..4, device.clone()).prop_map(|(topic, device)| Step::Unfollow(topic, device)),
        4 => (device.clone(), attributes).prop_map(|(device, attributes)| Step::Describe(device, attributes)),
        1 => device.prop_map(Step::Forget),
    ]
}

fn text() -> impl Strategy<Value = String> {
    let topic = (0_u8..5).prop_map(|number| format!("'t{number}' in topics"));
    let attribute = ("[abc]", "(==|!=|<|<=|>|>=| startsWith )", "(|1|1\\.2|1\\.3|2|x|y)");
    let attribute = attribute.prop_map(|(name, operator, value)| format!("{name}{operator}'{value}'"));
    prop_oneof![topic, attribute].prop_recursive(4, 24, 4, |inner| {
        let joined = (prop::collection::vec(inner.clone(), 2..5), any::<bool>());
        prop_oneof![
            inner.prop_map(|inner| format!("!({inner})")),
            joined.prop_map(|(parts, and)| format!("({})", parts.join(if and { " && " } else { " || " }))),
        ]
    })
}

fn perform(index: &mut Index, devices: &mut BTreeMap<u32, Plain>, step: Step) {
    match step {
        Step::Add(device) => {
            index.add(DeviceNumber(device));
            devices.entry(device).or_default();
        }
        Step::Follow(number, device) => {
            index.follow(&topic(number), DeviceNumber(device));
            devices.entry(device).or_default().follows.insert(topic(number));
        }
        Step::Unfollow(number, device) => {
            index.unfollow(&topic(number), DeviceNumber(device));
            if let Some(plain) = devices.get_mut(&device) {
                plain.follows.remove(&topic(number));
            }
        }
        Step::Describe(device, new) => {
            let plain = devices.entry(device).or_default();
            index.describe(DeviceNumber(device), &plain.attributes, &new);
            plain.attributes = new;
        }
        Step::Forget(device) => {
            let plain = devices.remove(&device).unwrap_or_default();
            index.forget(DeviceNumber(device), &plain.follows, &plain.attributes);
        }
    }
}

proptest! {
    #[test]
    fn it_says_what_each_device_says(
        steps in prop::collection::vec(step(), 0..60),
        texts in prop::collection::vec(text(), 1..8),
    ) {
        let (mut index, mut devices) = (Index::default(), BTreeMap::new());
        for step in steps {
            perform(&mut index, &mut devices, step);
        }
        for text in texts {
            // Some have more operands than are allowed.
            let Ok(condition) = Condition::parse(&text) else { continue };
            let matching = devices.iter().filter(|(_, plain)| condition.matches(*plain));
            let expected: Vec<u32> = matching.map(|(device, _)| *device).collect();
            let found: Vec<u32> = index.evaluate(&condition).after(None).map(|device| device.0).collect();
            prop_assert_eq!(found, expected, "{}", text);
        }
        for number in 0..4 {
            let topic = topic(number);
            let following = devices.iter().filter(|(_, plain)| plain.follows.contains(&topic));
            let expected: Vec<u32> = following.map(|(device, _)| *device).collect();
            let found: Vec<u32> = index.followers(&topic).after(None).map(|device| device.0).collect();
            prop_assert_eq!(found, expected);
        }
        // Nothing stays behind.
        for device in devices.keys().copied().collect::<Vec<_>>() {
            perform(&mut index, &mut devices, Step::Forget(device));
        }
        prop_assert!(index.all.is_empty() && index.topics.is_empty() && index.attributes.is_empty(), "{:?}", index);
        prop_assert_eq!(index.bytes(), Index::default().bytes());
    }
}

#[test]
fn sets_that_were_given_away_stay_as_they_were() {
    let mut index = Index::default();
    index.follow(&topic(0), DeviceNumber(1));
    let (followers, all) = (index.followers(&topic(0)), index.all().clone());
    index.follow(&topic(0), DeviceNumber(2));
    index.unfollow(&topic(0), DeviceNumber(1));
    assert_eq!((followers.len(), all.len()), (1, 1));
    assert!(followers.contains(DeviceNumber(1)));
    assert_eq!(index.followers(&topic(0)).after(None).collect::<Vec<_>>(), [DeviceNumber(2)]);
}
