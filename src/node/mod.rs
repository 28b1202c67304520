//! The one hall where delivery, store and bus meet. It names no socket and no codec: transports give it links, the
//! backend side gives it drafts.

pub mod link;
pub mod push;
