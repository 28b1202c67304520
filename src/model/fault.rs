//! Faults that a caller is told of: a stable code, and words that say what to do.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

macro_rules! codes {
    ($(#[doc = $doc:literal] $variant:ident = $errno:literal, $name:literal, $grpc:ident, $http:literal;)*) => {
        /// Stable code of a fault. Numbers and words never change their meaning; docs/errors.md lists them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $doc] $variant,)*
        }

        impl Code {
            /// All codes, by number.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The number: 1xx the request is wrong, 2xx the caller may not, 3xx the state does not fit, 4xx a limit
            /// is reached, 5xx the gateway's side failed.
            #[must_use]
            pub const fn errno(self) -> u32 {
                match self { $(Self::$variant => $errno,)* }
            }

            /// The word.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// The gRPC status it travels with.
            #[must_use]
            pub const fn grpc(self) -> Grpc {
                match self { $(Self::$variant => Grpc::$grpc,)* }
            }

            /// The HTTP status it travels with.
            #[must_use]
            pub const fn http(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// One sentence for the table of docs/errors.md.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc,)* }
            }
        }
    };
}

codes! {
    /// The request cannot be read: not the message the method expects.
    Malformed = 101, "malformed", InvalidArgument, 400;
    /// The target is missing, or names none or several of user, device, topic.
    InvalidTarget = 102, "invalid_target", InvalidArgument, 400;
    /// A name of a user, device or topic is empty, too long or has characters that are not allowed.
    InvalidName = 103, "invalid_name", InvalidArgument, 400;
    /// An option of the request is outside its bounds.
    InvalidOption = 104, "invalid_option", InvalidArgument, 400;
    /// The attributes are too many, or one has a bad name or too long a value.
    InvalidAttributes = 105, "invalid_attributes", InvalidArgument, 400;
    /// The payload is larger than this gateway takes.
    PayloadTooLarge = 106, "payload_too_large", InvalidArgument, 413;
    /// The ack is empty, has too many ranges, a range that runs backwards, or a reason that is too long.
    InvalidAck = 107, "invalid_ack", InvalidArgument, 400;
    /// The ack names a seq that this session has not sent yet; nothing of the request was applied.
    FutureSeq = 108, "future_seq", InvalidArgument, 400;
    /// The request is larger than this method takes.
    RequestTooLarge = 109, "request_too_large", ResourceExhausted, 413;
    /// The request is compressed; this gateway takes `identity` only.
    UnsupportedEncoding = 110, "unsupported_encoding", Unimplemented, 415;
    /// The content type is not one the method takes.
    UnsupportedMediaType = 111, "unsupported_media_type", InvalidArgument, 415;
    /// There is no such method or path here.
    UnknownMethod = 112, "unknown_method", Unimplemented, 404;
    /// The path is known, the HTTP method is not.
    MethodNotAllowed = 113, "method_not_allowed", Unimplemented, 405;
    /// The condition cannot be read: the words say what is wrong and at which byte.
    InvalidCondition = 114, "invalid_condition", InvalidArgument, 400;
    /// No token or key came with the request.
    MissingCredentials = 201, "missing_credentials", Unauthenticated, 401;
    /// The token or key is not one this gateway issued.
    InvalidCredentials = 202, "invalid_credentials", Unauthenticated, 401;
    /// The token was good once and has expired.
    ExpiredToken = 203, "expired_token", Unauthenticated, 401;
    /// The token is good but names another device.
    Forbidden = 204, "forbidden", PermissionDenied, 403;
    /// The token was revoked, or its tenant is suspended.
    RevokedToken = 205, "revoked_token", Unauthenticated, 401;
    /// The API key has not the scope that the method needs.
    ScopeMissing = 206, "scope_missing", PermissionDenied, 403;
    /// The login was refused. No answer tells why: not which tenants, users or devices exist.
    LoginRefused = 207, "login_refused", Unauthenticated, 401;
    /// A viewer with a share token may only read.
    ReadOnly = 208, "read_only", PermissionDenied, 403;
    /// The tenant is suspended.
    TenantSuspended = 209, "tenant_suspended", PermissionDenied, 403;
    /// The connection has no session yet: `Open` comes first.
    NoSession = 301, "no_session", FailedPrecondition, 409;
    /// The connection has a session already: one connection is one session.
    SessionExists = 302, "session_exists", FailedPrecondition, 409;
    /// The ack names another session than the one on this connection.
    SessionMismatch = 303, "session_mismatch", FailedPrecondition, 409;
    /// The idempotency key was used for another push within its window.
    IdempotencyConflict = 304, "idempotency_conflict", AlreadyExists, 409;
    /// No message with this id is known (any more) to this tenant.
    MessageNotFound = 305, "message_not_found", NotFound, 404;
    /// The session ended while the request was under way.
    SessionEnded = 306, "session_ended", Aborted, 409;
    /// There is no such group.
    GroupNotFound = 307, "group_not_found", NotFound, 404;
    /// The group exists and maps to other topics.
    GroupExists = 308, "group_exists", AlreadyExists, 409;
    /// It was changed meanwhile: a version that is as new, or newer, is there.
    StaleVersion = 309, "stale_version", FailedPrecondition, 409;
    /// The message to be replaced is over, or went to another target.
    NotReplaceable = 310, "not_replaceable", FailedPrecondition, 409;
    /// The tenant has no webhook of this kind.
    WebhookNotFound = 311, "webhook_not_found", NotFound, 404;
    /// There is no such tenant.
    TenantNotFound = 312, "tenant_not_found", NotFound, 404;
    /// The tenant exists.
    TenantExists = 313, "tenant_exists", AlreadyExists, 409;
    /// The tenant has no such key, or it stands in the configuration and is changed there.
    KeyNotFound = 314, "key_not_found", NotFound, 404;
    /// The tenant has no such share.
    ShareNotFound = 315, "share_not_found", NotFound, 404;
    /// There is no such node.
    NodeNotFound = 316, "node_not_found", NotFound, 404;
    /// The gateway holds as many connections as it may.
    TooManyConnections = 401, "too_many_connections", ResourceExhausted, 429;
    /// The user holds as many connections as one user may.
    TooManyUserConnections = 402, "too_many_user_connections", ResourceExhausted, 429;
    /// The user has as many devices as one user may.
    TooManyDevices = 403, "too_many_devices", ResourceExhausted, 429;
    /// The device has as many subscriptions as one device may; none of the request was added.
    TooManySubscriptions = 404, "too_many_subscriptions", ResourceExhausted, 429;
    /// The inbox is full of messages that a known device still waits for.
    LogFull = 405, "log_full", ResourceExhausted, 429;
    /// More writes wait for the disk than the queue holds; try again in a moment.
    StoreBusy = 406, "store_busy", Unavailable, 503;
    /// The user would be in more groups, or the group map to more topics, than allowed; nothing was changed.
    TooManyGroups = 407, "too_many_groups", ResourceExhausted, 429;
    /// As many scheduled messages wait as the tenant may have.
    TooManyScheduled = 408, "too_many_scheduled", ResourceExhausted, 429;
    /// The tenant has as many streams of events open as it may.
    TooManyStreams = 409, "too_many_streams", ResourceExhausted, 429;
    /// Too much in too short a time; the answer says when to try again.
    RateLimited = 410, "rate_limited", ResourceExhausted, 429;
    /// The tenant has as much of something as it may; the words say of what.
    TenantQuota = 411, "tenant_quota", ResourceExhausted, 429;
    /// The share has as many viewers as it may.
    TooManyViewers = 412, "too_many_viewers", ResourceExhausted, 429;
    /// The tenant has as many keys, shares or revocations as it may.
    TooManyRecords = 413, "too_many_records", ResourceExhausted, 429;
    /// The store failed; nothing of the request is stored unless its answer says so.
    StoreFailed = 501, "store_failed", Unavailable, 503;
    /// The gateway is being drained; go elsewhere or come back.
    Draining = 502, "draining", Unavailable, 503;
    /// A fault of the gateway itself; the log has more.
    Internal = 503, "internal", Internal, 500;
    /// What checks the login (the business server, the identity provider) could not be asked; try again.
    LoginUnavailable = 504, "login_unavailable", Unavailable, 503;
}

impl Code {
    /// After how long trying again makes sense, for what passes by itself. Guesses: a full queue empties in one flush, a
    /// drained gateway is replaced in seconds, a full log waits for a device.
    #[must_use]
    pub const fn retry_after(self) -> Option<Duration> {
        match (self, self.http()) {
            (Self::StoreBusy, _) => Some(Duration::from_secs(1)),
            (Self::Draining, _) => Some(Duration::from_secs(5)),
            (Self::LogFull, _) => Some(Duration::from_secs(60)),
            (_, 429 | 503) => Some(Duration::from_secs(10)),
            _ => None,
        }
    }
}

/// gRPC status codes that the gateway answers with (numbers of the gRPC specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Grpc {
    InvalidArgument = 3,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    Unauthenticated = 16,
}

/// A refusal or failure as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind.
    pub code: Code,
    /// What exactly, and what to do. Never holds payloads or secrets.
    pub words: Cow<'static, str>,
    /// When trying again makes sense, if more is known of it than the code tells.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A fault with words of its own.
    pub fn new(code: Code, words: impl Into<Cow<'static, str>>) -> Self {
        Self { code, words: words.into(), retry_after: None }
    }

    /// The same, with word of when trying again makes sense.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// When trying again makes sense, by what is known or else by the code; `None` when it does not pass by itself.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        self.retry_after.or_else(|| self.code.retry_after())
    }

    /// The same in whole seconds, as `Retry-After` counts (RFC 9110, section 10.2.3): at least one, so that nobody comes at
    /// once, and rounded up, so that nobody comes too early.
    #[must_use]
    pub fn wait_seconds(&self) -> Option<u64> {
        self.wait().map(|wait| u64::try_from(wait.as_nanos().div_ceil(1_000_000_000)).unwrap_or(u64::MAX).max(1))
    }

    /// The same in milliseconds, rounded up.
    #[must_use]
    pub fn wait_millis(&self) -> Option<u64> {
        self.wait().map(|wait| u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.words, self.code.name())
    }
}

impl std::error::Error for Fault {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Code, Fault};

    #[test]
    fn the_wait_is_what_is_known_or_what_the_code_tells() {
        let waits = |fault: Fault| (fault.wait_seconds(), fault.wait_millis());
        assert_eq!(waits(Fault::new(Code::Malformed, "")), (None, None));
        assert_eq!(waits(Fault::new(Code::LogFull, "")), (Some(60), Some(60_000)));
        let told = |micros| Fault::new(Code::RateLimited, "").with_retry_after(Duration::from_micros(micros));
        for (micros, seconds, millis) in [(0, 1, 1), (900, 1, 1), (1_000_000, 1, 1_000), (1_000_001, 2, 1_001)] {
            assert_eq!(waits(told(micros)), (Some(seconds), Some(millis)), "{micros}");
        }
    }

    #[test]
    fn numbers_and_words_are_unique_and_ordered() {
        assert!(Code::ALL.windows(2).all(|w| w[0].errno() < w[1].errno()));
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }
}
