//! `pushline push --dry-run`: whom a push would reach. It pushes nothing.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::audience;
use crate::cli::push::Arguments;
use crate::cli::style::Output;
use crate::cli::table::{Table, counted, left, right};
use crate::client::backend::Backend;
use crate::model::id::UserId;
use crate::wire::pb;
use crate::wire::pb::get_audience_request::Of;

/// Asks for the audience of a topic or condition, or for the devices of the users.
pub(super) async fn run(
    backend: &Backend,
    arguments: &Arguments,
    users: Option<Vec<UserId>>,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let topic = arguments.topic.as_ref().map(|topic| Of::Topic(topic.to_string()));
    if let Some(of) = topic.or_else(|| arguments.condition.clone().map(Of::Condition)) {
        if !arguments.exclude.is_empty() {
            output.note("those excluded are still counted here; the push leaves them out");
        }
        return audience::show(backend, of, None, output).await;
    }
    let one = arguments.user.clone().or_else(|| arguments.any_of_user.clone());
    let mut table = Table::new([left("user"), right("devices"), right("online")]);
    let (mut devices, mut online) = (0, 0);
    for name in users.into_iter().flatten().chain(one) {
        let user = backend.user(&name).await?;
        let reached: Vec<_> = user.devices.iter().filter(|device| arguments.reaches(&name, device)).collect();
        let connected = reached.iter().filter(|device| device.online).count() as u64;
        devices += reached.len() as u64;
        online += connected;
        output.object(&json!({ "user": name.as_str(), "devices": reached.len(), "online": connected }))?;
        table.row([name.as_str().into(), (reached.len() as u64).into(), connected.into()]);
    }
    table.write(output)?;
    output.words(&format!(
        "{} known now, {online} online; a device that is first seen later gets it too, unless one was named",
        counted(devices, "device")
    ))?;
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    /// Whether the push would go to a device of a user it names.
    fn reaches(&self, user: &UserId, device: &pb::user::Device) -> bool {
        let named = self.device.as_ref().is_none_or(|only| only.as_str() == device.device);
        let excluded =
            |one: &pb::Exclusion| one.user == user.as_str() && (one.device.is_empty() || one.device == device.device);
        named && !self.exclude.iter().any(excluded)
    }
}
