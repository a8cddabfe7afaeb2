//! Sockets are given back. These members need a process of their own: they count what a process holds.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bed::{Bed, open};
use super::fixture::StreamFixture;
use crate::testing::{eventually, open_sockets, polled};

/// A thousand connections come and go, one after another, each with a stream that was used.
pub async fn a_thousand_connects_in_a_row_leave_no_socket_behind(fixture: &dyn StreamFixture) {
    let mut bed = Bed::new(fixture).await;
    // Sockets that a transport keeps for good, such as a client's UDP endpoint, are there after the first connect.
    converse(&mut bed).await;
    eventually("the server waits for nobody", || bed.connections() == 0).await;
    let before = open_sockets();
    for round in 0..1000 {
        // An end in good order waits for the peer to acknowledge it, and a socket closed after it may linger.
        if round % 10 == 0 {
            converse(&mut bed).await;
        } else {
            let outbound = bed.connect().await;
            bed.open(&*outbound).await;
        }
    }
    eventually("the sockets are closed", || open_sockets() <= before).await;
    eventually("the server waits for nobody", || bed.connections() == 0).await;
}

/// A question, an answer, and both sides end.
async fn converse(bed: &mut Bed) {
    let outbound = bed.connect().await;
    let (mut client, mut server) = bed.open(&*outbound).await;
    client.send.shutdown().await.expect("a clean end");
    server.recv.read_to_end(&mut Vec::new()).await.expect("a clean end");
    let (answered, answer) = tokio::join!(
        async {
            server.send.write_all(b"an answer").await?;
            server.send.shutdown().await
        },
        async {
            let mut answer = Vec::new();
            client.recv.read_to_end(&mut answer).await.map(|_| answer)
        }
    );
    answered.expect("the peer reads to the end");
    assert_eq!(answer.expect("a clean end"), b"an answer");
}

/// Connects and opens cancelled at every point leave no socket on either side.
pub async fn cancelled_connects_and_opens_leave_no_socket_behind(fixture: &dyn StreamFixture) {
    let mut bed = Bed::new(fixture).await;
    converse(&mut bed).await;
    eventually("the server waits for nobody", || bed.connections() == 0).await;
    let before = open_sockets();
    for round in 0..200 {
        drop(polled(1 + round % 20, bed.client.connect(&bed.target)).await);
    }
    let outbound = bed.connect().await;
    let stream = open(&*outbound).await;
    for round in 0..100 {
        drop(polled(1 + round % 20, outbound.open()).await);
    }
    drop((stream, outbound));
    // Streams that made it to the server hold their sockets there.
    let mut bed = bed;
    eventually("the sockets are closed", || {
        bed.forget_streams();
        open_sockets() <= before && bed.connections() == 0
    })
    .await;
}
