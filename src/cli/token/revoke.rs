//! `pushline token revoke`: takes tokens back.

use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::style::{GOOD, Output};
use crate::cli::table::counted;
use crate::cli::twin;
use crate::client::backend::Tokens;
use crate::model::access::TokenId;
use crate::model::id::{DeviceId, UserId};

#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("which").required(true).args(["id", "user", "all"]))]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    /// The token with this id.
    #[arg(long, value_parser = token_id)]
    id: Option<TokenId>,
    /// All tokens of this user that were issued before now.
    #[arg(long, value_parser = UserId::new)]
    user: Option<UserId>,
    /// Of the user's, only those of this device.
    #[arg(long, value_parser = DeviceId::new, conflicts_with_all = ["id", "all"], requires = "user")]
    device: Option<DeviceId>,
    /// All tokens of the tenant that were issued before now.
    #[arg(long)]
    all: bool,
}

/// Takes them back.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    let (which, words) = arguments.which();
    arguments.access.run(output, async |backend| {
        let sessions = backend.revoke_tokens(&which).await?;
        output.object(&twin::access::revoked(sessions))?;
        output.words(&format!("{GOOD}revoked{GOOD:#}: {words}; {} ended", counted(u64::from(sessions), "session")))?;
        Ok(ExitCode::SUCCESS)
    })
}

impl Arguments {
    fn which(&self) -> (Tokens, String) {
        match (self.id, &self.user, &self.device) {
            (Some(id), _, _) => (Tokens::One(id), format!("the token {id}")),
            (None, Some(user), Some(device)) => {
                let words = format!("all tokens of {user}/{device} until now");
                (Tokens::OfDevice(user.clone(), device.clone()), words)
            }
            (None, Some(user), None) => (Tokens::OfUser(user.clone()), format!("all tokens of {user} until now")),
            (None, None, _) => (Tokens::All, "all tokens of the tenant until now".to_owned()),
        }
    }
}

fn token_id(text: &str) -> Result<TokenId, String> {
    TokenId::parse(text).ok_or_else(|| "expected the id of a token, as `pushline token inspect` shows it".to_owned())
}
