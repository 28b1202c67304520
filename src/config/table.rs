//! Every option, written once: type, default, bounds and meaning. The structs, the list for lookup and printing, and the
//! checks all come from here. It does not know where values come from.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value as Json;

use crate::assign::{Misplaced, Plan, Rule as AssignmentRule, Site};
use crate::auth::ApiKey;
use crate::config::cluster::{OwnName, Rules, Sites, Way};
use crate::config::kind::{
    Address, Count, Expected, Filter, Folder, Format, Keys, Kind, LogFormat, OptionalFile, OptionalRate, Raw, Rule,
    Size, Span, Switch, Words,
};
use crate::model::id::NodeName;
use crate::model::rule::TopicRule;
use crate::model::tenant::Rate;
use crate::{rate, store};

/// One option of [`OPTIONS`].
pub(super) struct Row {
    /// `section.name`.
    pub(super) key: &'static str,
    /// The part before the dot.
    pub(super) section: &'static str,
    /// The part after the dot.
    pub(super) name: &'static str,
    /// What it is for: its doc comment.
    meaning: &'static str,
    /// What to write, in words.
    pub(super) expected: &'static str,
    /// The default, as one would write it; what is printed is read back from [`Config::default`].
    #[cfg(test)]
    default: &'static str,
    /// Least and greatest value, as one would write them.
    pub(super) bounds: Option<(&'static str, &'static str)>,
    /// Values must not be shown.
    pub(super) secret: bool,
    /// Reads, checks and stores a value.
    pub(super) set: fn(&mut Config, &Raw) -> Result<(), Unfit>,
    /// The value that is in force.
    pub(super) show: fn(&Config) -> Json,
}

/// Why a value was not taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unfit {
    /// It is not what the option takes.
    Value(Expected),
    /// It is below the least or above the greatest value.
    Bounds(&'static str, &'static str),
}

impl Row {
    /// What the option is for, as running text.
    pub(super) fn meaning(&self) -> String {
        self.meaning.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The default as [`Row::show`] would show it.
    pub(super) fn default_shown(&self) -> Json {
        (self.show)(&Config::default())
    }
}

macro_rules! options {
    ($(
        $(#[doc = $about:literal])+
        $section:ident: $struct:ident {
            $(
                $(#[doc = $doc:literal])+
                $name:ident: $type:ty as $kind:ty = $default:literal $(in $least:literal..=$greatest:literal)?;
            )+
        }
    )+) => {
        /// What the gateway does, checked: nothing in it can be invalid.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct Config {
            $(
                $(#[doc = $about])+
                pub $section: $struct,
            )+
        }

        impl Default for Config {
            fn default() -> Self {
                Self { $($section: $struct::default(),)+ }
            }
        }

        $(
            $(#[doc = $about])+
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $struct {
                $(
                    $(#[doc = $doc])+
                    pub $name: $type,
                )+
            }

            impl Default for $struct {
                fn default() -> Self {
                    Self { $($name: read_constant::<$kind>($default),)+ }
                }
            }
        )+

        /// Sections with what they are about, in the order of printing.
        pub(super) const SECTIONS: &[(&str, &str)] = &[$((stringify!($section), concat!($($about),+)),)+];

        /// All options, in the order of printing.
        pub(super) const OPTIONS: &[Row] = &[$($(
            Row {
                key: concat!(stringify!($section), ".", stringify!($name)),
                section: stringify!($section),
                name: stringify!($name),
                meaning: concat!($($doc),+),
                expected: <$kind as Kind>::EXPECTED,
                #[cfg(test)]
                default: $default,
                bounds: options!(@bounds $($least, $greatest)?),
                secret: <$kind as Kind>::SECRET,
                set: |config, raw| {
                    let value = <$kind as Kind>::read(raw).map_err(Unfit::Value)?;
                    $(
                        let bounds = read_constant::<$kind>($least)..=read_constant::<$kind>($greatest);
                        if !bounds.contains(&value) {
                            return Err(Unfit::Bounds($least, $greatest));
                        }
                    )?
                    config.$section.$name = value;
                    Ok(())
                },
                show: |config| <$kind as Kind>::write(&config.$section.$name),
            },
        )+)+];
    };
    (@bounds) => { None };
    (@bounds $least:literal, $greatest:literal) => { Some(($least, $greatest)) };
}

options! {
    /// Where the gateway listens.
    listen: Listen {
        /// Address for devices; always TLS.
        devices: SocketAddr as Address = "127.0.0.1:7443";
        /// Address for backends: gRPC, HTTP/JSON, health and metrics.
        backend: SocketAddr as Address = "127.0.0.1:7080";
        /// Address for operators: tenants, keys, nodes. Their key opens everything: keep it on loopback, or on a network of
        /// its own. It has a free port when `backend` has one and this is not set.
        admin: SocketAddr as Address = "127.0.0.1:7090";
    }

    /// Threads.
    runtime: Runtime {
        /// Threads that device connections live on, each connection on one of them for all its life. 0: as many as the
        /// machine has processors.
        cores: usize as Count<usize> = "0" in "0"..="64";
        /// Threads for the backends' calls and all that is not a device connection. 0: half as many as the machine has
        /// processors, at least two.
        workers: usize as Count<usize> = "0" in "0"..="64";
    }

    /// Certificates. Without any, a throw-away one is made in the data folder.
    tls: Tls {
        /// PEM file with the certificate and those between it and the root. Goes with `key`.
        certificate: Option<PathBuf> as OptionalFile = "";
        /// PEM file with the certificate's private key.
        key: Option<PathBuf> as OptionalFile = "";
        /// Names and addresses that a throw-away certificate is for, besides localhost, 127.0.0.1 and ::1.
        names: Vec<String> as Words = "";
        /// Backends must speak TLS too.
        backend: bool as Switch = "false";
        /// Operators must speak TLS too.
        admin: bool as Switch = "false";
        /// PEM file with CAs of backends: a certificate that one of them signed can stand for an API key. Needs `backend`.
        client_ca: Option<PathBuf> as OptionalFile = "";
        /// How often the files are looked at; a changed certificate is served without a restart.
        reload_interval: Duration as Span = "10s" in "1s"..="1day";
    }

    /// What is kept on disk, and for how long.
    store: Store {
        /// Folder of everything that must last: messages, cursors, keys. Relative paths begin at the working directory.
        data: PathBuf as Folder = "data";
        /// Writes that may wait for the disk. Full: pushes are refused with `store_busy`.
        queue_max: usize as Count<usize> = "65536" in "1"..="1000000";
        /// Messages one inbox may hold. Full: those that all devices have settled go first; if there are none, the push is
        /// refused with `log_full`.
        inbox_entries_max: u64 as Count<u64> = "10000" in "1"..="100000000";
        /// Messages one topic may hold. Full: the oldest go.
        topic_entries_max: u64 as Count<u64> = "100000" in "1"..="100000000";
        /// Devices one user may have. Full: a new device is refused with `too_many_devices`.
        devices_per_user_max: u32 as Count<u32> = "32" in "1"..="10000";
        /// Topics one device may follow. Full: the request is refused with `too_many_subscriptions`.
        subscriptions_per_device_max: u32 as Count<u32> = "1000" in "1"..="100000";
        /// A device that was not connected for so long is forgotten, with its cursors and subscriptions.
        device_absence_max: Duration as Span = "60days" in "1h"..="3650days";
        /// How long an idempotency key is remembered.
        idempotency_window: Duration as Span = "1day" in "1s"..="28days";
        /// How long it is remembered what became of a message after it expired or was replaced.
        tombstone_ttl: Duration as Span = "1day" in "1s"..="28days";
        /// Messages the broadcast log of one tenant (pushes with a condition) may hold. Full: the oldest go.
        broadcast_entries_max: u64 as Count<u64> = "10000" in "1"..="10000000";
        /// Groups one user may be in. Full: the request is refused with `too_many_groups`.
        groups_per_user_max: u32 as Count<u32> = "1000" in "1"..="10000";
        /// How long receipts and presence events are kept to be read again.
        journal_ttl: Duration as Span = "7days" in "1min"..="90days";
        /// How long the audit log is kept: who issued, revoked and changed what.
        audit_ttl: Duration as Span = "90days" in "1min"..="3650days";
        /// Scheduled messages of one tenant that may wait. Full: the push is refused with `too_many_scheduled`.
        scheduled_max: u64 as Count<u64> = "100000" in "1"..="10000000";
    }

    /// How pushes reach a device: heartbeats, window, acks, redelivery.
    session: Session {
        /// Heartbeat interval for devices that name none: a side that received nothing for so long sends a PING.
        heartbeat: Duration as Span = "55s" in "1s"..="1h";
        /// Shortest interval a device may ask for; shorter wishes are raised to it.
        heartbeat_min: Duration as Span = "10s" in "1s"..="1h";
        /// Longest interval a device may ask for.
        heartbeat_max: Duration as Span = "10m" in "1s"..="1h";
        /// A peer that does not answer a PING for so long is gone.
        heartbeat_timeout: Duration as Span = "20s" in "100ms"..="10m";
        /// Pushes that may be sent and not yet acked, for devices that name no number. The rest waits in the log.
        window: u32 as Count<u32> = "64" in "1"..="65536";
        /// Most a device may ask for.
        window_max: u32 as Count<u32> = "1024" in "1"..="65536";
        /// A push that is not acked for so long is sent again.
        ack_timeout: Duration as Span = "1m" in "1s"..="1h";
        /// Deliveries of one push to one device before it is given up there (dead letter).
        attempts_max: u32 as Count<u32> = "5" in "1"..="100";
        /// Pause before the first redelivery; it doubles with each one.
        retry_pause_first: Duration as Span = "1s" in "1ms"..="1h";
        /// Longest pause between redeliveries.
        retry_pause_max: Duration as Span = "1m" in "1ms"..="1day";
        /// How often an idle session looks at its logs by itself, in case a hint was lost.
        heads_interval: Duration as Span = "40s" in "1s"..="1h";
        /// A connection that takes no bytes for so long is closed.
        write_stall: Duration as Span = "1m" in "1s"..="1h";
        /// Bytes handed to a connection and not yet taken by its socket. Full: pushes wait in the log.
        unsent_bytes_max: usize as Size = "256KiB" in "64KiB"..="64MiB";
    }

    /// What a push may be.
    message: Message {
        /// Largest payload. Larger ones are refused with `payload_too_large`.
        payload_bytes_max: usize as Size = "64KiB" in "1B"..="1MiB";
        /// Time to live of pushes that name none.
        ttl: Duration as Span = "28days" in "1s"..="28days";
        /// Longest time to live; longer ones are shortened, and the answer says so.
        ttl_max: Duration as Span = "28days" in "1s"..="28days";
    }

    /// Groups of users.
    groups: Groups {
        /// Topics that the members of a group follow when the group names none itself. `{group}` stands for its name.
        topics: TopicRule as Rule = "{group}";
    }

    /// What one peer, and all of them, may take.
    limits: Limits {
        /// Connections of devices in all. Full: a new one is refused with `too_many_connections`.
        connections_max: usize as Count<usize> = "15000" in "1"..="10000000";
        /// Connections of one user. Full: a new one is refused with `too_many_user_connections`.
        connections_per_user_max: usize as Count<usize> = "64" in "1"..="100000";
        /// A connection whose TLS handshake takes longer is closed.
        handshake_timeout: Duration as Span = "10s" in "100ms"..="10m";
        /// A connection that sends no `Open` for so long after its handshake is closed.
        open_timeout: Duration as Span = "10s" in "100ms"..="10m";
        /// Streams open at once on one connection, the push stream included. Full: a new one is refused by HTTP/2.
        streams_max: u32 as Count<u32> = "32" in "2"..="1000";
        /// Headers of one request, as HTTP/2 counts them. More: the request is refused.
        header_bytes_max: usize as Size = "8KiB" in "1KiB"..="1MiB";
        /// Body of one request of a device. More: it is refused with `request_too_large`.
        request_bytes_max: usize as Size = "64KiB" in "1KiB"..="4MiB";
    }

    /// What may come how fast; faster is refused with `rate_limited`. A tenant can have rates of its own.
    rate: Rates {
        /// Calls of one API key; a stream is one call.
        calls_per_key: Option<Rate> as OptionalRate = "off";
        /// Pushes of one tenant.
        pushes_per_tenant: Option<Rate> as OptionalRate = "off";
        /// Requests of one user, of all devices together. Acks are free.
        requests_per_user: Option<Rate> as OptionalRate = "200/s burst 2000";
        /// Requests of one device. Acks are free.
        requests_per_device: Option<Rate> as OptionalRate = "50/s burst 500";
        /// Tries to log in as one user, or on one device.
        logins_per_user: Option<Rate> as OptionalRate = "10/min burst 20";
        /// Tries to log in from one address (IPv6: from one network of /64), for whichever tenant.
        logins_per_address: Option<Rate> as OptionalRate = "600/min";
    }

    /// What backends may take. One push's bounds stand under `message`.
    backend: Backend {
        /// Connections of backends in all. Full: a new one is closed at once.
        connections_max: usize as Count<usize> = "1024" in "1"..="1000000";
        /// Calls open at once on one HTTP/2 connection. Full: the client waits, as HTTP/2 has it.
        streams_max: u32 as Count<u32> = "256" in "1"..="10000";
        /// Headers of one request. More: it is refused with HTTP status 431, or the stream is reset.
        header_bytes_max: usize as Size = "16KiB" in "8KiB"..="1MiB";
        /// A connection whose TLS handshake takes longer is closed.
        handshake_timeout: Duration as Span = "10s" in "100ms"..="10m";
        /// A connection without a request for so long after it was made is closed.
        first_request_timeout: Duration as Span = "30s" in "100ms"..="10m";
        /// A request whose body is not there within this time is refused. Streams of pushes have no such bound.
        body_timeout: Duration as Span = "30s" in "100ms"..="10m";
        /// Streams of receipts and presence that one tenant may have open. Full: a new one is refused with
        /// `too_many_streams`.
        event_streams_max: usize as Count<usize> = "64" in "1"..="10000";
        /// When the gateway goes down: calls that take longer are cut.
        drain_timeout: Duration as Span = "10s" in "100ms"..="10m";
    }

    /// What backends hear of who is online.
    presence: Presence {
        /// A device that is back within this time was never away: nobody hears of it.
        debounce: Duration as Span = "3s" in "0s"..="1min";
        /// A device to which nothing was sent and from which no request came for so long is idle. 0s: none ever is.
        idle_after: Duration as Span = "1min" in "0s"..="1day";
    }

    /// Posting events to the webhooks of tenants.
    webhook: Webhook {
        /// A post that is not answered within this time has failed.
        timeout: Duration as Span = "15s" in "100ms"..="2min";
        /// Pause after the first failure of a webhook; it doubles with each one.
        retry_pause_first: Duration as Span = "1s" in "10ms"..="1h";
        /// Longest pause between tries.
        retry_pause_max: Duration as Span = "5min" in "10ms"..="1day";
        /// PEM file with certificates to trust besides the system's.
        ca: Option<PathBuf> as OptionalFile = "";
    }

    /// How the gateway goes down on SIGTERM.
    drain: Drain {
        /// Devices are told to come back at times spread over this, so that they do not all come at once.
        spread: Duration as Span = "10s" in "0s"..="1h";
        /// What is left after so long is cut off. The process ends within another two seconds.
        bound: Duration as Span = "30s" in "1s"..="2h";
    }

    /// The nodes that devices are assigned to. docs/assignment.md explains it with examples.
    cluster: Cluster {
        /// Which of `nodes` this one is.
        name: Option<NodeName> as OwnName = "";
        /// All nodes, the same list on each. None: devices stay where they are.
        nodes: Vec<Site> as Sites = "";
        /// Which devices belong to which nodes; the first that matches decides. Devices without a rule go to any node.
        rules: Vec<AssignmentRule> as Rules = "";
        /// A device that connects to another node than its own is served there, or asked to move.
        misplaced: Misplaced as Way = "serve";
    }

    /// Who may push.
    auth: Auth {
        /// API keys of backends besides the one in the data folder, each with its tenant. At least 32 characters each.
        keys: Vec<ApiKey> as Keys = "";
    }

    /// What is logged. Never payloads or secrets.
    log: Log {
        /// Which lines are written. The database's own lines are of no use to an operator below warnings.
        filter: String as Filter = "info,fjall=warn,lsm_tree=warn";
        /// How they look.
        format: Format as LogFormat = "text";
    }
}

impl Store {
    /// The part that the store itself obeys.
    #[must_use]
    pub const fn limits(&self) -> store::Limits {
        store::Limits {
            inbox_entries_max: self.inbox_entries_max,
            topic_entries_max: self.topic_entries_max,
            devices_per_user_max: self.devices_per_user_max,
            subscriptions_per_device_max: self.subscriptions_per_device_max,
            device_absence_max: self.device_absence_max,
            idempotency_window: self.idempotency_window,
            tombstone_ttl: self.tombstone_ttl,
            broadcast_entries_max: self.broadcast_entries_max,
            groups_per_user_max: self.groups_per_user_max,
            journal_ttl: self.journal_ttl,
            audit_ttl: self.audit_ttl,
            scheduled_max: self.scheduled_max,
        }
    }

    /// Folder of the keys that make credentials.
    #[must_use]
    pub fn auth_folder(&self) -> PathBuf {
        self.data.join("auth")
    }

    /// Folder of the throw-away certificate.
    #[must_use]
    pub fn certificate_folder(&self) -> PathBuf {
        self.data.join("certs")
    }

    /// Folder of the logs and cursors.
    #[must_use]
    pub fn log_folder(&self) -> PathBuf {
        self.data.join("store")
    }
}

impl Rates {
    /// As the node obeys them.
    #[must_use]
    pub fn options(&self) -> rate::Options {
        rate::Options {
            calls_per_key: self.calls_per_key,
            pushes_per_tenant: self.pushes_per_tenant,
            requests_per_user: self.requests_per_user,
            requests_per_device: self.requests_per_device,
            logins_per_user: self.logins_per_user,
            logins_per_address: self.logins_per_address,
        }
    }
}

impl Cluster {
    /// Nodes and rules together.
    #[must_use]
    pub fn plan(&self) -> Plan {
        Plan { sites: self.nodes.clone(), rules: self.rules.clone() }
    }
}

impl Config {
    /// What no single option can tell: the pairs that do not fit, each with what to change.
    pub(super) fn contradictions(&self) -> Vec<(&'static str, &'static str, &'static str)> {
        let (session, message) = (&self.session, &self.message);
        let listen = &self.listen;
        let clash = |one: SocketAddr, other: SocketAddr| one == other && one.port() != 0;
        let (plan, own) = (self.cluster.plan(), &self.cluster.name);
        let nameless = !plan.sites.is_empty() && own.as_ref().and_then(|name| plan.site(name)).is_none();
        let rules = [
            (session.heartbeat_min > session.heartbeat, "session.heartbeat_min", "session.heartbeat", LESS),
            (session.heartbeat > session.heartbeat_max, "session.heartbeat", "session.heartbeat_max", LESS),
            (session.window > session.window_max, "session.window", "session.window_max", LESS),
            (
                session.retry_pause_first > session.retry_pause_max,
                "session.retry_pause_first",
                "session.retry_pause_max",
                LESS,
            ),
            (message.ttl > message.ttl_max, "message.ttl", "message.ttl_max", LESS),
            (self.drain.spread > self.drain.bound, "drain.spread", "drain.bound", LESS),
            (clash(listen.devices, listen.backend), "listen.devices", "listen.backend", "must differ from"),
            (clash(listen.devices, listen.admin), "listen.devices", "listen.admin", "must differ from"),
            (clash(listen.backend, listen.admin), "listen.backend", "listen.admin", "must differ from"),
            (self.tls.client_ca.is_some() && !self.tls.backend, "tls.client_ca", "tls.backend", "needs"),
            (self.tls.certificate.is_some() && self.tls.key.is_none(), "tls.certificate", "tls.key", "goes with"),
            (self.tls.key.is_some() && self.tls.certificate.is_none(), "tls.key", "tls.certificate", "goes with"),
            (nameless, "cluster.name", "cluster.nodes", "must be the name of one of"),
            (plan.lost_rule().is_some(), "cluster.rules", "cluster.nodes", "must name nodes and tags of"),
        ];
        rules.into_iter().filter(|rule| rule.0).map(|(_, one, other, relation)| (one, relation, other)).collect()
    }
}

/// Reads a constant of the table.
fn read_constant<K: Kind>(text: &str) -> K::Value {
    match K::read(&Raw::Text(text.to_owned())) {
        Ok(value) => value,
        Err(expected) => unreachable!("the table above has `{text}`, and its test reads every constant: {expected}"),
    }
}

/// The commonest relation of two options.
const LESS: &str = "must not be greater than";

#[cfg(test)]
mod tests;
