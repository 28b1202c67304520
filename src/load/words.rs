//! What keeps devices or backends of the crowd out, in words that say what to do. It decides nothing.

use std::io;

use crate::tls;

/// A device could not connect, or lost its connection.
pub(super) fn device_lost(error: &io::Error) -> String {
    match tls::distrust(error) {
        Some(why) => format!("the gateway's certificate is not trusted: {why}; name the one to trust with --ca"),
        None if tls::is_foreign(error) => {
            "what listens at --devices does not speak TLS; is it the port for backends?".into()
        }
        None => error.to_string(),
    }
}

/// The gateway ended a session.
pub(super) fn session_ended(close: &str) -> String {
    let advice = match close {
        "invalid_credentials" => "; its tokens are signed with keys of its own: name its data folder with --data",
        "too_many_connections" => "; it takes `limits.connections_max` of them",
        _ => "",
    };
    format!("the gateway ended the session: {close}{advice}")
}

/// A backend's stream of pushes is over; before it was taken, that is a question of address and key.
pub(super) fn backend_lost(error: &io::Error, was_taken: bool) -> String {
    if let Some(why) = tls::distrust(error) {
        return format!("the backend listener's certificate is not trusted: {why}; name the one to trust with --ca");
    }
    if tls::is_foreign(error) {
        return "what listens at --backend does not speak TLS; is it http:// instead of https://?".into();
    }
    let words = error.to_string();
    let advice = match &*words {
        "invalid_credentials" => "; give the gateway's API key with --key, or name its data folder with --data",
        "connection_lost" if !was_taken => "; is --backend the port for devices, or should it be https://?",
        _ => "",
    };
    format!("a backend's stream of pushes ended: {words}{advice}")
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{backend_lost, session_ended};

    #[test]
    fn advice_is_given_where_there_is_some() {
        assert!(session_ended("invalid_credentials").contains("--data"));
        assert_eq!(session_ended("drain"), "the gateway ended the session: drain");
        let lost = |words: &str, was_taken| backend_lost(&io::Error::other(words.to_owned()), was_taken);
        assert!(lost("invalid_credentials", false).contains("--key"));
        assert!(lost("connection_lost", false).contains("https://"));
        assert_eq!(lost("connection_lost", true), "a backend's stream of pushes ended: connection_lost");
    }
}
