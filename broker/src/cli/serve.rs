//! `serve`: from the configuration to a running broker, and from a signal to certificates loaded anew or a sealed log.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sealstream_protocol::{ALPN, DEFAULT_PORT};
use sealstream_transport::admission::Admission;
use sealstream_transport::observe::{HandshakeLog, HandshakeMetrics, HandshakeObserver, Observers};
use sealstream_transport::quic::QuicTransport;
use sealstream_transport::tcp::TcpTransport;
use sealstream_transport::tls::{Along, Receiver, Sourced, Trigger, create_secret_file};
use sealstream_transport::{ListenError, Listener, Transport, TransportOptions};
use tokio::time::sleep;

use super::args::{ConfigSource, Serve};
use super::signals::{Signals, Told};
use super::{Failure, config, descriptors, logging};
use crate::access::RuleBook;
use crate::access::audit::AUDIT;
use crate::config::{Anonymous, Auth, Config, DurabilityName, TransportName};
use crate::devca::{self, DevCertificate, Made};
use crate::log::segmented::{SegmentedEngine, SegmentedOptions};
use crate::log::{Durability, LogEngine};
use crate::monitor::{Monitor, Watched};
use crate::quotas::Quotas;
use crate::server::{self, Broker, BrokerOptions, RunningBroker, TopicDefaults};
use crate::tls::{ServedTls, material};

/// How often the development certificate's age is looked at: it is renewed with days to spare, so an hour is soon enough, also
/// after a machine was asleep.
const RENEWAL_CHECK: Duration = Duration::from_hours(1);

/// What a person is told who asks for this port with curl or a browser.
const HTTP_ANSWER: &str = "This port speaks Sealstream, sealed by TLS 1.3 (ALPN sealstream/1), and not HTTP. \
    Ask it with the command line, such as `sealstream health --url tls://HOST:PORT`, or with a client library.";

/// Runs a broker until a signal stops it.
pub(super) fn serve(args: &Serve) -> Result<(), Failure> {
    let source = Configuration {
        source: args.config.clone(),
        listen: args.listen.iter().map(|addr| toml::Value::String(addr.to_string())).collect(),
    };
    let config = source.read()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let json = args.log_format.is_json();
    let telling = logging::Telling::start(&config, &broker_name(&config), json, runtime.handle())?;
    logging::log_panics();
    descriptors::raise_limit(&config);
    let served = runtime.block_on(run(source, config));
    // After the last span has ended, and while its requests still have a runtime.
    telling.stop();
    served
}

/// Where the configuration is read from, at the start and at every reload.
struct Configuration {
    source: ConfigSource,
    /// The addresses of the command line; empty leaves them to the file.
    listen: Vec<toml::Value>,
}

impl Configuration {
    fn read(&self) -> Result<Config, Failure> {
        let listen = (!self.listen.is_empty()).then(|| ("listen".to_owned(), self.listen.clone().into()));
        Ok(config::resolve(&self.source, listen)?.config)
    }
}

async fn run(source: Configuration, config: Config) -> Result<(), Failure> {
    // Taken before anything starts: a signal during recovery is obeyed as soon as there is something to stop.
    let mut signals = Signals::new()?;
    if !config.data_dir.join("format").exists() {
        check_addresses(&config)?;
    }
    let engine = open_log(&config).await?;
    let development = development(&config)?;
    let admission = Admission::new(config.limits.admission())?;
    let rules = RuleBook::new(config.auth.rules().map_err(Failure::Message)?);
    let quotas = Arc::new(quotas(&config).await?);
    let live = Live { admission: admission.clone(), rules: rules.clone(), quotas: Arc::clone(&quotas) };
    let source = tls_source(source, config.clone(), live);
    let tls = Arc::new(ServedTls::load(source).map_err(Failure::Message)?);
    let handshakes = HandshakeMetrics::new();
    let transports = Transports::new(&config, &tls.receiver(), admission.clone(), &handshakes);
    let listeners = transports.listen(&config).await?;
    let addresses = addresses(&config, &listeners);
    let monitor = monitor(&config, &tls, handshakes).await?;
    let options = options(&config, Arc::clone(&tls), rules, quotas);
    let options = BrokerOptions { connections: Some(admission), ..options };
    let broker = Broker::start(options, engine, listeners).await?;
    monitor.watch(broker.view());
    announce(&config, &addresses, development.as_ref());

    let name = tokio::select! {
        name = obey(&mut signals, &tls) => name,
        never = renew(&config.data_dir, &tls, development) => match never {},
        never = watch(&config, &tls) => match never {},
    };
    tracing::info!(signal = name, "stopping; another signal stops at once");
    stop(&broker, config.limits.shutdown.0, &mut signals).await?;
    transports.drained().await;
    monitor.stop().await;
    Ok(())
}

/// Health, metrics and the status page: from before the log is recovered until it is sealed.
async fn monitor(
    config: &Config,
    tls: &Arc<ServedTls>,
    handshakes: HandshakeMetrics,
) -> Result<Monitor, Failure> {
    let viewers = config.monitor.viewers().map_err(Failure::Message)?;
    let listen = config.monitor.listen.addresses(&config.listen).map_err(Failure::Message)?;
    let watched = Watched::new(Arc::clone(tls), handshakes, config.data_dir.clone(), viewers);
    let monitor = Monitor::start(watched, &listen).await?;
    for url in monitor.urls() {
        tracing::info!("monitor on {url}");
    }
    Ok(monitor)
}

/// Notices changed files, if it is to.
async fn watch(config: &Config, tls: &ServedTls) -> std::convert::Infallible {
    if config.tls.watch {
        tls.watch().await;
    }
    std::future::pending().await
}

/// Loads TLS anew as often as it is told to, until it is told to stop: the signal's name.
async fn obey(signals: &mut Signals, tls: &ServedTls) -> &'static str {
    loop {
        match signals.next().await {
            Told::Stop(name) => return name,
            Told::Reload => tokio::select! {
                reloaded = tls.reload(Trigger::Signal) => {
                    let outcome = reloaded.reload.outcome.name();
                    tracing::info!(target: AUDIT, what = "reload TLS", trigger = "signal", outcome, "done");
                }
                name = signals.stop() => return name,
            },
        }
    }
}

/// What takes over, while the broker runs, what the configuration says besides TLS.
struct Live {
    admission: Admission,
    rules: RuleBook,
    quotas: Arc<Quotas>,
}

/// What the configuration says about TLS, about whom to let in, about who may do what and how much of it, read anew each time; of the rest a
/// change waits for the next start ([`Config::waiting`]). `started` is what the broker was started with.
fn tls_source(
    source: Configuration,
    started: Config,
    live: Live,
) -> impl Fn() -> Result<Sourced, String> + Send + Sync + 'static {
    move || {
        let read = || -> Result<Sourced, Failure> {
            let read = source.read()?;
            let waiting = started.waiting(&read);
            let config = Config { data_dir: started.data_dir.clone(), ..read };
            let development = development(&config)?;
            make_secret(&config)?;
            let limits = config.limits.admission();
            limits.validate()?;
            let next = config.auth.rules().map_err(Failure::Message)?;
            live.rules.check(&next)?;
            let quota_rules = config.quotas.rules(config.limits.frame).map_err(Failure::Message)?;
            let fallback = development.as_ref().map(|made| (&*made.cert, &*made.key));
            let material = material(&config, fallback);
            let material = match &source.source.config {
                Some(file) => material.with_watched(file),
                None => material,
            };
            // Only with the material: a reload that is refused for a file changes nobody's permissions and quotas.
            let Live { admission, rules, quotas } = &live;
            let (admission, rules, quotas) = (admission.clone(), rules.clone(), Arc::clone(quotas));
            Ok(Sourced::along(material, move || {
                let limits_changed = admission.limits() != limits;
                if let Err(error) = admission.set_limits(limits) {
                    tracing::error!(%error, "limits that are valid were refused");
                }
                let parts = [
                    ("permissions", rules.publish(next)),
                    ("quotas", quotas.set_rules(quota_rules)),
                    ("limits", limits_changed),
                ];
                let changed =
                    parts.iter().filter(|(_, changed)| *changed).map(|(part, _)| (*part).to_owned());
                Along { changed: changed.collect(), waiting }
            }))
        };
        read().map_err(|failure| failure.to_string())
    }
}

/// The quotas, in the store that the configuration names. Waits until Redis was asked for once.
async fn quotas(config: &Config) -> Result<Quotas, Failure> {
    let rules = config.quotas.rules(config.limits.frame).map_err(Failure::Message)?;
    match config.quotas.shared(&config.cluster) {
        None => Ok(Quotas::in_memory(rules)),
        Some(shared) => {
            // Files at fault are told before anything is served.
            let redis = shared.redis.clone();
            tokio::task::spawn_blocking(move || redis.check()).await?.map_err(Failure::Message)?;
            Ok(Quotas::shared(rules, shared).await)
        }
    }
}

/// Fails where an address is taken, before a data directory is made for a broker that could not serve it. Whether it still is free when
/// it is listened on, shows there.
fn check_addresses(config: &Config) -> Result<(), Failure> {
    for addr in config.listen.iter().filter(|addr| addr.port() != 0) {
        for name in &config.transports {
            let bound = match name {
                TransportName::Tls => std::net::TcpListener::bind(addr).map(drop),
                TransportName::Quic => std::net::UdpSocket::bind(addr).map(drop),
            };
            if bound.is_err_and(|error| error.kind() == std::io::ErrorKind::AddrInUse) {
                return Err(ListenError::AddressInUse { addr: *addr }.into());
            }
        }
    }
    Ok(())
}

async fn open_log(config: &Config) -> Result<Arc<dyn LogEngine>, Failure> {
    let (open_segments, held_segments) = descriptors::segments(config);
    let options = SegmentedOptions {
        open_segments,
        held_segments,
        shards: config.log.shards,
        segment_bytes: config.log.segment_bytes.0,
        reserve_bytes: config.log.reserve.0,
        // The cache is kept by shard.
        cache_bytes: usize::try_from(config.log.tail_cache.0 / u64::from(config.log.shards))?,
        ..SegmentedOptions::default()
    };
    let dir = config.data_dir.clone();
    let engine = tokio::task::spawn_blocking(move || SegmentedEngine::open(dir, options)).await??;
    Ok(Arc::new(engine))
}

/// The development certificate, unless the operator gave one.
fn development(config: &Config) -> Result<Option<DevCertificate>, Failure> {
    if config.tls.cert.is_some() {
        return Ok(None);
    }
    let certificate = devca::ensure(&config.data_dir, SystemTime::now())?;
    if certificate.made == Made::Authority {
        tracing::info!(ca = %certificate.ca.display(), "made a development CA");
    }
    Ok(Some(certificate))
}

/// Makes the secret behind the tickets, unless the operator gave one or it is there.
fn make_secret(config: &Config) -> Result<(), Failure> {
    let path = config.ticket_secret();
    if config.tls.ticket_secret.is_none() {
        create_secret_file(&path)
            .map_err(|error| Failure::new(format!("cannot make {}: {error}", path.display())))?;
    }
    Ok(())
}

/// What the broker is reached by.
struct Transports {
    tcp: TcpTransport,
    quic: QuicTransport,
}

impl Transports {
    fn new(config: &Config, tls: &Receiver, admission: Admission, handshakes: &HandshakeMetrics) -> Self {
        let mut options = TransportOptions::new(ALPN, DEFAULT_PORT);
        options.deadlines.handshake = config.limits.handshake.0;
        options.quic.gso = config.quic.gso;
        options.quic.max_mtu = config.quic.max_mtu;
        options.quic.send_budget = config.quic.send_budget.0;
        options.quic.receive_budget = config.quic.receive_budget.0;
        options.admission = admission;
        options.http_answer = Some(HTTP_ANSWER.to_owned());
        options.observers = Observers::new([
            Arc::new(HandshakeLog::new()) as Arc<dyn HandshakeObserver>,
            Arc::new(handshakes.clone()),
        ]);
        Self {
            tcp: TcpTransport::new(tls.clone(), options.clone()),
            quic: QuicTransport::new(tls.clone(), options),
        }
    }

    /// A listener for each address and transport. Where the port is 0, the transports of an address share the one that the
    /// first got.
    async fn listen(&self, config: &Config) -> Result<Vec<Box<dyn Listener>>, Failure> {
        let mut listeners = Vec::new();
        for addr in &config.listen {
            let mut addr = *addr;
            for name in &config.transports {
                let transport: &dyn Transport = match name {
                    TransportName::Tls => &self.tcp,
                    TransportName::Quic => &self.quic,
                };
                let listener = transport.listen(addr).await?;
                addr.set_port(listener.local_addr().port());
                listeners.push(listener);
            }
        }
        Ok(listeners)
    }

    /// Waits, for about a second at most, until the clients have taken their last bytes.
    async fn drained(&self) {
        tokio::join!(self.tcp.drained(), self.quic.drained());
    }
}

/// What is listened on, with the transport's name.
fn addresses(config: &Config, listeners: &[Box<dyn Listener>]) -> Vec<(TransportName, SocketAddr)> {
    let names = config.transports.iter().copied().cycle();
    names.zip(listeners.iter().map(|listener| listener.local_addr())).collect()
}

fn options(config: &Config, tls: Arc<ServedTls>, rules: RuleBook, quotas: Arc<Quotas>) -> BrokerOptions {
    let limits = &config.limits;
    // Bounded by the configuration's check to what the protocol can say.
    let bytes = |size: crate::config::Size| u32::try_from(size.0).unwrap_or(u32::MAX);
    BrokerOptions {
        name: broker_name(config),
        cluster: config.cluster.clone(),
        limits: sealstream_protocol::Limits::new(bytes(limits.frame), bytes(limits.decompressed_batch)),
        anonymous: match config.auth.anonymous {
            Anonymous::Never => server::Anonymous::Never,
            Anonymous::Loopback => server::Anonymous::OnLoopback,
            Anonymous::Always => server::Anonymous::Everywhere,
        },
        rules,
        // Each connection may say Hello: none is told to come again for the others' sake.
        max_greetings: limits.connections,
        max_sessions: limits.sessions,
        first_frame_deadline: limits.first_frame.0,
        idle_default: server::IDLE_DEFAULT.min(limits.idle.0),
        idle_max: limits.idle.0,
        produce_window: bytes(limits.session_window),
        produce_budget: bytes(limits.in_flight),
        arriving_budget: bytes(limits.arriving),
        topic_defaults: TopicDefaults {
            partitions: config.topics.partitions,
            durability: durability(config.topics.durability),
            retention_ms: config.topics.retention.millis(),
            retention_bytes: config.topics.retention_bytes.0,
            segment_bytes: 0,
            segment_ms: config.topics.segment_age.millis(),
        },
        groups: config.groups.options(),
        tls: Some(tls),
        quotas,
        panic_topic: Some(config.drill.panic_topic.clone()).filter(|name| !name.is_empty()),
        ..BrokerOptions::default()
    }
}

/// The durability of a configuration or command line, as the protocol has it.
pub(super) fn durability(name: DurabilityName) -> Durability {
    match name {
        DurabilityName::Disk => Durability::Disk,
        DurabilityName::Memory => Durability::Memory,
    }
}

fn broker_name(config: &Config) -> String {
    if !config.name.is_empty() {
        return config.name.clone();
    }
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "sealstream".into() } else { name }
}

/// Says what is served, and the one line that a client needs.
fn announce(
    config: &Config,
    addresses: &[(TransportName, SocketAddr)],
    development: Option<&DevCertificate>,
) {
    for (name, addr) in addresses {
        let scheme = scheme(*name);
        tracing::info!("listening on {scheme}://{addr}");
    }
    announce_permissions(&config.auth, addresses);
    let Some(((name, addr), certificate)) = addresses.first().zip(development) else {
        return tracing::info!("ready: clients are served from now on");
    };
    let ca = std::path::absolute(&certificate.ca).unwrap_or_else(|_| certificate.ca.clone());
    let line = format!(
        "export SEALSTREAM_URL={}://localhost:{} SEALSTREAM_CA={}",
        scheme(*name),
        addr.port(),
        quoted(&ca)
    );
    if std::io::stderr().is_terminal() {
        eprintln!("\nReady. For a client, paste this into another terminal:\n\n  {line}\n");
    } else {
        tracing::info!("ready; for a client: {line}");
    }
}

/// Says who may do everything, where that is somebody.
fn announce_permissions(auth: &Auth, addresses: &[(TransportName, SocketAddr)]) {
    if !auth.rule.is_empty() {
        return tracing::info!(
            rules = auth.rule.len(),
            "permissions are configured: what no rule allows is denied"
        );
    }
    let whom = match auth.anonymous {
        Anonymous::Always => "anybody",
        Anonymous::Loopback => "clients on this machine, and whoever has a certificate or token,",
        Anonymous::Never => "whoever has a certificate or token",
    };
    let text = format!("no permissions are configured: {whom} may do everything (auth.anonymous, auth.rule)");
    // Others than this machine can come.
    if addresses.iter().any(|(_, addr)| !addr.ip().is_loopback()) {
        tracing::warn!("{text}");
    } else {
        tracing::info!("{text}");
    }
}

fn scheme(name: TransportName) -> &'static str {
    match name {
        TransportName::Tls => "tls",
        TransportName::Quic => "quic",
    }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) {
        return text;
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Renews the development certificate while the broker runs; without one, waits for ever.
async fn renew(
    data_dir: &Path,
    tls: &ServedTls,
    development: Option<DevCertificate>,
) -> std::convert::Infallible {
    let Some(mut certificate) = development else { return std::future::pending().await };
    loop {
        sleep(RENEWAL_CHECK).await;
        if SystemTime::now() < certificate.renew_at {
            continue;
        }
        match devca::ensure(data_dir, SystemTime::now()) {
            Ok(renewed) => {
                certificate = renewed;
                tls.reload(Trigger::Files).await;
            }
            Err(error) => {
                tracing::error!(%error, "the development certificate could not be renewed; trying again in an hour");
            }
        }
    }
}

/// Stops in order; a further signal stops at once.
async fn stop(broker: &RunningBroker, deadline: Duration, signals: &mut Signals) -> Result<(), Failure> {
    let stopping = broker.shutdown(deadline);
    tokio::pin!(stopping);
    let stopped = tokio::select! {
        stopped = &mut stopping => stopped,
        name = signals.stop() => {
            tracing::warn!(signal = name, "stopping at once");
            broker.abort();
            stopping.await
        }
    };
    let stopped = stopped.map_err(|error| {
        Failure::new(format!(
            "the log could not be sealed: {error}: nothing acknowledged is lost, the next start recovers"
        ))
    })?;
    if !stopped.in_time {
        tracing::warn!("some sessions were cut off");
    }
    Ok(())
}
