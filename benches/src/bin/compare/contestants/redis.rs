//! Redis Streams: XADD in pipelines, XREAD that waits. Its append-only file is synced every second, or after each write.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Pipeline, RedisConnectionInfo, Value};
use rustls::{ClientConfig, HandshakeKind};
use sealstream_benches::handshake::world::{CA, CHAIN, KEY, World};
use tokio::task::JoinSet;

use super::server::{Server, client_config, connect, free_port};
use super::{Answer, Consuming, Contestant, Load, Producing, Visits, produce_by_window, value};
use crate::Failure;

/// Until it serves.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long is waited between two looks.
const NAP: Duration = Duration::from_millis(5);

/// Records that are asked for at a time, whatever they were sent by.
const AT_A_TIME: usize = 1_000;

/// How long a reader waits in the server, in milliseconds, before it asks again.
const BLOCK: u64 = 10_000;

/// A server, and what connects to it.
pub(crate) struct Redis {
    server: Server,
    port: u16,
    every: bool,
    /// Deletes.
    link: Link,
}

/// Its name.
pub(crate) fn name(every: bool) -> String {
    format!("Redis Streams{}", if every { ", a sync each" } else { "" })
}

/// One connection, and what moves its bytes.
struct Link {
    connection: MultiplexedConnection,
    _driver: JoinSet<()>,
}

impl Link {
    async fn open(config: Arc<ClientConfig>, port: u16) -> Result<Self, Failure> {
        let stream = connect(config, port).await?;
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
        let (connection, driver) = MultiplexedConnection::new_with_config(&info, stream, config).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        Ok(Self { connection, _driver: tasks })
    }
}

impl Redis {
    /// Starts one, and waits until it serves.
    pub(crate) async fn start(program: &Path, world: &World, every: bool) -> Result<Self, Failure> {
        let port = free_port()?;
        let mut server = Server::start(program, world, |_| Ok(arguments(port, every)))?;
        let deadline = Instant::now() + PATIENCE;
        let link = loop {
            match Link::open(Arc::new(client_config(server.dir(), false)), port).await {
                Ok(link) => break link,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(NAP).await,
            }
            server.check()?;
        };
        Ok(Self { server, port, every, link })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where its CA is.
    pub(crate) fn certificates(&self) -> &Path {
        self.server.dir()
    }

    async fn open(&self) -> Result<Link, Failure> {
        Link::open(Arc::new(client_config(self.server.dir(), false)), self.port).await
    }

    /// The file that commands are appended to is written anew, without what was deleted: it would fill the disk in the end.
    async fn forget(&self, log: &str) -> Result<(), Failure> {
        let mut connection = self.link.connection.clone();
        redis::cmd("DEL").arg(log).exec_async(&mut connection).await?;
        redis::cmd("BGREWRITEAOF").exec_async(&mut connection).await?;
        loop {
            let state: String = redis::cmd("INFO").arg("persistence").query_async(&mut connection).await?;
            let done = |field| state.lines().any(|line| line.trim_end() == field);
            if done("aof_rewrite_in_progress:0") && done("aof_rewrite_scheduled:0") {
                return Ok(());
            }
            tokio::time::sleep(NAP).await;
        }
    }
}

fn arguments(port: u16, every: bool) -> Vec<String> {
    let sync = if every { "always" } else { "everysec" };
    let port = port.to_string();
    let pairs = [
        ("--bind", "127.0.0.1"),
        ("--port", "0"),
        ("--tls-port", &port),
        ("--tls-cert-file", CHAIN),
        ("--tls-key-file", KEY),
        ("--tls-ca-cert-file", CA),
        ("--tls-auth-clients", "no"),
        ("--tls-protocols", "TLSv1.3"),
        ("--maxclients", "15000"),
        ("--save", ""),
        ("--appendonly", "yes"),
        ("--appendfsync", sync),
        // Not in the middle of a measurement.
        ("--auto-aof-rewrite-percentage", "0"),
    ];
    pairs.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect()
}

impl Contestant for Redis {
    fn name(&self) -> String {
        name(self.every)
    }

    fn id(&self) -> u32 {
        self.server.id()
    }

    fn durable(&self) -> bool {
        self.every
    }

    /// A key is there with its first entry.
    fn create<'a>(&'a self, _: &'a str, _: u32) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn delete<'a>(&'a self, log: &'a str) -> Answer<'a, ()> {
        Box::pin(self.forget(log))
    }

    fn producer<'a>(&'a self, log: &'a str, load: Load) -> Answer<'a, Box<dyn Producing>> {
        Box::pin(async move {
            let link = self.open().await?;
            Ok(Box::new(Produces { link, log: log.to_owned(), load }) as _)
        })
    }

    fn consumer<'a>(&'a self, log: &'a str) -> Answer<'a, Box<dyn Consuming>> {
        Box::pin(async move {
            let link = self.open().await?;
            Ok(Box::new(Consumes { link, log: log.to_owned(), last: "0".to_owned() }) as _)
        })
    }

    fn visits(&self, resumed: bool) -> Result<Arc<dyn Visits>, Failure> {
        let config = client_config(self.server.dir(), resumed);
        Ok(Arc::new(Visitor { config: Arc::new(config), port: self.port }))
    }
}

struct Produces {
    link: Link,
    log: String,
    load: Load,
}

impl Producing for Produces {
    fn send(&mut self, number: u64) -> Answer<'_, Answer<'static, ()>> {
        let value = value(self.load.record, number);
        let mut pipeline = Pipeline::with_capacity(self.load.batch as usize);
        for _ in 0..self.load.batch {
            pipeline.cmd("XADD").arg(&self.log).arg("*").arg("v").arg(&value).ignore();
        }
        let mut connection = self.link.connection.clone();
        Box::pin(async move {
            let mut asking: Answer<'static, ()> =
                Box::pin(async move { Ok(pipeline.exec_async(&mut connection).await?) });
            // Its first poll hands it over; the answer is of a later one.
            let first = std::future::poll_fn(|cx| std::task::Poll::Ready(asking.as_mut().poll(cx))).await;
            Ok(match first {
                std::task::Poll::Ready(outcome) => {
                    Box::pin(std::future::ready(outcome)) as Answer<'static, ()>
                }
                std::task::Poll::Pending => asking,
            })
        })
    }

    fn produce(&mut self, batches: u64) -> Answer<'_, ()> {
        let under_way = self.load.under_way;
        Box::pin(produce_by_window(self, batches, under_way))
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}

struct Consumes {
    link: Link,
    log: String,
    /// The last entry that was read.
    last: String,
}

impl Consuming for Consumes {
    fn next<'a>(&'a mut self, each: &'a mut (dyn FnMut(&[u8]) + Send)) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut command = redis::cmd("XREAD");
            command
                .arg("COUNT")
                .arg(AT_A_TIME)
                .arg("BLOCK")
                .arg(BLOCK)
                .arg("STREAMS")
                .arg(&self.log)
                .arg(&self.last);
            let read: Value = command.query_async(&mut self.link.connection).await?;
            if read == Value::Nil {
                return Ok(());
            }
            let entries = entries(&read).ok_or("an answer to XREAD that is none")?;
            let mut last = None;
            for entry in entries {
                let (id, value) = fields(entry).ok_or("an entry without a value")?;
                each(value);
                last = Some(id);
            }
            if let Some(id) = last {
                self.last = String::from_utf8_lossy(id).into_owned();
            }
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}

/// `[[key, [entry…]]]`.
fn entries(read: &Value) -> Option<&[Value]> {
    let Value::Array(streams) = read else { return None };
    let [Value::Array(stream)] = &streams[..] else { return None };
    match &stream[..] {
        [_, Value::Array(entries)] => Some(entries),
        _ => None,
    }
}

/// `[id, [name, value]]`.
fn fields(entry: &Value) -> Option<(&[u8], &[u8])> {
    let Value::Array(entry) = entry else { return None };
    let [Value::BulkString(id), Value::Array(fields)] = &entry[..] else { return None };
    match &fields[..] {
        [_, Value::BulkString(value)] => Some((id, value)),
        _ => None,
    }
}

struct Visitor {
    config: Arc<ClientConfig>,
    port: u16,
}

impl Visits for Visitor {
    fn visit(&self, _: u8) -> Answer<'static, Option<bool>> {
        let (config, port) = (Arc::clone(&self.config), self.port);
        Box::pin(async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let mut stream = connect(config, port).await?;
            stream.write_all(b"PING\r\n").await?;
            stream.flush().await?;
            stream.read_exact(&mut [0; b"+PONG\r\n".len()]).await?;
            let kind = stream.get_ref().1.handshake_kind();
            // It closes without a close_notify in answer.
            stream.shutdown().await?;
            Ok(Some(kind == Some(HandshakeKind::Resumed)))
        })
    }
}
