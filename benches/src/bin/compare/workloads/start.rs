//! How long a server takes from its start to its first connection, and after it was killed.

use std::path::Path;
use std::time::{Duration, Instant};

use sealstream_benches::broker::Broker;
use sealstream_client::admin::{Durability, NewTopic};
use sealstream_client::{Client, Record};
use sealstream_protocol::{ALPN, DEFAULT_PORT};
use sealstream_transport::tls::Store;
use sealstream_transport::{Connector, Scheme, Server, TransportOptions};
use tokio::runtime::Runtime;

use crate::Failure;
use crate::contestants::Field;
use crate::contestants::redis::Redis;
use crate::figure::{Sample, Unit, float};
use crate::runner::{Runner, Stage, Task};

/// What is stored when the broker is killed.
const STORED: u64 = 1 << 30;

/// The same where all is small.
const STORED_QUICK: u64 = 1 << 20;

/// The case of empty servers.
pub(crate) const START: &str = "start to first connection";

/// The case of a killed one.
const RECOVERY: &str = "killed with 1 GiB, to first connection";

/// The case of the file.
pub(crate) const BINARY: &str = "release binary, stripped";

/// Measures starts, and the binary.
pub(crate) fn run(runner: &mut Runner, field: &Field) {
    let stored = if runner.quick { STORED_QUICK } else { STORED };
    let mut tasks: Vec<Box<dyn Task>> =
        vec![Box::new(Start { field, what: What::Sealstream }), Box::new(Recovery { field, stored })];
    if field.programs.nats.is_ok() && cfg!(feature = "peers") {
        tasks.push(Box::new(Start { field, what: What::Nats }));
    }
    if field.programs.redis.is_ok() {
        tasks.push(Box::new(Start { field, what: What::Redis }));
    }
    match Binary::find() {
        Some(binary) => tasks.push(Box::new(binary)),
        None => eprintln!("start: no sealstream beside this program, or no strip: its size is left out"),
    }
    runner.measure("start", tasks);
}

#[derive(Clone, Copy)]
enum What {
    Sealstream,
    Nats,
    Redis,
}

struct Start<'a> {
    field: &'a Field,
    what: What,
}

impl Start<'_> {
    fn once(&self, runtime: &Runtime) -> Result<Duration, Failure> {
        let world = &self.field.world;
        let begun = Instant::now();
        match self.what {
            What::Sealstream => {
                let broker = Broker::start(world);
                first_connection(runtime, self.field, &broker)?;
            }
            #[cfg(feature = "peers")]
            What::Nats => {
                let program = self.field.programs.nats.as_ref().map_err(Clone::clone)?;
                runtime.block_on(crate::contestants::nats::Nats::start(program, world, false))?;
            }
            #[cfg(not(feature = "peers"))]
            What::Nats => return Err("its client is not built in".into()),
            What::Redis => {
                let program = self.field.programs.redis.as_ref().map_err(Clone::clone)?;
                runtime.block_on(Redis::start(program, world, false))?;
            }
        }
        Ok(begun.elapsed())
    }
}

impl Task for Start<'_> {
    fn contestant(&self) -> String {
        match self.what {
            What::Sealstream => "Sealstream".to_owned(),
            What::Nats => "NATS JetStream".to_owned(),
            What::Redis => "Redis Streams".to_owned(),
        }
    }

    fn case(&self) -> String {
        START.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let took = self.once(stage.runtime)?;
        Ok(vec![Sample::new("time", Unit::Seconds, took.as_secs_f64())])
    }
}

/// Until somebody is in.
fn first_connection(runtime: &Runtime, field: &Field, broker: &Broker) -> Result<(), Failure> {
    runtime.block_on(async {
        let store = Store::new(&field.world.dialling())?;
        let connector = Connector::new(&store.receiver(), &TransportOptions::new(ALPN, DEFAULT_PORT));
        let target = Server::named(connector.endpoint(&broker.url(Scheme::Tls))?);
        connector.connect(&target).await?.close(0).await;
        Ok(())
    })
}

struct Recovery<'a> {
    field: &'a Field,
    stored: u64,
}

impl Task for Recovery<'_> {
    fn contestant(&self) -> String {
        "Sealstream".to_owned()
    }

    fn case(&self) -> String {
        RECOVERY.to_owned()
    }

    fn round(&mut self, stage: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        let mut broker = Broker::start(&self.field.world);
        let client =
            |broker: &Broker| Client::builder().url(broker.url(Scheme::Tls)).ca_file(broker.ca()).build();
        let records = stage.runtime.block_on(fill(&client(&broker)?, self.stored))?;
        broker.kill();
        let begun = Instant::now();
        broker.restart();
        first_connection(stage.runtime, self.field, &broker)?;
        let took = begun.elapsed();
        let there = stage.runtime.block_on(async {
            client(&broker)?.admin().describe_topic(TOPIC).await.map_err(Failure::from)
        })?;
        if there.partitions[0].end != records {
            return Err(format!("{} records are there of {records}", there.partitions[0].end).into());
        }
        Ok(vec![Sample::new("time", Unit::Seconds, took.as_secs_f64())])
    }
}

const TOPIC: &str = "stored";

/// Writes so many bytes, durably; gives how many records those are.
async fn fill(client: &Client, bytes: u64) -> Result<u64, Failure> {
    const RECORDS: usize = 1000;
    client.admin().create_topic(NewTopic::new(TOPIC).partitions(1).durability(Durability::Disk)).await?;
    let producer = client.producer(TOPIC).open().await?;
    let value = [b'x'; 1024];
    let batch = vec![Record::new(&value); RECORDS];
    let mut records = 0;
    while records * value.len() as u64 <= bytes {
        drop(producer.send_batch(&batch).await?);
        records += RECORDS as u64;
    }
    producer.close().await?;
    Ok(records)
}

/// The size of the broker's binary without symbols.
struct Binary {
    bytes: u64,
}

impl Binary {
    /// Of the one beside this program.
    fn find() -> Option<Self> {
        let this = std::env::current_exe().ok()?;
        let binary = this.parent()?.join("sealstream");
        let dir = tempfile::tempdir().ok()?;
        let stripped = dir.path().join("stripped");
        let status =
            std::process::Command::new("strip").arg("-o").arg(&stripped).arg(&binary).status().ok()?;
        status.success().then(|| size(&stripped)).flatten().map(|bytes| Self { bytes })
    }
}

fn size(file: &Path) -> Option<u64> {
    Some(file.metadata().ok()?.len())
}

impl Task for Binary {
    fn contestant(&self) -> String {
        "Sealstream".to_owned()
    }

    fn case(&self) -> String {
        BINARY.to_owned()
    }

    fn round(&mut self, _: &Stage<'_>) -> Result<Vec<Sample>, Failure> {
        Ok(vec![Sample::new("size", Unit::Bytes, float(self.bytes))])
    }
}
