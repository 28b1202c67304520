//! What an operator can set about sessions.

use std::time::Duration;

/// Options of every session of a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// T1 for devices that ask for none. 55 s stays below the shortest common NAT timeout of a minute.
    pub heartbeat_default: Duration,
    /// Shortest T1 a device can ask for.
    pub heartbeat_min: Duration,
    /// Longest T1 a device can ask for.
    pub heartbeat_max: Duration,
    /// Silence after a heartbeat that means death.
    pub heartbeat_timeout: Duration,
    /// Pushes in flight for devices that ask for no window.
    pub window_default: u32,
    /// Most pushes in flight a device can ask for.
    pub window_max: u32,
    /// A push that is on the wire and not acked for so long has failed once.
    pub ack_timeout: Duration,
    /// Failed deliveries after which a message is dead for the device.
    pub attempts_max: u32,
    /// Pause before the first redelivery; doubles with each.
    pub retry_pause_first: Duration,
    /// Longest pause before a redelivery.
    pub retry_pause_max: Duration,
    /// How often the heads of all followed logs are read again, so that a lost hint costs no more than this.
    pub heads_interval: Duration,
    /// A device that takes nothing of what is queued for it for so long is closed.
    pub write_stall: Duration,
    /// Bytes of pushes that may be queued for one connection and not on the wire; one push may go over it.
    pub unsent_bytes_max: usize,
    /// Entries one read asks for at most.
    pub page_entries: usize,
    /// Bytes one read asks for at most.
    pub page_bytes: usize,
    /// Ranges a cursor may consist of. Full: the session takes nothing new from that log until older pushes are acked
    /// or expire. 1,024 ranges encode to at most 20 KB, which is written with each ack in the worst case.
    pub settled_spans_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            heartbeat_default: Duration::from_secs(55),
            heartbeat_min: Duration::from_secs(10),
            heartbeat_max: Duration::from_secs(600),
            heartbeat_timeout: Duration::from_secs(20),
            window_default: 64,
            window_max: 1024,
            ack_timeout: Duration::from_secs(60),
            attempts_max: 5,
            retry_pause_first: Duration::from_secs(1),
            retry_pause_max: Duration::from_secs(60),
            heads_interval: Duration::from_secs(40),
            write_stall: Duration::from_secs(60),
            unsent_bytes_max: 256 * 1024,
            page_entries: 64,
            page_bytes: 64 * 1024,
            settled_spans_max: 1024,
        }
    }
}
