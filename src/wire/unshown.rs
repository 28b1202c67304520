//! How messages with a secret in them are printed with `{:?}`: by their names alone, wherever somebody prints one.

use std::fmt;

use crate::wire::pb;

macro_rules! unshown {
    ($($type:path),+ $(,)?) => {
        $(impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($type), " { .. }"))
            }
        })+
    };
}

unshown!(
    pb::OpenRequest,
    pb::RenewRequest,
    pb::LoginRequest,
    pb::login_request::Credential,
    pb::LoginResponse,
    pb::CheckLoginRequest,
    pb::IssueTokenResponse,
    pb::CreateEnrolmentResponse,
    pb::CreateShareResponse,
    pb::CreateKeyResponse,
    pb::BusinessLogin,
    pb::Webhook,
);

#[cfg(test)]
mod tests {
    use crate::wire::pb;

    #[test]
    fn secrets_are_not_printed_also_within_other_messages() {
        let secret = || "hush".to_owned();
        let business = pb::BusinessLogin { secret: secret(), ..Default::default() };
        let login = pb::LoginWays { business: Some(business), ..Default::default() };
        let credential = Some(pb::login_request::Credential::Jwt(secret()));
        let printed = [
            format!("{:?}", pb::Tenant { login: Some(login), ..Default::default() }),
            format!("{:?}", pb::CreateKeyResponse { secret: secret(), ..Default::default() }),
            format!("{:?}", pb::IssueTokenResponse { token: secret(), ..Default::default() }),
            format!("{:?}", pb::OpenRequest { token: secret(), ..Default::default() }),
            format!("{:?}", pb::LoginRequest { credential, ..Default::default() }),
            format!("{:?}", pb::Webhook { secret: secret(), ..Default::default() }),
        ];
        for text in printed {
            assert!(!text.contains("hush") && text.contains("{ .. }"), "{text}");
        }
    }
}
