//! Futures that are dropped in the middle: nothing is lost, nothing is there twice.
//!
//! Each call is polled a random number of times and dropped if it is not done by then, as `select!` and `timeout` do.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_client::{Client, Record, RetryPolicy};
use sealstream_protocol::message::Message;
use sealstream_transport::memory::MemoryNetwork;
use tokio::task::JoinSet;

use crate::consumer::{data, entry, subscribe, subscribed};
use crate::fake::Fake;
use crate::group::{Broker, commit, hear};
use crate::model::{Model, Trouble};

/// The same as a failure printed, or another each time.
fn random() -> StdRng {
    let given = std::env::var("SEALSTREAM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(rand::random);
    println!("SEALSTREAM_SEED={seed}");
    StdRng::seed_from_u64(seed)
}

/// Polls `future` so often at most, and drops it then.
async fn cut<F: Future>(future: F, polls: u32) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Lets others run, for so long that the paused clock moves on.
async fn breathe(random: &mut StdRng) {
    tokio::time::sleep(Duration::from_micros(random.random_range(1..3_000))).await;
}

#[tokio::test(start_paused = true)]
async fn a_send_that_was_dropped_was_not_sent_and_one_that_was_not_is_there_once() {
    let mut random = random();
    let network = MemoryNetwork::new();
    let trouble = Trouble { cut: 10, cut_in_frame: 10, busy: 20, go_away: 5, ..Trouble::default() };
    let model = Model::new(1, trouble, random.random());
    let mut tasks = JoinSet::new();
    let url = model.serve(&network, &mut tasks).await;
    let (min_backoff, max_backoff) = (Duration::from_millis(5), Duration::from_millis(100));
    let retry = RetryPolicy::default().min_backoff(min_backoff).max_backoff(max_backoff);
    let client =
        Client::builder().url(url).transport(Arc::new(network.clone())).retry(retry).build().unwrap();
    let producer = loop {
        let builder =
            client.producer("t").linger(Duration::from_millis(1)).batch_records(5).window_bytes(200);
        if let Ok(producer) = builder.open().await {
            break producer;
        }
    };
    let mut dropped = 0;
    for index in 0..1_500 {
        let value = format!("{index:06}");
        let record = Record::new(&value);
        let mut delivery = loop {
            let polls = random.random_range(1..6);
            let sent = match random.random_range(0..3) {
                0 => cut(producer.reserve(record.size()), polls)
                    .await
                    .map(|permit| permit.unwrap().send(record)),
                _ => cut(producer.send(record), polls).await,
            };
            if let Some(delivery) = sent {
                break delivery.unwrap();
            }
            dropped += 1;
            breathe(&mut random).await;
        };
        if random.random_bool(0.05) {
            cut(producer.flush(), random.random_range(1..20)).await.transpose().unwrap();
            // Awaited by reference and left: it is stored all the same.
            cut(&mut delivery, random.random_range(1..4)).await.transpose().unwrap();
        }
    }
    producer.flush().await.unwrap();
    let stored: Vec<_> = model.log(0).into_iter().map(|value| String::from_utf8(value).unwrap()).collect();
    assert_eq!(stored, (0..1_500).map(|index| format!("{index:06}")).collect::<Vec<_>>());
    assert!(dropped > 20, "only {dropped} calls were dropped");
    assert_eq!(producer.low_watermark(), 1_500, "no number was given to what was not sent");
}

#[tokio::test(start_paused = true)]
async fn no_record_is_skipped_or_given_twice_when_next_is_dropped() {
    let mut random = random();
    for in_batches in [false, true] {
        let mut fake = Fake::start().await;
        let client = fake.client();
        let (mut consumer, mut peer) =
            crate::consumer::open(&mut fake, &client, 1, |builder| builder.buffer_bytes(2_000)).await;
        let asked = subscribe(&mut peer).await;
        subscribed(&mut peer, asked.subscription, 0, 0).await;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            for base in (0..3_000).step_by(10) {
                data(&mut peer, asked.subscription, entry(base, 10, 1)).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            peer
        });
        let (mut expected, mut dropped) = (0, 0);
        while expected < 3_000 {
            let polls = random.random_range(1..3);
            let given = if in_batches {
                let batch = cut(consumer.next_batch(), polls).await;
                batch
                    .map(|batch| batch.unwrap().unwrap())
                    .map(|batch| (batch.first_offset(), batch.next_offset()))
            } else {
                let record = cut(consumer.next(), polls).await;
                record.map(|record| record.unwrap().unwrap().offset).map(|offset| (offset, offset + 1))
            };
            if let Some((first, next)) = given {
                assert_eq!(first, expected);
                expected = next;
            } else {
                dropped += 1;
                breathe(&mut random).await;
            }
        }
        assert!(dropped > 20, "only {dropped} calls were dropped");
    }
}

#[tokio::test(start_paused = true)]
async fn a_member_whose_calls_are_dropped_gets_each_record_once_and_commits_all_of_them() {
    let mut random = random();
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (mut consumer, mut group, mut peer, asked) =
        broker.reading(&client, 10, |builder| builder.commit_manually().buffer_bytes(2_000)).await;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        for base in (20..2_010).step_by(10) {
            data(&mut peer, asked.subscription, entry(base, 10, 3)).await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        // Stays open.
        std::future::pending::<()>().await;
        drop(peer);
    });
    let (sender, mut committed) = tokio::sync::watch::channel(0);
    tasks.spawn(async move {
        loop {
            let Message::Commit(asked) = hear(&mut group).await else { return };
            commit(&mut group, &asked).await;
            sender.send_replace(asked.progress[0].offset);
        }
    });
    let (mut expected, mut dropped) = (10, 0);
    while expected < 2_010 {
        if let Some(record) = cut(consumer.next(), random.random_range(1..3)).await {
            assert_eq!(record.unwrap().unwrap().offset, expected);
            expected += 1;
        } else {
            dropped += 1;
            breathe(&mut random).await;
        }
        if random.random_bool(0.02) {
            // Committed or not: it does no harm either way.
            cut(consumer.commit(), random.random_range(1..4)).await.transpose().unwrap();
        }
    }
    consumer.commit().await.unwrap();
    committed.wait_for(|offset| *offset == 2_010).await.unwrap();
    assert!(dropped > 20, "only {dropped} calls were dropped");
}
