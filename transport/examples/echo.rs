//! An echo service over both transports.
//!
//! ```text
//! echo                                    a server and a client in one process, over TLS and over QUIC
//! echo serve ADDRESS CHAIN.pem KEY.pem    a server on both transports, until it is interrupted
//! echo say URL CA.pem TEXT                a client; URL is tls://, quic:// or auto://HOST:PORT
//! ```

use std::error::Error;
use std::net::SocketAddr;
use std::process::ExitCode;

use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{IdentitySource, Material, Receiver, Store, TrustSource};
use sealstream_transport::{
    Connector, Incoming, Listener, QuicTransport, Server, Stream, TcpTransport, Transport, TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn options() -> TransportOptions {
    TransportOptions::new("echo/1", 7007)
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        [] => demonstrate().await,
        ["serve", address, chain, key] => serve_files(address, chain, key).await,
        ["say", url, ca, text] => say_once(url, ca, text).await,
        _ => Err("usage: echo | echo serve ADDRESS CHAIN KEY | echo say URL CA TEXT".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("echo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both ends in this process, with certificates made for the occasion.
async fn demonstrate() -> Outcome {
    let authority = Authority::new("Echo CA");
    let identity = authority.issue(&Leaf::localhost()).identity();
    let serving = Store::new(&Material::new().with_server_identity(identity))?;
    let trusting = Store::new(&Material::new().with_roots([authority.trust()]))?;
    let connector = Connector::new(&trusting.receiver(), &options());
    let mut servers = JoinSet::new();
    for listener in listen(&serving.receiver(), "127.0.0.1:0".parse()?).await? {
        let (scheme, port) = (listener.0, listener.1.local_addr().port());
        servers.spawn(serve(listener.1));
        say(&connector, &format!("{scheme}://localhost:{port}"), "hello, and again").await?;
    }
    connector.drained().await;
    Ok(())
}

async fn serve_files(address: &str, chain: &str, key: &str) -> Outcome {
    let serving = Store::new(&Material::new().with_server_identity(IdentitySource::files(chain, key)))?;
    let mut servers = JoinSet::new();
    for (scheme, listener) in listen(&serving.receiver(), address.parse()?).await? {
        println!("listening on {scheme}://{}", listener.local_addr());
        servers.spawn(serve(listener));
    }
    while servers.join_next().await.is_some() {}
    Ok(())
}

async fn say_once(url: &str, ca: &str, text: &str) -> Outcome {
    let trusting = Store::new(&Material::new().with_roots([TrustSource::File(ca.into())]))?;
    let connector = Connector::new(&trusting.receiver(), &options());
    say(&connector, url, text).await?;
    connector.drained().await;
    Ok(())
}

/// The same address on both transports; with port 0 each takes a free one.
async fn listen(tls: &Receiver, address: SocketAddr) -> Outcome<[(&'static str, Box<dyn Listener>); 2]> {
    let tcp = TcpTransport::new(tls.clone(), options()).listen(address).await?;
    let quic = QuicTransport::new(tls.clone(), options()).listen(address).await?;
    Ok([("tls", tcp), ("quic", quic)])
}

/// One task for each connection: the handshake runs in it, so that a slow peer delays nobody.
async fn serve(listener: Box<dyn Listener>) {
    let mut connections = JoinSet::new();
    while let Some(incoming) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(serve_connection(incoming));
    }
}

async fn serve_connection(incoming: Box<dyn Incoming>) {
    let address = incoming.remote_addr();
    let inbound = match incoming.handshake().await {
        Ok(inbound) => inbound,
        Err(error) => return eprintln!("{address}: {error}"),
    };
    let mut streams = JoinSet::new();
    while let Some(stream) = inbound.accept().await {
        streams.spawn(echo(stream));
    }
    while streams.join_next().await.is_some() {}
}

async fn echo(mut stream: Stream) {
    let echoed = async {
        tokio::io::copy(&mut stream.recv, &mut stream.send).await?;
        stream.send.shutdown().await
    };
    if let Err(error) = echoed.await {
        eprintln!("{}: {error}", stream.peer.remote_addr);
    }
}

/// Two streams, one after the other: on TCP the second is a connection of its own, which resumes.
async fn say(connector: &Connector, url: &str, text: &str) -> Outcome {
    let outbound = connector.connect(&Server::named(connector.endpoint(url)?)).await?;
    for _ in 0..2 {
        let mut stream = outbound.open().await?;
        stream.send.write_all(text.as_bytes()).await?;
        stream.send.shutdown().await?;
        let mut answer = String::new();
        stream.recv.read_to_string(&mut answer).await?;
        let suite = stream.peer.negotiated.map_or("nothing", |negotiated| negotiated.suite);
        println!("{url} says \"{answer}\" (handshake: {:?}, sealed with {suite})", stream.peer.handshake);
    }
    outbound.close(0).await;
    Ok(())
}
