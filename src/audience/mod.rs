//! Who follows what and is like what, as sets of devices: what conditions are counted on. It is a picture that the store
//! makes when it starts and keeps up with each change; it stores nothing, and it does not know users.

mod evaluate;
mod index;

#[cfg(test)]
mod tests;

pub use self::index::Index;
