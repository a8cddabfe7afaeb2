//! Sockets are given back. These members need a process of their own: they count what a process holds.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::bed::{Bed, open};
use super::fixture::StreamFixture;
use crate::stream::Stream;
use crate::testing::{eventually, open_sockets, polled};
use crate::transport::{Server, Transport};

/// Clients that connect at the same time, each time after time: one alone would mostly wait for its turn.
const ROWS: usize = 4;

/// Connections that each of them makes.
const IN_A_ROW: usize = 250;

/// A thousand connections come and go, each with a stream that was used.
pub async fn a_thousand_connects_in_a_row_leave_no_socket_behind(fixture: &dyn StreamFixture) {
    let mut bed = Bed::new(fixture).await;
    let _answering = bed.answer_all(answer);
    // Sockets that a transport keeps for good, such as a client's UDP endpoint, are there after the first connect.
    converse(&*bed.client, &bed.target).await;
    eventually("the server waits for nobody", || bed.connections() == 0).await;
    let before = open_sockets();
    let mut rows = JoinSet::new();
    for _ in 0..ROWS {
        rows.spawn(come_and_go(bed.client.clone(), bed.target.clone()));
    }
    while let Some(row) = rows.join_next().await {
        row.expect("every connect succeeds");
    }
    eventually("the sockets are closed", || open_sockets() <= before).await;
    eventually("the server waits for nobody", || bed.connections() == 0).await;
}

async fn come_and_go(client: Arc<dyn Transport>, target: Server) {
    for turn in 0..IN_A_ROW {
        // An end in good order waits for the peer to acknowledge it, and a socket closed after it may linger.
        if turn % 10 == 0 {
            converse(&*client, &target).await;
        } else {
            let outbound = client.connect(&target).await.expect("a server that listens is reached");
            open(&*outbound).await;
        }
    }
}

/// A question, an answer, and both sides end.
async fn converse(client: &dyn Transport, target: &Server) {
    let outbound = client.connect(target).await.expect("a server that listens is reached");
    let mut stream = open(&*outbound).await;
    stream.send.shutdown().await.expect("a clean end");
    let mut heard = Vec::new();
    stream.recv.read_to_end(&mut heard).await.expect("a clean end");
    assert_eq!(heard, b"an answer");
}

/// The server's part; whoever leaves in the middle of it gets none.
async fn answer(mut stream: Stream) {
    if stream.recv.read_to_end(&mut Vec::new()).await.is_ok()
        && stream.send.write_all(b"an answer").await.is_ok()
    {
        let _ = stream.send.shutdown().await;
    }
}

/// Connects and opens cancelled at every point leave no socket on either side.
pub async fn cancelled_connects_and_opens_leave_no_socket_behind(fixture: &dyn StreamFixture) {
    let mut bed = Bed::new(fixture).await;
    let outbound = bed.connect().await;
    drop((bed.open(&*outbound).await, outbound));
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
    eventually("the sockets are closed", || {
        bed.forget_streams();
        open_sockets() <= before && bed.connections() == 0
    })
    .await;
}
