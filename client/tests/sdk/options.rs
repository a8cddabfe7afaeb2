//! What the types promise by themselves: options are checked, and everything can be sent between threads.

use std::time::Duration;

use sealstream_client::consumer::ConsumedBatch;
use sealstream_client::group::{DeadLetters, GroupBatch, GroupEvents, GroupHandle};
use sealstream_client::producer::{BatchDelivery, DeliveryReports};
use sealstream_client::{
    Admin, Client, ClientBuilder, ConsumeError, Consumer, ConsumerRecord, Delivery, DeliveryError,
    GroupConsumer, GroupRecord, NotAcknowledged, OptionError, OwnedRecord, Producer, RecordSink, RetryPolicy,
    SendPermit, SessionError,
};

use crate::fake::Fake;

/// Compiles or does not.
#[test]
fn everything_a_program_holds_is_send_and_sync_and_handles_are_cheap_to_clone() {
    fn between_threads<T: Send + Sync + 'static>() {}
    fn shared<T: Clone + Send + Sync + 'static>() {
        // An `Arc` or two, and never the thing itself.
        assert!(size_of::<T>() <= size_of::<[usize; 8]>(), "{} bytes", size_of::<T>());
    }
    shared::<Client>();
    shared::<Producer>();
    shared::<Admin>();
    between_threads::<GroupHandle>();
    between_threads::<ClientBuilder>();
    between_threads::<Consumer>();
    between_threads::<GroupConsumer>();
    between_threads::<GroupEvents>();
    between_threads::<DeadLetters>();
    between_threads::<Delivery>();
    between_threads::<BatchDelivery>();
    between_threads::<DeliveryReports>();
    between_threads::<SendPermit>();
    between_threads::<RecordSink>();
    between_threads::<ConsumedBatch>();
    between_threads::<ConsumerRecord>();
    between_threads::<GroupRecord>();
    between_threads::<GroupBatch>();
    between_threads::<OwnedRecord>();
    between_threads::<(SessionError, DeliveryError, NotAcknowledged, ConsumeError)>();
}

/// Compiles or does not.
#[test]
fn what_a_program_awaits_can_be_awaited_in_any_task() {
    fn in_a_task<T: Send>(_: &T) {}
    let client = Client::builder().url("tls://localhost").build().unwrap();
    in_a_task(&client.hello());
    in_a_task(&client.ping());
    in_a_task(&client.producer("t").open());
    in_a_task(&client.producer("t").open_with_reports());
    in_a_task(&client.consumer("t").open());
    in_a_task(&client.group_consumer("g").topic("t").open());
    in_a_task(&client.admin().list_topics());
    in_a_task(&client.close());
    let _ = |producer: Producer| {
        in_a_task(&producer.send(sealstream_client::Record::new("v")));
        in_a_task(&producer.reserve(1));
        in_a_task(&producer.flush());
        in_a_task(&producer.close());
    };
    let _ = |mut consumer: Consumer| {
        in_a_task(&consumer.next());
        in_a_task(&consumer.next_batch());
        in_a_task(&consumer.close());
    };
    let _ = |mut consumer: GroupConsumer| {
        in_a_task(&consumer.next());
        in_a_task(&consumer.next_batch());
        in_a_task(&consumer.commit());
        in_a_task(&consumer.close());
    };
}

#[track_caller]
fn refused(error: impl std::error::Error, says: &str) {
    assert_eq!(error.to_string(), says);
}

#[tokio::test]
async fn an_option_out_of_bounds_is_an_error_that_names_option_value_and_bound() {
    let fake = Fake::start().await;
    let build = |change: fn(ClientBuilder) -> ClientBuilder| change(fake.builder()).build().unwrap_err();
    refused(
        build(|builder| builder.idle(Duration::ZERO)),
        "the option idle is 0ns: it must be longer than zero",
    );
    refused(
        build(|builder| builder.connect_timeout(Duration::ZERO)),
        "the option connect_timeout is 0ns: it must be longer than zero",
    );
    refused(
        build(|builder| builder.max_frame(1 << 30)),
        "the option max_frame is 1073741824: it must be 65536 to 16777216",
    );
    refused(
        build(|builder| builder.retry(RetryPolicy::default().min_backoff(Duration::ZERO))),
        "the option retry.min_backoff is 0ns: it must be no shorter than 1ms",
    );
    let upside_down =
        |builder: ClientBuilder| builder.retry(RetryPolicy::default().max_backoff(Duration::from_millis(1)));
    refused(
        build(upside_down),
        "the option retry.max_backoff is 1ms: it must be no shorter than min_backoff, 50ms",
    );
    let client = fake.client();
    let producer = |change: fn(_) -> _| {
        let builder: sealstream_client::producer::ProducerBuilder = change(client.producer("t"));
        async move { builder.open().await.unwrap_err() }
    };
    refused(
        producer(|builder| builder.batch_records(0)).await,
        "the option batch_records is 0: it must be 1 to 2000000",
    );
    refused(
        producer(|builder| builder.batch_bytes(0)).await,
        "the option batch_bytes is 0: it must be at least 1",
    );
    refused(
        producer(|builder| builder.window_bytes(0)).await,
        "the option window_bytes is 0: it must be at least 1",
    );
    refused(
        producer(|builder| builder.window_batches(2_000_000)).await,
        "the option window_batches is 2000000: it must be 1 to 1000000",
    );
    refused(
        producer(|builder| builder.delivery_timeout(Duration::ZERO)).await,
        "the option delivery_timeout is 0ns: it must be longer than zero",
    );
    refused(
        client.consumer("t").buffer_bytes(0).open().await.unwrap_err(),
        "the option buffer_bytes is 0: it must be at least 1",
    );
    refused(
        client
            .group_consumer("g")
            .topic("t")
            .commit_every(Duration::from_millis(1))
            .open()
            .await
            .unwrap_err(),
        "the option commit_every is 1ms: it must be no shorter than 10ms",
    );
    assert_eq!(fake.connections(), 0, "nothing was sent");
}

#[test]
fn an_option_error_can_be_taken_apart() {
    let error = Client::builder().url("tls://localhost").close_timeout(Duration::ZERO).build().unwrap_err();
    let sealstream_client::BuildError::Option(error) = error else { panic!("{error}") };
    let OptionError { option, value, .. } = error;
    assert_eq!((option, value.as_str()), ("close_timeout", "0ns"));
}
