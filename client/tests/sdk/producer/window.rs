//! Room that is taken before there is a record.

use futures_util::FutureExt as _;
use sealstream_client::producer::TrySendError;
use sealstream_client::{Record, SendError};

use super::{open_with, values};
use crate::fake::Fake;

const VALUE: &str = "twenty bytes of text";

#[tokio::test(start_paused = true)]
async fn a_permit_keeps_its_room_until_it_is_used_or_dropped() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let size = Record::new(VALUE).size();
    // Room for two records, and not for a third.
    let window = 3 * size - 1;
    let (producer, mut peer) =
        open_with(&mut fake, &client, 1, |builder| builder.window_bytes(window).batch_records(1)).await;
    let first = producer.reserve(size).await.unwrap();
    let second = producer.try_reserve(size).unwrap();
    assert!(matches!(producer.try_reserve(size), Err(TrySendError::WindowFull)));
    assert!(matches!(producer.try_send(Record::new(VALUE)), Err(TrySendError::WindowFull)));
    let mut waiting = Box::pin(producer.reserve(size));
    assert!((&mut waiting).now_or_never().is_none());
    drop(second);
    let third = waiting.await.unwrap();
    let stored = (first.send(Record::new(VALUE)).unwrap(), third.send(Record::new(VALUE)).unwrap());
    for base in 0..2 {
        let produce = peer.batch().await;
        assert_eq!(values(&produce), [VALUE]);
        peer.ack(produce.request, base).await;
    }
    assert_eq!(stored.0.await.unwrap().offset, 0);
    assert_eq!(stored.1.await.unwrap().offset, 1);
    drop(producer.try_reserve(window).expect("all of the window is free again"));
}

#[tokio::test(start_paused = true)]
async fn who_has_a_permit_never_waits_for_a_place_of_its_batch() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) =
        open_with(&mut fake, &client, 2, |builder| builder.window_batches(2).batch_records(1)).await;
    let size = Record::new(VALUE).size();
    let permit = producer.reserve(size).await.unwrap();
    let _first = producer.try_send(Record::new(VALUE).partition(0)).unwrap();
    assert!(matches!(producer.try_send(Record::new(VALUE).partition(1)), Err(TrySendError::WindowFull)));
    let kept = permit.send(Record::new(VALUE).partition(1)).unwrap();
    for _ in 0..2 {
        let produce = peer.batch().await;
        peer.ack(produce.request, 9).await;
    }
    assert_eq!(kept.await.unwrap().offset, 9);
}

#[tokio::test(start_paused = true)]
async fn a_permit_takes_no_larger_record_than_it_is_for_and_gives_its_room_back_then() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let size = Record::new(VALUE).size();
    let (producer, _peer) = open_with(&mut fake, &client, 1, |builder| builder.window_bytes(size)).await;
    let permit = producer.reserve(size).await.unwrap();
    assert_eq!(permit.size(), size);
    let error = permit.send(Record::new("twenty-one bytes here")).unwrap_err();
    assert!(matches!(error, SendError::ExceedsPermit { reserved, .. } if reserved == size), "{error}");
    let unsendable = producer.reserve(size).await.unwrap().send(Record::new("x").partition(4));
    assert!(matches!(unsendable, Err(SendError::UnknownPartition { .. })));
    let endless = producer.reserve(usize::MAX / 2).await;
    assert!(matches!(endless, Err(SendError::TooLarge { .. })), "nobody would ever be served");
    drop(producer.try_reserve(size).expect("nothing is held"));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_for_room_are_served_in_turn() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let size = Record::new(VALUE).size();
    let (producer, mut peer) =
        open_with(&mut fake, &client, 1, |builder| builder.window_bytes(size).batch_records(1)).await;
    let _first = producer.send(Record::new(VALUE)).await.unwrap();
    let mut large = Box::pin(producer.reserve(size));
    assert!((&mut large).now_or_never().is_none());
    let mut small = Box::pin(producer.send(Record::new("")));
    assert!((&mut small).now_or_never().is_none());
    assert!(
        matches!(producer.try_send(Record::new("")), Err(TrySendError::WindowFull)),
        "nobody jumps the queue"
    );
    let produce = peer.batch().await;
    peer.ack(produce.request, 0).await;
    let permit = large.await.unwrap();
    assert!((&mut small).now_or_never().is_none(), "all the room is the permit's");
    drop(permit);
    let _delivery = small.await.unwrap();
}
