//! Flags that several commands share, and the types of their values. It does no work.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::config::{self, Override, Settings};

/// Where the gateway's options come from.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Source {
    /// Read options from this TOML file (`pushline config` prints one).
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder of everything that must last: messages, cursors, keys [default: data].
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Set any option, such as session.window=128; may be given several times.
    #[arg(long, value_name = "SECTION.NAME=VALUE", value_parser = assignment)]
    pub set: Vec<Override>,
}

impl Source {
    /// Gathers the options; `more` are those of the command's own flags. A flag of its own wins over `--set`.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn load(&self, more: Vec<Override>) -> Result<Settings, config::Error> {
        let mut flags = self.set.clone();
        if let Some(data) = &self.data {
            let value = data.to_string_lossy().into_owned();
            flags.push(Override { key: "store.data".to_owned(), value, flag: "--data" });
        }
        flags.extend(more);
        Settings::load(self.config.as_deref(), config::environment(), &flags)
    }
}

/// A key or token: shows nothing when printed with `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Reads a time with its unit.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "expected a time with its unit, such as 30s, 12h or 7days".to_owned())
}

fn assignment(text: &str) -> Result<Override, String> {
    Override::parse(text).ok_or_else(|| "expected SECTION.NAME=VALUE, such as session.window=128".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Secret, Source};

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        source: Source,
    }

    #[test]
    fn flags_become_options() {
        let only =
            Only::try_parse_from(["x", "--data", "elsewhere", "--set", "session.window=7", "--set=store.data=no"]);
        let settings = only.unwrap().source.load(Vec::new()).unwrap();
        assert_eq!(settings.config().session.window, 7);
        assert_eq!(settings.config().store.data.to_str(), Some("elsewhere"));
        assert!(Only::try_parse_from(["x", "--set", "session.window"]).is_err());
        let unknown = Only::try_parse_from(["x", "--set", "session.windw=7"]).unwrap().source.load(Vec::new());
        assert!(unknown.unwrap_err().to_string().contains("`session.window`"));
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(format!("{:?}", Secret::from("hush")), "Secret");
        assert_eq!(Secret::from(" hush\n").reveal(), "hush");
    }
}
