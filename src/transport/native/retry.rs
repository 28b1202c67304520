//! Headers that tell a refused device when to come back. It refuses nothing.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::model::fault::Fault;

/// For people and for clients that know HTTP, and for stock gRPC clients that try again by themselves (gRFC A6); none when
/// the fault does not pass by itself.
pub(super) fn headers(fault: &Fault) -> HeaderMap {
    let pushback = HeaderName::from_static("grpc-retry-pushback-ms");
    let told = [(header::RETRY_AFTER, fault.wait_seconds()), (pushback, fault.wait_millis())];
    told.into_iter().filter_map(|(name, wait)| Some((name, HeaderValue::from(wait?)))).collect()
}
