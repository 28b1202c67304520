//! The rule that tells which topics a group maps to. It knows no group.

use crate::model::id::{GroupName, NAME_BYTES_MAX, NameError, TopicName};

/// Most topics of a group (proto). A guess: a member follows them all.
pub const GROUP_TOPICS_MAX: usize = 16;

/// What stands for the group's name.
const PLACE: &str = "{group}";

/// Topics of a group, with `{group}` in place of its name. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicRule(Vec<String>);

/// Why a rule is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// It has no topics, or too many.
    #[error("there are {0}; give 1 to {GROUP_TOPICS_MAX}")]
    Number(usize),
    /// One of them is no topic's name.
    #[error("{0:?}: {1}")]
    Topic(String, NameError),
}

impl TopicRule {
    /// Checks and takes a rule.
    ///
    /// # Errors
    /// [`RuleError`] when no group could have these topics.
    pub fn new(topics: Vec<String>) -> Result<Self, RuleError> {
        if !(1..=GROUP_TOPICS_MAX).contains(&topics.len()) {
            return Err(RuleError::Number(topics.len()));
        }
        let rule = Self(topics);
        // The shortest name there is: what fails with it fails with all.
        rule.filled("g")?;
        Ok(rule)
    }

    /// The topics of a group, each once.
    ///
    /// # Errors
    /// [`RuleError::Topic`] when the group's name makes one of them too long.
    pub fn topics(&self, group: &GroupName) -> Result<Vec<TopicName>, RuleError> {
        let mut topics = self.filled(group.as_str())?;
        topics.sort_unstable();
        topics.dedup();
        Ok(topics)
    }

    /// The rule as it was given.
    #[must_use]
    pub fn as_slice(&self) -> &[String] {
        &self.0
    }

    fn filled(&self, group: &str) -> Result<Vec<TopicName>, RuleError> {
        let fill = |topic: &String| {
            let name = topic.replace(PLACE, group);
            TopicName::new(&name).map_err(|error| RuleError::Topic(shortened(topic), error))
        };
        self.0.iter().map(fill).collect()
    }
}

impl Default for TopicRule {
    fn default() -> Self {
        Self(vec![PLACE.to_owned()])
    }
}

/// The beginning of a text of unknown length.
fn shortened(text: &str) -> String {
    text.chars().take(NAME_BYTES_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::{GROUP_TOPICS_MAX, RuleError, TopicRule};
    use crate::model::id::GroupName;

    fn rule(topics: &[&str]) -> Result<TopicRule, RuleError> {
        TopicRule::new(topics.iter().map(|topic| (*topic).to_owned()).collect())
    }

    fn topics(rule: &TopicRule, group: &str) -> Result<Vec<String>, RuleError> {
        let topics = rule.topics(&GroupName::new(group).expect("a name"))?;
        Ok(topics.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_name_stands_where_it_is_asked_for() {
        assert_eq!(topics(&TopicRule::default(), "staff"), Ok(vec!["staff".into()]));
        let rule = rule(&["group.{group}", "all", "{group}-{group}", "all"]).expect("a rule");
        assert_eq!(topics(&rule, "a"), Ok(vec!["a-a".into(), "all".into(), "group.a".into()]));
        let long = "x".repeat(128);
        assert!(matches!(topics(&rule, &long), Err(RuleError::Topic(topic, _)) if topic == "group.{group}"));
        assert_eq!(topics(&TopicRule::default(), &long), Ok(vec![long]));
    }

    #[test]
    fn what_no_group_could_have_is_refused() {
        assert_eq!(rule(&[]), Err(RuleError::Number(0)));
        assert_eq!(rule(&["a"; GROUP_TOPICS_MAX + 1]), Err(RuleError::Number(17)));
        for topic in ["", "{user}", "a b", "{group", &"x".repeat(129), "{group} "] {
            assert!(matches!(rule(&[topic]), Err(RuleError::Topic(..))), "{topic}");
        }
        assert!(rule(&["a"; GROUP_TOPICS_MAX]).is_ok());
    }
}
