//! `pushline listen`: its flags.

use std::num::NonZeroU64;
use std::path::PathBuf;

use crate::cli::options::Secret;
use crate::model::id::TopicName;

/// Connect as a device and print what is pushed.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline listen --ca data/certs/ca.pem --token $(pushline token --user ada --device phone)
  PUSHLINE_TOKEN=... pushline listen --gateway push.example.org:7443 --topic news --topic sport --json
  pushline listen --ca data/certs/ca.pem --count 1 --no-ack")]
pub struct Arguments {
    /// The gateway: host and port.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7443", value_parser = host_and_port)]
    pub gateway: String,
    /// The device's token.
    #[arg(long, env = "PUSHLINE_TOKEN", hide_env_values = true, value_parser = clap::value_parser!(Secret))]
    pub token: Secret,
    /// PEM file with the certificate to trust instead of the system's.
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Follow this topic from now on; may be given several times.
    #[arg(long = "topic", value_name = "TOPIC", value_parser = TopicName::new)]
    pub topics: Vec<TopicName>,
    /// End after so many pushes.
    #[arg(long, value_name = "NUMBER")]
    pub count: Option<NonZeroU64>,
    /// Ack nothing: every push will come again.
    #[arg(long)]
    pub no_ack: bool,
}

fn host_and_port(text: &str) -> Result<String, String> {
    let expected = "expected HOST:PORT, such as push.example.org:7443 or [::1]:7443";
    let (host, port) = text.rsplit_once(':').ok_or(expected)?;
    let bracketed = host.starts_with('[') && host.ends_with(']');
    let valid =
        !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0) && (bracketed || !host.contains(':'));
    if valid { Ok(text.to_owned()) } else { Err(expected.to_owned()) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::Arguments;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        listen: Arguments,
    }

    #[test]
    fn flags_are_checked() {
        let parse = |line: &str| {
            Only::try_parse_from(["x", "--token", "t"].into_iter().chain(line.split_whitespace()))
                .map(|only| only.listen)
        };
        let listen = parse("--topic a --topic b --count 3 --gateway [::1]:7443").unwrap();
        assert_eq!(listen.topics.len(), 2);
        assert_eq!(listen.token.reveal(), "t");
        for line in
            ["--count 0", "--topic a/b", "--gateway x", "--gateway :1", "--gateway ::1:7", "--gateway x:0", "more"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
