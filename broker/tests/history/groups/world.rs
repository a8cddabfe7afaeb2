//! A broker in this process over an engine that is given, and its clients' lines to it.

use std::sync::Arc;
use std::time::Duration;

use sealstream_broker::log::LogEngine;
use sealstream_broker::log::clock::ManualClock;
use sealstream_broker::server::{Broker, BrokerOptions, GroupOptions, RunningBroker};
use sealstream_client::wire::session::{hello, open};
use sealstream_client::wire::{FrameReader, FrameWriter};
use sealstream_protocol::Limits;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::hello::{Pong, SessionKind};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{Endpoint, Expectation, Outbound, Scheme, Server, Transport};
use tokio_util::sync::CancellationToken;

use crate::workload::{Notes, PATIENCE, soon};

/// The topic of all groups.
pub(super) const TOPIC: &str = "events";

/// Its partitions: one for each member of the largest group.
pub(super) const PARTITIONS: u32 = 3;

/// A life of the broker.
pub(super) struct World {
    /// Counts the broker's lives.
    pub(super) life: u32,
    network: MemoryNetwork,
    server: Server,
    pub(super) running: RunningBroker,
    pub(super) notes: Notes,
    /// Cancelled when nothing need happen any more: something has failed on purpose.
    pub(super) lost: CancellationToken,
}

impl World {
    /// Starts a broker, whose groups wait for silent members as long as `grace`.
    pub(super) async fn begin(
        life: u32,
        engine: Arc<dyn LogEngine>,
        grace: Duration,
        notes: &Notes,
        lost: CancellationToken,
    ) -> Result<Arc<Self>, String> {
        let groups = GroupOptions { grace, heartbeat: grace / 4, ..GroupOptions::default() };
        let options = BrokerOptions { groups, ..BrokerOptions::default() };
        let network = MemoryNetwork::new();
        let listener = network.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let clock = Arc::new(ManualClock::at(1_000_000));
        let started = soon(Broker::start_with_clock(options, engine, vec![listener], clock)).await;
        let running = started.map_err(|error| error.to_string())?;
        let addr = running.local_addrs()[0];
        let endpoint = Endpoint { scheme: Scheme::Tls, host: addr.ip().to_string(), port: addr.port() };
        let server = Server { endpoint, expectation: Expectation::Name("localhost".into()) };
        Ok(Arc::new(Self { life, network, server, running, notes: notes.clone(), lost }))
    }

    /// Opens a session; `None` if the broker does not answer any more.
    pub(super) async fn open(&self, kind: SessionKind) -> Option<Line> {
        let opening = async {
            let connection = self.network.connect(&self.server).await.ok()?;
            let stream = connection.open().await.ok()?;
            let greeting = hello(kind, "test".into(), Duration::from_mins(1));
            let session = open(stream, greeting, Limits::MAX_FRAME, PATIENCE).await.ok()?;
            Some((session.reader, session.writer, connection))
        };
        let (reader, writer, connection) = self.unless_lost(opening).await?;
        Some(Line { reader, writer, _connection: connection, lost: self.lost.clone() })
    }

    /// Something that happens, unless something has failed on purpose.
    pub(super) async fn unless_lost<T>(&self, future: impl Future<Output = Option<T>>) -> Option<T> {
        soon(self.lost.run_until_cancelled(future)).await.flatten()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.lost.is_cancelled()
    }
}

/// A session.
pub(super) struct Line {
    reader: FrameReader,
    writer: FrameWriter,
    _connection: Box<dyn Outbound>,
    lost: CancellationToken,
}

impl Line {
    /// Says something; `None` if nobody is there any more.
    pub(super) async fn say(&mut self, message: Message) -> Option<()> {
        self.writer.feed(&message);
        soon(self.lost.run_until_cancelled(self.writer.flush())).await?.ok()
    }

    /// The next frame; `None` if the session is over, or something has failed on purpose. Cancellation safe.
    pub(super) async fn hear(&mut self) -> Option<Message> {
        loop {
            let message = self.lost.run_until_cancelled(self.reader.next()).await?.ok()??;
            match message {
                Message::Ping(ping) => self.say(Message::Pong(Pong { nonce: ping.nonce })).await?,
                Message::Error(_) | Message::GoAway(_) => return None,
                message => return Some(message),
            }
        }
    }

    pub(super) async fn ask(&mut self, message: Message) -> Option<Message> {
        self.say(message).await?;
        soon(self.hear()).await
    }
}
