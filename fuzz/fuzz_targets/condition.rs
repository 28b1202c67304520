//! Any text is a condition or is refused with a place in it; what is a condition can be evaluated, both ways alike.
#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pushline::audience::Index;
use pushline::model::condition::{CONDITION_BYTES_MAX, Condition, Facts};
use pushline::model::id::{DeviceNumber, TopicName};

struct Device;

impl Facts for Device {
    fn follows(&self, topic: &TopicName) -> bool {
        topic.as_str() == "a"
    }

    fn attribute(&self, name: &str) -> Option<&str> {
        (name == "v").then_some("2.10-beta")
    }
}

fuzz_target!(|text: &str| {
    match Condition::parse(text) {
        Ok(condition) => {
            assert!(text.len() <= CONDITION_BYTES_MAX && condition.as_str() == text);
            let mut index = Index::default();
            index.follow(&TopicName::new("a").expect("a name"), DeviceNumber(1));
            let attributes = BTreeMap::from([("v".to_owned(), "2.10-beta".to_owned())]);
            index.describe(DeviceNumber(1), &BTreeMap::new(), &attributes);
            assert_eq!(index.evaluate(&condition).len() == 1, condition.matches(&Device));
        }
        Err(error) => {
            assert!(text.is_char_boundary(error.at));
            assert!(error.words.len() <= 600);
        }
    }
});
