//! Logins and challenges: bytes to requests, checked.

use bytes::Bytes;

use crate::model::fault::{Code, Fault};
use crate::model::frame::{Credential, KeyProof, Login};
use crate::model::id::{DeviceId, TenantId, UserId};
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
        Some(Given::Key(given)) => Credential::Key {
            user: UserId::new(&given.user).map_err(|why| invalid_name("key.user", &why))?,
            proof: proof(given.proof.unwrap_or_default())?,
        },
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use prost::Message;

    use super::{BUSINESS_BYTES_MAX, CODE_BYTES_MAX, JWT_BYTES_MAX, login};
    use crate::model::fault::Code;
    use crate::model::frame::{Credential, KeyProof};
    use crate::model::id::{DeviceId, TenantId};
    use crate::wire::pb::{self, login_request::Credential as Given};

    fn request(credential: Given) -> pb::LoginRequest {
        pb::LoginRequest { tenant: "t".into(), device: "d".into(), credential: Some(credential), agent: "a/1".into() }
    }

    fn proof() -> pb::KeyProof {
        pb::KeyProof { challenge: Bytes::from_static(b"c"), signature: Bytes::from_static(b"s") }
    }

    #[test]
    fn what_is_beyond_a_bound_is_refused_and_not_repeated() {
        let enrolment = |code: String| pb::Enrolment { code, public_key: vec![4; 65].into(), proof: Some(proof()) };
        for (given, code) in [
            (Given::Business(vec![7; BUSINESS_BYTES_MAX].into()), None),
            (Given::Business(vec![7; BUSINESS_BYTES_MAX + 1].into()), Some(Code::InvalidOption)),
            (Given::Business(Bytes::new()), Some(Code::InvalidOption)),
            (Given::Jwt("j".repeat(JWT_BYTES_MAX)), None),
            (Given::Jwt("j".repeat(JWT_BYTES_MAX + 1)), Some(Code::InvalidOption)),
            (Given::Key(pb::KeyLogin { user: "ada".into(), proof: Some(proof()) }), None),
            (Given::Key(pb::KeyLogin { user: "ada".into(), proof: None }), Some(Code::InvalidOption)),
            (Given::Key(pb::KeyLogin { user: String::new(), proof: Some(proof()) }), Some(Code::InvalidName)),
            (Given::Enrolment(enrolment("C".into())), None),
            (Given::Enrolment(enrolment("C".repeat(CODE_BYTES_MAX + 1))), Some(Code::InvalidOption)),
        ] {
            let request = request(given);
            let bytes = request.encoded_len();
            let result = login(request).map_err(|fault| {
                assert!(!fault.words.contains("jjj") && !fault.words.contains("CCC"), "{fault}");
                fault.code
            });
            assert_eq!(result.as_ref().err(), code.as_ref(), "{bytes} bytes");
            if let Ok(login) = result {
                assert_eq!(format!("{login:?}"), "Login(t/d)");
            }
        }
        let none = pb::LoginRequest { credential: None, ..request(Given::Jwt("j".into())) };
        assert_eq!(login(none).expect_err("no credential").code, Code::MissingCredentials);
        let named = pb::LoginRequest { tenant: "a/b".into(), ..request(Given::Jwt("j".into())) };
        assert_eq!(login(named).expect_err("no name").code, Code::InvalidName);
        let known = login(request(Given::Key(pb::KeyLogin { user: "ada".into(), proof: Some(proof()) })));
        assert!(matches!(known.expect("a login").credential, Credential::Key { user, .. } if user.as_str() == "ada"));
    }

    #[test]
    fn what_is_signed_names_purpose_tenant_and_device() {
        let (tenant, device) = (TenantId::new("t").expect("a name"), DeviceId::new("d").expect("a name"));
        assert_eq!(KeyProof::signed_text(&tenant, &device, b"c"), b"pushline-login-v1\0t\0d\0c");
    }
}
