//! Who trusts whom in a test: one authority, a server that it vouches for, and clients that trust it.

use std::net::SocketAddr;

use crate::endpoint::{Endpoint, Scheme};
use crate::expectation::Expectation;
use crate::options::TransportOptions;
use crate::testing::pki::{Authority, Leaf};
use crate::tls::{Material, Receiver, Store};
use crate::transport::Server;

/// The application protocol of the tests.
pub const ALPN: &[u8] = b"sealstream-test/1";

/// Where nobody listens by default: every test names its port.
const NO_PORT: u16 = 9;

/// Certificates and trust of a test in which everybody is who they should be.
#[derive(Debug)]
pub struct World {
    /// Vouches for everybody.
    pub authority: Authority,
    server: Store,
    client: Store,
}

impl World {
    /// A server for localhost, and clients that trust its authority and show nothing.
    pub fn new() -> Self {
        let authority = Authority::new("Test CA");
        let identity = authority.issue(&Leaf::localhost()).identity();
        let serving = Material::new().with_server_identity(identity);
        let dialling = Material::new().with_roots([authority.trust()]);
        Self { server: store(&serving), client: store(&dialling), authority }
    }

    /// What listeners read.
    pub fn server(&self) -> Receiver {
        self.server.receiver()
    }

    /// What outgoing connections read.
    pub fn client(&self) -> Receiver {
        self.client.receiver()
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

/// A store of material that is in order.
pub(in crate::testing) fn store(material: &Material) -> Store {
    Store::new(material).expect("good material")
}

/// The options of every test, but for what it is about.
pub(in crate::testing) fn options() -> TransportOptions {
    TransportOptions::new(ALPN, NO_PORT)
}

/// A server on this machine, which must be who it says.
pub(in crate::testing) fn localhost(scheme: Scheme, addr: SocketAddr) -> Server {
    let endpoint = Endpoint { scheme, host: addr.ip().to_string(), port: addr.port() };
    Server { endpoint, expectation: Expectation::Name("localhost".into()) }
}
