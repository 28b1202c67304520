//! `pushline push --users`: the same content to many users, some at a time, and each one's answer.

use std::process::ExitCode;

use serde_json::json;

use crate::cli::bar::Bar;
use crate::cli::style::{ERROR, GOOD, LITERAL, Output};
use crate::cli::table::{Cell, Table, counted, left, right};
use crate::cli::twin;
use crate::cli::users::USERS_PER_REQUEST;
use crate::client::backend::Backend;
use crate::model::id::UserId;
use crate::wire::pb;

/// Pushes to all of them, and fails when one was refused.
pub(super) async fn run(
    backend: &Backend,
    users: Vec<UserId>,
    push: pb::PushRequest,
    output: Output,
) -> anyhow::Result<ExitCode> {
    let mut table = Table::new([left("user"), left("outcome"), left("id"), right("offset")]);
    let (mut accepted, mut refused) = (0, 0);
    let bar = Bar::new("push", users.len(), output);
    for some in users.chunks(USERS_PER_REQUEST) {
        let names = some.iter().map(ToString::to_string).collect();
        for (user, answer) in backend.push_users(names, push.clone()).await? {
            match answer {
                Ok(answer) => {
                    accepted += 1;
                    output.object(&json!({ "user": user, "accepted": twin::accepted(&answer) }))?;
                    let outcome = if answer.duplicate { "pushed before" } else { "pushed" };
                    let id = Cell::styled(answer.id, LITERAL);
                    table.row([user.into(), Cell::styled(outcome, GOOD), id, answer.offset.into()]);
                }
                Err(refusal) => {
                    refused += 1;
                    output.object(&json!({ "user": user, "error": twin::refusal(&refusal) }))?;
                    table.row([user.into(), Cell::styled(refusal.to_string(), ERROR)]);
                }
            }
        }
        bar.update(accepted + refused);
    }
    drop(bar);
    table.write(output)?;
    output.words(&format!("{} pushed to, {} refused", counted(accepted, "user"), refused))?;
    Ok(if refused == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
