//! Both ends of one subject, each on a thread with a runtime of its own: what one of them costs is what its thread costs.
//!
//! The client's end runs on the calling thread. A runtime is driven only while its subject is measured, so that whatever one
//! handshake leaves to be done, such as the last timers of a QUIC connection, is paid for by the next one of the same subject.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use sealstream_transport::{Scheme, TransportOptions};
use tokio::runtime::{Builder, Runtime};

use super::ends::{self, Accept, Dial, LANES};
use super::world::{Case, World, options};
use super::{bare_quic, bare_tls, ours};

/// Whose code makes the handshakes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Maker {
    /// Ours.
    Ours,
    /// Ours over QUIC, in search of no larger MTU than quinn is by itself.
    OursLikeQuinn,
    /// tokio-rustls, or quinn.
    Bare,
}

/// The largest UDP payload that quinn looks for by itself.
const MTU_OF_QUINN: u16 = 1452;

impl Maker {
    /// Its name, where it makes handshakes over this.
    pub fn name(self, scheme: Scheme) -> &'static str {
        match (self, scheme) {
            (Self::Bare, Scheme::Quic) => "quinn",
            (Self::Bare, _) => "tokio-rustls",
            (Self::Ours, Scheme::Quic) => "ours, QUIC",
            (Self::OursLikeQuinn, Scheme::Quic) => "ours, QUIC, no larger MTU than quinn's",
            (Self::Ours | Self::OursLikeQuinn, _) => "ours, TLS over TCP",
        }
    }

    fn options(self) -> TransportOptions {
        let mut options = options();
        if self == Self::OursLikeQuinn {
            options.quic.max_mtu = MTU_OF_QUINN;
        }
        options
    }
}

type Job = Box<dyn FnOnce(&Runtime, &Arc<dyn Accept>) + Send>;

/// A server and a client that dials it.
pub struct Subject {
    /// What drives the client.
    pub client: Runtime,
    /// The client.
    pub dialler: Arc<dyn Dial>,
    /// Where the server listens.
    pub port: u16,
    lanes: u8,
    jobs: SyncSender<Job>,
}

impl Subject {
    /// A pair of ends that have already met: every lane has its tickets, and what is made once is made.
    pub fn new(world: &World, maker: Maker) -> Self {
        Self::with_lanes(world, maker, LANES)
    }

    /// The same, with so many handshakes at once.
    pub fn with_lanes(world: &World, maker: Maker, lanes: u8) -> Self {
        let (server, client) = (runtime(), runtime());
        let acceptor = server.block_on(listen(world, maker));
        let port = acceptor.port();
        let dialler: Arc<dyn Dial> = {
            let _runtime = client.enter();
            match (maker, world.case.scheme) {
                (Maker::Bare, Scheme::Quic) => Arc::new(bare_quic::Dialler::new(world, port)),
                (Maker::Bare, _) => Arc::new(bare_tls::Dialler::new(world, port)),
                _ => Arc::new(ours::Dialler::new(world, port, maker.options())),
            }
        };
        let (jobs, work) = sync_channel::<Job>(1);
        // It ends with the subject, whose jobs it waits for.
        thread::spawn(move || work.iter().for_each(|job| job(&server, &acceptor)));
        let subject = Self { client, dialler, port, lanes, jobs };
        subject.meet(world.case);
        subject
    }

    /// Has the server do something in its own thread; the answer comes when it has.
    pub fn server<T: Send + 'static>(
        &self,
        job: impl FnOnce(&Runtime, &Arc<dyn Accept>) -> T + Send + 'static,
    ) -> Receiver<T> {
        let (done, outcome) = sync_channel(1);
        let job = move |runtime: &Runtime, acceptor: &Arc<dyn Accept>| {
            // Nobody may want to know.
            let _ = done.send(job(runtime, acceptor));
        };
        self.jobs.send(Box::new(job)).expect("a server");
        outcome
    }

    /// Makes so many handshakes, and tells how many of them resumed a session.
    pub fn converse(&self, count: usize) -> usize {
        let served = self.server(move |runtime, acceptor| {
            let before = acceptor.resumed();
            runtime.block_on(ends::serve(&**acceptor, count));
            acceptor.resumed() - before
        });
        self.client.block_on(ends::dial(&self.dialler, self.lanes, count));
        served.recv().expect("a server")
    }

    fn meet(&self, case: Case) {
        // Twice in each lane.
        let count = usize::from(self.lanes) * 2;
        self.converse(count);
        let expected = if case.resumed { count } else { 0 };
        assert_eq!(self.converse(count), expected, "handshakes that resume");
    }
}

/// The listening end, in the runtime that drives it.
async fn listen(world: &World, maker: Maker) -> Arc<dyn Accept> {
    match (maker, world.case.scheme) {
        (Maker::Bare, Scheme::Quic) => Arc::new(bare_quic::Acceptor::new(world)),
        (Maker::Bare, _) => Arc::new(bare_tls::Acceptor::new(world).await),
        _ => Arc::new(ours::Acceptor::new(world, maker.options()).await),
    }
}

/// A runtime that is driven by one thread: the one that blocks on it.
pub fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}
