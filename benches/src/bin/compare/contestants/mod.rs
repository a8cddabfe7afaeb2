//! Who is measured: brokers behind one face, and the bare ends.
//!
//! A contestant is a server in a process of its own. Each producer and each consumer has a connection of its own, over TLS 1.3 or
//! QUIC, with the server's certificate checked.

pub(crate) mod bare;
#[cfg(feature = "peers")]
pub(crate) mod nats;
pub(crate) mod redis;
pub(crate) mod sealstream;
pub(crate) mod server;

use std::collections::VecDeque;
use std::sync::Arc;

use sealstream_benches::handshake::world::{Case, World};
use sealstream_benches::stream::ends::Carrier;
use sealstream_transport::{BoxFuture, Scheme};

use crate::Failure;
use crate::args::Args;
use crate::runner::Runner;
use bare::BareServer;

/// What comes back of anything that is asked.
pub(crate) type Answer<'a, T> = BoxFuture<'a, Result<T, Failure>>;

/// How a client works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Load {
    /// Bytes of each record's value.
    pub(crate) record: usize,
    /// Records that are sent together.
    pub(crate) batch: u32,
    /// Batches that may be sent and not acknowledged.
    pub(crate) under_way: usize,
}

impl Load {
    /// Bytes of the values of a batch.
    pub(crate) fn batch_bytes(&self) -> usize {
        self.record * self.batch as usize
    }
}

/// A broker.
pub(crate) trait Contestant: Send + Sync {
    /// Its name in the tables.
    fn name(&self) -> String;

    /// Its process.
    fn id(&self) -> u32;

    /// Makes an empty log: a topic, a stream, a key.
    fn create<'a>(&'a self, log: &'a str, partitions: u32) -> Answer<'a, ()>;

    /// Deletes it, with what it has stored.
    fn delete<'a>(&'a self, log: &'a str) -> Answer<'a, ()>;

    /// Connects a producer.
    fn producer<'a>(&'a self, log: &'a str, load: Load) -> Answer<'a, Box<dyn Producing>>;

    /// Connects a consumer, which reads from the beginning.
    fn consumer<'a>(&'a self, log: &'a str) -> Answer<'a, Box<dyn Consuming>>;

    /// Whether an acknowledgement waits for the disk.
    fn durable(&self) -> bool;

    /// Whether it has partitions, which a log of others has not.
    fn has_partitions(&self) -> bool {
        false
    }

    /// Clients that connect, say what a client says first, and leave: with a session to resume, or without.
    fn visits(&self, resumed: bool) -> Result<Arc<dyn Visits>, Failure>;
}

/// One producer. Each value begins with the number of its batch.
pub(crate) trait Producing: Send {
    /// Hands over a batch; what comes back resolves when it is acknowledged.
    fn send(&mut self, number: u64) -> Answer<'_, Answer<'static, ()>>;

    /// Sends so many, with as many under way as the load has, until all are acknowledged.
    fn produce(&mut self, batches: u64) -> Answer<'_, ()>;

    /// Ends it in good order.
    fn close(self: Box<Self>) -> Answer<'static, ()>;
}

/// One consumer.
pub(crate) trait Consuming: Send {
    /// Waits until there are records, and shows the value of each.
    fn next<'a>(&'a mut self, each: &'a mut (dyn FnMut(&[u8]) + Send)) -> Answer<'a, ()>;

    /// Ends it in good order.
    fn close(self: Box<Self>) -> Answer<'static, ()>;
}

/// Connections that are made to be ended.
pub(crate) trait Visits: Send + Sync {
    /// Makes one, as one of several clients at a time; tells whether it resumed a session, where that can be known.
    fn visit(&self, lane: u8) -> Answer<'static, Option<bool>>;
}

/// [`Producing::produce`] of those whose library does not keep a window by itself.
pub(crate) async fn produce_by_window(
    producer: &mut (impl Producing + ?Sized),
    batches: u64,
    under_way: usize,
) -> Result<(), Failure> {
    let mut unanswered = VecDeque::<Answer<'static, ()>>::with_capacity(under_way);
    for number in 0..batches {
        if unanswered.len() == under_way
            && let Some(oldest) = unanswered.pop_front()
        {
            oldest.await?;
        }
        unanswered.push_back(producer.send(number).await?);
    }
    for answer in unanswered {
        answer.await?;
    }
    Ok(())
}

/// The number that a value begins with.
pub(crate) fn number_of(value: &[u8]) -> Option<u64> {
    value.first_chunk().map(|number| u64::from_be_bytes(*number))
}

/// A value of that size which begins with a number.
pub(crate) fn value(size: usize, number: u64) -> Vec<u8> {
    let mut value = vec![b'x'; size.max(size_of::<u64>())];
    value[..size_of::<u64>()].copy_from_slice(&number.to_be_bytes());
    value
}

/// All of them.
pub(crate) struct Field {
    /// Whose certificates the servers have.
    pub(crate) world: Arc<World>,
    /// The brokers.
    pub(crate) brokers: Vec<Arc<dyn Contestant>>,
    /// The bare ends.
    pub(crate) bare: Vec<BareServer>,
    /// Peers that are not here, with what would bring them.
    pub(crate) missing: Vec<String>,
    /// Where the server of NATS is.
    pub(crate) programs: server::Programs,
}

impl Field {
    /// Starts every server.
    pub(crate) fn gather(args: &Args, runner: &Runner) -> Self {
        let world = Arc::new(World::new(Case::usual(Scheme::Tls, true)));
        let bare = Carrier::ALL.into_iter().map(|carrier| BareServer::start(carrier, &world)).collect();
        let programs = server::Programs::find(args);
        let mut field = Self {
            world: Arc::clone(&world),
            brokers: sealstream::all(&world),
            bare,
            missing: Vec::new(),
            programs,
        };
        let _runtime = runner.runtime().enter();
        for outcome in field.peers(runner) {
            match outcome {
                Ok(peer) => field.brokers.push(peer),
                Err(missing) => field.missing.push(missing),
            }
        }
        for missing in &field.missing {
            eprintln!("left out: {missing}");
        }
        field
    }

    fn peers(&self, runner: &Runner) -> Vec<Result<Arc<dyn Contestant>, String>> {
        let mut peers = Vec::new();
        for every in [false, true] {
            peers.push(self.nats(runner, every));
        }
        for every in [false, true] {
            peers.push(match &self.programs.redis {
                Ok(program) => runner
                    .runtime()
                    .block_on(redis::Redis::start(program, &self.world, every))
                    .map(|redis| Arc::new(redis) as Arc<dyn Contestant>)
                    .map_err(|error| format!("{}: {error}", redis::name(every))),
                Err(missing) => Err(format!("{}: {missing}", redis::name(every))),
            });
        }
        peers
    }

    #[cfg(feature = "peers")]
    fn nats(&self, runner: &Runner, every: bool) -> Result<Arc<dyn Contestant>, String> {
        let name = nats::name(every);
        let program = self.programs.nats.as_ref().map_err(|missing| format!("{name}: {missing}"))?;
        let started = runner.runtime().block_on(nats::Nats::start(program, &self.world, every));
        started.map(|nats| Arc::new(nats) as _).map_err(|error| format!("{name}: {error}"))
    }

    #[cfg(not(feature = "peers"))]
    #[expect(clippy::unused_self, reason = "as where its client is built in")]
    fn nats(&self, _: &Runner, every: bool) -> Result<Arc<dyn Contestant>, String> {
        let sync = if every { ", a sync each" } else { "" };
        Err(format!("NATS JetStream{sync}: its client is not built in: build with --features peers"))
    }
}
