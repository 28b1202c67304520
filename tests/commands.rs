//! Every command for backends and operators against a real gateway with real devices: what it tells people, that `--json` is what the
//! HTTP/JSON twin says, and what it refuses.

#[path = "commands/access.rs"]
mod access;
#[path = "commands/events.rs"]
mod events;
#[path = "commands/people.rs"]
mod people;
#[path = "commands/pushes.rs"]
mod pushes;
mod support;
#[path = "commands/terminal.rs"]
mod terminal;
