//! Producers as sinks.

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _, stream};
use sealstream_client::SendError;
use sealstream_client::producer::{OwnedRecord, SinkError};
use sealstream_protocol::message::{Fault, FaultCode};

use super::{open, open_with, values};
use crate::fake::Fake;

#[tokio::test(start_paused = true)]
async fn a_stream_is_forwarded_in_order_within_the_window_and_the_producer_closed_behind_it() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    // One batch of one record at a time.
    let (producer, mut peer) =
        open_with(&mut fake, &client, 1, |builder| builder.window_bytes(1).batch_records(1)).await;
    let records = stream::iter((0..20).map(|n| Ok(OwnedRecord::new(n.to_string()).key("k"))));
    let play = async {
        let mut seen = Vec::new();
        while seen.len() < 20 {
            let produce = peer.batch().await;
            seen.extend(values(&produce));
            assert!(peer.reader.next().now_or_never().is_none(), "the window holds one record");
            peer.ack(produce.request, seen.len() as u64 - 1).await;
        }
        assert_eq!(peer.hear_or_end().await, None);
        peer.finish().await;
        seen
    };
    let (forwarded, seen) = tokio::join!(records.forward(producer.sink()), play);
    forwarded.unwrap();
    assert_eq!(seen, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_sent_is_told_and_the_sink_goes_on() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let mut sink = producer.sink();
    let bad = OwnedRecord::new("bad").partition(7);
    let error = sink.send(bad).await.unwrap_err();
    assert!(matches!(error, SinkError::Send(SendError::UnknownPartition { .. })), "{error}");
    let play = async {
        let produce = peer.batch().await;
        assert_eq!(values(&produce), ["good"]);
        peer.refuse(produce.request, Fault::new(FaultCode::Forbidden, "not yours")).await;
    };
    let (flushed, ()) = tokio::join!(sink.send(OwnedRecord::new("good")), play);
    let error = flushed.unwrap_err();
    assert!(matches!(error, SinkError::NotAcknowledged(ref lost) if lost.records == 1), "{error}");
}
