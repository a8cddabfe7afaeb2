//! Reports of batches, in order, and the low watermark.

use futures_util::{FutureExt as _, StreamExt};
use sealstream_client::Record;
use sealstream_client::producer::TrySendError;
use sealstream_protocol::message::{Fault, FaultCode};

use crate::fake::Fake;

#[tokio::test(start_paused = true)]
async fn the_low_watermark_waits_for_the_slowest_partition_and_reports_do_not() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let builder = client.producer("t").batch_records(2);
    let (opened, mut peer) = tokio::join!(builder.open_with_reports(), fake.produce_session(2));
    let (producer, mut reports) = opened.unwrap();
    let mut numbers = Vec::new();
    for partition in [0, 1, 0, 1, 1, 1] {
        numbers.push(producer.send(Record::new("v").partition(partition)).await.unwrap().number());
    }
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5]);
    assert_eq!(producer.low_watermark(), 0);
    let mut batches = [Vec::new(), Vec::new()];
    for _ in 0..3 {
        let produce = peer.batch().await;
        batches[produce.partition as usize].push(produce.request);
    }
    assert!(reports.next().now_or_never().is_none(), "nothing is settled");
    peer.ack(batches[1][0], 70).await;
    peer.ack(batches[1][1], 72).await;
    let (first, second) = (reports.next().await.unwrap(), reports.next().await.unwrap());
    assert_eq!((first.partition, first.records, first.outcome.unwrap()), (1, 2, 70..72));
    assert_eq!((second.partition, second.outcome.unwrap()), (1, 72..74));
    assert_eq!((first.low_watermark, second.low_watermark), (0, 0), "partition 0 is not settled");
    peer.refuse(batches[0][0], Fault::new(FaultCode::Forbidden, "not yours")).await;
    let third = reports.next().await.unwrap();
    assert!(third.outcome.is_err(), "a failure is a settlement too");
    assert_eq!((third.partition, third.low_watermark), (0, 6));
    assert_eq!(producer.low_watermark(), 6);
    let end = async {
        assert_eq!(peer.hear_or_end().await, None);
        peer.finish().await;
    };
    let (closed, ()) = tokio::join!(producer.close(), end);
    assert_eq!(closed.unwrap_err().records, 2);
    assert!(StreamExt::next(&mut reports).await.is_none(), "a closed producer has nothing to report");
}

#[tokio::test(start_paused = true)]
async fn reports_that_nobody_reads_hold_the_producer_back_until_they_are_read_or_dropped() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let builder = client.producer("t").batch_records(1).window_batches(3);
    let (opened, mut peer) = tokio::join!(builder.open_with_reports(), fake.produce_session(1));
    let (producer, mut reports) = opened.unwrap();
    let mut deliveries = Vec::new();
    for offset in 0..3 {
        deliveries.push(producer.send(Record::new("v")).await.unwrap());
        let produce = peer.batch().await;
        peer.ack(produce.request, offset).await;
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    assert!(matches!(producer.try_send(Record::new("v")), Err(TrySendError::WindowFull)));
    let mut waiting = Box::pin(producer.send(Record::new("v")));
    assert!((&mut waiting).now_or_never().is_none());
    assert_eq!(reports.next().await.unwrap().low_watermark, 1);
    let _delivery = waiting.await.expect("there is a place again");
    let mut waiting = Box::pin(producer.send(Record::new("v")));
    assert!((&mut waiting).now_or_never().is_none());
    drop(reports);
    let _delivery = waiting.await.expect("nobody wants reports any more");
}

#[tokio::test(start_paused = true)]
async fn a_producer_that_is_dropped_reports_what_it_gives_up_and_ends() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (opened, mut peer) = tokio::join!(client.producer("t").open_with_reports(), fake.produce_session(1));
    let (producer, mut reports) = opened.unwrap();
    drop(producer.send(Record::new("v")).await.unwrap());
    peer.batch().await;
    drop(producer);
    let report = reports.next().await.expect("a report");
    assert!(report.outcome.unwrap_err().maybe_stored());
    assert!(reports.next().await.is_none());
}
