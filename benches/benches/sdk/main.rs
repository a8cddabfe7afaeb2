//! What the SDK's producer costs beside a loop that is written by hand over the protocol and the transport.
//!
//! ```text
//! by hand   BatchBuilder ──► head and batch ──► stream      acks ──► a place for the next batch
//! SDK       Producer, record by record and in batches       the same batches, the same number of them under way
//! ```
//!
//! Records of 1 KiB, 1,000 in a batch, over TLS to one broker, which is a process of its own; each run has a new topic of
//! durability `memory` with one partition, deleted after it. The subjects take turns; a ratio is the median of the rounds'
//! ratios. `cargo bench -p sealstream-benches --bench sdk -- --table` prints it.

mod by_hand;

use std::time::{Duration, Instant};

use sealstream_benches::broker::{self, Broker};
use sealstream_benches::handshake::world::{Case, World};
use sealstream_benches::process::own_cpu;
use sealstream_benches::spread::Spread;
use sealstream_client::admin::{Durability, NewTopic};
use sealstream_client::{Client, Record};
use sealstream_transport::Scheme;
use tokio::runtime::Runtime;

use by_hand::Loop;

/// Records of a batch, and bytes of a record's value.
const RECORDS: u32 = 1_000;
const VALUE: usize = 1_024;

/// Bytes that may be under way: what the loop has unanswered in the broker's window of 8 MiB, and the batch that it fills.
const WINDOW: usize = 8 * RECORDS as usize * (VALUE + 64);

/// Batches of a run: 256 MiB.
const BATCHES: u32 = 256;

/// An odd number has a median; half a minute in all.
const ROUNDS: usize = 15;

/// Rounds before the others, which nobody counts.
const WARM_UP: usize = 2;

/// Who is measured; the first is what the others are compared with.
const SUBJECTS: [&str; 3] = ["by hand", "Producer::send", "Producer::send_batch"];

/// What a run took, of the clock and of this process's processors.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some(broker::ROLE) => broker::run(&arguments[2..]),
        // Nothing of it is quick.
        _ if !arguments.iter().any(|argument| argument == "--table") => {
            println!("sdk: pass `-- --table` for the table; it takes half a minute");
        }
        _ => print(&measure()),
    }
}

fn measure() -> [Vec<Cost>; SUBJECTS.len()] {
    let server = Broker::start(&World::new(Case::usual(Scheme::Tls, true)));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let client = runtime.block_on(async {
        let builder = Client::builder().url(server.url(Scheme::Tls)).ca_file(server.ca());
        builder.connect().await.expect("the broker is there")
    });
    let mut costs: [Vec<Cost>; SUBJECTS.len()] = Default::default();
    for round in 0..WARM_UP + ROUNDS {
        for turn in 0..SUBJECTS.len() {
            // Nobody always follows the same one.
            let who = (turn + round) % SUBJECTS.len();
            let cost = run(&runtime, &server, &client, who, round);
            if round >= WARM_UP {
                costs[who].push(cost);
            }
        }
    }
    costs
}

/// One run of one subject.
fn run(runtime: &Runtime, server: &Broker, client: &Client, who: usize, round: usize) -> Cost {
    let topic = format!("t-{who}-{round}");
    runtime.block_on(async {
        let admin = client.admin();
        let new = NewTopic::new(&topic).partitions(1).durability(Durability::Memory);
        admin.create_topic(new).await.expect("a topic");
        let value = vec![b'v'; VALUE];
        let cost = match who {
            0 => {
                let mut by_hand = Loop::open(server, &topic).await;
                let cost = cost(by_hand.send(&value, RECORDS, BATCHES)).await;
                by_hand.close().await;
                cost
            }
            _ => produce(client, &topic, &value, SUBJECTS[who] == "Producer::send_batch").await,
        };
        let stored = admin.describe_topic(&topic).await.expect("the topic").partitions[0].end;
        assert_eq!(stored, u64::from(RECORDS) * u64::from(BATCHES), "all of it is there");
        admin.delete_topic(&topic).await.expect("the topic is deleted");
        admin.close().await;
        cost
    })
}

async fn produce(client: &Client, topic: &str, value: &[u8], together: bool) -> Cost {
    let producer = client
        .producer(topic)
        .batch_records(RECORDS)
        // Cut by the number of records: 64 bytes beside each value are more than it needs.
        .batch_bytes((VALUE + 64) * RECORDS as usize)
        .window_bytes(WINDOW)
        .open()
        .await
        .expect("a producer");
    let cost = cost(async {
        if together {
            let batch = vec![Record::new(value); RECORDS as usize];
            for _ in 0..BATCHES {
                // Failures come out of `flush`.
                drop(producer.send_batch(&batch).await.expect("it is taken"));
            }
        } else {
            for _ in 0..RECORDS * BATCHES {
                drop(producer.send(Record::new(value)).await.expect("it is taken"));
            }
        }
        producer.flush().await.expect("all of it is acknowledged");
    })
    .await;
    producer.close().await.expect("nothing is left");
    cost
}

async fn cost(work: impl Future<Output = ()>) -> Cost {
    let (before, begun) = (own_cpu(), Instant::now());
    work.await;
    Cost { wall: begun.elapsed(), cpu: own_cpu().saturating_sub(before) }
}

fn print(costs: &[Vec<Cost>; SUBJECTS.len()]) {
    println!("| | MB/s | rate, of by hand | client's CPU, ms | of by hand |\n|---|---|---|---|---|");
    let bytes = f64::from(RECORDS) * f64::from(BATCHES) * 1_024.0;
    let [by_hand, ..] = costs;
    for (name, costs) in SUBJECTS.iter().zip(costs) {
        let wall = |cost: &Cost| cost.wall.as_secs_f64();
        let cpu = |cost: &Cost| cost.cpu.as_secs_f64();
        let pairs = || costs.iter().zip(by_hand);
        // More is better, so that times go the other way round.
        let rate = Spread::of(pairs().map(|(ours, by_hand)| wall(by_hand) / wall(ours)));
        let work = Spread::of(pairs().map(|(ours, by_hand)| cpu(ours) / cpu(by_hand)));
        let ratio = |spread: Spread| format!("**{:.2}** {}", spread.median, spread.quarters());
        println!(
            "| {name} | {:.0} | {} | {:.0} | {} |",
            bytes / Spread::of(costs.iter().map(wall)).median / 1e6,
            ratio(rate),
            Spread::of(costs.iter().map(cpu)).median * 1e3,
            ratio(work),
        );
    }
}
