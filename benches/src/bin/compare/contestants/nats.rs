//! NATS JetStream with file storage: publishes whose acknowledgements are awaited, and a pull consumer without acknowledgements. Its
//! files are synced every two minutes, as it comes, or after each message.

use std::collections::VecDeque;
use std::fs;
use std::future::IntoFuture as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::context::{ContextBuilder, PublishAckFuture};
use async_nats::jetstream::stream::{Config, StorageType};
use async_nats::jetstream::{self, Context};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sealstream_benches::handshake::world::{CHAIN, KEY, World};

use super::server::{Server, client_config, free_port};
use super::{Answer, Consuming, Contestant, Load, Producing, Visits, produce_by_window, value};
use crate::Failure;

/// Until it serves.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long is waited between two looks.
const NAP: Duration = Duration::from_millis(5);

/// Messages that are asked for at a time.
const AT_A_TIME: usize = 1_000;

/// Messages without an acknowledgement that its client keeps by default, and half of what the server takes in.
const UNANSWERED: usize = 5_000;

/// A server, and what connects to it.
pub(crate) struct Nats {
    server: Server,
    port: u16,
    every: bool,
    /// Makes and deletes streams.
    context: Context,
}

/// Its name.
pub(crate) fn name(every: bool) -> String {
    format!("NATS JetStream{}", if every { ", a sync each" } else { "" })
}

impl Nats {
    /// Starts one, and waits until it serves.
    pub(crate) async fn start(program: &Path, world: &World, every: bool) -> Result<Self, Failure> {
        let port = free_port()?;
        let mut server = Server::start(program, world, |dir| {
            fs::write(dir.join("nats.conf"), configuration(port, every))?;
            Ok(vec!["--config".to_owned(), "nats.conf".to_owned()])
        })?;
        let deadline = Instant::now() + PATIENCE;
        let client = loop {
            match open(server.dir(), port).await {
                Ok(client) => break client,
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(NAP).await,
            }
            server.check()?;
        };
        Ok(Self { server, port, every, context: jetstream::new(client) })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where its CA is.
    pub(crate) fn certificates(&self) -> &Path {
        self.server.dir()
    }

    async fn context(&self) -> Result<Context, Failure> {
        let client = open(self.server.dir(), self.port).await?;
        Ok(ContextBuilder::new().max_ack_inflight(UNANSWERED).backpressure_on_inflight(true).build(client))
    }
}

fn configuration(port: u16, every: bool) -> String {
    let sync = if every { "sync_interval: always" } else { "" };
    format!(
        "listen: \"127.0.0.1:{port}\"\n\
         tls {{ cert_file: \"{CHAIN}\", key_file: \"{KEY}\", timeout: 10 }}\n\
         jetstream {{ store_dir: \"jetstream\"\n {sync} }}\n"
    )
}

/// Connects.
pub(crate) async fn open(certificates: &Path, port: u16) -> Result<Client, Failure> {
    open_with(client_config(certificates, false), port).await
}

async fn open_with(config: rustls::ClientConfig, port: u16) -> Result<Client, Failure> {
    let options = ConnectOptions::new().require_tls(true).tls_client_config(config);
    Ok(options.connect(format!("tls://127.0.0.1:{port}")).await?)
}

impl Contestant for Nats {
    fn name(&self) -> String {
        name(self.every)
    }

    fn id(&self) -> u32 {
        self.server.id()
    }

    fn durable(&self) -> bool {
        self.every
    }

    fn create<'a>(&'a self, log: &'a str, _: u32) -> Answer<'a, ()> {
        Box::pin(async move {
            let config = Config {
                name: log.to_owned(),
                subjects: vec![log.to_owned()],
                storage: StorageType::File,
                ..Config::default()
            };
            self.context.create_stream(config).await?;
            Ok(())
        })
    }

    fn delete<'a>(&'a self, log: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            self.context.delete_stream(log).await?;
            Ok(())
        })
    }

    fn producer<'a>(&'a self, log: &'a str, load: Load) -> Answer<'a, Box<dyn Producing>> {
        Box::pin(async move {
            let context = self.context().await?;
            Ok(Box::new(Produces { context, subject: log.to_owned(), load }) as _)
        })
    }

    fn consumer<'a>(&'a self, log: &'a str) -> Answer<'a, Box<dyn Consuming>> {
        Box::pin(async move {
            let stream = self.context().await?.get_stream(log).await?;
            let config = pull::Config { ack_policy: AckPolicy::None, ..pull::Config::default() };
            let consumer = stream.create_consumer(config).await?;
            let messages = consumer.stream().max_messages_per_batch(AT_A_TIME).messages().await?;
            Ok(Box::new(Consumes { messages: Box::pin(messages) }) as _)
        })
    }

    fn visits(&self, resumed: bool) -> Result<Arc<dyn Visits>, Failure> {
        Ok(Arc::new(Visitor { config: client_config(self.server.dir(), resumed), port: self.port }))
    }
}

struct Produces {
    context: Context,
    subject: String,
    load: Load,
}

impl Producing for Produces {
    fn send(&mut self, number: u64) -> Answer<'_, Answer<'static, ()>> {
        let value = Bytes::from(value(self.load.record, number));
        Box::pin(async move {
            let mut answers = VecDeque::with_capacity(self.load.batch as usize);
            for _ in 0..self.load.batch {
                // A place is free only when its answer was taken.
                if answers.len() == UNANSWERED
                    && let Some(oldest) = answers.pop_front()
                {
                    PublishAckFuture::into_future(oldest).await?;
                }
                answers.push_back(self.context.publish(self.subject.clone(), value.clone()).await?);
            }
            let all: Answer<'static, ()> = Box::pin(async move {
                for answer in answers {
                    answer.await?;
                }
                Ok(())
            });
            Ok(all)
        })
    }

    fn produce(&mut self, batches: u64) -> Answer<'_, ()> {
        let most = (UNANSWERED / self.load.batch as usize).max(1);
        let under_way = self.load.under_way.min(most);
        Box::pin(produce_by_window(self, batches, under_way))
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}

struct Consumes {
    messages: std::pin::Pin<Box<pull::Stream>>,
}

impl Consuming for Consumes {
    fn next<'a>(&'a mut self, each: &'a mut (dyn FnMut(&[u8]) + Send)) -> Answer<'a, ()> {
        Box::pin(async move {
            let message = self.messages.next().await.ok_or("the consumer has ended")??;
            each(&message.payload);
            Ok(())
        })
    }

    fn close(self: Box<Self>) -> Answer<'static, ()> {
        Box::pin(async { Ok(()) })
    }
}

struct Visitor {
    config: rustls::ClientConfig,
    port: u16,
}

impl Visits for Visitor {
    /// Its client waits for the answer to a first PING before it says that it is connected, and does not tell how the handshake was.
    fn visit(&self, _: u8) -> Answer<'static, Option<bool>> {
        let (config, port) = (self.config.clone(), self.port);
        Box::pin(async move {
            open_with(config, port).await?;
            Ok(None)
        })
    }
}
