//! Changes of members on a stream: each is answered when it is on disk, with the progress so far. It knows neither gRPC
//! nor JSON.

use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::{Stream, StreamExt};

use crate::model::access::Caller;
use crate::model::fault::Fault;
use crate::model::id::NAME_BYTES_MAX;
use crate::node::people::{Changed, Settling};
use crate::rpc::groups::{self, Progress};
use crate::rpc::intake::Intake;
use crate::rpc::names::NAMES_MAX;
use crate::rpc::stream::{Answer, Answers, Ask, Work};
use crate::wire::pb;

/// The changes of a stream.
pub(super) struct Changes;

/// A change under way.
pub(super) struct Changing {
    /// Users that it names.
    named: usize,
    settling: Result<Settling<Changed>, Fault>,
}

impl Work for Changes {
    type Request = pb::ChangeMembersRequest;
    /// With the number of users that were named: those of a refused request count too.
    type Done = (usize, Result<Changed, Fault>);
    type Doing = Changing;

    /// A guess: while one flush is under way the next has enough to write, and pushes do not wait behind more.
    const UNDER_WAY_MAX: usize = 8;

    fn bytes(request: &pb::ChangeMembersRequest) -> usize {
        request.add.iter().chain(&request.remove).map(String::len).sum()
    }

    fn begin(
        &self,
        intake: &Intake,
        caller: &Caller,
        request: Result<pb::ChangeMembersRequest, Fault>,
    ) -> Result<Changing, Fault> {
        let request = request?;
        let settling = groups::change(intake, &caller.tenant, &request);
        Ok(Changing { named: request.add.len() + request.remove.len(), settling })
    }
}

impl Future for Changing {
    type Output = Result<(usize, Result<Changed, Fault>), Fault>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let named = self.named;
        match &mut self.settling {
            Ok(settling) => Pin::new(settling).poll(context).map(|outcome| Ok((named, outcome))),
            Err(fault) => Poll::Ready(Ok((named, Err(fault.clone())))),
        }
    }
}

/// The answers to changes: the progress so far, and why this one was refused if it was.
pub(super) fn answers<S>(
    intake: Intake,
    caller: Caller,
    asks: S,
) -> impl Stream<Item = Result<(pb::ChangeMembersResponse, Option<Fault>), Fault>> + Send + 'static
where
    S: Stream<Item = Result<Ask<pb::ChangeMembersRequest>, Fault>> + Unpin + Send + 'static,
{
    let mut progress = Progress::default();
    Answers::new(intake, caller, asks, Changes).map(move |answer| {
        let Answer { outcome, .. } = answer?;
        let (named, outcome) = outcome.unwrap_or_else(|fault| (0, Err(fault)));
        Ok(progress.step(named, outcome))
    })
}

/// Longest message of a request that names people or groups: all names at their longest, each with its tag and length.
pub(super) const REQUEST_BYTES_MAX: usize = NAMES_MAX * (NAME_BYTES_MAX + 3) + 4 * 1024;
/// Longest JSON form of one. A byte of text takes up to six (`\u0000`), and a name has its quotes and a comma.
pub(super) const JSON_BYTES_MAX: usize = NAMES_MAX * (6 * NAME_BYTES_MAX + 4) + 32 * 1024;
