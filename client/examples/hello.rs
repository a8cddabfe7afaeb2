//! Produces a record and reads back all that there are.
use sealstream_client::admin::NewTopic;
use sealstream_client::{Client, Record};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init(); // says why it waits, if it does
    let client = Client::from_env()?.connect().await?;
    client.admin().create_topic(NewTopic::new("greetings").if_not_exists()).await?;
    let producer = client.producer("greetings").open().await?;
    let stored = producer.send(Record::new("hello").key("ada")).await?.await?;
    println!("stored in partition {} at offset {}", stored.partition, stored.offset);
    producer.close().await?;

    let mut consumer = client.consumer("greetings").until_end().open().await?;
    while let Some(record) = consumer.next().await {
        println!("read {:?}", record?.value);
    }
    Ok(())
}
