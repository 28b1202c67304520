//! Where to connect: the nodes that the gateway named, best first, then the address the program gave. It makes no
//! connections.

/// Nodes that are taken from one answer; those behind are left out. A guess: more are of no use to one device.
const NODES_MAX: usize = 16;

/// Longest address: a name of 253 bytes (RFC 1035, section 2.3.4) and a port.
const ADDRESS_BYTES_MAX: usize = 259;

/// Addresses, and which of them is next.
#[derive(Debug, Default)]
pub(super) struct Route {
    /// What the gateway named last, `host:port`.
    nodes: Vec<String>,
    /// Attempts that failed in a row.
    failures: usize,
}

impl Route {
    /// The gateway named nodes; none: everything stays as it is. What is no address is passed over.
    pub(super) fn set(&mut self, nodes: Vec<String>) {
        let mut nodes: Vec<String> = nodes.into_iter().filter(|node| is_address(node)).collect();
        nodes.truncate(NODES_MAX);
        if !nodes.is_empty() {
            *self = Self { nodes, failures: 0 };
        }
    }

    /// An attempt failed: the next goes to the next address, and at last to the first again.
    pub(super) const fn failed(&mut self) {
        self.failures = self.failures.wrapping_add(1);
    }

    /// An attempt succeeded: if the session is lost, the same address comes first.
    pub(super) fn arrived(&mut self) {
        let places = self.nodes.len() + 1;
        self.failures %= places;
    }

    /// Where to connect next; `None`: to the address that the program gave.
    pub(super) fn node(&self) -> Option<&str> {
        self.nodes.get(self.failures % (self.nodes.len() + 1)).map(String::as_str)
    }
}

fn is_address(text: &str) -> bool {
    let port =
        text.rsplit_once(':').filter(|(host, _)| !host.is_empty()).and_then(|(_, port)| port.parse::<u16>().ok());
    text.len() <= ADDRESS_BYTES_MAX
        && port.is_some_and(|port| port > 0)
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::{NODES_MAX, Route};

    fn named(nodes: &[&str]) -> Vec<String> {
        nodes.iter().map(|&node| node.to_owned()).collect()
    }

    #[test]
    fn nodes_are_tried_in_order_and_home_is_the_last() {
        let mut route = Route::default();
        assert_eq!(route.node(), None);
        route.set(named(&["a:1", "b:2"]));
        let mut tried = Vec::new();
        for _ in 0..4 {
            tried.push(route.node().map(str::to_owned));
            route.failed();
        }
        assert_eq!(tried, [Some("a:1".to_owned()), Some("b:2".to_owned()), None, Some("a:1".to_owned())]);
        // Where it arrived it begins the next time.
        assert_eq!(route.node(), Some("b:2"));
        route.arrived();
        assert_eq!(route.node(), Some("b:2"));
        // No nodes: where it is.
        route.set(Vec::new());
        assert_eq!(route.node(), Some("b:2"));
        route.set(named(&["c:3"]));
        assert_eq!(route.node(), Some("c:3"));
    }

    #[test]
    fn what_is_no_address_is_passed_over_and_too_many_are_cut() {
        let mut route = Route::default();
        route.set(named(&["", "host", ":1", "a:0", "a:x", "a b:1", "a\r\nb:1"]));
        assert_eq!(route.node(), None);
        route.set(vec!["x".repeat(260) + ":1"]);
        assert_eq!(route.node(), None);
        route.set((1..100).map(|port| format!("a:{port}")).collect());
        assert_eq!(route.nodes.len(), NODES_MAX);
    }
}
