//! The nodes of this deployment as they stand now: those of the configuration, with what the operator has set since; and
//! who was asked to move to another one lately. It reads no store and moves nobody.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use crate::assign::{Misplaced, Plan, Site};
use crate::model::clock::Moment;
use crate::model::id::{NodeName, Receiver};

/// What an operator can set about the nodes of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which of the nodes this one is. `None`, or no nodes: devices stay where they are.
    pub own: Option<NodeName>,
    /// Nodes and rules, the same on each node.
    pub plan: Plan,
    /// What becomes of a device that connects to another node than its own.
    pub misplaced: Misplaced,
    /// Devices that are asked to move together leave at moments of their own within this.
    pub spread: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { own: None, plan: Plan::default(), misplaced: Misplaced::default(), spread: Duration::from_secs(10) }
    }
}

/// What the operator has set about a node; `None` is what the configuration says. Kept as JSON.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Setting {
    /// Its weight.
    pub(crate) weight: Option<u32>,
    /// Whether it is being emptied.
    pub(crate) draining: Option<bool>,
}

/// The nodes.
pub(crate) struct Roster {
    options: Options,
    /// As they stand now.
    plan: ArcSwap<Plan>,
    /// The process goes down: nobody is assigned to this node any more, whatever the operator sets.
    leaving: AtomicBool,
    /// Rings when the plan has changed.
    changed: Notify,
    moved: Mutex<Moved>,
}

impl Roster {
    pub(crate) fn new(options: Options) -> Self {
        let plan = ArcSwap::from_pointee(options.plan.clone());
        Self { options, plan, leaving: AtomicBool::new(false), changed: Notify::new(), moved: Mutex::default() }
    }

    /// Nodes and rules as they stand now.
    pub(crate) fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Which of the nodes this one is; `None` when there are none.
    pub(crate) fn own(&self) -> Option<&NodeName> {
        self.options.own.as_ref().filter(|_| !self.options.plan.sites.is_empty())
    }

    /// How long those who are asked to move together have to leave.
    pub(crate) const fn spread(&self) -> Duration {
        self.options.spread
    }

    /// Whether devices of other nodes are asked to move: always when this node is being emptied.
    pub(crate) fn sends_away(&self, plan: &Plan) -> bool {
        let Some(own) = self.own() else { return false };
        self.options.misplaced == Misplaced::Move || plan.site(own).is_some_and(|site| site.draining)
    }

    /// What the operator has set about a node has changed; `None`: all is as configured. Called one at a time.
    pub(crate) fn set(&self, name: &str, setting: Option<Setting>) {
        let Setting { weight, draining } = setting.unwrap_or_default();
        self.change(name, |configured, site| {
            site.weight = weight.unwrap_or(configured.weight);
            site.draining = draining.unwrap_or(false);
        });
    }

    /// The process goes down.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(own) = self.own() {
            self.change(own.as_str(), |_, _| {});
        }
    }

    /// Changes a node that is configured; others are nobody's.
    fn change(&self, name: &str, change: impl Fn(&Site, &mut Site)) {
        let Some(configured) = self.options.plan.sites.iter().find(|site| site.name.as_str() == name) else { return };
        let leaving = self.leaving.load(Ordering::Relaxed) && self.own() == Some(&configured.name);
        self.plan.rcu(|plan| {
            let mut plan = Plan::clone(plan);
            if let Some(site) = plan.sites.iter_mut().find(|site| site.name == configured.name) {
                change(configured, site);
                site.draining |= leaving;
            }
            plan
        });
        self.changed.notify_one();
    }

    /// Waits until the plan has changed since the last time this returned.
    pub(crate) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Notes that a device is asked to move; false when it was asked lately, or too many were: it is served then. So a
    /// device comes to rest that cannot reach its node, or whose software does not know how.
    pub(crate) fn ask_to_move(&self, receiver: &Receiver, now: Moment) -> bool {
        self.moved.lock().unwrap_or_else(PoisonError::into_inner).note(receiver, now)
    }
}

/// How long a device that was asked to move, and is back, is not asked again, at least. A guess: longer than a client needs
/// to find that its node is down.
const REST: Duration = Duration::from_secs(300);

/// Devices that are kept in mind at a time, twice. Full: those that come are served, until [`REST`] is over.
const MOVED_MAX: usize = 16_384;

/// Who was asked to move lately: in two sets, of which the older is thrown away whole.
#[derive(Default)]
struct Moved {
    young: HashSet<Receiver>,
    old: HashSet<Receiver>,
    /// When the younger set was begun.
    since: Moment,
}

impl Moved {
    fn note(&mut self, receiver: &Receiver, now: Moment) -> bool {
        if now.since(self.since) >= REST {
            let lately = now.since(self.since) < 2 * REST;
            self.old = std::mem::take(&mut self.young);
            if !lately {
                self.old = HashSet::new();
            }
            self.since = now;
        }
        if self.young.contains(receiver) || self.old.contains(receiver) || self.young.len() >= MOVED_MAX {
            return false;
        }
        self.young.insert(receiver.clone());
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{MOVED_MAX, Moved, Options, REST, Roster, Setting};
    use crate::assign::{Misplaced, Plan};
    use crate::model::clock::Moment;
    use crate::model::id::{DeviceId, NodeName, Receiver, TenantId, UserId};

    fn receiver(user: usize) -> Receiver {
        Receiver {
            tenant: TenantId::new("t").expect("a name"),
            user: UserId::new(&user.to_string()).expect("a name"),
            device: DeviceId::new("d").expect("a name"),
        }
    }

    fn roster(misplaced: Misplaced) -> Roster {
        let sites = ["a h:1 weight=5", "b h:2"].map(|text| text.parse().expect("a node")).into();
        let own = Some(NodeName::new("a").expect("a name"));
        Roster::new(Options { own, plan: Plan { sites, rules: Vec::new() }, misplaced, ..Options::default() })
    }

    /// Weight and state of the first node.
    fn first(roster: &Roster) -> (u32, bool) {
        let plan = roster.plan();
        (plan.sites[0].weight, plan.sites[0].draining)
    }

    #[test]
    fn what_is_set_stands_before_what_is_configured_and_goes_with_its_record() {
        let roster = roster(Misplaced::Serve);
        roster.set("a", Some(Setting { weight: Some(7), draining: None }));
        assert_eq!(first(&roster), (7, false));
        roster.set("a", Some(Setting { weight: None, draining: Some(true) }));
        assert_eq!(first(&roster), (5, true));
        roster.set("a", None);
        assert_eq!(first(&roster), (5, false));
        roster.set("gone", Some(Setting { weight: Some(1), draining: None }));
        assert_eq!(roster.plan().sites.len(), 2);
    }

    #[test]
    fn a_node_that_goes_down_is_left_alone_whatever_is_set() {
        let roster = roster(Misplaced::Serve);
        roster.leave();
        roster.set("a", Some(Setting { weight: None, draining: Some(false) }));
        assert_eq!(first(&roster), (5, true));
        roster.set("b", Some(Setting { weight: Some(1), draining: Some(false) }));
        assert!(!roster.plan().sites[1].draining);
    }

    #[test]
    fn devices_are_sent_away_by_option_or_when_the_node_is_emptied() {
        let sends = |roster: &Roster| roster.sends_away(&roster.plan());
        assert!(sends(&roster(Misplaced::Move)));
        let serving = roster(Misplaced::Serve);
        assert!(!sends(&serving));
        serving.set("b", Some(Setting { weight: None, draining: Some(true) }));
        assert!(!sends(&serving), "another node");
        serving.set("a", Some(Setting { weight: None, draining: Some(true) }));
        assert!(sends(&serving));
        assert!(!sends(&Roster::new(Options { misplaced: Misplaced::Move, ..Options::default() })), "no nodes");
    }

    #[test]
    fn who_is_back_is_left_in_peace_for_a_while() {
        let (mut moved, begin) = (Moved::default(), Moment::default() + REST);
        assert!(moved.note(&receiver(1), begin));
        assert!(!moved.note(&receiver(1), begin + Duration::from_secs(1)));
        assert!(moved.note(&receiver(2), begin + Duration::from_secs(1)));
        assert!(!moved.note(&receiver(1), begin + REST), "the older set is asked, too");
        assert!(moved.note(&receiver(1), begin + 2 * REST));
        assert!(moved.note(&receiver(1), begin + 9 * REST), "nobody came for long: both are old");
    }

    #[test]
    fn too_many_at_once_are_served() {
        let mut moved = Moved::default();
        let begin = Moment::default() + REST;
        assert!((0..MOVED_MAX).all(|user| moved.note(&receiver(user), begin)));
        assert!(!moved.note(&receiver(MOVED_MAX), begin));
        assert!(moved.note(&receiver(MOVED_MAX), begin + REST));
    }
}
