//! Connections on which nothing moves: what each takes of the server's memory, and what many of them are to live traffic.
//!
//! ```text
//! this process ── "1000" ──► clients, two processes ── connections, a session each ──► a server, fresh in each round
//!       └── live traffic, one record at a time ──────────────────────────────────────────┘ RssAnon before and after
//! ```

use std::any::Any;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use sealstream_benches::broker::Broker;
use sealstream_benches::handshake::ends::{Dial, Lane, share};
use sealstream_benches::handshake::world::{CA, bare_client_in};
use sealstream_benches::process;
use sealstream_benches::stream::ends::Carrier;
use sealstream_client::Client;
use sealstream_client::admin::Durability;
use sealstream_client::options::DEFAULT_IDLE;
use sealstream_transport::Scheme;

use super::latency::acknowledged;
use super::limits::percentiles;
use crate::Failure;
use crate::contestants::bare::{BareServer, dialler};
use crate::contestants::redis::Redis;
use crate::contestants::sealstream::Sealstream;
use crate::contestants::server::{client_config, connect};
use crate::contestants::{Contestant, Field, Load};
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// The first argument of the clients' processes; behind it whose clients they are, the port, and the directory of the CA.
pub(crate) const ROLE: &str = "--be-idle-clients";

/// How many are held, one after the other.
const HELD: [u64; 3] = [100, 1_000, MOST];

/// The most.
pub(crate) const MOST: u64 = 10_000;

/// The same where all is small.
const HELD_QUICK: [u64; 3] = [10, 20, 40];

/// Processes that hold them.
const PROCESSES: usize = 2;

/// Files that a process opens beside its connections.
const OTHER_FILES: u64 = 200;

/// Handshakes that a process makes at once.
const AT_ONCE: usize = 16;

/// Until nothing moves any more, and what was only needed for handshakes is free.
const QUIET: Duration = Duration::from_secs(1);

/// How long live traffic is measured: until each idle session has pinged once, however closely they came after one another.
const LIVE_FOR: Duration = Duration::from_secs(DEFAULT_IDLE.as_secs() / 2);

/// The log that idle producers have open.
const LOG: &str = "idle";

/// Live traffic: one small record at a time.
const LIVE: Load = Load { record: 64, batch: 1, under_way: 1 };

/// The case.
pub(crate) const CASE: &str = "idle connections";

/// Live traffic, of which percentiles are told.
const ALONE: &str = "live traffic alone";

/// The sample of the marks.
pub(crate) const LIVE_ALONE: &str = "live traffic alone, p99";

/// Live traffic beside so many, of which percentiles are told.
pub(crate) fn beside(count: u64) -> String {
    format!("live traffic beside {count}")
}

/// The sample of so many.
pub(crate) fn of(count: u64) -> String {
    format!("memory of each of {count}")
}

/// Measures every kind of connection.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let mut kinds = vec![Kind::Bare(Carrier::Tls), Kind::Bare(Carrier::Quic)];
    kinds.extend([Scheme::Tls, Scheme::Quic].map(Kind::Sealstream));
    #[cfg(feature = "peers")]
    if field.programs.nats.is_ok() {
        kinds.push(Kind::Nats);
    }
    if field.programs.redis.is_ok() {
        kinds.push(Kind::Redis);
    }
    let quick = runner.quick;
    let tasks = kinds.into_iter().map(|kind| Box::new(Idle { kind, field, quick }) as _).collect();
    runner.measure("idle", tasks);
}

/// Whose connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Bare(Carrier),
    Sealstream(Scheme),
    #[cfg(feature = "peers")]
    Nats,
    Redis,
}

impl Kind {
    fn name(self) -> String {
        match self {
            Self::Bare(bare) => bare.name().to_owned(),
            Self::Sealstream(scheme) => crate::contestants::sealstream::name(scheme, Durability::Memory),
            #[cfg(feature = "peers")]
            Self::Nats => crate::contestants::nats::name(false),
            Self::Redis => crate::contestants::redis::name(false),
        }
    }

    fn named(name: &str) -> Option<Self> {
        let all = [
            Self::Bare(Carrier::Tls),
            Self::Bare(Carrier::Quic),
            Self::Sealstream(Scheme::Tls),
            Self::Sealstream(Scheme::Quic),
            #[cfg(feature = "peers")]
            Self::Nats,
            Self::Redis,
        ];
        all.into_iter().find(|kind| kind.name() == name)
    }
}

struct Idle<'a> {
    kind: Kind,
    field: &'a Field,
    quick: bool,
}

impl Idle<'_> {
    async fn measure(&self) -> Result<Vec<Sample>, Failure> {
        match self.kind {
            Kind::Bare(bare) => {
                let server = BareServer::start_for_connections(bare, &self.field.world);
                self.hold(server.id(), server.port, server.certificates(), None).await
            }
            Kind::Sealstream(scheme) => {
                let broker = Arc::new(Broker::start(&self.field.world));
                let live = Sealstream::over(&broker, &self.field.world, scheme, Durability::Memory);
                live.create(LOG, 1).await?;
                let ca = broker.ca();
                let dir = ca.parent().ok_or("a CA without a directory")?;
                self.hold(broker.id(), broker.port(), dir, Some(&live)).await
            }
            #[cfg(feature = "peers")]
            Kind::Nats => {
                let program = self.field.programs.nats.as_ref().map_err(Clone::clone)?;
                let nats = crate::contestants::nats::Nats::start(program, &self.field.world, false).await?;
                self.hold(nats.id(), nats.port(), nats.certificates(), None).await
            }
            Kind::Redis => {
                let program = self.field.programs.redis.as_ref().map_err(Clone::clone)?;
                let redis = Redis::start(program, &self.field.world, false).await?;
                self.hold(redis.id(), redis.port(), redis.certificates(), None).await
            }
        }
    }

    /// Ever more connections to one server, and live traffic before and beside them.
    async fn hold(
        &self,
        server: u32,
        port: u16,
        certificates: &Path,
        live: Option<&dyn Contestant>,
    ) -> Result<Vec<Sample>, Failure> {
        let mut clients = Vec::new();
        for _ in 0..PROCESSES {
            clients.push(Clients::start(self.kind, port, certificates));
        }
        // One of each, so that what is made once is there.
        for client in &mut clients {
            client.connect(1)?;
        }
        let mut samples = Vec::new();
        let patience = if self.quick { QUIET / 20 } else { QUIET };
        let live_for = if self.quick { QUIET / 10 } else { LIVE_FOR };
        let mut live = match live {
            Some(live) => Some(live.producer(LOG, LIVE).await?),
            None => None,
        };
        if let Some(live) = &mut live {
            let quiet = acknowledged(&mut **live, live_for).await?;
            samples.extend(percentiles(ALONE, &quiet));
        }
        tokio::time::sleep(patience).await;
        let before = process::anonymous(&server.to_string());
        let mut held = 0;
        for count in if self.quick { HELD_QUICK } else { HELD } {
            let count = count.min(process::raise_limit() as u64 - OTHER_FILES);
            let more = usize::try_from(count - held)?;
            for (which, client) in clients.iter_mut().enumerate() {
                client.order(share(more, PROCESSES, which))?;
            }
            for client in &mut clients {
                client.done()?;
            }
            held = count;
            tokio::time::sleep(patience).await;
            let grown = process::anonymous(&server.to_string()) - before;
            let each = float(u64::try_from(grown).unwrap_or(0)) / float(held);
            samples.push(Sample::new(of(held), Unit::Bytes, each));
        }
        if let Some(live) = &mut live {
            let busy = acknowledged(&mut **live, live_for).await?;
            samples.extend(percentiles(&beside(held), &busy));
        }
        Ok(samples)
    }
}

impl Task for Idle<'_> {
    fn contestant(&self) -> String {
        self.kind.name()
    }

    fn case(&self) -> String {
        CASE.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        if stage.round == 0 {
            // Each round begins with a server of its own.
            return Ok(Vec::new());
        }
        stage.runtime.block_on(self.measure())
    }
}

/// A process that holds connections until it is dropped.
struct Clients {
    child: Child,
    answers: BufReader<ChildStdout>,
}

impl Clients {
    fn start(kind: Kind, port: u16, certificates: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([ROLE, &kind.name(), &port.to_string()])
            .arg(certificates)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, answers }
    }

    fn connect(&mut self, count: usize) -> Result<(), Failure> {
        self.order(count)?;
        self.done()
    }

    fn order(&mut self, count: usize) -> Result<(), Failure> {
        let orders = self.child.stdin.as_mut().ok_or("no pipe")?;
        writeln!(orders, "{count}")?;
        Ok(orders.flush()?)
    }

    fn done(&mut self) -> Result<(), Failure> {
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        match answer.trim() {
            "done" => Ok(()),
            "" => Err("the clients' process has ended: stderr has its reason".into()),
            other => Err(other.to_owned().into()),
        }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The process: `KIND PORT DIR`. Each line is how many more connections to make.
pub(crate) fn hold(arguments: &[String]) {
    let [kind, port, dir] = arguments else { panic!("{ROLE} KIND PORT DIR") };
    process::raise_limit();
    let kind = Kind::named(kind).expect("a kind of clients");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let _runtime = runtime.enter();
    let holder = Arc::new(Holder::new(kind, port.parse().expect("a port"), Path::new(dir)));
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        let count: usize = line.expect("a line").trim().parse().expect("a number");
        let made = runtime.block_on(async {
            let mut tasks = tokio::task::JoinSet::new();
            for which in 0..AT_ONCE {
                let holder = Arc::clone(&holder);
                let count = share(count, AT_ONCE, which);
                tasks.spawn(async move {
                    let mut held = Vec::with_capacity(count);
                    for _ in 0..count {
                        held.push(holder.one().await?);
                    }
                    Ok::<_, Failure>(held)
                });
            }
            let mut held = Vec::new();
            while let Some(some) = tasks.join_next().await {
                held.extend(some??);
            }
            Ok::<_, Failure>(held)
        });
        match made {
            Ok(more) => {
                held.extend(more);
                println!("done");
            }
            Err(error) => println!("a client cannot connect: {error}"),
        }
    }
}

/// Makes connections.
enum Holder {
    Bare(Arc<dyn Dial>),
    Sealstream {
        url: String,
        dir: std::path::PathBuf,
    },
    #[cfg(feature = "peers")]
    Nats {
        port: u16,
        dir: std::path::PathBuf,
    },
    Redis {
        config: Arc<rustls::ClientConfig>,
        port: u16,
    },
}

/// Whatever is to live on.
type Held = Box<dyn Any + Send>;

impl Holder {
    fn new(kind: Kind, port: u16, dir: &Path) -> Self {
        match kind {
            Kind::Bare(bare) => Self::Bare(dialler(bare, port, bare_client_in(dir, bare.scheme(), false))),
            Kind::Sealstream(scheme) => {
                Self::Sealstream { url: format!("{scheme}://127.0.0.1:{port}"), dir: dir.to_owned() }
            }
            #[cfg(feature = "peers")]
            Kind::Nats => Self::Nats { port, dir: dir.to_owned() },
            Kind::Redis => Self::Redis { config: Arc::new(client_config(dir, false)), port },
        }
    }

    /// One connection, that has said what it has to say.
    async fn one(&self) -> Result<Held, Failure> {
        Ok(match self {
            Self::Bare(dialler) => Box::new(dialler.dial(Lane(0)).await),
            Self::Sealstream { url, dir } => {
                let client = Client::builder().url(url).ca_file(dir.join(CA)).build()?;
                Box::new(client.producer(LOG).open().await?)
            }
            #[cfg(feature = "peers")]
            Self::Nats { port, dir } => Box::new(crate::contestants::nats::open(dir, *port).await?),
            Self::Redis { config, port } => Box::new(connect(Arc::clone(config), *port).await?),
        })
    }
}
