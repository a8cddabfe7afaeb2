//! A clean end, an abort and a crash are told apart, with data in flight.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;

use super::bed::{Link, anywhere, both, stream_error};
use super::fixture::{BreakablePath, StreamFixture};
use super::transfer::{receive_all, send_all};
use crate::stream::{RecvHalf, SendHalf, Stream, StreamError};
use crate::testing::{Pattern, polled};

/// A megabyte does not fit into any backend's pipe at once.
const MEGABYTE: u64 = 1024 * 1024;

/// What certainly fits: in flight while nobody reads.
const IN_FLIGHT: u64 = 48 * 1024;

/// The code that aborts carry.
const CODE: u32 = 77;

/// The client ends first.
pub async fn the_server_still_writes_after_the_client_has_ended(fixture: &dyn StreamFixture) {
    let (client, server) = Link::new(fixture).await.open().await;
    half_close(client, server).await;
}

/// The server ends first.
pub async fn the_client_still_writes_after_the_server_has_ended(fixture: &dyn StreamFixture) {
    let (client, server) = Link::new(fixture).await.open().await;
    half_close(server, client).await;
}

async fn half_close(first: Stream, second: Stream) {
    let ending = async move {
        send_all(first.send, 10, 1000).await;
        receive_all(first.recv, 11, MEGABYTE).await;
    };
    let outlasting = async move {
        // The other's end is seen before this direction begins.
        receive_all(second.recv, 10, 1000).await;
        send_all(second.send, 11, MEGABYTE).await;
    };
    both(ending, outlasting).await;
}

/// No byte is needed to end.
pub async fn an_empty_stream_ends_cleanly(fixture: &dyn StreamFixture) {
    let link = Link::new(fixture).await;
    let mut client = link.outbound.open().await.expect("a stream");
    let (ended, accepted) = tokio::join!(client.send.shutdown(), link.inbound.accept());
    ended.expect("a clean end");
    let server = accepted.expect("a stream is known by its end too");
    receive_all(server.recv, 0, 0).await;
    let ((), ()) = both(send_all(server.send, 12, 10), receive_all(client.recv, 12, 10)).await;
}

/// Nothing more can be written, and reading again finds the end again.
pub async fn after_its_end_a_stream_stays_ended(fixture: &dyn StreamFixture) {
    let (mut client, mut server) = Link::new(fixture).await.open().await;
    client.send.shutdown().await.expect("a clean end");
    client.send.shutdown().await.expect("to end twice is to end");
    client.send.write_all(b"more").await.expect_err("nothing follows an end");
    for _ in 0..2 {
        assert_eq!(server.recv.read(&mut [0; 8]).await.expect("a clean end"), 0);
    }
}

/// `abort`, from either side.
pub async fn an_abort_with_data_in_flight_is_never_a_clean_end(fixture: &dyn StreamFixture) {
    let code = fixture.capabilities().carries_codes.then_some(CODE);
    let (client, server) = Link::new(fixture).await.open().await;
    assert_eq!(
        give_up(client.send, server.recv, |send| send.abort(CODE)).await,
        StreamError::Aborted { code }
    );
    let (client, server) = Link::new(fixture).await.open().await;
    assert_eq!(
        give_up(server.send, client.recv, |send| send.abort(CODE)).await,
        StreamError::Aborted { code }
    );
}

/// Dropping is aborting, with code 0.
pub async fn a_dropped_send_half_aborts_with_data_in_flight(fixture: &dyn StreamFixture) {
    let code = fixture.capabilities().carries_codes.then_some(0);
    let (client, server) = Link::new(fixture).await.open().await;
    assert_eq!(give_up(client.send, server.recv, drop).await, StreamError::Aborted { code });
    let (client, server) = Link::new(fixture).await.open().await;
    assert_eq!(give_up(server.send, client.recv, drop).await, StreamError::Aborted { code });
}

/// Puts bytes in flight, ends the stream by `end`, and reads what the reader makes of it.
async fn give_up(mut send: SendHalf, mut recv: RecvHalf, end: impl FnOnce(SendHalf)) -> StreamError {
    let mut pattern = Pattern::new(13);
    pattern.write(&mut send, IN_FLIGHT).await.expect("there is room");
    end(send);
    stream_error(Pattern::new(13).read_to_end(&mut recv).await)
}

/// A task that panics drops both halves at once, with a write half-way.
pub async fn a_dropped_stream_is_never_a_clean_end(fixture: &dyn StreamFixture) {
    let (mut client, mut server) = Link::new(fixture).await.open().await;
    // Until the write waits for the reader.
    polled(1, Pattern::new(14).write(&mut client.send, 64 * MEGABYTE)).await;
    drop(client);
    let error = stream_error(Pattern::new(14).read_to_end(&mut server.recv).await);
    assert!(matches!(error, StreamError::Aborted { .. }), "{error:?}");
}

/// Giving up one direction says nothing about the other.
pub async fn an_abort_of_one_direction_leaves_the_other_whole(fixture: &dyn StreamFixture) {
    let (client, mut server) = Link::new(fixture).await.open().await;
    client.send.abort(CODE);
    stream_error(server.recv.read_u8().await);
    both(send_all(server.send, 15, MEGABYTE), receive_all(client.recv, 15, MEGABYTE)).await;
}

/// The peer vanishes while its bytes are under way.
pub async fn a_crash_with_data_in_flight_is_never_a_clean_end(fixture: &dyn StreamFixture) {
    let (link, path) = breakable(fixture).await;
    let (mut client, mut server) = link.open().await;
    Pattern::new(16).write(&mut client.send, IN_FLIGHT).await.expect("there is room");
    let mut pattern = Pattern::new(16);
    pattern.read(&mut server.recv, 1000).await.expect("what was sent");
    path.cut();
    let error = stream_error(pattern.read_to_end(&mut server.recv).await);
    assert_crash(fixture, &error);
}

/// Whoever only writes, or only waits for streams, learns of it too.
pub async fn a_crash_reaches_a_writer_and_the_server(fixture: &dyn StreamFixture) {
    let (link, path) = breakable(fixture).await;
    let (mut client, server) = link.open().await;
    let (ready, cut) = oneshot::channel();
    let writing = async move {
        let mut pattern = Pattern::new(17);
        pattern.write(&mut client.send, 1000).await.expect("there is room");
        ready.send(()).expect("the test waits");
        stream_error(pattern.write(&mut client.send, u64::MAX / 2).await)
    };
    let cutting = async move {
        cut.await.expect("the writer writes");
        path.cut();
    };
    let (error, ()) = both(writing, cutting).await;
    assert_crash(fixture, &error);
    drop(server);
    assert!(link.inbound.accept().await.is_none(), "a stream out of a dead connection");
}

async fn breakable(fixture: &dyn StreamFixture) -> (Link, Box<dyn BreakablePath>) {
    let listener = fixture.server().listen(anywhere()).await.expect("a free port");
    let path = fixture.breakable_path(listener.local_addr()).await;
    let target = fixture.target(path.entrance());
    (Link::over(fixture, listener, target).await, path)
}

fn assert_crash(fixture: &dyn StreamFixture, error: &StreamError) {
    match error {
        StreamError::ConnectionLost { .. } => {}
        StreamError::Aborted { .. } => {
            assert!(!fixture.capabilities().tells_crash_from_abort, "a crash looks like an abort");
        }
        StreamError::Stopped { .. } | StreamError::Distrusted(_) | StreamError::Refused { .. } => {
            panic!("a crash looks like {error:?}")
        }
    }
}

/// The client says goodbye to everything it holds.
pub async fn a_megabyte_then_shutdown_and_the_drop_of_all_handles_arrives_whole_from_the_client(
    fixture: &dyn StreamFixture,
) {
    let link = Link::new(fixture).await;
    let (client, server) = link.open().await;
    arrives_whole(client, link.outbound, server).await;
}

/// The server says goodbye to everything it holds.
pub async fn a_megabyte_then_shutdown_and_the_drop_of_all_handles_arrives_whole_from_the_server(
    fixture: &dyn StreamFixture,
) {
    let link = Link::new(fixture).await;
    let (client, server) = link.open().await;
    arrives_whole(server, (link.inbound, link.listener), client).await;
}

/// The reader leaves the last bytes unread until the writer has dropped all it has: `handles` and the stream.
async fn arrives_whole(writer: Stream, handles: impl Send + 'static, mut reader: Stream) {
    let (gone, is_gone) = oneshot::channel();
    let writing = async move {
        let mut writer = writer;
        Pattern::new(18).write(&mut writer.send, MEGABYTE).await.expect("the peer reads on");
        writer.send.shutdown().await.expect("the peer acknowledges the end");
        drop((writer, handles));
        gone.send(()).expect("the reader waits");
    };
    let reading = async move {
        let mut pattern = Pattern::new(18);
        pattern.read(&mut reader.recv, MEGABYTE - IN_FLIGHT).await.expect("all but the last bytes");
        is_gone.await.expect("the writer finishes");
        pattern.read_to_end(&mut reader.recv).await.expect("a clean end");
        assert_eq!(pattern.passed(), MEGABYTE);
    };
    both(writing, reading).await;
}

/// On TCP a socket closed with unread input sends RST and destroys what it said last, if nobody prevents it.
pub async fn a_last_word_arrives_although_its_writer_left_input_unread(fixture: &dyn StreamFixture) {
    let link = Link::new(fixture).await;
    let (mut client, server) = link.open().await;
    Pattern::new(19).write(&mut client.send, IN_FLIGHT).await.expect("there is room");
    arrives_whole(server, (link.inbound, link.listener), client).await;
}
