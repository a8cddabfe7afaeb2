//! Producers against brokers that lie, stall and die. What survives any mixture of troubles is tested by the model of
//! a broker in [`crate::exactly_once`].

mod closing;
mod faults;
mod reports;
mod sending;
mod sessions;
mod sink;
mod window;

use sealstream_client::producer::ProducerBuilder;
use sealstream_client::{Client, Producer};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Batch;
use sealstream_protocol::message::produce::Produce;

use crate::fake::{Fake, Peer};

/// A producer of a topic with so many partitions, and the broker's side of its session.
async fn open(fake: &mut Fake, client: &Client, partitions: u32) -> (Producer, Peer) {
    open_with(fake, client, partitions, |builder| builder).await
}

async fn open_with(
    fake: &mut Fake,
    client: &Client,
    partitions: u32,
    change: impl FnOnce(ProducerBuilder) -> ProducerBuilder,
) -> (Producer, Peer) {
    let builder = change(client.producer("t"));
    let (producer, peer) = tokio::join!(builder.open(), fake.produce_session(partitions));
    (producer.unwrap(), peer)
}

/// The values in a batch, which must be valid.
fn values(produce: &Produce) -> Vec<String> {
    let batch = Batch::validate(produce.batch.clone(), &Limits::default()).unwrap();
    let records = batch.records(&Limits::default()).unwrap();
    records.map(|record| String::from_utf8(record.unwrap().value.to_vec()).unwrap()).collect()
}

/// Producer id and sequence of a batch.
fn number(produce: &Produce) -> (uuid::Uuid, u64) {
    let batch = Batch::from_stored(produce.batch.clone()).unwrap();
    (batch.header().producer_id, batch.header().sequence)
}
