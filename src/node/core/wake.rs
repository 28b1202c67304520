//! Wakers that gather: a task of a core that is woken from another thread is noted in the core's post, and one wake of the
//! core serves all that are noted. Tokio's own would make a system call for each.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Wake, Waker};

use crate::node::core::Core;

thread_local! {
    /// The core that this thread is, by its address; zero on other threads.
    static HERE: Cell<usize> = const { Cell::new(0) };
}

/// Wakes a task of a core.
pub(crate) struct Gathered {
    core: Arc<Core>,
    task: Waker,
}

/// Makes this thread the core's.
pub(crate) fn enter(core: &Arc<Core>) {
    HERE.set(Arc::as_ptr(core).addr());
}

impl Gathered {
    /// A waker for a task that runs on the core.
    pub(crate) fn waker(core: &Arc<Core>, task: &Waker) -> Waker {
        Waker::from(Arc::new(Self { core: Arc::clone(core), task: task.clone() }))
    }

    /// Wakes the task itself.
    pub(super) fn pass(&self) {
        self.task.wake_by_ref();
    }
}

impl Wake for Gathered {
    fn wake(self: Arc<Self>) {
        if HERE.get() == Arc::as_ptr(&self.core).addr() {
            self.task.wake_by_ref();
        } else {
            let core = Arc::clone(&self.core);
            core.post.leave_wake(self);
        }
    }

    fn wake_by_ref(self: &Arc<Self>) {
        Arc::clone(self).wake();
    }
}
