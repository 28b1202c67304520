//! Gathers the options: defaults, then a file, then the environment, then flags; later ones win. It checks them and
//! tells where each came from. It obeys none of them.

mod cluster;
mod describe;
mod kind;
mod layer;
mod table;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use layer::Given;
use table::{OPTIONS, Row, SECTIONS, Unfit};

pub use describe::Description;
pub use kind::Format;
pub use layer::{Origin, Override};
pub use table::{
    Auth, Backend, Cluster, Config, Drain, Limits, Listen, Log, Message, Rates, Runtime, Session, Store, Tls,
};

/// The options in force, and where each came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The options.
    config: Config,
    /// For each of [`OPTIONS`], in its order, where its value came from.
    origins: Vec<Origin>,
}

impl Settings {
    /// Gathers the options from a file, if any, from variables of the environment, and from flags.
    ///
    /// # Errors
    /// Everything that is wrong, at once.
    pub fn load(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
        flags: &[Override],
    ) -> Result<Self, Error> {
        let mut settings = Self { config: Config::default(), origins: vec![Origin::Default; OPTIONS.len()] };
        let mut problems = Vec::new();
        let mut all = match file.map(read_file).transpose() {
            Ok(given) => given.unwrap_or_default(),
            Err(problem) => {
                problems.push(problem);
                Vec::new()
            }
        };
        all.extend(layer::of_environment(environment, |key| find(key).is_some()));
        all.extend(layer::of_flags(flags));
        problems.extend(all.into_iter().filter_map(|given| settings.take(given).err()));
        settings.complete();
        if problems.is_empty() {
            problems.extend(settings.contradictions());
        }
        if problems.is_empty() { Ok(settings) } else { Err(Error { problems }) }
    }

    /// The options.
    #[must_use]
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// All that is known of each option.
    #[must_use]
    pub fn describe(&self) -> Vec<Description> {
        describe::all(&self.config, &self.origins)
    }

    /// The options in force as a TOML file that explains itself; secrets are hidden.
    #[must_use]
    pub fn to_toml(&self) -> String {
        describe::to_toml(&self.describe())
    }

    fn take(&mut self, given: Given) -> Result<(), Problem> {
        let Given { key, raw, origin } = given;
        let Some(raw) = raw else {
            let known = SECTIONS.iter().any(|(section, _)| *section == key);
            let nearest = nearest(&key, SECTIONS.iter().map(|(section, _)| *section));
            return if known { Ok(()) } else { Err(Problem::UnknownSection { section: key, nearest, origin }) };
        };
        let Some(index) = find(&key) else {
            // All keys of an unknown section are one mistake, reported with the section.
            let in_known_section = key.split_once('.').is_none_or(|(name, _)| is_section(name));
            if !in_known_section && matches!(origin, Origin::File(..)) {
                return Ok(());
            }
            return Err(Problem::UnknownKey { nearest: nearest_key(&key), key, origin });
        };
        let row = &OPTIONS[index];
        match (row.set)(&mut self.config, &raw) {
            Ok(()) => {
                self.origins[index] = origin;
                Ok(())
            }
            Err(unfit) => {
                let value = if row.secret { "***".to_owned() } else { raw.shown() };
                Err(Problem::BadValue { key: row.key, value, expected: explain(row, unfit), origin })
            }
        }
    }

    /// Who asks for free ports, so that several gateways run side by side, means all that nobody chose.
    fn complete(&mut self) {
        let chosen = find("listen.admin").is_some_and(|index| self.origins[index] != Origin::Default);
        if !chosen && self.config.listen.backend.port() == 0 {
            self.config.listen.admin.set_port(0);
        }
    }

    fn contradictions(&self) -> Vec<Problem> {
        let origin = |key| find(key).map_or(Origin::Default, |index| self.origins[index].clone());
        let all = self.config.contradictions().into_iter();
        all.map(|(one, relation, other)| Problem::Contradiction {
            one,
            one_origin: origin(one),
            relation,
            other,
            other_origin: origin(other),
        })
        .collect()
    }
}

/// The process's environment, less what is not text.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Everything that is wrong with the options.
#[derive(Debug)]
pub struct Error {
    /// At least one.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// One thing that is wrong with the options.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file cannot be read.
    #[error("{path}: cannot be read: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{path}:{line}: not TOML: {message}")]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// No option has this name.
    #[error("{origin}: unknown option `{key}`; the nearest is `{}`", spelled_for(.origin, .nearest))]
    UnknownKey {
        /// What was written.
        key: String,
        /// What may have been meant.
        nearest: &'static str,
        /// Where.
        origin: Origin,
    },
    /// No section has this name.
    #[error("{origin}: unknown section `{section}`; the nearest is `{nearest}`")]
    UnknownSection {
        /// What was written.
        section: String,
        /// What may have been meant.
        nearest: &'static str,
        /// Where.
        origin: Origin,
    },
    /// The option does not take this value.
    #[error("{origin}: `{value}` does not fit `{key}`: expected {expected}")]
    BadValue {
        /// The option.
        key: &'static str,
        /// What was written; hidden for secrets.
        value: String,
        /// What is expected instead.
        expected: String,
        /// Where.
        origin: Origin,
    },
    /// Two options do not fit each other.
    #[error("`{one}` (from {one_origin}) {relation} `{other}` (from {other_origin})")]
    Contradiction {
        /// One option.
        one: &'static str,
        /// Where its value came from.
        one_origin: Origin,
        /// How it must relate to the other.
        relation: &'static str,
        /// The other option.
        other: &'static str,
        /// Where its value came from.
        other_origin: Origin,
    },
}

/// An option's name as one would write it there.
fn spelled_for(origin: &Origin, key: &str) -> String {
    match origin {
        Origin::Environment(_) => layer::variable_of(key),
        _ => key.to_owned(),
    }
}

fn read_file(path: &Path) -> Result<Vec<Given>, Problem> {
    let text = std::fs::read_to_string(path).map_err(|source| Problem::File { path: path.to_owned(), source })?;
    layer::of_file(path, &text).map_err(|error| Problem::Syntax {
        path: path.to_owned(),
        line: error.line,
        message: error.message,
    })
}

fn find(key: &str) -> Option<usize> {
    OPTIONS.iter().position(|row| row.key == key)
}

fn is_section(name: &str) -> bool {
    SECTIONS.iter().any(|(section, _)| *section == name)
}

fn explain(row: &Row, unfit: Unfit) -> String {
    match unfit {
        Unfit::Value(expected) => match row.bounds {
            Some((least, greatest)) => format!("{expected}, from {least} to {greatest}"),
            None => expected.into_owned(),
        },
        Unfit::Bounds(least, greatest) => format!("{least} to {greatest}"),
    }
}

/// The option that was most likely meant: the right name in the wrong section, or else the fewest slips of the finger.
fn nearest_key(key: &str) -> &'static str {
    let Some((_, name)) = key.rsplit_once('.') else {
        // Half a key: the other half is missing.
        let halves = OPTIONS.iter().flat_map(|row| [(row.name, row.key), (row.section, row.key)]);
        let whole = OPTIONS.iter().map(|row| (row.key, row.key));
        return halves.chain(whole).min_by_key(|(half, _)| distance(half, key)).map_or("", |(_, whole)| whole);
    };
    let same_name = OPTIONS.iter().filter(|row| row.name == name).map(|row| row.key);
    if same_name.clone().next().is_some() {
        return nearest(key, same_name);
    }
    nearest(key, OPTIONS.iter().map(|row| row.key))
}

fn nearest(word: &str, among: impl Iterator<Item = &'static str>) -> &'static str {
    among.min_by_key(|known| distance(known, word)).unwrap_or_default()
}

fn distance(one: &str, other: &str) -> usize {
    strsim::damerau_levenshtein(one, other)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::{Config, Error, Origin, Override, Settings};

    fn load(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Settings, Error> {
        let mut on_disk = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        on_disk.write_all(file.as_bytes()).unwrap();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let flags: Vec<_> = flags.iter().map(|flag| Override::parse(flag).unwrap()).collect();
        Settings::load(Some(on_disk.path()), environment, &flags)
    }

    fn origin(settings: &Settings, key: &str) -> Origin {
        settings.origins[super::find(key).unwrap()].clone()
    }

    /// The only problem, without the name of the temporary file's folder.
    fn problem(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> String {
        let error = load(file, environment, flags).unwrap_err();
        assert_eq!(error.problems.len(), 1, "{error}");
        let words = error.to_string();
        words.split_once(".toml").map_or(words.clone(), |(_, rest)| format!("FILE{rest}"))
    }

    #[test]
    fn nothing_given_means_defaults() {
        let settings = Settings::load(None, [], &[]).unwrap();
        assert_eq!(*settings.config(), Config::default());
        assert_eq!(origin(&settings, "store.data"), Origin::Default);
    }

    #[test]
    fn later_layers_win_and_are_named() {
        let file = "[session]\nwindow = 1\nwindow_max = 2\nack_timeout = '3s'\n";
        let settings = load(
            file,
            &[("PUSHLINE_SESSION__WINDOW_MAX", "3"), ("PUSHLINE_SESSION__WINDOW", "2")],
            &["session.window=3", "listen.devices=[::1]:0"],
        )
        .unwrap();
        let session = &settings.config().session;
        assert_eq!((session.window, session.window_max, session.ack_timeout.as_secs()), (3, 3, 3));
        assert_eq!(settings.config().listen.devices, "[::1]:0".parse().unwrap());
        assert_eq!(origin(&settings, "session.window"), Origin::Flag("--set"));
        let variable = Origin::Environment("PUSHLINE_SESSION__WINDOW_MAX".to_owned());
        assert_eq!(origin(&settings, "session.window_max"), variable);
        assert!(matches!(origin(&settings, "session.ack_timeout"), Origin::File(_, 4)));
    }

    #[test]
    fn free_ports_are_all_free_but_those_that_were_chosen() {
        for (flags, admin) in [
            (&["listen.devices=127.0.0.1:0"][..], 7090),
            (&["listen.backend=127.0.0.1:0"], 0),
            (&["listen.backend=127.0.0.1:0", "listen.admin=127.0.0.1:7090"], 7090),
        ] {
            let settings = load("", &[], flags).unwrap();
            assert_eq!(settings.config().listen.admin.port(), admin, "{flags:?}");
        }
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_one() {
        for (file, words) in [
            (
                "[session]\n\nhartbeat = '1s'",
                "FILE:3: unknown option `session.hartbeat`; the nearest is `session.heartbeat`",
            ),
            ("[listne]\ndevices = ''\nbackend = ''", "FILE:1: unknown section `listne`; the nearest is `listen`"),
            ("[listen]\ndata = 'x'", "FILE:2: unknown option `listen.data`; the nearest is `store.data`"),
            ("data = 'x'", "FILE:1: unknown option `data`; the nearest is `store.data`"),
            ("store = 'x'", "FILE:1: unknown option `store`; the nearest is `store.data`"),
            ("[log]\nformat.x = 1", "FILE:2: `a TOML table` does not fit `log.format`: expected text or json"),
            ("[log.more]\nx = 1", "FILE:1: unknown option `log.more`; the nearest is `log.format`"),
        ] {
            let found = problem(file, &[], &[]);
            assert!(found == words, "{file}: {found}");
        }
        assert_eq!(
            problem("", &[("PUSHLINE_STORE__DATE", "x")], &[]),
            "$PUSHLINE_STORE__DATE: unknown option `store.date`; the nearest is `PUSHLINE_STORE__DATA`"
        );
        assert_eq!(
            problem("", &[("PUSHLINE_STORE_DATA", "x")], &[]),
            "$PUSHLINE_STORE_DATA: unknown option `store_data`; the nearest is `PUSHLINE_STORE__DATA`"
        );
        assert_eq!(
            problem("", &[], &["session.windows=1"]),
            "--set: unknown option `session.windows`; the nearest is `session.window`"
        );
    }

    #[test]
    fn variables_of_others_are_left_alone() {
        let others = [
            "PUSHLINE_KEY",
            "PUSHLINE_TOKEN",
            "PUSHLINE_BACKEND",
            "PUSHLINE_GATEWAY",
            "PUSHLINE_CA",
            "HOME__X",
            "PUSHLINE",
        ]
        .map(|name| (name, "x"));
        assert_eq!(*load("", &others, &[]).unwrap().config(), Config::default());
    }

    #[test]
    fn bad_values_say_what_where_and_what_instead() {
        for (file, words) in [
            (
                "[session]\nheartbeat = 55",
                "FILE:2: `55` does not fit `session.heartbeat`: expected a time with its unit",
            ),
            ("[session]\nwindow = 0", "FILE:2: `0` does not fit `session.window`: expected 1 to 65536"),
            ("[session]\nwindow = -1", "FILE:2: `-1` does not fit `session.window`: expected a whole number, from 1"),
            ("[session]\nwindow = 4_294_967_296", "FILE:2: `4294967296` does not fit `session.window`"),
            ("[message]\npayload_bytes_max = '2MiB'", "expected 1B to 1MiB"),
            (
                "[listen]\ndevices = 'localhost:1'",
                "`localhost:1` does not fit `listen.devices`: expected an IP address",
            ),
            ("[tls]\nnames = ['a', 1]", "FILE:2: `a TOML array of other things than strings` does not fit `tls.names`"),
            ("[tls]\nbackend = 'yes'", "expected true or false"),
            ("[session\n", "FILE:1: not TOML"),
            ("[session]\nwindow = 1\nwindow = 2", "FILE:3: not TOML: duplicate key"),
        ] {
            let found = problem(file, &[], &[]);
            assert!(found.contains(words), "{file}: {found}");
        }
        let found = problem("", &[("PUSHLINE_DRAIN__BOUND", "soon")], &[]);
        assert!(found.starts_with("$PUSHLINE_DRAIN__BOUND: `soon` does not fit `drain.bound`"), "{found}");
    }

    #[test]
    fn nodes_and_rules_must_fit() {
        let nodes = "[cluster]\nnodes = ['a h:1 tag=eu', 'b h:2']\n";
        assert!(load(&format!("{nodes}name = 'b'\nrules = ['r -> tag=eu']"), &[], &[]).is_ok());
        for (more, words) in [
            ("", "`cluster.name` (from default) must be the name of one of"),
            ("name = 'c'", "must be the name of one of `cluster.nodes`"),
            ("name = 'a'\nrules = ['r -> tag=us']", "must name nodes and tags of `cluster.nodes`"),
            ("name = 'a'\nrules = ['r tag=eu']", "`tag=eu` means nothing here"),
        ] {
            let found = load(&format!("{nodes}{more}"), &[], &[]).unwrap_err().to_string();
            assert!(found.contains(words), "{more}: {found}");
        }
        assert!(load("[cluster]\nrules = ['r -> tag=us']", &[], &[]).is_err(), "rules without nodes");
    }

    #[test]
    fn secrets_are_not_repeated_by_refusals() {
        for file in ["[auth]\nkeys = ['shop:hush']", "[auth]\nkeys = 'hush'", "[auth]\nkeys = ['shop:hush'"] {
            let found = problem(file, &[], &[]);
            assert!(!found.contains("hush"), "{found}");
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        for (flags, words) in [
            (
                &["session.window=9", "session.window_max=8"][..],
                "`session.window` (from --set) must not be greater than `session.window_max`",
            ),
            (
                &["session.heartbeat=5s"],
                "`session.heartbeat_min` (from default) must not be greater than `session.heartbeat` (from --set)",
            ),
            (&["session.heartbeat=11m"], "`session.heartbeat_max`"),
            (&["session.retry_pause_first=2m"], "`session.retry_pause_max`"),
            (&["message.ttl_max=1day"], "`message.ttl`"),
            (&["drain.spread=31s"], "`drain.bound`"),
            (&["listen.backend=127.0.0.1:7443"], "must differ from"),
            (&["listen.admin=127.0.0.1:7080"], "`listen.backend` (from default) must differ from `listen.admin`"),
            (&["tls.client_ca=a"], "`tls.client_ca` (from --set) needs `tls.backend` (from default)"),
            (&["tls.certificate=a"], "`tls.certificate` (from --set) goes with `tls.key`"),
            (&["tls.key=a"], "`tls.key` (from --set) goes with `tls.certificate`"),
        ] {
            let found = problem("", &[], flags);
            assert!(found.contains(words), "{flags:?}: {found}");
        }
        assert!(
            load("", &[], &["listen.devices=127.0.0.1:0", "listen.backend=127.0.0.1:0", "listen.admin=127.0.0.1:0"])
                .is_ok()
        );
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let error = load("[a]\nx = 1\n[session]\nwindow = 'x'\n", &[("PUSHLINE_B__C", "")], &["d.e=1"]).unwrap_err();
        assert_eq!(error.problems.len(), 4, "{error}");
        assert_eq!(error.to_string().lines().count(), 4);
    }

    #[test]
    fn a_missing_file_is_an_error() {
        let error = Settings::load(Some(std::path::Path::new("no/such.toml")), [], &[]).unwrap_err();
        assert!(error.to_string().starts_with("no/such.toml: cannot be read"), "{error}");
    }
}
