//! Which node a device is assigned to (P2.10): rules choose among which nodes, weighted rendezvous hashing by user chooses
//! one of them. It knows no store, no clock and no connection: whoever is given the same plan comes to the same answer.

mod error;
mod lot;
mod misplaced;
mod plan;
mod rule;
mod site;
mod subject;

pub use error::Error;
pub use misplaced::Misplaced;
pub use plan::{Assignment, CHOICES_MAX, Plan, RULES_MAX, SITES_MAX};
pub use rule::Rule;
pub use site::{Site, WEIGHT_MAX};
pub use subject::Subject;
