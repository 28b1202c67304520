//! `pushline audit` and `pushline tenant audit`: who issued, revoked and changed what.

use std::process::ExitCode;

use crate::cli::access::Access;
use crate::cli::operator::Operator;
use crate::cli::style::{DIM, Output};
use crate::cli::table::{Table, counted, left, right};
use crate::cli::{moment, twin};
use crate::wire::pb;

/// Show who issued, revoked and changed what in the tenant, oldest first.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pushline audit
  pushline audit --after 120 --limit 50
  pushline tenant audit                 what happened in all tenants, for the operator")]
pub(super) struct Arguments {
    #[command(flatten)]
    access: Access,
    #[command(flatten)]
    part: Part,
}

/// Which part of the log of all tenants.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct OfAll {
    #[command(flatten)]
    operator: Operator,
    #[command(flatten)]
    part: Part,
}

#[derive(Clone, Debug, clap::Args)]
struct Part {
    /// Begin after this position.
    #[arg(long, value_name = "POSITION", default_value_t = 0, hide_default_value = true)]
    after: u64,
    /// At most so many [default: all].
    #[arg(long, value_name = "NUMBER")]
    limit: Option<u64>,
}

/// Shows the tenant's.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    arguments.access.run(output, async |backend| {
        let mut shown = Shown::new(&arguments.part, false);
        while shown.rest > 0 {
            let page = backend.audit(shown.after, shown.most()).await?;
            for event in &page.events {
                output.object(&twin::access::event(event))?;
                shown.row(None, event);
            }
            if shown.is_last(page.position, page.last, page.missed) {
                break;
            }
        }
        shown.write(output)
    })
}

impl OfAll {
    /// Shows all tenants'.
    pub(super) fn run(&self, output: Output) -> anyhow::Result<ExitCode> {
        self.operator.run(output, async |admin| {
            let mut shown = Shown::new(&self.part, true);
            while shown.rest > 0 {
                let page = admin.audit(shown.after, shown.most()).await?;
                for told in &page.events {
                    output.object(&twin::access::tenant_event(told))?;
                    let event = told.event.clone().unwrap_or_default();
                    shown.row(Some(&told.tenant), &event);
                }
                if shown.is_last(page.position, page.last, page.missed) {
                    break;
                }
            }
            shown.write(output)
        })
    }
}

/// What was shown so far.
struct Shown {
    table: Table,
    after: u64,
    rest: u64,
    events: u64,
    missed: u64,
    more: bool,
}

impl Shown {
    fn new(part: &Part, of_all: bool) -> Self {
        let tenant = of_all.then(|| left("tenant"));
        let others = [left("at"), left("who"), left("did"), left("to"), left("details")];
        let columns: Vec<_> = [right("position")].into_iter().chain(tenant).chain(others).collect();
        let rest = part.limit.unwrap_or(u64::MAX);
        Self { table: Table::new(columns), after: part.after, rest, events: 0, missed: 0, more: true }
    }

    /// Of a page: the gateway gives no more at once.
    fn most(&self) -> u32 {
        u32::try_from(self.rest).unwrap_or(u32::MAX).min(1_000)
    }

    fn row(&mut self, tenant: Option<&str>, event: &pb::AuditEvent) {
        let details: Vec<_> = event.details.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let tenant = tenant.map(|tenant| if tenant.is_empty() { "(gateway)".into() } else { tenant.into() });
        let others = [
            moment::second(event.at_ms).into(),
            event.actor.as_str().into(),
            event.action.as_str().into(),
            event.object.as_str().into(),
            details.join(", ").into(),
        ];
        let cells: Vec<_> = [event.position.into()].into_iter().chain(tenant).chain(others).collect();
        self.table.row(cells);
        self.events += 1;
        self.rest = self.rest.saturating_sub(1);
    }

    /// Counts a page in; whether no other one is there.
    fn is_last(&mut self, position: u64, last: u64, missed: u64) -> bool {
        self.missed += missed;
        self.more = position > self.after && position < last;
        self.after = position.max(self.after);
        !self.more
    }

    fn write(self, output: Output) -> anyhow::Result<ExitCode> {
        self.table.write(output)?;
        let more = if self.more { format!("; more with --after {}", self.after) } else { String::new() };
        output.words(&format!("{DIM}{}{more}{DIM:#}", counted(self.events, "event")))?;
        if self.missed > 0 {
            output.note(&format!("{} are not kept any more (store.audit_ttl)", counted(self.missed, "older event")));
        }
        Ok(ExitCode::SUCCESS)
    }
}
