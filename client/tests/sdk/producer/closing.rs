//! What a producer says of what it could not have acknowledged.

use std::time::Duration;

use sealstream_client::producer::Retry;
use sealstream_client::{DeliveryError, Record, SendError};
use sealstream_protocol::message::{Fault, FaultCode};
use tokio::time::Instant;

use super::{open, open_with};
use crate::fake::Fake;

#[tokio::test(start_paused = true)]
async fn close_reports_all_that_was_not_acknowledged_and_whether_it_may_be_stored() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open_with(&mut fake, &client, 2, |builder| builder.batch_records(3)).await;
    for partition in [0, 0, 0, 1, 1, 1] {
        drop(producer.send(Record::new("v").partition(partition)).await.unwrap());
    }
    let clone = producer.clone();
    let play = async {
        let produce = peer.batch().await;
        peer.ack(produce.request, 0).await;
        // The second batch is never answered.
        peer.batch().await;
        peer.hear_or_end().await
    };
    let begun = Instant::now();
    let patience = Duration::from_secs(7);
    let (closed, end) = tokio::join!(producer.close_within(patience), play);
    assert_eq!(end, None, "a clean end");
    let lost = closed.unwrap_err();
    assert_eq!((lost.records, lost.maybe_stored, lost.from), (3, 3, 3));
    assert!(matches!(lost.first, DeliveryError::Closed { maybe_stored: true }), "{lost}");
    assert!(
        lost.to_string().starts_with("3 records were not acknowledged, of which 3 may be stored: "),
        "{lost}"
    );
    assert!(begun.elapsed() >= patience && begun.elapsed() < patience + Duration::from_secs(5));
    assert!(matches!(clone.send(Record::new("w")).await, Err(SendError::Closed(_))));
}

#[tokio::test(start_paused = true)]
async fn close_takes_no_record_while_it_waits_and_forgets_no_failure_before_it() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = open(&mut fake, &client, 1).await;
    let delivery = producer.send(Record::new("a")).await.unwrap();
    let clone = producer.clone();
    let play = async {
        let produce = peer.batch().await;
        assert!(matches!(clone.send(Record::new("late")).await, Err(SendError::Closed(_))));
        peer.refuse(produce.request, Fault::new(FaultCode::Forbidden, "not yours")).await;
        assert_eq!(peer.hear_or_end().await, None);
        peer.finish().await;
    };
    let (closed, ()) = tokio::join!(producer.close(), play);
    let lost = closed.unwrap_err();
    assert_eq!((lost.records, lost.maybe_stored), (1, 0));
    assert_eq!(delivery.await.unwrap_err().retry(), Retry::Useless, "the same would be refused again");
}

#[test]
fn an_error_says_whether_sending_again_is_safe() {
    let after = Duration::from_secs(1);
    let busy = || Fault::new(FaultCode::Busy, "later");
    let cases = [
        (DeliveryError::TimedOut { after, maybe_stored: false, refusal: None }, Retry::Safe),
        (DeliveryError::TimedOut { after, maybe_stored: true, refusal: None }, Retry::MayDuplicate),
        (DeliveryError::Indeterminate, Retry::MayDuplicate),
        (DeliveryError::Refused { fault: busy(), maybe_stored: false }, Retry::Safe),
        (
            DeliveryError::Refused { fault: Fault::new(FaultCode::TooLarge, "no"), maybe_stored: false },
            Retry::Useless,
        ),
        (DeliveryError::Closed { maybe_stored: false }, Retry::Useless),
    ];
    for (error, retry) in cases {
        assert_eq!(error.retry(), retry, "{error}");
    }
}
