//! Nodes and who is assigned to them: what operators ask and what they are answered, in the protocol's messages and in
//! JSON.

use std::ops::RangeInclusive;

use serde_json::{Value, json};

use crate::model::audit::Actor;
use crate::model::fault::Fault;
use crate::model::id::Receiver;
use crate::node::access::nodes::Peer;
use crate::rpc::intake::Intake;
use crate::rpc::json_reader::{count, members as fields, switch};
use crate::rpc::{bounds, names};
use crate::wire::pb;

/// Weights of a node (proto).
const WEIGHT: RangeInclusive<u32> = 0..=1_000;

/// All nodes.
pub(super) fn list(intake: &Intake) -> pb::ListNodesResponse {
    pb::ListNodesResponse { nodes: intake.node.peers().into_iter().map(to_pb).collect() }
}

/// Changes a node.
pub(super) async fn set(intake: &Intake, request: pb::SetNodeRequest) -> Result<pb::Node, Fault> {
    let name = names::node("name", &request.name)?;
    let weight = request.weight.map(|weight| bounds::number("weight", weight, &WEIGHT)).transpose()?;
    intake.node.set_peer(&name, weight, request.draining, Actor::Admin).await.map(to_pb)
}

/// Where a device would be assigned to.
pub(super) async fn assignment(
    intake: &Intake,
    request: pb::GetAssignmentRequest,
) -> Result<pb::GetAssignmentResponse, Fault> {
    let receiver = Receiver {
        tenant: names::tenant("tenant", &request.tenant)?,
        user: names::user("user", &request.user)?,
        device: names::device("device", &request.device)?,
    };
    let (nodes, rule) = intake.node.assignment(&receiver).await?;
    Ok(pb::GetAssignmentResponse { nodes: nodes.to_vec(), rule: rule.unwrap_or_default() })
}

fn to_pb(peer: Peer) -> pb::Node {
    pb::Node {
        name: peer.name.to_string(),
        address: peer.address,
        weight: peer.weight,
        tags: peer.tags,
        draining: peer.draining,
        self_: peer.own,
    }
}

/// Reads the body of `PUT /v1/nodes/{node}`.
pub(super) fn read(body: &[u8], name: String) -> Result<pb::SetNodeRequest, Fault> {
    let mut request = pb::SetNodeRequest { name, ..Default::default() };
    for (name, raw) in fields("the node", body, &["weight", "draining"])? {
        match name.as_str() {
            "weight" => request.weight = Some(count("weight", raw)?),
            _ => request.draining = Some(switch("draining", raw)?),
        }
    }
    Ok(request)
}

/// A node in JSON.
pub(super) fn shown(node: &pb::Node) -> Value {
    json!({
        "name": node.name,
        "address": node.address,
        "weight": node.weight,
        "tags": node.tags,
        "draining": node.draining,
        "self": node.self_,
    })
}

/// All nodes in JSON.
pub(super) fn list_shown(list: &pb::ListNodesResponse) -> Value {
    json!({ "nodes": list.nodes.iter().map(shown).collect::<Vec<_>>() })
}

/// An assignment in JSON.
pub(super) fn assignment_shown(assignment: &pb::GetAssignmentResponse) -> Value {
    let rule = (!assignment.rule.is_empty()).then_some(&assignment.rule);
    json!({ "nodes": assignment.nodes, "rule": rule })
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn what_is_not_named_stays_as_it_is() {
        let read = |body: &[u8]| read(body, "n1".into()).map(|read| (read.weight, read.draining));
        assert_eq!(read(br#"{"weight": 0}"#), Ok((Some(0), None)));
        assert_eq!(read(br#"{"draining": false, "weight": null}"#), Ok((None, Some(false))));
        assert!(read(br#"{"weight": -1}"#).is_err() && read(br#"{"drain": true}"#).is_err());
    }
}
