//! Every method of this side: its paths on both surfaces, and what a caller needs for it. This one table is asked for every
//! call of a backend; what is not in it is refused.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::model::access::Scope;

/// What a caller needs for a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    /// An API key with this scope, on the listener of backends.
    Scope(Scope),
    /// The admin key, on the listener of operators.
    AdminKey,
}

/// A method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Method {
    /// Its path of gRPC, called with POST.
    pub grpc: &'static str,
    /// What it is called by in HTTP and JSON: verb and path.
    pub http: &'static [&'static str],
    /// What a caller needs for it, on both surfaces.
    pub needs: Needs,
}

const PUSH: Needs = Needs::Scope(Scope::Push);
const MANAGE: Needs = Needs::Scope(Scope::Manage);
const READ: Needs = Needs::Scope(Scope::Read);
const ADMIN: Needs = Needs::AdminKey;

const fn method(grpc: &'static str, needs: Needs, http: &'static [&'static str]) -> Method {
    Method { grpc, http, needs }
}

/// All of them.
pub const METHODS: &[Method] = &[
    method("/pushline.v1.Backend/Push", PUSH, &["POST /v1/push"]),
    method("/pushline.v1.Backend/PushStream", PUSH, &["POST /v1/push/stream"]),
    method("/pushline.v1.Backend/PushUsers", PUSH, &["POST /v1/push/users"]),
    method("/pushline.v1.Backend/GetMessage", READ, &["GET /v1/messages/{id}"]),
    method("/pushline.v1.Backend/Cancel", PUSH, &["DELETE /v1/messages/{id}"]),
    method("/pushline.v1.Backend/GetTimeline", READ, &["GET /v1/messages/{id}/timeline"]),
    method("/pushline.v1.Audience/CreateGroup", MANAGE, &["PUT /v1/groups/{group}"]),
    method("/pushline.v1.Audience/GetGroup", READ, &["GET /v1/groups/{group}"]),
    method("/pushline.v1.Audience/ListGroups", READ, &["GET /v1/groups"]),
    method("/pushline.v1.Audience/DeleteGroup", MANAGE, &["DELETE /v1/groups/{group}"]),
    method("/pushline.v1.Audience/ListMembers", READ, &["GET /v1/groups/{group}/members"]),
    method(
        "/pushline.v1.Audience/ChangeMembers",
        MANAGE,
        &["POST /v1/groups/{group}/members", "POST /v1/members/stream"],
    ),
    method("/pushline.v1.Audience/SetGroups", MANAGE, &["PUT /v1/users/{user}/groups"]),
    method("/pushline.v1.Audience/GetUser", READ, &["GET /v1/users/{user}"]),
    method(
        "/pushline.v1.Audience/SetQuietHours",
        MANAGE,
        &["PUT /v1/users/{user}/quiet-hours", "DELETE /v1/users/{user}/quiet-hours"],
    ),
    method("/pushline.v1.Audience/SetTopic", MANAGE, &["PUT /v1/topics/{topic}"]),
    method("/pushline.v1.Audience/GetTopic", READ, &["GET /v1/topics/{topic}"]),
    method("/pushline.v1.Audience/GetAudience", READ, &["GET /v1/audience", "POST /v1/audience"]),
    method("/pushline.v1.Receipts/StreamReceipts", READ, &["GET /v1/receipts"]),
    method("/pushline.v1.Receipts/GetTag", READ, &["GET /v1/tags/{tag}"]),
    method("/pushline.v1.Receipts/ListOnline", READ, &["GET /v1/presence"]),
    method("/pushline.v1.Receipts/StreamPresence", READ, &["GET /v1/presence/events"]),
    method("/pushline.v1.Receipts/SetWebhook", MANAGE, &["PUT /v1/webhooks/{kind}"]),
    method("/pushline.v1.Receipts/ListWebhooks", READ, &["GET /v1/webhooks", "GET /v1/webhooks/{kind}"]),
    method("/pushline.v1.Receipts/DeleteWebhook", MANAGE, &["DELETE /v1/webhooks/{kind}"]),
    method("/pushline.v1.Access/IssueToken", MANAGE, &["POST /v1/tokens"]),
    method("/pushline.v1.Access/RevokeTokens", MANAGE, &["POST /v1/tokens/revoke"]),
    method("/pushline.v1.Access/CreateEnrolment", MANAGE, &["POST /v1/enrolments"]),
    method("/pushline.v1.Access/ListDeviceKeys", READ, &["GET /v1/users/{user}/keys"]),
    method("/pushline.v1.Access/RemoveDeviceKey", MANAGE, &["DELETE /v1/users/{user}/keys/{device}"]),
    method("/pushline.v1.Access/CreateShare", MANAGE, &["POST /v1/shares"]),
    method("/pushline.v1.Access/ListShares", READ, &["GET /v1/shares"]),
    method("/pushline.v1.Access/RevokeShare", MANAGE, &["DELETE /v1/shares/{id}"]),
    method("/pushline.v1.Access/ListAudit", READ, &["GET /v1/audit"]),
    method("/pushline.v1.Admin/CreateTenant", ADMIN, &["POST /v1/tenants"]),
    method("/pushline.v1.Admin/GetTenant", ADMIN, &["GET /v1/tenants/{tenant}"]),
    method("/pushline.v1.Admin/ListTenants", ADMIN, &["GET /v1/tenants"]),
    method("/pushline.v1.Admin/UpdateTenant", ADMIN, &["PUT /v1/tenants/{tenant}"]),
    method(
        "/pushline.v1.Admin/SuspendTenant",
        ADMIN,
        &["POST /v1/tenants/{tenant}/suspend", "POST /v1/tenants/{tenant}/resume"],
    ),
    method("/pushline.v1.Admin/RevokeTenant", ADMIN, &["POST /v1/tenants/{tenant}/revoke"]),
    method("/pushline.v1.Admin/CreateKey", ADMIN, &["POST /v1/tenants/{tenant}/keys"]),
    method("/pushline.v1.Admin/ListKeys", ADMIN, &["GET /v1/tenants/{tenant}/keys"]),
    method("/pushline.v1.Admin/RotateKey", ADMIN, &["POST /v1/tenants/{tenant}/keys/{id}/rotate"]),
    method("/pushline.v1.Admin/RemoveKey", ADMIN, &["DELETE /v1/tenants/{tenant}/keys/{id}"]),
    method("/pushline.v1.Admin/ListNodes", ADMIN, &["GET /v1/nodes"]),
    method("/pushline.v1.Admin/SetNode", ADMIN, &["PUT /v1/nodes/{node}"]),
    method("/pushline.v1.Admin/GetAssignment", ADMIN, &["GET /v1/assignment"]),
    method("/pushline.v1.Admin/ListAllAudit", ADMIN, &["GET /v1/audit"]),
];

/// The paths of gRPC of one service.
pub(super) fn of_service(service: &str) -> impl Iterator<Item = &'static str> {
    let paths = METHODS.iter().map(|method| method.grpc);
    paths.filter(move |path| path.split('/').nth(1).and_then(|name| name.strip_prefix("pushline.v1.")) == Some(service))
}

/// The scope that a call of a backend needs; `path` as it stands in the table. `None`: there is no such method.
pub(super) fn scope(verb: &http::Method, path: &str) -> Option<Scope> {
    // Who may GET may ask for the headers of the same.
    let verb = if verb == http::Method::HEAD { "GET" } else { verb.as_str() };
    SCOPES.get(path)?.iter().find(|(known, _)| *known == verb).map(|(_, scope)| *scope)
}

/// What backends may call, by path: verbs and the scope of each.
static SCOPES: LazyLock<HashMap<&'static str, Vec<(&'static str, Scope)>>> = LazyLock::new(|| {
    let mut scopes = HashMap::<_, Vec<_>>::new();
    for Method { grpc, http, needs } in METHODS {
        let Needs::Scope(scope) = needs else { continue };
        let http = http.iter().filter_map(|call| call.split_once(' '));
        for (verb, path) in http.chain([("POST", *grpc)]) {
            scopes.entry(path).or_default().push((verb, *scope));
        }
    }
    scopes
});

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::{METHODS, Needs, of_service, scope};
    use crate::model::access::Scope;
    use crate::wire::pb;

    /// Services that are not served here: the gateway serves one to devices, and calls the other.
    const ELSEWHERE: [&str; 2] = ["/pushline.v1.Device/", "/pushline.v1.Business/"];

    #[test]
    fn every_method_of_the_compiled_protocol_is_in_the_table_once() {
        let listed: BTreeSet<_> = METHODS.iter().map(|method| method.grpc).collect();
        assert_eq!(listed.len(), METHODS.len());
        let compiled = pb::METHODS.iter().filter(|path| !ELSEWHERE.iter().any(|service| path.starts_with(service)));
        assert_eq!(listed, compiled.copied().collect());
    }

    /// What the protocol's comments say of HTTP is what is served.
    #[test]
    fn the_twins_are_those_that_the_protocol_names() {
        let files = [
            include_str!("../../proto/pushline/v1/backend.proto"),
            include_str!("../../proto/pushline/v1/audience.proto"),
            include_str!("../../proto/pushline/v1/receipts.proto"),
            include_str!("../../proto/pushline/v1/access.proto"),
            include_str!("../../proto/pushline/v1/admin.proto"),
        ];
        let mut said = BTreeMap::new();
        for file in files {
            let (mut service, mut http) = ("", Vec::new());
            for line in file.lines().map(str::trim) {
                if let Some(rest) = line.strip_prefix("service ") {
                    service = rest.trim_end_matches([' ', '{']);
                } else if let Some(calls) = line.strip_prefix("// HTTP: ") {
                    http = calls.split(", ").map(|call| call.split('?').next().unwrap_or_default()).collect();
                } else if let Some(rest) = line.strip_prefix("rpc ") {
                    let name = rest.split('(').next().unwrap_or_default();
                    said.insert(format!("/pushline.v1.{service}/{name}"), std::mem::take(&mut http));
                }
            }
        }
        let served = METHODS.iter().map(|method| (method.grpc.to_owned(), method.http.to_vec()));
        assert_eq!(said, served.collect());
    }

    #[test]
    fn a_call_needs_the_scope_of_its_verb_and_path() {
        let verb = |verb: &str| verb.parse::<http::Method>().expect("a verb");
        for (call, expected) in [
            ("POST /pushline.v1.Backend/Push", Some(Scope::Push)),
            ("GET /v1/messages/{id}", Some(Scope::Read)),
            ("HEAD /v1/messages/{id}", Some(Scope::Read)),
            ("DELETE /v1/messages/{id}", Some(Scope::Push)),
            ("PUT /v1/webhooks/{kind}", Some(Scope::Manage)),
            ("POST /v1/messages/{id}", None),
            ("POST /v1/tenants", None),
            ("POST /pushline.v1.Admin/CreateKey", None),
            ("GET /nothing", None),
        ] {
            let (name, path) = call.split_once(' ').expect("a verb and a path");
            assert_eq!(scope(&verb(name), path), expected, "{call}");
        }
        // The path of a backend that an operator has too.
        assert_eq!(scope(&verb("GET"), "/v1/audit"), Some(Scope::Read));
        assert!(of_service("Admin").all(|path| path.starts_with("/pushline.v1.Admin/")));
        assert_eq!(of_service("Backend").count(), 6);
        assert!(METHODS.iter().all(|method| !method.http.is_empty()));
        let admin = METHODS.iter().filter(|method| method.needs == Needs::AdminKey).count();
        assert_eq!(admin, of_service("Admin").count());
    }
}
