//! Back-pressure: a reader that stops holds its writer, and a reader that is gone lets go of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

use super::bed::{Link, both, stream_error};
use super::fixture::StreamFixture;
use crate::stream::{RecvHalf, SendHalf, StreamError};
use crate::testing::{Pattern, eventually, polled};

/// A writer that got rid of nothing for this long counts as held. Guessing too early would only make the test milder.
const QUIET: Duration = Duration::from_millis(300);

/// A client whose server stops reading is held, and nothing of what it wrote is lost.
pub async fn a_reader_that_stops_holds_the_client_within_the_bound(fixture: &dyn StreamFixture) {
    let (client, server) = Link::new(fixture).await.open().await;
    hold(client.send, server.recv, fixture.capabilities().stalled_bytes).await;
    drop((client.recv, server.send));
}

/// The same, the other way.
pub async fn a_reader_that_stops_holds_the_server_within_the_bound(fixture: &dyn StreamFixture) {
    let (client, server) = Link::new(fixture).await.open().await;
    hold(server.send, client.recv, fixture.capabilities().stalled_bytes).await;
    drop((server.recv, client.send));
}

async fn hold(mut send: SendHalf, mut recv: RecvHalf, bound: u64) {
    let count = 2 * bound;
    let written = Arc::new(AtomicU64::new(0));
    let progress = written.clone();
    let mut writer = JoinSet::new();
    writer.spawn(async move {
        let mut pattern = Pattern::new(6);
        while pattern.passed() < count {
            pattern.write(&mut send, 16 * 1024).await.expect("the peer reads on");
            progress.store(pattern.passed(), Ordering::SeqCst);
        }
        send.shutdown().await.expect("the peer reads to the end");
        pattern.passed()
    });
    let mut seen = (0, tokio::time::Instant::now());
    eventually("the writer is held", || {
        let now = written.load(Ordering::SeqCst);
        if now != seen.0 {
            seen = (now, tokio::time::Instant::now());
        }
        seen.1.elapsed() > QUIET
    })
    .await;
    assert!(seen.0 <= bound, "a writer got rid of {} bytes, more than {bound}, while nobody read", seen.0);
    let mut pattern = Pattern::new(6);
    pattern.read_to_end(&mut recv).await.expect("a clean end");
    let written = writer.join_next().await.expect("one task").expect("no panic");
    assert_eq!(pattern.passed(), written);
}

/// Where the backend can, at once; elsewhere as soon as the reader's other half is gone too.
pub async fn a_blocked_writer_learns_that_nobody_reads_any_more(fixture: &dyn StreamFixture) {
    let (mut client, server) = Link::new(fixture).await.open().await;
    let writing = async move {
        let mut pattern = Pattern::new(7);
        let outcome = pattern.write(&mut client.send, u64::MAX / 2).await;
        stream_error(outcome)
    };
    let stops = fixture.capabilities().stops_writers;
    let leaving = async move {
        drop(server.recv);
        if stops { Some(server.send) } else { None }
    };
    let (error, _other_half) = both(writing, leaving).await;
    if stops {
        assert!(matches!(error, StreamError::Stopped { .. }), "{error:?}");
    }
}

/// `stop` gives a code, where codes are carried.
pub async fn a_reader_may_give_its_reason_to_stop(fixture: &dyn StreamFixture) {
    let (mut client, server) = Link::new(fixture).await.open().await;
    if !fixture.capabilities().stops_writers {
        // The writer must not be told of an end that is none either.
        server.recv.stop(42);
        let mut pattern = Pattern::new(8);
        polled(3, pattern.write(&mut client.send, 1000)).await.expect("there is room").expect("no error");
        return;
    }
    server.recv.stop(42);
    let error = stream_error(Pattern::new(8).write(&mut client.send, u64::MAX / 2).await);
    let code = fixture.capabilities().carries_codes.then_some(42);
    assert_eq!(error, StreamError::Stopped { code });
    // Not even an end can be delivered now.
    client.send.shutdown().await.expect_err("nobody is there to see the end");
}
