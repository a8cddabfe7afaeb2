//! What ends with what: listeners, connections, handles and streams.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::bed::{Bed, Link, anywhere, both, stream_error};
use super::fixture::StreamFixture;
use super::transfer::{receive_all, send_all};
use crate::error::ListenError;
use crate::testing::eventually;

/// A connection whose handshake nobody runs yet does not keep the next from being accepted and served.
pub async fn a_slow_handshake_delays_no_other(fixture: &dyn StreamFixture) {
    let listener = fixture.server().listen(anywhere()).await.expect("a free port");
    let target = fixture.target(listener.local_addr());
    let (client, slow_target) = (fixture.client(), target.clone());
    let mut slow = JoinSet::new();
    slow.spawn(async move { client.connect(&slow_target).await });
    let waiting = listener.accept().await.expect("the listener is open");
    let link = Link::over(fixture, listener, target).await;
    let (client, server) = link.open().await;
    both(send_all(client.send, 20, 1000), receive_all(server.recv, 20, 1000)).await;
    // And the slow one is served when its time has come.
    let (inbound, outbound) = tokio::join!(waiting.handshake(), slow.join_next());
    inbound.expect("the handshake succeeds");
    outbound.expect("one task").expect("no panic").expect("the handshake succeeds");
}

/// Refused, or dropped unheard: that client gets an error, and the next one is served.
pub async fn a_connection_turned_away_harms_nobody(fixture: &dyn StreamFixture) {
    let listener = fixture.server().listen(anywhere()).await.expect("a free port");
    let target = fixture.target(listener.local_addr());
    for refuse in [true, false] {
        let client = fixture.client();
        let (outcome, ()) = tokio::join!(client.connect(&target), async {
            let incoming = listener.accept().await.expect("the listener is open");
            if refuse { incoming.refuse() } else { drop(incoming) }
        });
        let error = outcome.expect_err("turned away");
        assert!(!error.is_permanent(), "another time there may be room: {error}");
    }
    let link = Link::over(fixture, listener, target).await;
    let (client, server) = link.open().await;
    both(send_all(client.send, 21, 1000), receive_all(server.recv, 21, 1000)).await;
}

/// Streams do not need the `Outbound`, the `Inbound` or the `Listener` they came from.
pub async fn streams_live_on_without_the_handle_they_came_from(fixture: &dyn StreamFixture) {
    let link = Link::new(fixture).await;
    let (client, server) = link.open().await;
    drop(link);
    both(
        both(send_all(client.send, 22, 300_000), receive_all(client.recv, 23, 300_000)),
        both(send_all(server.send, 23, 300_000), receive_all(server.recv, 22, 300_000)),
    )
    .await;
}

/// Closing by either side, with one stream finished and another alive where they share a connection.
pub async fn closing_a_connection_ends_its_streams_but_harms_no_finished_one(fixture: &dyn StreamFixture) {
    for server_closes in [true, false] {
        let link = Link::new(fixture).await;
        let (mut client, mut server) = link.open().await;
        let (finished, alive) =
            if server_closes { (&mut server.send, &mut client) } else { (&mut client.send, &mut server) };
        finished.write_all(b"the last word").await.expect("there is room");
        finished.shutdown().await.expect("a clean end");
        if server_closes {
            link.inbound.close(5).await;
        } else {
            link.outbound.close(5).await;
        }
        let mut word = Vec::new();
        alive.recv.read_to_end(&mut word).await.expect("a finished stream is not harmed");
        assert_eq!(word, b"the last word");
        // The direction that had not finished is over for both.
        eventually_fails(&mut alive.send).await;
        let unfinished = if server_closes { &mut server.recv } else { &mut client.recv };
        unfinished.read_to_end(&mut Vec::new()).await.expect_err("the end was not clean");
        if server_closes {
            assert!(link.inbound.accept().await.is_none(), "a stream after the end");
        } else if fixture.capabilities().shares_connection {
            link.outbound.open().await.expect_err("nothing opens on a closed connection");
        }
    }
}

/// The first writes after the end may still fill buffers; they must not go on for ever.
async fn eventually_fails(send: &mut crate::stream::SendHalf) {
    loop {
        if let Err(error) = send.write_all(&[0; 1024]).await {
            stream_error::<()>(Err(error));
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// A pending accept ends, a later one too, and whoever is connected notices nothing.
pub async fn closing_a_listener_ends_accept_and_leaves_connections_alone(fixture: &dyn StreamFixture) {
    let Link { listener, outbound, inbound } = Link::new(fixture).await;
    let ((), (), ()) = tokio::join!(
        // Polled first, so that it waits when the listener is closed.
        async { assert!(listener.accept().await.is_none(), "a connection from nowhere") },
        async { assert!(listener.accept().await.is_none(), "a connection from nowhere") },
        listener.close(),
    );
    assert!(listener.accept().await.is_none(), "a closed listener is closed");
    let target = fixture.target(listener.local_addr());
    let link = Link { listener, outbound, inbound };
    let (client, server) = link.open().await;
    both(
        both(send_all(client.send, 24, 300_000), receive_all(client.recv, 25, 300_000)),
        both(send_all(server.send, 25, 300_000), receive_all(server.recv, 24, 300_000)),
    )
    .await;
    if fixture.capabilities().shares_connection {
        let (client, server) = link.open().await;
        both(send_all(client.send, 26, 1000), receive_all(server.recv, 26, 1000)).await;
    }
    fixture.client().connect(&target).await.expect_err("nobody listens any more");
}

/// Once its connections are gone as well, another listener may have the address.
pub async fn a_closed_listener_frees_its_address(fixture: &dyn StreamFixture) {
    let link = Link::new(fixture).await;
    let addr = link.listener.local_addr();
    drop(link.open().await);
    link.listener.close().await;
    drop(link);
    let server = fixture.server();
    let mut again = None;
    while again.is_none() {
        match server.listen(addr).await {
            Ok(listener) => again = Some(listener),
            Err(ListenError::AddressInUse { .. }) => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    let listener = again.expect("a listener");
    assert_eq!(listener.local_addr(), addr);
    let link = Link::over(fixture, listener, fixture.target(addr)).await;
    link.open().await;
}

/// Two listeners cannot share an address.
pub async fn an_address_in_use_says_so(fixture: &dyn StreamFixture) {
    let listener = fixture.server().listen(anywhere()).await.expect("a free port");
    let addr = listener.local_addr();
    let error = fixture.server().listen(addr).await.expect_err("it is taken");
    assert!(matches!(error, ListenError::AddressInUse { addr: said } if said == addr), "{error:?}");
    assert!(error.to_string().contains(&addr.to_string()), "{error}");
    // And the one who has it serves on.
    let mut bed = Bed::new(fixture).await;
    let outbound = bed.connect().await;
    bed.open(&*outbound).await;
    eventually("the listener lives", || listener.local_addr() == addr).await;
}
