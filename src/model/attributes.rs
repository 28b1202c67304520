//! Attributes of a device, which conditions ask about: their bounds.

use std::collections::BTreeMap;

use crate::model::fault::{Code, Fault};
use crate::model::id::TopicName;

/// Attributes of a device.
pub const ATTRIBUTES_MAX: usize = 16;
/// Bytes of an attribute's name.
pub const ATTRIBUTE_NAME_BYTES_MAX: usize = 64;
/// Bytes of an attribute's value.
pub const ATTRIBUTE_VALUE_BYTES_MAX: usize = 128;

/// Refuses attributes of a device that conditions could not ask about.
///
/// # Errors
/// [`Code::InvalidAttributes`] with words that say which.
pub fn check_attributes(given: &BTreeMap<String, String>) -> Result<(), Fault> {
    if given.len() > ATTRIBUTES_MAX {
        let words = format!("attributes: a device has at most {ATTRIBUTES_MAX}");
        return Err(Fault::new(Code::InvalidAttributes, words));
    }
    given.iter().try_for_each(|(name, value)| check_attribute(name, value))
}

/// Refuses one attribute that conditions could not ask about.
///
/// # Errors
/// [`Code::InvalidAttributes`] with words that do not repeat the value.
pub fn check_attribute(name: &str, value: &str) -> Result<(), Fault> {
    let refuse = |words: String| Err(Fault::new(Code::InvalidAttributes, words));
    if name.len() > ATTRIBUTE_NAME_BYTES_MAX {
        return refuse(format!("attributes: a name has over {ATTRIBUTE_NAME_BYTES_MAX} bytes"));
    }
    if let Err(why) = TopicName::new(name) {
        return refuse(format!("attributes: the name {name:?}: {why}"));
    }
    if value.len() > ATTRIBUTE_VALUE_BYTES_MAX || value.chars().any(char::is_control) {
        return refuse(format!(
            "attributes: the value of {name} has over {ATTRIBUTE_VALUE_BYTES_MAX} bytes or a control character"
        ));
    }
    Ok(())
}
