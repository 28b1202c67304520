//! Every line of the table is sound.

use std::collections::HashSet;

use super::{Config, OPTIONS, Raw, SECTIONS, Unfit};
use crate::{rate, store};

#[test]
fn every_constant_is_valid_and_within_its_bounds() {
    for row in OPTIONS {
        let mut config = Config::default();
        let given = [Some(row.default), row.bounds.map(|bounds| bounds.0), row.bounds.map(|bounds| bounds.1)];
        for text in given.into_iter().flatten() {
            assert_eq!((row.set)(&mut config, &Raw::Text(text.to_owned())), Ok(()), "{} = {text}", row.key);
        }
        assert!(!row.expected.is_empty() && row.meaning().ends_with('.'), "{}", row.key);
    }
    assert!(Config::default().contradictions().is_empty());
}

#[test]
fn a_value_is_stored_in_its_own_field() {
    let mut shown_before = HashSet::new();
    for row in OPTIONS.iter().filter(|row| row.bounds.is_some()) {
        let (least, greatest) = row.bounds.unwrap();
        let mut config = Config::default();
        for text in [least, greatest] {
            (row.set)(&mut config, &Raw::Text(text.to_owned())).unwrap();
            shown_before.insert((row.key, (row.show)(&config).to_string()));
        }
        let changed = OPTIONS.iter().filter(|other| (other.show)(&config) != other.default_shown());
        assert!(changed.into_iter().all(|other| other.key == row.key), "{}", row.key);
    }
    assert_eq!(shown_before.len(), 2 * OPTIONS.iter().filter(|row| row.bounds.is_some()).count());
}

#[test]
fn bounds_are_kept() {
    let row = OPTIONS.iter().find(|row| row.key == "message.payload_bytes_max").unwrap();
    let mut config = Config::default();
    for text in ["0", "2MiB"] {
        assert_eq!((row.set)(&mut config, &Raw::Text(text.into())), Err(Unfit::Bounds("1B", "1MiB")));
    }
    assert_eq!(config, Config::default(), "a refused value changes nothing");
}

#[test]
fn defaults_are_those_of_the_rooms_that_obey_them() {
    assert_eq!(Config::default().store.limits(), store::Limits::default());
    assert_eq!(Config::default().rate.options(), rate::Options::default());
}

#[test]
fn sections_and_rows_agree() {
    let of_rows: HashSet<_> = OPTIONS.iter().map(|row| row.section).collect();
    let listed: HashSet<_> = SECTIONS.iter().map(|(section, _)| *section).collect();
    assert_eq!(of_rows, listed);
    assert!(OPTIONS.iter().all(|row| row.key == format!("{}.{}", row.section, row.name)));
}
