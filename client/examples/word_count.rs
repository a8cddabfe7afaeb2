//! Counts words, shared between as many processes as the topic has partitions: they are members of one group.
//!
//! ```text
//! word_count count LINES COUNTS    counts what nobody has counted yet, to the end of the topic LINES; start several
//! word_count show COUNTS           adds up what all of them have counted
//! ```
//!
//! A member takes a batch of lines, and sends how often each word is in it to the topic COUNTS. Only once that is stored does
//! it commit the batch. A member that is killed in between leaves a batch that another counts again: at least once. How to
//! count exactly once, `sqlite_sink` shows. The broker is taken from the environment: see `Client::from_env`.

use std::collections::HashMap;
use std::error::Error;
use std::process::ExitCode;

use sealstream_client::admin::NewTopic;
use sealstream_client::group::GroupBatch;
use sealstream_client::{Client, Record};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("word_count: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Warnings: who waits for a broker that is away is told so.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let client = Client::from_env()?.name("word_count").connect().await?;
    match arguments[..] {
        ["count", lines, counts] => count(&client, lines, counts).await,
        ["show", counts] => show(&client, counts).await,
        _ => Err("usage: word_count count LINES COUNTS | word_count show COUNTS".into()),
    }
}

async fn count(client: &Client, lines: &str, counts: &str) -> Result<(), Box<dyn Error>> {
    client.admin().create_topic(NewTopic::new(counts).if_not_exists()).await?;
    let producer = client.producer(counts).open().await?;
    let group = client.group_consumer("word-count").topic(lines);
    let mut member = group.commit_manually().until_end().open().await?;
    let mut counted = 0;
    while let Some(batch) = member.next_batch().await.transpose()? {
        for (word, times) in words(&batch)? {
            // Whether it is stored, `flush` says for all of them.
            drop(producer.send(Record::new(&times.to_string()).key(&word)).await?);
            counted += times;
        }
        producer.flush().await?;
        member.commit().await?;
    }
    println!("counted {counted} words");
    producer.close().await?;
    // Leaves the group: whoever waits for a partition gets it at once.
    member.close().await?;
    Ok(())
}

/// How often each word is in a batch of lines.
fn words(batch: &GroupBatch) -> Result<HashMap<String, u64>, Box<dyn Error>> {
    let mut words = HashMap::new();
    let mut lines = batch.records();
    while let Some(line) = lines.next_ref() {
        for word in String::from_utf8_lossy(line?.value).split_whitespace() {
            *words.entry(word.to_lowercase()).or_default() += 1;
        }
    }
    Ok(words)
}

async fn show(client: &Client, counts: &str) -> Result<(), Box<dyn Error>> {
    let mut all: HashMap<String, u64> = HashMap::new();
    let mut consumer = client.consumer(counts).until_end().open().await?;
    while let Some(record) = consumer.next().await.transpose()? {
        let word = String::from_utf8_lossy(record.key.as_deref().unwrap_or_default()).into_owned();
        *all.entry(word).or_default() += str::from_utf8(&record.value)?.parse::<u64>()?;
    }
    let mut all: Vec<_> = all.into_iter().collect();
    all.sort_by(|(word, times), (other, more)| more.cmp(times).then_with(|| word.cmp(other)));
    for (word, times) in all {
        println!("{times} {word}");
    }
    Ok(())
}
