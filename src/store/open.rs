//! Chooses a store.
