//! Reads what a backend asks for about events: names, ids, positions, and the request around them.

use axum::extract::Request;
use http::request::Parts;

use crate::model::access::Caller;
use crate::model::fault::{Code, Fault};
use crate::model::id::{DeviceId, MessageId, NameError, Receiver, Tag, TenantId, UserId};
use crate::rpc::http::BODY_OF_GET_BYTES_MAX;
use crate::rpc::intake::Intake;
use crate::rpc::query::Query;

/// Checks the rights of a request that has no body, and drops what comes all the same.
pub(in crate::rpc) async fn bare(intake: &Intake, request: Request) -> Result<(Caller, Parts), Fault> {
    let (parts, body) = request.into_parts();
    let (caller, _) = intake.read::<Caller>(&parts, body, BODY_OF_GET_BYTES_MAX, Code::RequestTooLarge).await?;
    Ok((caller, parts))
}

/// A number of a query; `None` when it is not there.
pub(super) fn number(query: &mut Query, name: &str) -> Result<Option<u64>, Fault> {
    let refuse = |_| Fault::new(Code::Malformed, format!("?{name} must be a whole number"));
    query.text(name).map(|text| text.parse().map_err(refuse)).transpose()
}

/// Whether new events are wanted as they come; so it is unless the query says false.
pub(super) fn follow(query: &mut Query) -> Result<bool, Fault> {
    match query.text("follow").as_deref() {
        None | Some("" | "true") => Ok(true),
        Some("false") => Ok(false),
        Some(_) => Err(Fault::new(Code::Malformed, "?follow must be true or false")),
    }
}

/// A message id; `None` for an empty text.
pub(super) fn message(text: &str) -> Result<Option<MessageId>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let words = "message: it is not a message id, which is a UUID as the push's answer gave it";
    MessageId::parse(text).map(Some).ok_or_else(|| Fault::new(Code::Malformed, words))
}

/// A tag; `None` for an empty text.
pub(super) fn tag(text: &str) -> Result<Option<Tag>, Fault> {
    name("tag", text, Tag::new)
}

/// A user; `None` for an empty text.
pub(in crate::rpc) fn user(text: &str) -> Result<Option<UserId>, Fault> {
    name("user", text, UserId::new)
}

/// A device of a list, as [`place`] writes it; `None` for an empty text.
pub(super) fn after(tenant: &TenantId, text: &str) -> Result<Option<Receiver>, Fault> {
    let words = "after: it is not a `next` of an earlier answer";
    let refuse = || Fault::new(Code::Malformed, words);
    if text.is_empty() {
        return Ok(None);
    }
    let (user, device) = text.split_once('/').ok_or_else(refuse)?;
    let user = UserId::new(user).map_err(|_| refuse())?;
    let device = DeviceId::new(device).map_err(|_| refuse())?;
    Ok(Some(Receiver { tenant: tenant.clone(), user, device }))
}

/// Where a list goes on behind a device. No name has a slash.
pub(super) fn place(user: &UserId, device: &DeviceId) -> String {
    format!("{user}/{device}")
}

fn name<T>(field: &str, text: &str, read: impl Fn(&str) -> Result<T, NameError>) -> Result<Option<T>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    read(text).map(Some).map_err(|error| Fault::new(Code::InvalidName, format!("{field}: {error}")))
}
