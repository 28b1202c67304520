//! `pushline tenant`: tenants, what they may take, how their devices log in.

mod limits;
mod ways;

use std::process::ExitCode;

use anyhow::ensure;

use crate::cli::operator::Operator;
use crate::cli::style::{DIM, ERROR, GOOD, HEADING, LITERAL, Output};
use crate::cli::table::{Cell, Table, counted, left, printable, right};
use crate::cli::{audit, moment, twin};
use crate::client::backend::Admin;
use crate::model::id::TenantId;
use crate::wire::pb;

/// Make, show, change, suspend and revoke tenants.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  export PUSHLINE_ADMIN_KEY=$(cat data/auth/admin-key)
  pushline tenant create shop --limit connections=10000 --limit pushes=500/s
  pushline tenant update shop --jwt-issuer https://id.example --jwt-audience push --token-ttl 30min
  pushline tenant update shop --business https://shop.example/hooks/login
  pushline tenant update shop --device-key --limit connections=none
  pushline tenant show shop
  pushline tenant suspend shop")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Command {
    /// Make a tenant.
    Create(Changes),
    /// Show a tenant.
    Show(One),
    /// List all tenants.
    List(List),
    /// Change limits of a tenant, or how its devices log in; what is not named stays as it is.
    Update(Changes),
    /// Suspend a tenant: its keys and tokens are refused, its sessions end, its data stays.
    Suspend(One),
    /// Let a suspended tenant go on.
    Resume(One),
    /// Take back all tokens of a tenant that were issued before now, and end its sessions.
    Revoke(One),
    /// Show who issued, revoked and changed what in all tenants.
    Audit(audit::OfAll),
}

#[derive(Clone, Debug, clap::Args)]
struct One {
    #[command(flatten)]
    operator: Operator,
    /// The tenant.
    #[arg(value_parser = TenantId::new)]
    tenant: TenantId,
}

#[derive(Clone, Debug, clap::Args)]
struct List {
    #[command(flatten)]
    operator: Operator,
}

#[derive(Clone, Debug, clap::Args)]
struct Changes {
    #[command(flatten)]
    operator: Operator,
    /// The tenant.
    #[arg(value_parser = TenantId::new)]
    tenant: TenantId,
    /// A limit, such as connections=1000 or pushes=10/s, or topics=none for the gateway's own; may be given several times.
    #[arg(long = "limit", value_name = "NAME=VALUE", value_parser = limits::Change::parse)]
    limits: Vec<limits::Change>,
    #[command(flatten)]
    ways: ways::Ways,
}

/// Does what was asked.
pub(super) fn run(arguments: &Arguments, output: Output) -> anyhow::Result<ExitCode> {
    match &arguments.command {
        Command::Create(create) => create.operator.run(output, async |admin| create.create(&admin, output).await),
        Command::Show(one) => one.operator.run(output, async |admin| print(&admin.tenant(&one.tenant).await?, output)),
        Command::List(list) => list.operator.run(output, async |admin| table(&admin, output).await),
        Command::Update(update) => update.operator.run(output, async |admin| update.update(&admin, output).await),
        Command::Suspend(one) => one.suspend(true, output),
        Command::Resume(one) => one.suspend(false, output),
        Command::Revoke(one) => one.operator.run(output, async |admin| {
            let sessions = admin.revoke_tenant(&one.tenant).await?;
            output.object(&twin::access::revoked(sessions))?;
            let ended = counted(u64::from(sessions), "session");
            output.words(&format!("{GOOD}revoked{GOOD:#}: all tokens of {} until now; {ended} ended", one.tenant))?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Audit(audit) => audit.run(output),
    }
}

impl One {
    fn suspend(&self, suspended: bool, output: Output) -> anyhow::Result<ExitCode> {
        self.operator.run(output, async |admin| print(&admin.suspend_tenant(&self.tenant, suspended).await?, output))
    }
}

impl Changes {
    async fn create(&self, admin: &Admin, output: Output) -> anyhow::Result<ExitCode> {
        let (mut limits, mut login) = (pb::TenantLimits::default(), pb::LoginWays::default());
        self.limits.iter().for_each(|change| change.apply(&mut limits));
        self.ways.apply(&mut login)?;
        let (limits, login) = (Some(limits), Some(login));
        let request = pb::CreateTenantRequest { name: self.tenant.to_string(), limits, login };
        print(&admin.create_tenant(request).await?, output)
    }

    /// Changes what was read, and nothing that somebody else changed meanwhile.
    async fn update(&self, admin: &Admin, output: Output) -> anyhow::Result<ExitCode> {
        let known = admin.tenant(&self.tenant).await?;
        let mut limits = known.limits.unwrap_or_default();
        self.limits.iter().for_each(|change| change.apply(&mut limits));
        let mut login = known.login.unwrap_or_default();
        let has_ways = self.ways.apply(&mut login)?;
        ensure!(
            has_ways || !self.limits.is_empty(),
            "nothing to change; `pushline tenant update --help` shows the flags"
        );
        let request = pb::UpdateTenantRequest {
            name: self.tenant.to_string(),
            limits: (!self.limits.is_empty()).then_some(limits),
            login: has_ways.then_some(login),
            version: known.version,
        };
        print(&admin.update_tenant(request).await?, output)
    }
}

async fn table(admin: &Admin, output: Output) -> anyhow::Result<ExitCode> {
    let mut table = Table::new([left("tenant"), left("state"), left("made"), right("limits"), left("login")]);
    let (mut after, mut shown) = (String::new(), 0_u64);
    loop {
        let page = admin.tenants(&after, 1_000).await?;
        for tenant in &page.tenants {
            output.object(&twin::access::tenant(tenant))?;
            let limits = tenant.limits.as_ref().map_or(0, |limits| limits::shown(limits).len() as u64);
            let login = tenant.login.as_ref().map(ways::shown).unwrap_or_default();
            let state = if tenant.suspended { Cell::styled("suspended", ERROR) } else { Cell::styled("active", GOOD) };
            table.row([
                tenant.name.as_str().into(),
                state,
                made(tenant).into(),
                limits.into(),
                login.join("; ").into(),
            ]);
        }
        shown += page.tenants.len() as u64;
        after = page.next;
        if after.is_empty() {
            break;
        }
    }
    table.write(output)?;
    output.words(&format!("{DIM}{}{DIM:#}", counted(shown, "tenant")))?;
    Ok(ExitCode::SUCCESS)
}

fn print(tenant: &pb::Tenant, output: Output) -> anyhow::Result<ExitCode> {
    output.object(&twin::access::tenant(tenant))?;
    output.words(&format!("{HEADING}{}{HEADING:#}", tenant.name))?;
    let state = if tenant.suspended { "suspended" } else { "active" };
    output.words(&format!("  state   {state}"))?;
    output.words(&format!("  made    {DIM}{}{DIM:#}", made(tenant)))?;
    let limits = tenant.limits.as_ref().map(limits::shown).unwrap_or_default();
    let limits: Vec<_> = limits.iter().map(|(name, value)| format!("{name} {value}")).collect();
    lines("limits", &limits, "the gateway's own", output)?;
    let login = tenant.login.clone().unwrap_or_default();
    lines("login", &ways::shown(&login), "only with tokens that a backend or the operator made", output)?;
    if login.token_ttl_seconds > 0 {
        output.words(&format!("  tokens  live {}", moment::span(u64::from(login.token_ttl_seconds) * 1_000)))?;
    }
    if let Some(business) = login.business.filter(|business| !business.secret.is_empty()) {
        output.words(&format!("  secret  {LITERAL}{}{LITERAL:#}", business.secret))?;
        output.note("the secret is shown this once; the business server checks with it who asks");
    }
    Ok(ExitCode::SUCCESS)
}

fn lines(name: &str, lines: &[String], none: &str, output: Output) -> std::io::Result<()> {
    if lines.is_empty() {
        return output.words(&format!("  {name:<6}  {none}"));
    }
    for (index, line) in lines.iter().enumerate() {
        output.words(&format!("  {:<6}  {}", if index == 0 { name } else { "" }, printable(line)))?;
    }
    Ok(())
}

fn made(tenant: &pb::Tenant) -> String {
    if tenant.created_at_ms == 0 { "by the configuration".to_owned() } else { moment::second(tenant.created_at_ms) }
}
