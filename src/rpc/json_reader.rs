//! Reads JSON piece by piece: objects, texts, numbers, lists. What is wrong is told with the place and with what would be
//! right, never with the content. It knows no message.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::fault::{Code, Fault};
use crate::rpc::draft::shortened;

/// A body or a line as a whole.
pub(super) fn document(bytes: &[u8]) -> Result<&RawValue, Fault> {
    serde_json::from_slice(bytes).map_err(|error| Fault::new(Code::Malformed, format!("this is not JSON: {error}")))
}

/// The members of a body that is one object; those that are null are left out, for null means "not set".
pub(super) fn members<'a>(what: &str, bytes: &'a [u8], known: &[&str]) -> Result<Vec<(String, &'a RawValue)>, Fault> {
    let mut members = object(what, document(bytes)?)?;
    members.iter().try_for_each(|(name, _)| check_known("", name, known))?;
    members.retain(|(_, raw)| raw.get() != "null");
    Ok(members)
}

/// A list of texts.
pub(super) fn strings(field: &str, raw: &RawValue) -> Result<Vec<String>, Fault> {
    let words = || format!("{field} must be a list of strings of valid Unicode");
    serde_json::from_str(raw.get()).map_err(|_| Fault::new(Code::Malformed, words()))
}

/// A list of anything.
pub(super) fn list<'a>(field: &str, raw: &'a RawValue) -> Result<Vec<&'a RawValue>, Fault> {
    serde_json::from_str(raw.get()).map_err(|_| Fault::new(Code::Malformed, format!("{field} must be a list")))
}

/// A whole number. More than a number holds is refused.
pub(super) fn whole(field: &str, raw: &RawValue) -> Result<u64, Fault> {
    let digits = raw.get();
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
    let words = || format!("{field} must be a whole number from 0 to {}", u64::MAX);
    number.ok_or_else(|| Fault::new(Code::Malformed, words()))
}

/// A whole number for which 32 bits are enough. More is taken as the most they hold, which is beyond every bound.
pub(super) fn count(field: &str, raw: &RawValue) -> Result<u32, Fault> {
    Ok(u32::try_from(whole(field, raw)?).unwrap_or(u32::MAX))
}

/// An object of texts.
pub(super) fn texts(field: &str, raw: &RawValue) -> Result<BTreeMap<String, String>, Fault> {
    let members = object(field, raw)?;
    let text = |(name, raw): (String, &RawValue)| {
        let value = string(&format!("{field}.{}", shortened(&name)), raw)?;
        Ok((name, value))
    };
    members.into_iter().map(text).collect()
}

/// The members of an object within another; those that are null are left out. `place` is where it stands, with a dot.
pub(super) fn inner<'a>(place: &str, raw: &'a RawValue, known: &[&str]) -> Result<Vec<(String, &'a RawValue)>, Fault> {
    let mut members = object(place.trim_end_matches('.'), raw)?;
    members.iter().try_for_each(|(name, _)| check_known(place, name, known))?;
    members.retain(|(_, raw)| raw.get() != "null");
    Ok(members)
}

/// True or false.
pub(super) fn switch(field: &str, raw: &RawValue) -> Result<bool, Fault> {
    let words = || format!("{field} must be true or false");
    raw.get().parse().map_err(|_| Fault::new(Code::Malformed, words()))
}

/// The refusal of a word that is none of those the field takes.
pub(super) fn unknown_word(field: &str, word: &str, known: &[&str]) -> Fault {
    let words = format!("{field} {:?} is unknown; {}", shortened(word), meant(word, known));
    Fault::new(Code::InvalidOption, words)
}

/// Refuses a name that is none of those that may stand at this place.
pub(super) fn check_known(place: &str, name: &str, known: &[&str]) -> Result<(), Fault> {
    if known.contains(&name) {
        return Ok(());
    }
    let words = format!("unknown field `{place}{}`; {}", shortened(name), meant(name, known));
    Err(Fault::new(Code::Malformed, words))
}

/// Words that name the nearest valid name, or all of them if none is near enough to be meant.
fn meant(name: &str, known: &[&str]) -> String {
    // Long names cost time to compare and are near to none.
    let name = shortened(name);
    let distances = known.iter().map(|known| (strsim::damerau_levenshtein(&name, known), known));
    match distances.min() {
        Some((distance, nearest)) if distance <= nearest.len() / 2 => format!("did you mean `{nearest}`?"),
        _ => format!("it is one of {}", known.join(", ")),
    }
}

/// A text.
pub(super) fn string(field: &str, raw: &RawValue) -> Result<String, Fault> {
    let words = || format!("{field} must be a string of valid Unicode");
    serde_json::from_str(raw.get()).map_err(|_| Fault::new(Code::Malformed, words()))
}

/// The members of an object in their order, none twice.
pub(super) fn object<'a>(field: &str, raw: &'a RawValue) -> Result<Vec<(String, &'a RawValue)>, Fault> {
    let wrong = |why: &str| Fault::new(Code::Malformed, format!("{field} {why}"));
    if !raw.get().starts_with('{') {
        return Err(wrong("must be a JSON object"));
    }
    let Members(members) =
        serde_json::from_str(raw.get()).map_err(|_| wrong("has a name that is not valid Unicode"))?;
    let mut names: Vec<_> = members.iter().map(|(name, _)| name).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(wrong(&format!("has `{}` twice", shortened(pair[0])))),
        None => Ok(members),
    }
}

/// The members of an object in their order, unread; a map would hide that one came twice.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;

        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Collect)
    }
}
