//! Puts a gateway together from its options, runs it, and takes it down in order. It has no logic of its own.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::auth::{self, ApiKey, Authority};
use crate::config::Config;
use crate::hook::{Asker, Poster};
use crate::metrics::Metrics;
use crate::model::clock::Clock;
use crate::model::fault::Fault;
use crate::node::cores::Cores;
use crate::node::{self, Node};
use crate::tls::{self, Acceptor, Certificate, Files, certificate, develop};
use crate::transport::native::{self, Native};
use crate::{delivery, file, hook, rpc, store};

/// Sockets that may be open beyond the limit of sessions, so that a device too many can be told so.
const SOCKETS_BEYOND: usize = 256;

/// Time for the backends' last answers when the devices have taken all there was.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// ALPN protocols of the listeners of backends and operators.
const BACKEND_ALPN: &[&[u8]] = &[b"h2", b"http/1.1"];

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The keys.
    #[error(transparent)]
    Auth(#[from] auth::Error),
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] tls::Error),
    /// The certificate's files.
    #[error(transparent)]
    Certificate(#[from] certificate::Error),
    /// The throw-away certificate.
    #[error(transparent)]
    Develop(#[from] develop::Error),
    /// What webhooks are trusted by.
    #[error(transparent)]
    Hook(#[from] hook::SetupError),
    /// The threads.
    #[error("cannot start a thread for connections: {0}")]
    Cores(io::Error),
    /// A listener.
    #[error("cannot listen on {0}: {1}; choose another address or end what listens there")]
    Listen(SocketAddr, io::Error),
}

/// A gateway that runs.
pub struct Server {
    node: Arc<Node>,
    /// Where the connections live; dropped without [`Server::stop`], it ends them.
    cores: Cores,
    own_key: ApiKey,
    own_key_file: PathBuf,
    admin_key_file: PathBuf,
    devices: SocketAddr,
    backend: SocketAddr,
    admin: SocketAddr,
    /// CA of the throw-away certificate, for clients to trust; `None` when certificates were configured.
    development_ca: Option<PathBuf>,
    stop_accepting: CancellationToken,
    /// Ends what has no session, once the sessions are gone.
    cut: CancellationToken,
    /// Ends the listeners of backends and operators.
    stop_backend: CancellationToken,
    accepting: JoinHandle<()>,
    serving: JoinHandle<()>,
    administering: JoinHandle<()>,
    keeping: Vec<JoinHandle<()>>,
    backend_is_tls: bool,
    admin_is_tls: bool,
    drain: (Duration, Duration),
}

impl Server {
    /// Starts a gateway: opens the store, binds all listeners, serves.
    ///
    /// # Errors
    /// [`Error`] says what is wrong and what to do.
    pub async fn start(config: &Config, clock: Clock) -> Result<Self, Error> {
        let mut authority = Authority::open(&config.store.auth_folder())?;
        for key in &config.auth.keys {
            authority.accept(key)?;
        }
        let own_key = authority.own_key().clone();
        let (files, development_ca) = certificate_files(config, clock)?;
        let certificate = Arc::new(Certificate::load(files)?);
        let acceptor = Acceptor::new(Arc::clone(&certificate), &[native::ALPN])?;
        let backend_tls = config.tls.backend.then(|| backend_tls(config, &certificate)).transpose()?;
        let admin_tls = config.tls.admin.then(|| Acceptor::new(Arc::clone(&certificate), BACKEND_ALPN)).transpose()?;
        let listener = bind(config.listen.devices).await?;
        let backend_listener = bind(config.listen.backend).await?;
        let admin_listener = bind(config.listen.admin).await?;
        let (devices, backend) =
            (address(&listener, config.listen.devices)?, address(&backend_listener, config.listen.backend)?);
        let admin = address(&admin_listener, config.listen.admin)?;

        let (poster, asker) = (Poster::new(&hook_options(config))?, Asker::new(&hook_options(config))?);
        make_private(&config.store.log_folder())?;
        let store = store::open::open(&store_options(config))?;
        let metrics = Arc::new(Metrics::new());
        let cores = Cores::start(cores(config), &metrics).map_err(Error::Cores)?;
        let node = Node::new(node_options(config), clock, authority, store, metrics, &cores);
        let node = Arc::new(node.asking(asker));
        node.load().await?;
        node.load_peers().await?;
        let (stop_accepting, cut) = (CancellationToken::new(), CancellationToken::new());
        let stop_backend = CancellationToken::new();
        let native = Native::new(Arc::clone(&node), acceptor, native_options(config), &cores);
        let accepting = tokio::spawn(native.run(listener, stop_accepting.clone(), cut.clone()));
        let backend_server = rpc::Server::new(Arc::clone(&node), rpc_options(config), stop_backend.clone());
        let serving = tokio::spawn(backend_server.serve(backend_listener, backend_tls));
        let admin_server = rpc::Server::admin(Arc::clone(&node), rpc_options(config), stop_backend.clone());
        let administering = tokio::spawn(admin_server.serve(admin_listener, admin_tls));
        let sweeping = tokio::spawn(Arc::clone(&node).keep_up());
        let posting = tokio::spawn(Arc::clone(&node).dispatch(poster, rpc::describe));
        let noting = {
            let node = Arc::clone(&node);
            tokio::spawn(async move { node.keep_presence().await })
        };
        let assigning = tokio::spawn(Arc::clone(&node).keep_assigned());
        let trimming = tokio::spawn(Arc::clone(&node).keep_pools());
        let reloading = tokio::spawn(reload(certificate, config.tls.reload_interval, stop_accepting.clone()));
        warn_of_exposure(config, devices, backend, admin, development_ca.is_some());
        Ok(Self {
            node,
            cores,
            own_key,
            own_key_file: config.store.auth_folder().join(auth::API_KEY_FILE),
            admin_key_file: config.store.auth_folder().join(auth::ADMIN_KEY_FILE),
            devices,
            backend,
            admin,
            development_ca,
            stop_accepting,
            cut,
            stop_backend,
            accepting,
            serving,
            administering,
            keeping: vec![sweeping, posting, noting, assigning, trimming, reloading],
            backend_is_tls: config.tls.backend,
            admin_is_tls: config.tls.admin,
            drain: (config.drain.spread, config.drain.bound),
        })
    }

    /// Where devices connect.
    #[must_use]
    pub const fn devices(&self) -> SocketAddr {
        self.devices
    }

    /// Where backends connect.
    #[must_use]
    pub const fn backend(&self) -> SocketAddr {
        self.backend
    }

    /// Where operators connect.
    #[must_use]
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Whether operators must speak TLS.
    #[must_use]
    pub const fn admin_is_tls(&self) -> bool {
        self.admin_is_tls
    }

    /// Whether backends must speak TLS.
    #[must_use]
    pub const fn backend_is_tls(&self) -> bool {
        self.backend_is_tls
    }

    /// The API key that was made for this gateway.
    #[must_use]
    pub const fn own_key(&self) -> &ApiKey {
        &self.own_key
    }

    /// Where that key is kept.
    #[must_use]
    pub const fn own_key_file(&self) -> &PathBuf {
        &self.own_key_file
    }

    /// Where the operator's key is kept.
    #[must_use]
    pub const fn admin_key_file(&self) -> &PathBuf {
        &self.admin_key_file
    }

    /// The CA to trust when the certificate is a throw-away one.
    #[must_use]
    pub const fn development_ca(&self) -> Option<&PathBuf> {
        self.development_ca.as_ref()
    }

    /// Takes the gateway down: accepts no one, asks devices to move at spread times, ends what is left after the bound,
    /// answers the backends, brings everything to disk.
    ///
    /// # Errors
    /// The store's, when the last flush failed.
    pub async fn stop(self) -> Result<(), Fault> {
        let (spread, bound) = self.drain;
        let clock = self.node.clock();
        let began = clock.now().moment;
        self.stop_accepting.cancel();
        self.node.drain(spread, bound).await;
        self.cut.cancel();
        let _ = self.accepting.await;
        self.cores.stop().await;
        self.stop_backend.cancel();
        let left = bound.saturating_sub(clock.now().moment.since(began)).max(LAST_ANSWERS);
        let cut = [self.serving.abort_handle(), self.administering.abort_handle()];
        let answered = async { (self.serving.await, self.administering.await) };
        if tokio::time::timeout(left, answered).await.is_err() {
            tracing::warn!("the time to drain is over; cutting the backends that are left");
            cut.iter().for_each(tokio::task::AbortHandle::abort);
        }
        for task in self.keeping {
            let _ = task.await;
        }
        self.node.close().await
    }
}

/// Made here, because the database would make a folder that everybody can read, payloads and all.
fn make_private(folder: &Path) -> Result<(), store::Error> {
    let explain = |error| store::Error::Failed(format!("{} cannot be made: {error}", folder.display()));
    file::make_folder(folder).map_err(explain)
}

async fn bind(wanted: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(wanted).await.map_err(|error| Error::Listen(wanted, error))
}

fn address(listener: &TcpListener, wanted: SocketAddr) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|error| Error::Listen(wanted, error))
}

fn certificate_files(config: &Config, clock: Clock) -> Result<(Files, Option<PathBuf>), Error> {
    if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
        return Ok((Files { certificate: certificate.clone(), key: key.clone() }, None));
    }
    let folder = config.store.certificate_folder();
    let development = develop::open(&folder, &config.tls.names, clock.now().wall)?;
    Ok((development.files, Some(development.ca)))
}

/// What backends connect to, who may show certificates if CAs of theirs are configured.
fn backend_tls(config: &Config, certificate: &Arc<Certificate>) -> Result<Acceptor, tls::Error> {
    match &config.tls.client_ca {
        None => Acceptor::new(Arc::clone(certificate), BACKEND_ALPN),
        Some(authorities) => Acceptor::with_clients(Arc::clone(certificate), BACKEND_ALPN, authorities),
    }
}

/// Looks at the certificate's files now and then. Reading a file blocks for microseconds; that is no reason for another
/// thread.
async fn reload(certificate: Arc<Certificate>, interval: Duration, stop: CancellationToken) {
    while tokio::time::timeout(interval, stop.cancelled()).await.is_err() {
        match certificate.reload_if_changed() {
            Ok(true) => tracing::info!("the certificate changed; new connections get the new one"),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the certificate changed and cannot be used; the old one is served on")
            }
        }
    }
}

fn warn_of_exposure(config: &Config, devices: SocketAddr, backend: SocketAddr, admin: SocketAddr, development: bool) {
    let is_open = |address: SocketAddr| !address.ip().is_loopback();
    let shown = is_open(devices) || config.tls.backend && is_open(backend) || config.tls.admin && is_open(admin);
    if development && shown {
        tracing::warn!(
            %devices, %backend, %admin, "serving a THROW-AWAY certificate off loopback: set tls.certificate and tls.key"
        );
    }
    if !config.tls.admin && is_open(admin) {
        tracing::warn!(%admin, "the admin key travels in the clear off loopback: set tls.admin = true");
    }
    if !config.tls.backend && is_open(backend) {
        tracing::warn!(%backend, "API keys and payloads travel in the clear off loopback: set tls.backend = true");
    }
}

/// Threads for connections: as many as there are processors, unless a number is set.
fn cores(config: &Config) -> usize {
    match config.runtime.cores {
        0 => std::thread::available_parallelism().map_or(1, NonZeroUsize::get),
        cores => cores,
    }
}

fn store_options(config: &Config) -> store::open::Options {
    store::open::Options {
        data: config.store.log_folder(),
        limits: config.store.limits(),
        queue_max: config.store.queue_max,
        ..store::open::Options::default()
    }
}

fn node_options(config: &Config) -> node::Options {
    let (session, message) = (&config.session, &config.message);
    node::Options {
        delivery: delivery::options::Options {
            heartbeat_default: session.heartbeat,
            heartbeat_min: session.heartbeat_min,
            heartbeat_max: session.heartbeat_max,
            heartbeat_timeout: session.heartbeat_timeout,
            window_default: session.window,
            window_max: session.window_max,
            ack_timeout: session.ack_timeout,
            attempts_max: session.attempts_max,
            retry_pause_first: session.retry_pause_first,
            retry_pause_max: session.retry_pause_max,
            heads_interval: session.heads_interval,
            write_stall: session.write_stall,
            unsent_bytes_max: session.unsent_bytes_max,
            ..delivery::options::Options::default()
        },
        push: node::push::Limits {
            payload_bytes_max: message.payload_bytes_max,
            ttl_default: message.ttl,
            ttl_max: message.ttl_max,
        },
        group_topics: config.groups.topics.clone(),
        connections_max: config.limits.connections_max,
        user_connections_max: u32::try_from(config.limits.connections_per_user_max).unwrap_or(u32::MAX),
        event_streams_max: config.backend.event_streams_max,
        dispatch: node::dispatch::Options {
            pause_first: config.webhook.retry_pause_first,
            pause_max: config.webhook.retry_pause_max,
        },
        rates: config.rate.options(),
        presence: node::presence::Options {
            debounce: config.presence.debounce,
            idle_after: config.presence.idle_after,
        },
        nodes: node::access::nodes::Options {
            own: config.cluster.name.clone(),
            plan: config.cluster.plan(),
            misplaced: config.cluster.misplaced,
            spread: config.drain.spread,
        },
    }
}

fn hook_options(config: &Config) -> hook::Options {
    hook::Options { timeout: config.webhook.timeout, ca: config.webhook.ca.clone() }
}

fn native_options(config: &Config) -> native::Options {
    let limits = &config.limits;
    native::Options {
        sockets_max: limits.connections_max.saturating_add(SOCKETS_BEYOND),
        tls_timeout: limits.handshake_timeout,
        open_timeout: limits.open_timeout,
        streams_max: limits.streams_max,
        header_bytes_max: u32::try_from(limits.header_bytes_max).unwrap_or(u32::MAX),
        request_bytes_max: limits.request_bytes_max,
    }
}

fn rpc_options(config: &Config) -> rpc::Options {
    let backend = &config.backend;
    rpc::Options {
        connections_max: backend.connections_max,
        streams_per_connection_max: backend.streams_max,
        header_bytes_max: u32::try_from(backend.header_bytes_max).unwrap_or(u32::MAX),
        tls_timeout: backend.handshake_timeout,
        first_request_timeout: backend.first_request_timeout,
        body_timeout: backend.body_timeout,
        drain_timeout: backend.drain_timeout,
        ..rpc::Options::default()
    }
}

#[cfg(test)]
mod tests {
    use super::{hook_options, native_options, node_options, rpc_options, store_options};
    use crate::config::Config;
    use crate::transport::native;
    use crate::{delivery, hook, node, rpc, store};

    /// What `pushline config` prints as defaults is what the rooms obey.
    #[test]
    fn the_defaults_of_the_table_are_those_of_the_rooms() {
        let config = Config::default();
        let node = node_options(&config);
        assert_eq!(node.delivery, delivery::options::Options::default());
        assert_eq!(node.push, node::push::Limits::default());
        assert_eq!(node.presence, node::presence::Options::default());
        assert_eq!(node.group_topics, node::Options::default().group_topics);
        assert_eq!(node.dispatch, node::dispatch::Options::default());
        assert_eq!(node.rates, node::Options::default().rates);
        assert_eq!(node.nodes, node::Options::default().nodes);
        assert_eq!(hook_options(&config), hook::Options::default());
        assert_eq!(node.event_streams_max, node::Options::default().event_streams_max);
        let defaults = node::Options::default();
        assert_eq!(
            (node.connections_max, node.user_connections_max),
            (defaults.connections_max, defaults.user_connections_max)
        );
        assert_eq!(native_options(&config), native::Options::default());
        assert_eq!(store_options(&config).queue_max, store::open::Options::default().queue_max);
        assert_eq!(rpc_options(&config), rpc::Options::default());
    }
}
