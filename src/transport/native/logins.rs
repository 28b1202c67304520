//! Logins and challenges of one connection, before its session and beside it: they need none, and nothing of a session waits
//! for them. It reads no sockets.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::model::fault::{Code, Fault};
use crate::model::frame::{Answer, LoggedIn, Login, Request};
use crate::node::Node;
use crate::transport::native::incoming::ShortId;

/// Logins of one connection that may be under way at once; more are refused. A device needs one; a guess. They do not end
/// with their streams, so those are no bound.
pub(super) const AT_ONCE_MAX: usize = 4;

/// A check that is under way.
type Check = Pin<Box<dyn Future<Output = Result<LoggedIn, Fault>> + Send>>;

/// The logins of a connection.
pub(super) struct Logins {
    node: Arc<Node>,
    /// Where the connection comes from.
    from: IpAddr,
    /// At most [`AT_ONCE_MAX`]; no memory of its own while there is none.
    under_way: Vec<(ShortId, Check)>,
}

impl Logins {
    /// Of a connection that comes from this address.
    pub(super) const fn new(node: Arc<Node>, from: IpAddr) -> Self {
        Self { node, from, under_way: Vec::new() }
    }

    /// Takes a request. `Ok(None)`: the answer comes with [`Logins::poll`]. `Err` gives back what is none of these.
    pub(super) fn take(&mut self, id: ShortId, request: Request) -> Result<Option<Result<Answer, Fault>>, Request> {
        match request {
            Request::Login(login) if self.under_way.len() < AT_ONCE_MAX => {
                self.under_way.push((id, check(Arc::clone(&self.node), login, self.from)));
                Ok(None)
            }
            Request::Login(_) => Ok(Some(Err(Fault::new(
                Code::RateLimited,
                format!("{AT_ONCE_MAX} logins are under way on this connection; wait for an answer"),
            )))),
            Request::Challenge(tenant, device) => {
                let given = self.node.challenge(&tenant, &device, self.from);
                Ok(Some(given.map(|(challenge, expires_at)| Answer::Challenge { challenge, expires_at })))
            }
            other => Err(other),
        }
    }

    /// Whether nothing is under way.
    pub(super) const fn is_idle(&self) -> bool {
        self.under_way.is_empty()
    }

    /// The next answer. Pending while nothing is under way.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<(ShortId, Result<Answer, Fault>)> {
        for at in 0..self.under_way.len() {
            let (id, check) = &mut self.under_way[at];
            if let Poll::Ready(result) = check.as_mut().poll(context) {
                let id = *id;
                drop(self.under_way.swap_remove(at));
                if self.under_way.is_empty() {
                    self.under_way = Vec::new();
                }
                return Poll::Ready((id, result.map(|told| Answer::LoggedIn(Box::new(told)))));
            }
        }
        Poll::Pending
    }
}

fn check(node: Arc<Node>, login: Box<Login>, from: IpAddr) -> Check {
    Box::pin(async move { node.login(&login, from).await })
}

#[cfg(test)]
mod tests {
    use super::Logins;

    /// They live as long as the connection, nearly always idle.
    #[test]
    fn idle_logins_are_small() {
        assert!(size_of::<Logins>() <= 56, "{} bytes", size_of::<Logins>());
    }
}
