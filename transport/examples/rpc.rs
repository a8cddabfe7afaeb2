//! The transport alone as the base of an RPC: a service of three methods, over TLS and over QUIC, with clients that show
//! certificates.
//!
//! ```text
//! rpc    a server and its clients in one process, with certificates made for the occasion
//! ```
//!
//! The transport's streams are most of what an RPC needs:
//!
//! - **A call is a stream.** Its ends are the ends of request and answer: no lengths, no numbers of calls, no multiplexer. On
//!   QUIC the calls share a connection, on TCP each has one of its own that resumes; the code is the same.
//! - **Who calls** is in the stream's peer, verified: here it decides what may be called.
//! - **Giving a call up** is dropping its stream: the other side gets an error, never half a request for a whole one.
//! - **A failure** that is no answer is an abort with a code (QUIC carries it).
//!
//! What is left for an RPC to bring: the bytes of requests and answers, deadlines, and a bound for each of them.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use sealstream_transport::testing::pki::{Authority, Leaf};
use sealstream_transport::tls::{ClientAuth, Material, Receiver, Store};
use sealstream_transport::{
    Connector, Incoming, Listener, Outbound, QuicTransport, Server, Stream, TcpTransport, Transport,
    TransportOptions,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The largest request and answer, in bytes: nobody makes the other side hold more.
const LARGEST: u64 = 1 << 20;

/// How long a call may take, on either side.
const DEADLINE: Duration = Duration::from_secs(10);

/// Calls that one connection may have under way.
const CALLS: usize = 64;

/// Begins an answer that is one, or the text of a failure.
const ANSWER: u8 = 0;
const FAILURE: u8 = 1;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;

fn options() -> TransportOptions {
    TransportOptions::new("rpc-example/1", 7008)
}

#[tokio::main]
async fn main() -> Outcome {
    let authority = Authority::new("RPC CA");
    let server = authority.issue(&Leaf::localhost()).identity();
    let serving = Material::new()
        .with_server_identity(server)
        .with_client_auth(ClientAuth::Required, [authority.trust()]);
    let serving = Store::new(&serving)?;
    let tcp = TcpTransport::new(serving.receiver(), options()).listen("127.0.0.1:0".parse()?).await?;
    let quic = QuicTransport::new(serving.receiver(), options()).listen("127.0.0.1:0".parse()?).await?;
    let urls = [("tls", tcp.local_addr().port()), ("quic", quic.local_addr().port())]
        .map(|(scheme, port)| format!("{scheme}://localhost:{port}"));
    let mut servers = JoinSet::new();
    servers.spawn(serve(tcp));
    servers.spawn(serve(quic));

    for url in urls {
        let clerk = Client::connect(&client(&authority, "spiffe://example.org/clerk")?, &url).await?;
        // Many at once, each as independent as its stream.
        let mut sums = JoinSet::new();
        for n in 1..=10_u64 {
            let clerk = clerk.clone();
            sums.spawn(async move { clerk.call("sum", format!("{n} {n} {n}").as_bytes()).await });
        }
        let mut total = 0;
        while let Some(sum) = sums.join_next().await {
            total += String::from_utf8(sum??)?.parse::<u64>()?;
        }
        println!("{url}: ten sums make {total}");
        println!("{url}: whoami says {}", String::from_utf8(clerk.call("whoami", b"").await?)?);
        println!("{url}: stop says {}", clerk.call("stop", b"").await.expect_err("nobody stops it"));
        println!(
            "{url}: sum of pears says {}",
            clerk.call("sum", b"pears").await.expect_err("pears are no numbers")
        );
        let boss = Client::connect(&client(&authority, "spiffe://example.org/boss")?, &url).await?;
        println!("{url}: stop says {}", String::from_utf8(boss.call("stop", b"").await?)?);
    }
    // Both servers were stopped by a call.
    while let Some(served) = servers.join_next().await {
        served?;
    }
    println!("both servers have stopped");
    Ok(())
}

/// What a client of this name trusts and shows.
fn client(authority: &Authority, id: &str) -> Outcome<Receiver> {
    let identity = authority.issue(&Leaf::new().uri(id)).identity();
    let material = Material::new().with_roots([authority.trust()]).with_client_identity(identity);
    Ok(Store::new(&material)?.receiver())
}

/// The client's side: cheap to clone, calls from any task.
#[derive(Clone)]
struct Client {
    outbound: Arc<dyn Outbound>,
}

impl Client {
    async fn connect(tls: &Receiver, url: &str) -> Outcome<Self> {
        let connector = Connector::new(tls, &options());
        let outbound = connector.connect(&Server::named(connector.endpoint(url)?)).await?;
        Ok(Self { outbound: Arc::from(outbound) })
    }

    /// Calls a method. Dropping it gives the call up, and the server learns of it.
    async fn call(&self, method: &str, request: &[u8]) -> Outcome<Vec<u8>> {
        let call = async {
            let Stream { mut recv, mut send, .. } = self.outbound.open().await?;
            send.write_all(format!("{method}\n").as_bytes()).await?;
            send.write_all(request).await?;
            // The end of the request: only now is it a whole one.
            send.shutdown().await?;
            let mut answer = Vec::new();
            (&mut recv).take(LARGEST + 1).read_to_end(&mut answer).await?;
            match answer.split_first() {
                _ if answer.len() as u64 > LARGEST => Err("the answer is too large".into()),
                Some((&ANSWER, answer)) => Ok(answer.to_vec()),
                Some((&FAILURE, text)) => Err(String::from_utf8_lossy(text).into()),
                _ => Err("the server answered nothing that can be understood".into()),
            }
        };
        timeout(DEADLINE, call).await?
    }
}

/// Serves until somebody who may calls `stop`.
async fn serve(listener: Box<dyn Listener>) {
    let listener: Arc<dyn Listener> = Arc::from(listener);
    let mut connections = JoinSet::new();
    while let Some(incoming) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        connections.spawn(connection(incoming, listener.clone()));
    }
    while connections.join_next().await.is_some() {}
}

/// A connection's task: the handshake runs in it, so that a slow peer delays nobody.
async fn connection(incoming: Box<dyn Incoming>, listener: Arc<dyn Listener>) {
    let from = incoming.remote_addr();
    let inbound = match incoming.handshake().await {
        Ok(inbound) => inbound,
        Err(error) => return eprintln!("{from}: {error}"),
    };
    let mut calls = JoinSet::new();
    loop {
        tokio::select! {
            stream = inbound.accept(), if calls.len() < CALLS => match stream {
                Some(stream) => drop(calls.spawn(answer(stream, listener.clone()))),
                None => break,
            },
            Some(_) = calls.join_next() => {}
            fallen = inbound.standing() => {
                // Its certificate was revoked, or has ended: whatever it has under way ends here.
                eprintln!("{from}: {fallen}");
                return inbound.close(1).await;
            }
        }
    }
    while calls.join_next().await.is_some() {}
}

/// Answers one call.
async fn answer(mut stream: Stream, listener: Arc<dyn Listener>) {
    let call = async {
        let mut request = Vec::new();
        (&mut stream.recv).take(LARGEST + 1).read_to_end(&mut request).await?;
        let caller = stream.peer.identity.as_ref().and_then(|identity| identity.spiffe_id.as_deref());
        let (status, answer) = match dispatch(caller, &request) {
            Ok(answer) => (ANSWER, answer),
            Err(error) => (FAILURE, error.to_string()),
        };
        let stops = status == ANSWER && request.starts_with(b"stop\n");
        stream.send.write_all(&[&[status], answer.as_bytes()].concat()).await?;
        stream.send.shutdown().await?;
        if stops {
            listener.close().await;
        }
        std::io::Result::Ok(())
    };
    match timeout(DEADLINE, call).await {
        Ok(Ok(())) => {}
        // The caller gave up, or its path did: nobody waits for an answer.
        Ok(Err(error)) => eprintln!("a call was given up: {error}"),
        // Dropping the stream here aborts it: the caller gets an error, and no half of an answer.
        Err(_) => eprintln!("a call took longer than {DEADLINE:?}"),
    }
}

/// The methods. `caller` is who the certificate says it is.
fn dispatch(caller: Option<&str>, request: &[u8]) -> Outcome<String> {
    if request.len() as u64 > LARGEST {
        return Err(format!("a request has at most {LARGEST} bytes").into());
    }
    let request = str::from_utf8(request)?;
    let (method, body) = request.split_once('\n').ok_or("no method")?;
    let caller = caller.ok_or("a certificate with a SPIFFE ID is needed")?;
    Ok(match method {
        "sum" => {
            let numbers = body.split_whitespace().map(str::parse::<u64>);
            numbers.sum::<Result<u64, _>>().map_err(|error| format!("no number: {error}"))?.to_string()
        }
        "whoami" => caller.to_owned(),
        "stop" if caller == "spiffe://example.org/boss" => "as you wish".to_owned(),
        "stop" => return Err(format!("{caller} may not stop this server").into()),
        _ => return Err(format!("there is no method {method}").into()),
    })
}
