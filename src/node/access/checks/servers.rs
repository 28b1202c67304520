//! How the business servers of tenants are doing: how many questions each is being asked, and which one fails. One that hangs
//! costs its own tenant's logins, and nobody else's.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::model::id::TenantId;

/// Those that are being asked, or failed last.
#[derive(Default)]
pub(super) struct Servers {
    known: Mutex<HashMap<TenantId, Standing>>,
}

#[derive(Default)]
struct Standing {
    /// Questions under way.
    asked: usize,
    /// The last one was not answered.
    failing: bool,
}

/// A question under way, until it is dropped.
pub(super) struct Seat<'a> {
    servers: &'a Servers,
    tenant: &'a TenantId,
}

impl Servers {
    /// Takes a seat; `None`: too many questions are under way.
    pub(super) fn seat<'a>(&'a self, tenant: &'a TenantId) -> Option<Seat<'a>> {
        let mut known = self.lock();
        let standing = known.entry(tenant.clone()).or_default();
        if standing.asked >= ASKED_MAX {
            return None;
        }
        standing.asked += 1;
        Some(Seat { servers: self, tenant })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Standing>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat<'_> {
    /// Notes whether the server fails; tells whether that is new.
    pub(super) fn note(&self, failing: bool) -> bool {
        let mut known = self.servers.lock();
        known.get_mut(self.tenant).is_some_and(|standing| std::mem::replace(&mut standing.failing, failing) != failing)
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut known = self.servers.lock();
        if let Some(standing) = known.get_mut(self.tenant) {
            standing.asked -= 1;
            if standing.asked == 0 && !standing.failing {
                known.remove(self.tenant);
            }
        }
    }
}

/// Questions to one server at the same time. A guess: with answers in 50 ms that is 5,000 logins a second.
pub(super) const ASKED_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::{ASKED_MAX, Servers};
    use crate::model::id::TenantId;

    #[test]
    fn seats_are_bounded_for_each_tenant_and_leave_nothing_behind() {
        let servers = Servers::default();
        let (shop, other) = (TenantId::new("shop").unwrap(), TenantId::new("other").unwrap());
        let seats: Vec<_> = (0..ASKED_MAX).map(|_| servers.seat(&shop).unwrap()).collect();
        assert!(servers.seat(&shop).is_none(), "all are taken");
        assert!(servers.seat(&other).is_some(), "of this tenant");
        assert!(seats[0].note(true) && !seats[1].note(true) && seats[2].note(false), "told once");
        drop(seats);
        assert!(servers.lock().is_empty());
        servers.seat(&shop).unwrap().note(true);
        assert!(!servers.seat(&shop).unwrap().note(true), "a failure is known until it is over");
        servers.seat(&shop).unwrap().note(false);
        assert!(servers.lock().is_empty());
    }
}
