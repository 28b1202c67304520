//! The business server's judgement.

use crate::model::fault::Fault;
use crate::model::tenant::BusinessLogin;
use crate::node::Node;
use crate::node::access::checks::{Ask, Checked};
use crate::node::access::not_yet;

/// Asks the tenant's business server whether a credential is good.
///
/// # Errors
/// `login_refused`, or `login_unavailable` when the server gave no answer that can be used.
pub async fn business(
    _node: &Node,
    _way: &BusinessLogin,
    _ask: &Ask<'_>,
    _credential: &[u8],
) -> Result<Checked, Fault> {
    not_yet()
}
