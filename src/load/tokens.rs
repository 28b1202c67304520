//! The tokens with which devices of the crowd connect, and whom pushes to them name.

use std::io;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::order::{Setup, Tokens};
use crate::auth::{Authority, DEFAULT_TENANT};
use crate::model::clock::Clock;
use crate::model::id::{DeviceId, Receiver, TenantId, UserId};
use crate::wire::pb;

/// One device's.
pub(super) struct Token {
    pub(super) secret: String,
    /// What pushes to this device name.
    pub(super) target: pb::Target,
}

/// The tokens of the devices with these numbers.
pub(super) fn of(setup: &Setup, numbers: impl Iterator<Item = u32>) -> io::Result<Vec<Token>> {
    match &setup.tokens {
        Tokens::Signed(folder) => {
            let authority = Authority::open(folder).map_err(io::Error::other)?;
            let now = Clock::new().now().wall;
            let name = "the run's names are names";
            numbers
                .map(|number| {
                    let receiver = Receiver {
                        tenant: TenantId::new(DEFAULT_TENANT).expect(name),
                        user: UserId::new(&setup.user(number)).expect(name),
                        device: DeviceId::new("d").expect(name),
                    };
                    let secret = authority.issue(&receiver, now + LIFE, now);
                    let to = pb::target::To::User(setup.user(number));
                    Ok(Token { secret, target: pb::Target { to: Some(to) } })
                })
                .collect()
        }
        Tokens::File(path) => {
            let named = |why| io::Error::other(format!("cannot read {}: {why}", path.display()));
            let text = std::fs::read_to_string(path).map_err(named)?;
            let lines: Vec<_> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
            let line = |number: u32| {
                let line = lines.get(number as usize).copied().ok_or_else(|| too_few(lines.len()));
                line.and_then(|line| read(line).ok_or_else(|| unreadable(number)))
            };
            numbers.map(line).collect()
        }
    }
}

/// What a line of `pushline token --json` says, or the claims of a token.
#[derive(Deserialize)]
struct Names {
    user: String,
    device: String,
    token: Option<String>,
}

/// A token as `pushline token` prints it, or a line of its JSON.
fn read(line: &str) -> Option<Token> {
    let names: Names = if line.starts_with('{') {
        serde_json::from_str(line).ok()?
    } else {
        let claims = URL_SAFE_NO_PAD.decode(line.split('.').nth(1)?).ok()?;
        Names { token: Some(line.to_owned()), ..serde_json::from_slice(&claims).ok()? }
    };
    let to = pb::target::To::Device(pb::DeviceTarget { user: names.user, device: names.device });
    Some(Token { secret: names.token?, target: pb::Target { to: Some(to) } })
}

fn too_few(lines: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("the file of tokens has {lines}; give one for each connection"))
}

fn unreadable(number: u32) -> io::Error {
    let words =
        format!("line {} of the file of tokens is neither a token nor a line of `pushline token --json`", number + 1);
    io::Error::new(io::ErrorKind::InvalidInput, words)
}

/// Longer than any run.
const LIFE: Duration = Duration::from_secs(7 * 86_400);

#[cfg(test)]
mod tests {
    use super::{of, read};
    use crate::auth::Authority;
    use crate::load::order::{Setup, Tokens};
    use crate::wire::pb;

    #[test]
    fn tokens_are_signed_or_read_from_a_file_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        Authority::open(folder.path()).unwrap();
        let mut setup = Setup { tokens: Tokens::Signed(folder.path().to_owned()), ..Setup::for_tests() };
        let signed = of(&setup, 3..5).unwrap();
        assert_eq!(signed.len(), 2);
        let file = folder.path().join("tokens");
        let json = serde_json::json!({"token": signed[1].secret, "user": "ada", "device": "phone"});
        std::fs::write(&file, format!("{}\n\n{json}\n", signed[0].secret)).unwrap();
        setup.tokens = Tokens::File(file);
        let read = of(&setup, 0..2).unwrap();
        assert!(read.iter().map(|token| &token.secret).eq(signed.iter().map(|token| &token.secret)));
        let device = |user: String, device: &str| {
            Some(pb::target::To::Device(pb::DeviceTarget { user, device: device.to_owned() }))
        };
        assert_eq!(read[0].target.to, device(setup.user(3), "d"));
        assert_eq!(read[1].target.to, device("ada".to_owned(), "phone"));
        assert!(of(&setup, 0..3).err().unwrap().to_string().contains("has 2"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        for line in ["", "abc", "a.b.c", "{}", "{\"user\":\"u\",\"device\":\"d\"}"] {
            assert!(read(line).is_none(), "{line}");
        }
    }
}
