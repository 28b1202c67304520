//! Where a push stands at a device that is online: what its session answers when it is asked. Plain values.

use crate::model::clock::Timestamp;
use crate::model::message::Urgency;

/// Where one entry of a log stands in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is settled: acked, given up, or not for this device.
    Settled,
    /// It was sent and not acked.
    InFlight {
        /// When it was last sent.
        since: Timestamp,
        /// For the how manyth time, from 1.
        attempt: u32,
    },
    /// Its last delivery failed: it comes again.
    Resting {
        /// Not before then.
        until: Timestamp,
        /// Failed deliveries.
        attempts: u32,
    },
    /// It is less urgent than what the device accepts now.
    Withheld {
        /// Least urgency that the device asked for. What is at least as urgent waits for the end of the quiet hours.
        floor: Urgency,
        /// When the user's quiet hours end, if it is in them.
        quiet_until: Option<Timestamp>,
    },
    /// As many pushes as were agreed are sent and not acked.
    WindowFull,
    /// As many bytes as may be wait for the device to take them.
    UnsentFull,
    /// The device acks with too many holes: nothing new is taken from this log until older pushes are acked.
    CursorFull,
    /// The device was asked to connect anew, and is sent nothing more on this connection.
    Moving,
    /// The session has not come to it yet; it is about to.
    NotRead,
    /// The session does not follow the log, or another life of it.
    NotFollowed,
}
