//! A future that is dropped half-way loses nothing and leaves nothing behind.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::bed::{Bed, Link, anywhere, both, open};
use super::fixture::StreamFixture;
use super::transfer::{receive_all, send_all};
use crate::testing::{Pattern, eventually, polled};

/// Accepts dropped again and again, while twenty clients connect: each of them gets served.
pub async fn a_cancelled_accept_loses_no_connection(fixture: &dyn StreamFixture) {
    const CLIENTS: u32 = 20;
    let listener = fixture.server().listen(anywhere()).await.expect("a free port");
    let target = fixture.target(listener.local_addr());
    let mut clients = JoinSet::new();
    for seed in 0..CLIENTS {
        let (client, target) = (fixture.client(), target.clone());
        clients.spawn(async move {
            let outbound = client.connect(&target).await.expect("served");
            let stream = outbound.open().await.expect("a stream");
            send_all(stream.send, seed, 100).await;
            stream.recv
        });
    }
    let mut served = JoinSet::new();
    let mut polls = 0;
    while served.len() < CLIENTS as usize {
        polls += 1;
        match polled(1 + polls % 3, listener.accept()).await {
            Some(incoming) => {
                let incoming = incoming.expect("the listener is open");
                served.spawn(async move {
                    let inbound = incoming.handshake().await.expect("the handshake succeeds");
                    let mut stream = inbound.accept().await.expect("a stream");
                    stream.recv.read_to_end(&mut Vec::new()).await.expect("a clean end");
                });
            }
            None => tokio::task::yield_now().await,
        }
    }
    while let Some(done) = clients.join_next().await {
        done.expect("no client is lost");
    }
    while let Some(done) = served.join_next().await {
        done.expect("every client is served");
    }
}

/// The same for the streams of a connection.
pub async fn a_cancelled_accept_loses_no_stream(fixture: &dyn StreamFixture) {
    let streams = if fixture.capabilities().shares_connection { 100 } else { 1 };
    let Link { inbound, outbound, listener } = Link::new(fixture).await;
    let opening = async move {
        let mut opened = Vec::new();
        for _ in 0..streams {
            opened.push(open(&*outbound).await);
        }
        (opened, outbound)
    };
    let accepting = async move {
        let mut accepted = Vec::new();
        let mut polls = 0;
        while accepted.len() < streams {
            polls += 1;
            match polled(1 + polls % 3, inbound.accept()).await {
                Some(stream) => accepted.push(stream.expect("the connection is open")),
                None => tokio::task::yield_now().await,
            }
        }
        for stream in &mut accepted {
            stream.recv.read_u8().await.expect("the first byte");
        }
        (accepted, inbound)
    };
    both(opening, accepting).await;
    drop(listener);
}

/// Opens cancelled at every point, more of them than streams may live at once: the next open works, and whatever the
/// server got to see of them is over.
pub async fn a_cancelled_open_costs_nothing(fixture: &dyn StreamFixture) {
    let cancelled = if fixture.capabilities().shares_connection { 600 } else { 24 };
    let mut bed = Bed::new(fixture).await;
    let outbound = bed.connect().await;
    let (kept, kept_there) = bed.open(&*outbound).await;
    for round in 0..cancelled {
        drop(polled(1 + round % 12, outbound.open()).await);
        // A server that never looks at them would keep their places.
        bed.forget_streams();
    }
    let stream = open(&*outbound).await;
    let there = bed.accept_living().await;
    both(send_all(stream.send, 30, 1000), receive_all(there.recv, 30, 1000)).await;
    both(send_all(kept.send, 31, 1000), receive_all(kept_there.recv, 31, 1000)).await;
}

/// Connects cancelled at every point: the server is not left waiting for any of them.
pub async fn a_cancelled_connect_leaves_nothing_on_the_server(fixture: &dyn StreamFixture) {
    let mut bed = Bed::new(fixture).await;
    for round in 0..48 {
        drop(polled(1 + round % 16, bed.client.connect(&bed.target)).await);
    }
    let outbound = bed.connect().await;
    let stream = open(&*outbound).await;
    let there = bed.accept_living().await;
    bed.forget_streams();
    drop((stream, there, outbound));
    eventually("the server waits for nobody", || bed.connections() == 0).await;
}

/// Writes and reads cancelled at every point count as what they had done: no byte is lost, none comes twice.
pub async fn a_cancelled_write_or_read_loses_no_byte(fixture: &dyn StreamFixture) {
    const COUNT: u64 = 2 * 1024 * 1024;
    let (mut client, mut server) = Link::new(fixture).await.open().await;
    let writing = async move {
        let mut pattern = Pattern::new(32);
        while pattern.passed() < COUNT {
            match polled(1, client.send.write(pattern.peek(20_000))).await {
                Some(written) => pattern.pass(written.expect("the peer reads on")),
                None => tokio::task::yield_now().await,
            }
        }
        client.send.shutdown().await.expect("the peer reads to the end");
        pattern.passed()
    };
    let reading = async move {
        let mut pattern = Pattern::new(32);
        let mut buffer = vec![0; 7777];
        loop {
            match polled(1, server.recv.read(&mut buffer)).await {
                Some(read) => match read.expect("the peer writes on") {
                    0 => return pattern.passed(),
                    read => pattern.check(&buffer[..read]),
                },
                None => tokio::task::yield_now().await,
            }
        }
    };
    let (written, read) = both(writing, reading).await;
    assert_eq!(written, read);
}
