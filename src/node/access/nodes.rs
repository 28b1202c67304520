//! Which node a device is assigned to, what the operator says of nodes, and who is asked to move to another one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::assign::{Plan, Site, Subject, WEIGHT_MAX};
use crate::delivery::session::Input;
use crate::model::audit::{Action, Actor, Event};
use crate::model::fault::{Code, Fault};
use crate::model::id::{NodeName, Receiver};
use crate::node::access::roster::Setting;
use crate::node::mailbox::Item;
use crate::node::{Node, fault};
use crate::store::{self, Expected, Put, Record, Shelf};

pub use crate::node::access::roster::Options;

/// A node of this deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: NodeName,
    /// `host:port` that devices are given.
    pub address: String,
    /// Its share of the users, beside those of the others.
    pub weight: u32,
    /// What rules may ask for.
    pub tags: Vec<String>,
    /// Logins go elsewhere.
    pub draining: bool,
    /// It is this one.
    pub own: bool,
}

/// A device that opened on another node than its own leaves within so long, at a moment of its own: they come one by one,
/// so it need not be long.
const MISPLACED_SPREAD: Duration = Duration::from_secs(1);

/// How long it has to settle what it holds.
const MISPLACED_GRACE: Duration = Duration::from_secs(5);

impl Node {
    /// All nodes, as they stand now.
    #[must_use]
    pub fn peers(&self) -> Vec<Peer> {
        self.roster.plan().sites.iter().map(|site| self.peer(site)).collect()
    }

    /// Changes a node; `None` leaves a value as it is.
    ///
    /// # Errors
    /// `node_not_found`, `invalid_option`, `stale_version` when somebody else changes it at the same time, or the store's
    /// fault.
    pub async fn set_peer(
        &self,
        name: &NodeName,
        weight: Option<u32>,
        draining: Option<bool>,
        actor: Actor,
    ) -> Result<Peer, Fault> {
        if weight.is_some_and(|weight| weight > WEIGHT_MAX) {
            return Err(Fault::new(Code::InvalidOption, format!("weight: give 0 to {WEIGHT_MAX}")));
        }
        let before = self.site(name)?;
        let now = self.clock.now().wall;
        let found = self.store.record(Shelf::Nodes, name.as_str(), now).await.map_err(fault)?;
        let known = found.as_ref().map(setting).unwrap_or_default();
        let wanted = Setting { weight: weight.or(known.weight), draining: draining.or(known.draining) };
        let details = details(&before, weight, draining);
        if details.is_empty() && wanted == known {
            return Ok(self.peer(&before));
        }
        let put = Put {
            shelf: Shelf::Nodes,
            name: name.as_str().to_owned(),
            value: Some(Bytes::from(serde_json::to_vec(&wanted).map_err(|error| unwritten(&error))?)),
            expected: found.map_or(Expected::Absent, |record| Expected::Version(record.version)),
            until: None,
        };
        let event = Event {
            at: now,
            tenant: None,
            actor,
            action: Action::NodeChanged,
            object: format!("node:{name}"),
            details,
        };
        self.store.write(vec![put], vec![event]).await.map_err(fault)?;
        self.site(name).map(|site| self.peer(&site))
    }

    /// Addresses of the nodes that a device is assigned to, best first, and the rule that chose among which. Empty when no
    /// nodes are configured: it stays where it is.
    ///
    /// # Errors
    /// The store's fault, when a rule asks for attributes.
    pub async fn assignment(&self, receiver: &Receiver) -> Result<(Arc<[String]>, Option<String>), Fault> {
        let plan = self.roster.plan();
        if plan.sites.is_empty() {
            return Ok((Arc::default(), None));
        }
        let attributes = self.attributes(&plan, receiver).await?;
        let assignment = plan.assign(&subject(receiver, &attributes));
        Ok((addresses(&assignment.sites), assignment.rule.map(str::to_owned)))
    }

    /// Reads what the operator has set about nodes. To be called once, before devices come.
    ///
    /// # Errors
    /// The store's fault.
    pub async fn load_peers(&self) -> Result<(), store::Error> {
        let now = self.clock.now().wall;
        let mut after: Option<String> = None;
        loop {
            let page = self.store.records(Shelf::Nodes, "", after.as_deref(), PAGE, now).await?;
            for (name, record) in &page {
                self.roster.set(name, Some(setting(record)));
            }
            match page.into_iter().last() {
                Some((name, _)) => after = Some(name),
                None => return Ok(()),
            }
        }
    }

    /// Asks devices that belong elsewhere to move, each time that nodes have changed, until the node drains. Run it on a
    /// task of its own.
    pub async fn keep_assigned(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.roster.changed() => {}
                () = self.drained.cancelled() => return,
            }
            if self.roster.sends_away(&self.roster.plan()) {
                tokio::select! {
                    () = self.send_away() => {}
                    () = self.drained.cancelled() => return,
                }
            }
        }
    }

    /// What a session is told before all else that has just opened and belongs elsewhere, if its device was not asked to
    /// move lately: so nothing is sent here that the other node would have to send again.
    pub(crate) async fn send_on(&self, receiver: &Receiver) -> Option<Input> {
        let nodes = self.elsewhere(receiver).await?;
        if !self.roster.ask_to_move(receiver, self.clock.now().moment) {
            return None;
        }
        tracing::debug!(%receiver, node = nodes.first(), "the device belongs to another node");
        let return_after = MISPLACED_SPREAD.mul_f64(fastrand::f64());
        Some(Input::Drain { return_after, grace: MISPLACED_GRACE, nodes })
    }

    /// Asks everybody to move at moments of their own within `spread`; who belongs elsewhere is told where.
    pub(crate) async fn send_all(&self, spread: Duration) {
        self.roster.leave();
        for (receiver, mailbox) in self.hub.close_doors() {
            let nodes = self.elsewhere(&receiver).await.unwrap_or_default();
            let after = spread.mul_f64(fastrand::f64());
            mailbox.order(Item::Drain { after, grace: after, nodes });
        }
    }

    async fn send_away(&self) {
        let mut sent = 0_usize;
        for (receiver, mailbox) in self.hub.everybody() {
            if let Some(nodes) = self.elsewhere(&receiver).await {
                self.roster.ask_to_move(&receiver, self.clock.now().moment);
                let after = self.roster.spread().mul_f64(fastrand::f64());
                mailbox.order(Item::Drain { after, grace: after + MISPLACED_GRACE, nodes });
                sent += 1;
            }
        }
        tracing::info!(sent, "nodes have changed; devices that belong elsewhere were asked to move");
    }

    /// Where a device shall go; `None` when it belongs here, or may stay.
    async fn elsewhere(&self, receiver: &Receiver) -> Option<Arc<[String]>> {
        let (own, plan) = (self.roster.own()?, self.roster.plan());
        if !self.roster.sends_away(&plan) {
            return None;
        }
        // Without its attributes nobody knows where it belongs: it stays until it comes again.
        let attributes = self.attributes(&plan, receiver).await.ok()?;
        let sites = plan.assign(&subject(receiver, &attributes)).sites;
        (sites.first()?.name != *own).then(|| addresses(&sites))
    }

    /// What is known of a device, if a rule asks for it.
    async fn attributes(&self, plan: &Plan, receiver: &Receiver) -> Result<BTreeMap<String, String>, Fault> {
        if !plan.asks_for_attributes() {
            return Ok(BTreeMap::new());
        }
        let user = self.store.user(&receiver.tenant, &receiver.user).await.map_err(fault)?;
        let device = user.devices.into_iter().find(|device| device.device == receiver.device);
        Ok(device.map(|device| device.attributes).unwrap_or_default())
    }

    fn site(&self, name: &NodeName) -> Result<Site, Fault> {
        let found = self.roster.plan().site(name).cloned();
        found.ok_or_else(|| Fault::new(Code::NodeNotFound, format!("no node {name} is configured in cluster.nodes")))
    }

    fn peer(&self, site: &Site) -> Peer {
        Peer {
            own: self.roster.own() == Some(&site.name),
            name: site.name.clone(),
            address: site.address.clone(),
            weight: site.weight,
            tags: site.tags.clone(),
            draining: site.draining,
        }
    }
}

/// Records that are read at once at the start.
const PAGE: usize = 256;

/// What a record says. One that cannot be read says nothing: the operator sees it in the log, and in the list of nodes.
pub(crate) fn setting(record: &Record) -> Setting {
    serde_json::from_slice(&record.value).unwrap_or_else(|error| {
        tracing::error!(%error, "what is kept of a node cannot be read; it stands as it is configured");
        Setting::default()
    })
}

const fn subject<'a>(receiver: &'a Receiver, attributes: &'a BTreeMap<String, String>) -> Subject<'a> {
    Subject { tenant: &receiver.tenant, user: &receiver.user, attributes }
}

fn addresses(sites: &[&Site]) -> Arc<[String]> {
    sites.iter().map(|site| site.address.clone()).collect()
}

/// What changes, for the audit log.
fn details(before: &Site, weight: Option<u32>, draining: Option<bool>) -> BTreeMap<String, String> {
    let weight =
        weight.filter(|weight| *weight != before.weight).map(|weight| format!("{} -> {weight}", before.weight));
    let draining =
        draining.filter(|wanted| *wanted != before.draining).map(|to| format!("{} -> {to}", before.draining));
    let all = [("weight", weight), ("draining", draining)];
    all.into_iter().filter_map(|(word, change)| Some((word.to_owned(), change?))).collect()
}

fn unwritten(error: &serde_json::Error) -> Fault {
    tracing::error!(%error, "what the operator set about a node cannot be written down");
    Fault::new(Code::Internal, "what was set cannot be written down")
}

#[cfg(test)]
mod tests;
