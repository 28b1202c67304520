//! JWTs of identity providers.

use crate::model::fault::Fault;
use crate::model::tenant::JwtLogin;
use crate::node::Node;
use crate::node::access::checks::{Ask, Checked};
use crate::node::access::not_yet;

/// Checks a JWT of the tenant's identity provider with the keys that this publishes.
///
/// # Errors
/// `login_refused`, or `login_unavailable` when the keys could not be had.
pub async fn jwt(_node: &Node, _way: &JwtLogin, _ask: &Ask<'_>, _token: &str) -> Result<Checked, Fault> {
    not_yet()
}
