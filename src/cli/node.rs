//! `pushline node`: the nodes of a deployment, and which device belongs to which.

use std::process::ExitCode;

use crate::auth::DEFAULT_TENANT;
use crate::cli::operator::Operator;
use crate::cli::style::{DIM, GOOD, NOTE, Output};
use crate::cli::table::{Cell, Table, left, right};
use crate::cli::twin;
use crate::model::id::{DeviceId, NodeName, TenantId, UserId};
use crate::wire::pb;

/// List and set the nodes that devices are assigned to, and tell where a device belongs.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline node list
  pushline node set north --weight 50
  pushline node set north --drain
  pushline node set north --drain=false
  pushline node assignment ada phone --tenant shop")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// List all nodes.
    List(List),
    /// Set the weight of a node, or empty it: logins go elsewhere.
    Set(Set),
    /// Tell the nodes that a device is assigned to, best first, and by which rule.
    Assignment(Assignment),
}

#[derive(Clone, Debug, clap::Args)]
struct List {
    #[command(flatten)]
    operator: Operator,
}

#[derive(Clone, Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true).args(["weight", "drain"]))]
struct Set {
    #[command(flatten)]
    operator: Operator,
    /// The node.
    #[arg(value_parser = NodeName::new)]
    node: NodeName,
    /// Its part of the devices, beside the other nodes' weights; 0 to 1000.
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(..=1000))]
    weight: Option<u32>,
    /// Assign no device to it.
    #[arg(long, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    drain: Option<bool>,
}

#[derive(Clone, Debug, clap::Args)]
struct Assignment {
    #[command(flatten)]
    operator: Operator,
    /// The user.
    #[arg(value_parser = UserId::new)]
    user: UserId,
    /// The device.
    #[arg(value_parser = DeviceId::new)]
    device: DeviceId,
    /// The tenant.
    #[arg(long, value_parser = TenantId::new, default_value = DEFAULT_TENANT)]
    tenant: TenantId,
}

/// Does what was asked.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::List(list) => list.operator.run(output, async |admin| print(&admin.nodes().await?, output)),
        Command::Set(set) => set
            .operator
            .run(output, async |admin| print(&[admin.set_node(&set.node, set.weight, set.drain).await?], output)),
        Command::Assignment(asked) => asked.operator.run(output, async |admin| {
            let found = admin.assignment(&asked.tenant, &asked.user, &asked.device).await?;
            output.object(&twin::access::assignment(&found))?;
            for node in &found.nodes {
                output.words(node)?;
            }
            let by = if found.rule.is_empty() {
                "by weight alone".to_owned()
            } else {
                format!("by the rule {}", found.rule)
            };
            output.words(&format!("{DIM}{by}{DIM:#}"))?;
            Ok(ExitCode::SUCCESS)
        }),
    }
}

fn print(nodes: &[pb::Node], output: Output) -> anyhow::Result<ExitCode> {
    let mut table = Table::new([left("node"), left("address"), right("weight"), left("tags"), left("state")]);
    for node in nodes {
        output.object(&twin::access::node(node))?;
        let state = match (node.draining, node.self_) {
            (true, true) => Cell::styled("draining, answers", NOTE),
            (true, false) => Cell::styled("draining", NOTE),
            (false, true) => Cell::styled("takes devices, answers", GOOD),
            (false, false) => Cell::styled("takes devices", GOOD),
        };
        let tags = node.tags.join(", ");
        table.row([node.name.as_str().into(), node.address.as_str().into(), node.weight.into(), tags.into(), state]);
    }
    table.write(output)?;
    if nodes.is_empty() {
        output.words(&format!("{DIM}no nodes; name them in the section `cluster` of the configuration{DIM:#}"))?;
    }
    Ok(ExitCode::SUCCESS)
}
