//! Bytes arrive, whole, in order and in their own stream.

use std::io::IoSlice;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;

use super::bed::{Bed, Link, both};
use super::fixture::StreamFixture;
use crate::stream::{RecvHalf, SendHalf, Stream};
use crate::testing::Pattern;

/// Enough to go through every window, buffer and key of a backend many times over.
const BULK: u64 = 64 * 1024 * 1024;

/// The streams of one connection that must work at once.
const MANY: u32 = 256;

/// What each of many streams carries each way: more than a TLS record, a QUIC packet and a pipe together hold at once.
const SHARE: u64 = 80 * 1024;

/// The bytes that `seed` stands for, then a clean end.
pub(super) async fn send_all(mut to: SendHalf, seed: u32, count: u64) {
    let mut pattern = Pattern::new(seed);
    pattern.write(&mut to, count).await.expect("the peer reads on");
    to.shutdown().await.expect("the peer reads to the end");
}

/// Exactly the bytes that `seed` stands for, then a clean end.
pub(super) async fn receive_all(mut from: RecvHalf, seed: u32, count: u64) {
    let mut pattern = Pattern::new(seed);
    pattern.read_to_end(&mut from).await.expect("a clean end");
    assert_eq!(pattern.passed(), count, "bytes before the end");
}

/// 64 MiB each way at once.
pub async fn bytes_arrive_whole_and_in_order_with_64_mib_each_way_at_once(fixture: &dyn StreamFixture) {
    let (client, server) = Link::new(fixture).await.open().await;
    both(
        both(send_all(client.send, 1, BULK), receive_all(client.recv, 2, BULK)),
        both(send_all(server.send, 2, BULK), receive_all(server.recv, 1, BULK)),
    )
    .await;
}

/// What is flushed arrives without an end or more bytes behind it.
pub async fn a_request_is_answered_while_both_directions_stay_open(fixture: &dyn StreamFixture) {
    const ROUNDS: u32 = 200;
    let (mut client, mut server) = Link::new(fixture).await.open().await;
    let answering = async move {
        let mut request = [0; 100];
        for _ in 0..ROUNDS {
            server.recv.read_exact(&mut request).await.expect("a request");
            server.send.write_all(&request).await.expect("an answer");
            server.send.flush().await.expect("an answer");
        }
        server
    };
    let asking = async move {
        let mut pattern = Pattern::new(3);
        for _ in 0..ROUNDS {
            let mut answer = pattern.clone();
            pattern.write(&mut client.send, 100).await.expect("a request");
            answer.read(&mut client.recv, 100).await.expect("an answer");
        }
        client
    };
    both(asking, answering).await;
}

/// Ten thousand writes of one to thirteen bytes, with a flush now and then.
pub async fn many_small_writes_arrive_as_one_sequence(fixture: &dyn StreamFixture) {
    let (mut client, server) = Link::new(fixture).await.open().await;
    let writing = async move {
        let mut pattern = Pattern::new(4);
        for round in 0..10_000 {
            let bytes = pattern.peek(1 + round % 13);
            client.send.write_all(bytes).await.expect("the peer reads on");
            pattern.pass(bytes.len());
            if round % 97 == 0 {
                client.send.flush().await.expect("the peer reads on");
            }
        }
        client.send.shutdown().await.expect("the peer reads to the end");
        pattern.passed()
    };
    let reading = async move {
        let (mut pattern, mut from) = (Pattern::new(4), server.recv);
        pattern.read_to_end(&mut from).await.expect("a clean end");
        pattern.passed()
    };
    let (written, read) = both(writing, reading).await;
    assert_eq!(written, read);
}

/// A header and its payload in one call are one sequence, whether the backend takes all of it or a part.
pub async fn vectored_writes_keep_their_order(fixture: &dyn StreamFixture) {
    const COUNT: u64 = 3 * 1024 * 1024;
    let (mut client, server) = Link::new(fixture).await.open().await;
    let writing = async move {
        let mut pattern = Pattern::new(5);
        while pattern.passed() < COUNT {
            let mut next = pattern.clone();
            let slices = [9, 0, 1000, 70_000].map(|length| {
                let slice = next.peek(length);
                next.pass(slice.len());
                IoSlice::new(slice)
            });
            let written = client.send.write_vectored(&slices).await.expect("the peer reads on");
            assert!(written > 0, "a write that takes nothing");
            pattern.pass(written);
        }
        client.send.shutdown().await.expect("the peer reads to the end");
        pattern.passed()
    };
    let reading = async move {
        let (mut pattern, mut from) = (Pattern::new(5), server.recv);
        pattern.read_to_end(&mut from).await.expect("a clean end");
        pattern.passed()
    };
    let (written, read) = both(writing, reading).await;
    assert_eq!(written, read);
}

/// All of them are open before the first one carries anything, and each carries its own bytes, both ways.
pub async fn two_hundred_and_fifty_six_streams_at_once_carry_their_own_bytes(fixture: &dyn StreamFixture) {
    let mut bed = Bed::new(fixture).await;
    let outbound = bed.connect().await;
    let mut streams = Vec::new();
    for _ in 0..MANY {
        streams.push(bed.open(&*outbound).await);
    }
    exchange(streams).await;
}

/// Exchanges a share of bytes each way on all of these streams at once.
async fn exchange(streams: Vec<(Stream, Stream)>) {
    let mut tasks = JoinSet::new();
    for (seed, (client, server)) in (0..).step_by(2).zip(streams) {
        tasks.spawn(send_all(client.send, seed, SHARE));
        tasks.spawn(receive_all(client.recv, seed + 1, SHARE));
        tasks.spawn(send_all(server.send, seed + 1, SHARE));
        tasks.spawn(receive_all(server.recv, seed, SHARE));
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("every stream is whole");
    }
}

/// Eight streams carry bytes both ways; half-way each side drops one. The six others arrive whole.
pub async fn streams_dropped_by_either_side_hurt_no_other(fixture: &dyn StreamFixture) {
    let mut bed = Bed::new(fixture).await;
    let outbound = bed.connect().await;
    let mut streams = Vec::new();
    for _ in 0..8 {
        streams.push(bed.open(&*outbound).await);
    }
    let mut doomed = Vec::new();
    for seed in [100, 101] {
        let (mut client, mut server) = streams.swap_remove(0);
        let mut pattern = Pattern::new(seed);
        let mut echo = pattern.clone();
        pattern.write(&mut client.send, 1000).await.expect("the peer reads on");
        echo.read(&mut server.recv, 1000).await.expect("the peer writes on");
        // In flight when its end comes.
        pattern.write(&mut client.send, 30_000).await.expect("there is room");
        doomed.push((client, server));
    }
    let carrying = exchange(streams);
    let dropping = async move {
        let (first, second) = (doomed.remove(0), doomed.remove(0));
        drop(first.0);
        drop(second.1);
        (first.1, second.0)
    };
    tokio::join!(carrying, dropping);
    // And the connection still takes new ones.
    let (client, server) = bed.open(&*outbound).await;
    exchange(vec![(client, server)]).await;
}

/// Who is on the other side is on the stream too.
pub async fn every_stream_names_its_peer(fixture: &dyn StreamFixture) {
    let link = Link::new(fixture).await;
    let kind = fixture.server().kind();
    let (client, server) = link.open().await;
    for peer in [&client.peer, &server.peer, link.outbound.peer(), link.inbound.peer()] {
        assert_eq!(peer.transport, kind);
    }
    assert_eq!(client.peer.remote_addr, link.listener.local_addr());
    assert_eq!(link.outbound.peer().remote_addr, link.listener.local_addr());
    assert_eq!(server.peer.remote_addr, link.inbound.peer().remote_addr);
    assert_ne!(server.peer.remote_addr, client.peer.remote_addr);
}
