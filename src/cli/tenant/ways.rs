//! How devices of a tenant log in, as flags.

use std::time::Duration;

use anyhow::ensure;

use crate::cli::options::{Secret, span};
use crate::cli::push::attribute;
use crate::wire::pb;

/// Changes of the ways to log in. What is not named stays as it is.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ways {
    /// Ask this business server about credentials: http, https, grpc or grpcs.
    #[arg(long, value_name = "URL", conflicts_with = "no_business", help_heading = HEADING)]
    business: Option<String>,
    /// Secret to sign requests to it with, as `whsec_` and base64 [default: the gateway makes one].
    #[arg(long, value_name = "SECRET", env = "PUSHLINE_BUSINESS_SECRET", hide_env_values = true,
        value_parser = clap::value_parser!(Secret), help_heading = HEADING)]
    business_secret: Option<Secret>,
    /// Longest wait for it [default: 3s].
    #[arg(long, value_name = "TIME", value_parser = span, help_heading = HEADING)]
    business_timeout: Option<Duration>,
    /// Ask no business server.
    #[arg(long, help_heading = HEADING)]
    no_business: bool,
    /// Take JWTs of this identity provider: their `iss`.
    #[arg(long, value_name = "URL", conflicts_with = "no_jwt", help_heading = HEADING)]
    jwt_issuer: Option<String>,
    /// One of these must be in their `aud`, with commas between.
    #[arg(long, value_name = "AUDIENCE,...", value_delimiter = ',', help_heading = HEADING)]
    jwt_audience: Vec<String>,
    /// Where the provider's keys are published [default: its discovery document says it].
    #[arg(long, value_name = "URL", help_heading = HEADING)]
    jwt_jwks: Option<String>,
    /// Algorithms that are taken, with commas between [default: RS256,ES256,EdDSA].
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', help_heading = HEADING)]
    jwt_algorithm: Vec<String>,
    /// The claim that is the user's name [default: sub].
    #[arg(long, value_name = "CLAIM", help_heading = HEADING)]
    jwt_user_claim: Option<String>,
    /// A claim that becomes an attribute of the device; may be given several times, all of them together.
    #[arg(long = "jwt-attribute", value_name = "NAME=CLAIM", value_parser = attribute, help_heading = HEADING)]
    jwt_attributes: Vec<(String, String)>,
    /// The claim that lists the user's groups [default: groups are left alone].
    #[arg(long, value_name = "CLAIM", help_heading = HEADING)]
    jwt_groups_claim: Option<String>,
    /// How far clocks may be apart [default: 60s].
    #[arg(long, value_name = "TIME", value_parser = span, help_heading = HEADING)]
    jwt_leeway: Option<Duration>,
    /// Take no JWTs.
    #[arg(long, help_heading = HEADING)]
    no_jwt: bool,
    /// Let devices log in with a key that they enrolled.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true",
        help_heading = HEADING)]
    device_key: Option<bool>,
    /// Life of access tokens [default: 1h].
    #[arg(long, value_name = "TIME", value_parser = span, help_heading = HEADING)]
    token_ttl: Option<Duration>,
}

impl Ways {
    /// Makes the changes; false when there are none.
    pub(super) fn apply(&self, ways: &mut pb::LoginWays) -> anyhow::Result<bool> {
        let before = ways.clone();
        if self.no_business {
            ways.business = None;
        }
        if let Some(url) = &self.business {
            ways.business.get_or_insert_default().url.clone_from(url);
        }
        if let Some(business) = &mut ways.business {
            if let Some(secret) = &self.business_secret {
                secret.reveal().clone_into(&mut business.secret);
            }
            if let Some(timeout) = self.business_timeout {
                business.timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
            }
        } else {
            ensure!(
                self.business_timeout.is_none(),
                "--business-timeout: there is no business server; name it with --business"
            );
        }
        if self.no_jwt {
            ways.jwt = None;
        }
        if let Some(issuer) = &self.jwt_issuer {
            ways.jwt.get_or_insert_default().issuer.clone_from(issuer);
        }
        match &mut ways.jwt {
            Some(jwt) => self.apply_jwt(jwt),
            None => ensure!(
                !self.speaks_of_jwt(),
                "flags of JWTs: there is no identity provider; name it with --jwt-issuer"
            ),
        }
        if let Some(device_key) = self.device_key {
            ways.device_key = device_key.then_some(pb::DeviceKeyLogin {});
        }
        if let Some(life) = self.token_ttl {
            ways.token_ttl_seconds = seconds(life);
        }
        Ok(*ways != before)
    }

    fn apply_jwt(&self, jwt: &mut pb::JwtLogin) {
        let replace = |known: &mut Vec<String>, new: &[String]| {
            if !new.is_empty() {
                *known = new.to_vec();
            }
        };
        let set = |known: &mut String, new: &Option<String>| {
            if let Some(new) = new {
                known.clone_from(new);
            }
        };
        replace(&mut jwt.audiences, &self.jwt_audience);
        replace(&mut jwt.algorithms, &self.jwt_algorithm);
        set(&mut jwt.jwks_url, &self.jwt_jwks);
        set(&mut jwt.user_claim, &self.jwt_user_claim);
        set(&mut jwt.groups_claim, &self.jwt_groups_claim);
        if !self.jwt_attributes.is_empty() {
            jwt.attributes = self.jwt_attributes.iter().cloned().collect();
        }
        if let Some(leeway) = self.jwt_leeway {
            jwt.leeway_seconds = Some(seconds(leeway));
        }
    }

    fn speaks_of_jwt(&self) -> bool {
        let texts = [&self.jwt_jwks, &self.jwt_user_claim, &self.jwt_groups_claim];
        texts.iter().any(|text| text.is_some())
            || !(self.jwt_audience.is_empty() && self.jwt_algorithm.is_empty() && self.jwt_attributes.is_empty())
            || self.jwt_leeway.is_some()
    }
}

/// The ways that are open, in words.
pub(super) fn shown(ways: &pb::LoginWays) -> Vec<String> {
    let business = ways.business.as_ref().map(|way| format!("business server {}", way.url));
    let jwt = ways.jwt.as_ref().map(|way| format!("JWTs of {} for {}", way.issuer, way.audiences.join(", ")));
    let device_key = ways.device_key.as_ref().map(|_| "keys of devices".to_owned());
    [business, jwt, device_key].into_iter().flatten().collect()
}

fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX)
}

const HEADING: &str = "How devices log in";
