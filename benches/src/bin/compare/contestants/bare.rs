//! Streams and connections without a broker, bare or of our transport, whose servers are processes of their own as the brokers are.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustls::ClientConfig;
use sealstream_benches::handshake::world::{CA, CHAIN, KEY, World, bare_client_in, bare_server_in, options};
use sealstream_benches::handshake::{bare_quic, bare_tls, ends};
use sealstream_benches::process::{end_with_parent, raise_limit};
use sealstream_benches::stream::ends::{Carrier, Listening, dial, dial_ours};
use sealstream_benches::stream::subject::Subject;
use sealstream_transport::tls::{IdentitySource, Material, Store, TrustSource};
use sealstream_transport::{QuicTransport, Scheme, TcpTransport, Transport};
use tempfile::TempDir;

use super::{Answer, Visits};

/// The first argument of their processes; behind it what they serve, over what, and the directory of their certificates.
pub(crate) const ROLE: &str = "--be-a-bare-server";

/// Serves streams: bytes and echoes.
const STREAMS: &str = "streams";
/// Serves connections: a byte, its answer, and rest.
const CONNECTIONS: &str = "connections";

/// A server that runs until it is dropped.
pub(crate) struct BareServer {
    pub(crate) bare: Carrier,
    pub(crate) port: u16,
    child: Child,
    dir: TempDir,
}

impl BareServer {
    /// One for streams.
    pub(crate) fn start(bare: Carrier, world: &World) -> Self {
        Self::spawn(bare, world, STREAMS)
    }

    /// One for connections, over TLS or QUIC.
    pub(crate) fn start_for_connections(bare: Carrier, world: &World) -> Self {
        Self::spawn(bare, world, CONNECTIONS)
    }

    fn spawn(bare: Carrier, world: &World, what: &str) -> Self {
        let dir = TempDir::new().expect("a directory");
        world.write(dir.path()).expect("files");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([ROLE, what, bare.name()])
            .arg(dir.path())
            // Ten thousand clients that are killed are as many complaints.
            .stderr(if what == CONNECTIONS { Stdio::null() } else { Stdio::inherit() })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this program again");
        let mut port = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut port).expect("a line");
        let port = port.trim().parse().expect("a port");
        Self { bare, port, child, dir }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Where its CA is.
    pub(crate) fn certificates(&self) -> &Path {
        self.dir.path()
    }

    fn config(&self, resumed: bool) -> ClientConfig {
        bare_client_in(self.dir.path(), self.bare.scheme(), resumed)
    }

    /// Visits to it, with a session to resume or without; in the runtime that is to drive them.
    pub(crate) fn visits(&self, resumed: bool) -> Arc<dyn Visits> {
        Arc::new(Visitor(dialler(self.bare, self.port, self.config(resumed))))
    }

    /// A stream to it.
    pub(crate) async fn dial(&self) -> Box<dyn Subject> {
        let Carrier::Ours(scheme) = self.bare else {
            return dial(self.bare, self.port, self.config(true)).await;
        };
        let trust = TrustSource::File(self.dir.path().join(CA));
        let store = Store::new(&Material::new().with_roots([trust])).expect("a CA");
        if scheme == Scheme::Quic {
            let transport = QuicTransport::new(store.receiver(), options());
            return dial_ours(self.bare.name(), transport, scheme, self.port).await;
        }
        let transport = TcpTransport::new(store.receiver(), options());
        dial_ours(self.bare.name(), transport, scheme, self.port).await
    }
}

/// Connects to a bare server for connections.
struct Visitor(Arc<dyn ends::Dial>);

impl Visits for Visitor {
    /// Each lane dials an address of its own: rustls keeps eight tickets of a server, which sixteen clients at a time would soon have used.
    fn visit(&self, lane: u8) -> Answer<'static, Option<bool>> {
        let connecting = self.0.dial(ends::Lane(lane));
        Box::pin(async move {
            connecting.await.end().await;
            Ok(None)
        })
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Dials a bare server for connections; in the runtime that is to drive it.
pub(crate) fn dialler(bare: Carrier, port: u16, config: ClientConfig) -> Arc<dyn ends::Dial> {
    match bare.scheme() {
        Scheme::Quic => Arc::new(bare_quic::Dialler::with(config, port)),
        _ => Arc::new(bare_tls::Dialler::with(config, port)),
    }
}

/// The process: `WHAT NAME DIR`.
pub(crate) fn serve(arguments: &[String]) {
    let [what, name, dir] = arguments else { panic!("{ROLE} WHAT NAME DIR") };
    let bare = Carrier::named(name).expect("the name of a bare end");
    raise_limit();
    end_with_parent();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        let dir = Path::new(dir);
        let (config, ticketer) = bare_server_in(dir, bare.scheme());
        if what == STREAMS {
            let listening = match bare {
                Carrier::Ours(scheme) => Listening::ours(&*serving(scheme, dir)).await,
                _ => Listening::new(bare, config).await,
            };
            println!("{}", listening.port());
            return listening.run().await;
        }
        let acceptor: Box<dyn ends::Accept> = match bare.scheme() {
            Scheme::Quic => Box::new(bare_quic::Acceptor::with(config, ticketer)),
            _ => Box::new(bare_tls::Acceptor::with(config, ticketer).await),
        };
        println!("{}", acceptor.port());
        ends::serve(&*acceptor, usize::MAX).await;
    });
}

/// Our transport, with the certificates of a directory.
fn serving(scheme: Scheme, dir: &Path) -> Box<dyn Transport> {
    let identity = IdentitySource::files(dir.join(CHAIN), dir.join(KEY));
    let store = Store::new(&Material::new().with_server_identity(identity)).expect("a pair");
    match scheme {
        Scheme::Quic => Box::new(QuicTransport::new(store.receiver(), options())),
        _ => Box::new(TcpTransport::new(store.receiver(), options())),
    }
}
