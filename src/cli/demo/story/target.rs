//! The chapter about who gets a push and what became of it: a group, a condition, any one device, receipts.

use anyhow::{Context, ensure};
use serde_json::json;

use crate::cli::demo::cast::request_to;
use crate::cli::demo::report::Findings;
use crate::cli::demo::story::Story;
use crate::model::id::{GroupName, MessageId};
use crate::wire::pb;
use crate::wire::pb::target::To;

impl Story {
    /// The user joins a group, and both devices follow its topic at once; a condition picks one of them; a push to any
    /// device is taken by the phone, and the laptop is told to dismiss it. Receipts say the same.
    pub(super) async fn target(&mut self) -> anyhow::Result<Findings> {
        let cast = self.cast()?;
        let (backend, user) = (cast.backend.clone(), cast.user.to_string());
        let group = GroupName::new(GROUP)?;
        let change =
            pb::ChangeMembersRequest { group: group.to_string(), add: vec![user.clone()], ..Default::default() };
        let mut answers = backend.change_members(futures_util::stream::iter([change])).await?;
        let joined = answers.next().await?.context("no answer to the change of members")?;
        ensure!(joined.added == 1 && joined.refused.is_none(), "{joined:?}");

        let asked_at = self.clock.now().moment;
        let condition = format!("'{GROUP}' in topics && form == 'phone'");
        let answer = backend.push(request_to(To::Condition(condition), "for phones of the group")).await?;
        let audience = answer.audience;
        ensure!(audience == Some(1), "the condition was true for {audience:?} devices instead of 1");
        let picked = self.ledger.book(answer, asked_at, &["phone"], false)?;
        let answer = backend.push(request_to(To::Topic(GROUP.to_owned()), "for all of the group")).await?;
        ensure!(answer.audience == Some(2), "{:?} devices follow the group's topic instead of 2", answer.audience);
        self.ledger.book(answer, asked_at, &BOTH, false)?;
        self.all_received().await?;

        // Both ring, and nobody has answered yet.
        let cast = self.cast()?;
        cast.phone.hold();
        cast.laptop.hold();
        let answer = backend.push(request_to(To::AnyOfUser(user), "who takes it?")).await?;
        let taken = self.ledger.book(answer, asked_at, &BOTH, false)?;
        let cast = self.cast()?;
        for device in [&cast.phone, &cast.laptop] {
            device.received(&self.ledger.owed(device.name())).await?;
        }
        cast.phone.release();
        cast.phone.confirm().await?;
        cast.laptop.dismissed(taken).await?;
        cast.laptop.release();
        cast.laptop.confirm().await?;

        let told = self.receipts(taken).await?;
        let acked: Vec<_> = told.iter().filter(|one| one.what == "acked").map(|one| one.device.as_str()).collect();
        ensure!(acked == ["phone"], "receipts tell of acks by {acked:?} instead of the phone's");
        let counts = backend.message(picked).await?.counts.context("the gateway counted nothing")?;
        ensure!(counts.acked == 1 && counts.waiting == 0, "the condition's push is counted as {counts:?}");

        let mut findings = Findings { scene: self.scene(3, Some(3), Some(2)), ..Findings::default() };
        findings.fact("the user joined a group: both devices follow its topic at once, on their live sessions");
        findings.fact("a condition on topic and attribute picked the phone alone: one message stored, 1 of 1 acked");
        findings.fact("any one device: both rang, the phone's ack took it, the laptop was told to dismiss it");
        findings.fact("receipts of that push: accepted, acked by the phone, taken");
        findings.field("group", GROUP);
        findings.field("audience", audience);
        findings.field("taken_by", "phone");
        findings.field("dismissed_on", "laptop");
        findings.field("receipts", json!(told.iter().map(|one| one.what.as_str()).collect::<Vec<_>>()));
        Ok(findings)
    }

    /// Waits until both devices have received, and acked, all that is owed.
    async fn all_received(&self) -> anyhow::Result<()> {
        let cast = self.cast()?;
        for device in [&cast.phone, &cast.laptop] {
            device.received(&self.ledger.owed(device.name())).await?;
            device.confirm().await?;
        }
        Ok(())
    }

    /// The receipts of a message, until it is over.
    async fn receipts(&self, id: MessageId) -> anyhow::Result<Vec<pb::Receipt>> {
        let request = pb::StreamReceiptsRequest { after: Some(0), message: id.to_string(), ..Default::default() };
        let mut receipts = self.cast()?.backend.receipts(request);
        let mut told = Vec::new();
        while !["acked", "taken"].iter().all(|word| told.iter().any(|one: &pb::Receipt| one.what == *word)) {
            told.extend(receipts.next().await?.receipts);
        }
        Ok(told)
    }
}

/// A group that arises.
const GROUP: &str = "early";

/// All devices.
const BOTH: [&str; 2] = ["phone", "laptop"];
