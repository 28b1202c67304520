//! Logging in: what a program gives for it, and the short requests on a connection. It keeps no tokens.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;

use crate::client::conversation::Caller;
use crate::client::error::Error;
use crate::model::clock::Timestamp;
use crate::model::frame::{KeyProof, LoggedIn};
use crate::model::id::{DeviceId, TenantId, UserId};
use crate::wire::device::Method;
use crate::wire::pb::login_request::Credential as Given;
use crate::wire::{grpc, pb};

/// Gives a client its access whenever it needs a token: before its first session, and when the token at hand is about to
/// expire, has expired or was revoked. Asked for one at a time; its time counts as time of the attempt to connect, or of the
/// renewal.
pub trait Provider: Send + Sync + 'static {
    /// The access.
    fn access(&self) -> Accessing<'_>;
}

/// An access on its way.
pub type Accessing<'a> = Pin<Box<dyn Future<Output = Result<Access, Error>> + Send + 'a>>;

/// What a [`Provider`] gives.
#[derive(Clone)]
pub enum Access {
    /// A token, from wherever the program has it.
    Token(String),
    /// What to log in with: the client does it, on the connection of its session.
    Login(Login),
}

/// Who logs in, and with what. As a [`Provider`] it logs in with the same credential each time.
#[derive(Clone)]
pub struct Login {
    /// The tenant.
    pub tenant: TenantId,
    /// The device.
    pub device: DeviceId,
    /// What the gateway shall check.
    pub credential: Credential,
}

/// What the gateway shall check. The tenant decides what it takes.
#[derive(Clone)]
pub enum Credential {
    /// Anything that the tenant's business server understands.
    Business(Vec<u8>),
    /// A JWT of the tenant's identity provider.
    Jwt(String),
    /// The key that this device has enrolled.
    Key {
        /// Whose device it is, as [`LoggedIn::user`] said when it was enrolled.
        user: UserId,
        /// Signs with the private half.
        signer: Signer,
    },
    /// A one-time code, which enrols a key. For [`Client::login`](super::Client::login) only: a second login needs
    /// [`Credential::Key`].
    Enrolment {
        /// The code.
        code: String,
        /// The public half: 32 bytes of Ed25519, or the 65 bytes of a point of P-256.
        public_key: Vec<u8>,
        /// Signs with the private half.
        signer: Signer,
    },
}

/// Signs a text: Ed25519, or ECDSA over P-256 with SHA-256 in DER. The key may live in a chip.
pub type Signer = Arc<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

impl Provider for Login {
    fn access(&self) -> Accessing<'_> {
        let access = match self.credential {
            Credential::Enrolment { .. } => {
                Err(Error::Invalid("provider: a code is good once; enrol with Client::login, then use the key".into()))
            }
            _ => Ok(Access::Login(self.clone())),
        };
        Box::pin(std::future::ready(access))
    }
}

/// Leaves the credential out.
impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Login({}/{})", self.tenant, self.device)
    }
}

/// A token that a connection got for itself.
pub(super) struct Grant {
    pub(super) token: String,
    /// When to get the next one, from now, if that was said.
    pub(super) refresh_after: Option<Duration>,
    /// Where to connect, best first; empty: where it is.
    pub(super) nodes: Vec<String>,
}

impl Grant {
    /// Makes a grant of what the provider gave, with requests on this connection if it takes any.
    pub(super) async fn get(access: Access, caller: &Caller, agent: &str) -> Result<Self, Error> {
        match access {
            Access::Token(token) => Ok(Self { token, refresh_after: None, nodes: Vec::new() }),
            Access::Login(login) => {
                let told = log_in(caller, &login, agent).await?;
                let nodes = told.nodes.to_vec();
                Ok(Self { token: told.token, refresh_after: Some(told.refresh_after), nodes })
            }
        }
    }
}

/// Logs in.
pub(super) async fn log_in(caller: &Caller, login: &Login, agent: &str) -> Result<LoggedIn, Error> {
    let credential = match &login.credential {
        Credential::Business(credential) => Given::Business(credential.clone().into()),
        Credential::Jwt(token) => Given::Jwt(token.clone()),
        Credential::Key { user, signer } => {
            let proof = Some(prove(caller, login, signer).await?);
            Given::Key(pb::KeyLogin { user: user.to_string(), proof })
        }
        Credential::Enrolment { code, public_key, signer } => {
            let proof = Some(prove(caller, login, signer).await?);
            Given::Enrolment(pb::Enrolment { code: code.clone(), public_key: public_key.clone().into(), proof })
        }
    };
    let request = pb::LoginRequest {
        tenant: login.tenant.to_string(),
        device: login.device.to_string(),
        credential: Some(credential),
        agent: agent.to_owned(),
    };
    let told: pb::LoginResponse = ask(caller, Method::Login, &request).await?;
    let broken = |_| Error::Protocol("the answer to a login has a name that is none".into());
    if told.token.is_empty() {
        return Err(Error::Protocol("the answer to a login has no token".into()));
    }
    Ok(LoggedIn {
        token: told.token,
        expires_at: Timestamp::from_millis(told.expires_at_ms),
        refresh_after: Duration::from_millis(told.refresh_after_ms),
        user: UserId::new(&told.user).map_err(broken)?,
        device: DeviceId::new(&told.device).map_err(broken)?,
        nodes: told.nodes.into(),
    })
}

/// Gives the session another token.
pub(super) async fn renew(caller: &Caller, token: String) -> Result<(), Error> {
    ask::<pb::RenewResponse>(caller, Method::Renew, &pb::RenewRequest { token }).await.map(drop)
}

async fn prove(caller: &Caller, login: &Login, signer: &Signer) -> Result<pb::KeyProof, Error> {
    let request = pb::ChallengeRequest { tenant: login.tenant.to_string(), device: login.device.to_string() };
    let given: pb::ChallengeResponse = ask(caller, Method::Challenge, &request).await?;
    let text = KeyProof::signed_text(&login.tenant, &login.device, &given.challenge);
    Ok(pb::KeyProof { challenge: given.challenge, signature: signer(&text).into() })
}

async fn ask<A: Message + Default>(caller: &Caller, method: Method, request: &impl Message) -> Result<A, Error> {
    let answer: Bytes = caller.call(method, grpc::framed(request)).await?;
    A::decode(answer).map_err(|_| Error::Protocol("an answer is not a protobuf message".into()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Access, Credential, Login, Provider};
    use crate::client::error::Error;
    use crate::model::id::{DeviceId, TenantId};

    fn login(credential: Credential) -> Login {
        let (tenant, device) = (TenantId::new("t").expect("a name"), DeviceId::new("d").expect("a name"));
        Login { tenant, device, credential }
    }

    #[tokio::test]
    async fn a_code_is_no_lasting_access() {
        let code = Credential::Enrolment { code: "C".into(), public_key: Vec::new(), signer: Arc::new(<[u8]>::to_vec) };
        assert!(matches!(login(code).access().await, Err(Error::Invalid(_))));
        let jwt = login(Credential::Jwt("secret".into()));
        assert!(matches!(jwt.access().await, Ok(Access::Login(_))));
        assert!(!format!("{jwt:?}").contains("secret"));
    }
}
