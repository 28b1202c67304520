//! Chooses a bus.

use std::sync::Arc;

use crate::bus::local::Local;
use crate::bus::{Bus, SharedInlet};

/// The bus of this node. One node has the local one; fleets choose by configuration once there are more.
#[must_use]
pub fn open(inlet: SharedInlet) -> Arc<dyn Bus> {
    Arc::new(Local::new(inlet))
}
