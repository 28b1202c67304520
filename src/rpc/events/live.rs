//! A journal that is followed, as both surfaces stream it: batches, a beat when all is quiet, a reason at the end.

use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::node::journal::{Batch, Journal, Wanted};
use crate::rpc::intake::Intake;

/// One step of a stream.
pub(super) enum Step {
    /// Events, or only a position.
    Batch(Batch),
    /// Nothing was added for some time.
    Quiet,
    /// The last step: why the stream ends.
    End(Fault),
}

/// How long a stream is quiet before that is said: below the half minute after which some proxies take a connection for
/// dead.
const BEAT: Duration = Duration::from_secs(15);

/// Begins to follow a journal.
///
/// # Errors
/// When the tenant has too many streams open, or the store failed. A caller that may not any more is told so at the end.
pub(super) async fn begin(
    intake: &Intake,
    caller: &Caller,
    journal: Journal,
    wanted: Wanted,
    after: Option<u64>,
) -> Result<impl Stream<Item = Step> + Send + use<>, Fault> {
    let follow = intake.node.follow(&caller.tenant, journal, wanted, after).await?;
    let (intake, caller) = (intake.clone(), caller.clone());
    Ok(unfold(Some((follow, intake, caller)), |state| async move {
        let (mut follow, intake, caller) = state?;
        let step = tokio::select! {
            // What is there is told before the end.
            biased;
            batch = tokio::time::timeout(BEAT, follow.next()) => match intake.node.recheck_caller(&caller) {
                Ok(()) => told(batch),
                Err(fault) => Step::End(fault),
            },
            () = intake.stop.cancelled() => {
                Step::End(Fault::new(Code::Draining, "the gateway is being drained; begin again from the last position"))
            }
        };
        let goes_on = !matches!(step, Step::End(_));
        Some((step, goes_on.then_some((follow, intake, caller))))
    }))
}

fn told(batch: Result<Result<Batch, Fault>, tokio::time::error::Elapsed>) -> Step {
    match batch {
        Ok(Ok(batch)) => Step::Batch(batch),
        Ok(Err(fault)) => Step::End(fault),
        Err(_) => Step::Quiet,
    }
}
