//! The chapters of the story: their order, and their words. What happens in them is played elsewhere.

use crate::cli::demo::report::Step;

/// What happens next.
#[derive(Clone, Copy)]
pub(super) enum Chapter {
    Start,
    Connect,
    Subscribe,
    Offline,
    Push,
    Receive,
    Return,
    Backlog,
    Kill,
    Restart,
    Resume,
    Repeat,
    Target,
    Ask,
}

impl Chapter {
    /// All of them, in their order.
    pub(super) const ALL: &[Self] = &[
        Self::Start,
        Self::Connect,
        Self::Subscribe,
        Self::Offline,
        Self::Push,
        Self::Receive,
        Self::Return,
        Self::Backlog,
        Self::Kill,
        Self::Restart,
        Self::Resume,
        Self::Repeat,
        Self::Target,
        Self::Ask,
    ];

    /// Whether the gateway is meant to be dead at some time in it.
    pub(super) const fn is_without_gateway(self) -> bool {
        matches!(self, Self::Start | Self::Kill | Self::Restart)
    }

    /// Its words.
    pub(super) const fn step(self) -> Step {
        let (name, title, why) = match self {
            Self::Start => (
                "start",
                "The gateway starts",
                "A process of its own with an embedded store and a throw-away certificate; nothing to configure.",
            ),
            Self::Connect => (
                "connect",
                "Two devices of one user connect",
                "Each holds one TLS connection with one long push stream; nothing else is needed to reach it.",
            ),
            Self::Subscribe => (
                "subscribe",
                "Both subscribe to a topic",
                "A short request on the same connection, durable when its answer comes.",
            ),
            Self::Offline => (
                "offline",
                "The laptop goes offline",
                "Its lid closes: the connection is gone. Its place in the logs is kept.",
            ),
            Self::Push => (
                "push",
                "The backend pushes",
                "By gRPC, to the phone, to the user, and to the topic. An answer means: it is on disk.",
            ),
            Self::Receive => (
                "receive",
                "The phone receives and acks",
                "Pushes arrive over the one connection; acks go back over it, gathered into ranges.",
            ),
            Self::Return => (
                "return",
                "The laptop comes back",
                "It gets exactly what it missed: its own copies, not those for the phone alone.",
            ),
            Self::Backlog => (
                "backlog",
                "The laptop goes again, and more is pushed",
                "The phone has pushes in hand that it has not acked when the worst happens.",
            ),
            Self::Kill => (
                "kill",
                "The gateway is killed with SIGKILL",
                "It cannot flush, finish or say goodbye: only what is on disk remains.",
            ),
            Self::Restart => (
                "restart",
                "The gateway starts again on the same data",
                "The phone finds it again without being told, after a short random pause.",
            ),
            Self::Resume => (
                "resume",
                "Both devices go on where they were",
                "What was not acked comes again, what was acked does not.",
            ),
            Self::Repeat => (
                "repeat",
                "Both connect once more, knowing nothing",
                "If the gateway had forgotten an ack, old pushes would now come again.",
            ),
            Self::Target => (
                "target",
                "The backend says who gets it",
                "Not connections: a group, a condition, whichever device answers first. Receipts tell what became of it.",
            ),
            Self::Ask => {
                ("ask", "The backend asks what became of each push", "The gateway must say the same as the devices.")
            }
        };
        Step { name, title, why }
    }
}
