//! Logins and challenges: bytes to requests, checked.

use bytes::Bytes;

use crate::model::fault::{Code, Fault};
use crate::model::frame::{Credential, KeyProof, Login};
use crate::model::id::{DeviceId, TenantId};
use crate::wire::device::{AGENT_BYTES_MAX, invalid_name};
use crate::wire::pb;

/// Bytes of a credential for the business server.
pub const BUSINESS_BYTES_MAX: usize = 8 * 1024;
/// Bytes of an identity provider's JWT.
pub const JWT_BYTES_MAX: usize = 16 * 1024;
/// Bytes of a challenge.
pub const CHALLENGE_BYTES_MAX: usize = 256;
/// Bytes of a signature: an ECDSA one over P-256 in DER has at most 72.
pub const SIGNATURE_BYTES_MAX: usize = 80;
/// Bytes of a public key: an uncompressed point of P-256.
pub const PUBLIC_KEY_BYTES_MAX: usize = 65;
/// Bytes of an enrolment code.
pub const CODE_BYTES_MAX: usize = 64;

/// Checks a login.
///
/// # Errors
/// A [`Fault`] that tells the device what is wrong with the request. Nothing is said of the credential itself.
pub fn login(request: pb::LoginRequest) -> Result<Login, Fault> {
    use pb::login_request::Credential as Given;
    let (tenant, device) = names(&request.tenant, &request.device)?;
    if request.agent.len() > AGENT_BYTES_MAX {
        return Err(Fault::new(Code::InvalidOption, format!("agent: give at most {AGENT_BYTES_MAX} bytes")));
    }
    let credential = match request.credential {
        None => {
            let words = "no credential came: give one of business, jwt, key, enrolment";
            return Err(Fault::new(Code::MissingCredentials, words));
        }
        Some(Given::Business(bytes)) => Credential::Business(sized("business", bytes, BUSINESS_BYTES_MAX)?),
        Some(Given::Jwt(text)) => {
            check_size("jwt", text.len(), JWT_BYTES_MAX)?;
            Credential::Jwt(text)
        }
        Some(Given::Key(given)) => Credential::Key(proof(given)?),
        Some(Given::Enrolment(given)) => {
            check_size("code", given.code.len(), CODE_BYTES_MAX)?;
            let public_key = sized("public_key", given.public_key, PUBLIC_KEY_BYTES_MAX)?;
            Credential::Enrolment { code: given.code, public_key, proof: proof(given.proof.unwrap_or_default())? }
        }
    };
    Ok(Login { tenant, device, credential, agent: request.agent })
}

/// Checks who wants a challenge.
///
/// # Errors
/// A [`Fault`] when a name is not valid.
pub fn challenge(request: &pb::ChallengeRequest) -> Result<(TenantId, DeviceId), Fault> {
    names(&request.tenant, &request.device)
}

fn names(tenant: &str, device: &str) -> Result<(TenantId, DeviceId), Fault> {
    let tenant = TenantId::new(tenant).map_err(|why| invalid_name("tenant", &why))?;
    Ok((tenant, DeviceId::new(device).map_err(|why| invalid_name("device", &why))?))
}

fn proof(given: pb::KeyProof) -> Result<KeyProof, Fault> {
    Ok(KeyProof {
        challenge: sized("challenge", given.challenge, CHALLENGE_BYTES_MAX)?,
        signature: sized("signature", given.signature, SIGNATURE_BYTES_MAX)?,
    })
}

fn sized(what: &str, bytes: Bytes, most: usize) -> Result<Bytes, Fault> {
    check_size(what, bytes.len(), most)?;
    Ok(bytes)
}

fn check_size(what: &str, bytes: usize, most: usize) -> Result<(), Fault> {
    if (1..=most).contains(&bytes) {
        Ok(())
    } else {
        Err(Fault::new(Code::InvalidOption, format!("{what}: give 1 to {most} bytes")))
    }
}
