//! Copies a topic into an `SQLite` database so that each record is there exactly once, whatever is killed and when.
//!
//! ```text
//! sqlite_sink copy TOPIC FILE    copies what is not copied yet, to the end of the topic; start several, with one file
//! sqlite_sink count FILE         how many records there are
//! ```
//!
//! A group delivers every record at least once. What makes it exactly once is the table's key: a record is stored together with
//! its place, in one transaction, and one whose place is there already is left out. So the order is: first the database's
//! transaction, then the group's commit. Killed in between, the same batch comes again and changes nothing.
//! The broker is taken from the environment: see `Client::from_env`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use rusqlite::{Connection, params};
use sealstream_client::Client;
use sealstream_client::group::GroupBatch;
use tokio::task::block_in_place;

/// A topic is named by its id: one that was deleted and made again has other records at the same offsets.
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS records (
    topic BLOB, part INTEGER, place INTEGER, timestamp_ms INTEGER, key BLOB, value BLOB,
    PRIMARY KEY (topic, part, place)) WITHOUT ROWID";

/// How long one process waits for another's transaction.
const BUSY: Duration = Duration::from_secs(10);

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sqlite_sink: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Warnings: who waits for a broker that is away is told so.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["copy", topic, file] => copy(topic, file).await,
        ["count", file] => {
            let count: i64 = open(file)?.query_row("SELECT count(*) FROM records", [], |row| row.get(0))?;
            println!("{count}");
            Ok(())
        }
        _ => Err("usage: sqlite_sink copy TOPIC FILE | sqlite_sink count FILE".into()),
    }
}

fn open(file: &str) -> rusqlite::Result<Connection> {
    let database = Connection::open(file)?;
    database.busy_timeout(BUSY)?;
    database.execute(SCHEMA, [])?;
    Ok(database)
}

async fn copy(topic: &str, file: &str) -> Result<(), Box<dyn Error>> {
    let mut database = open(file)?;
    let client = Client::from_env()?.name("sqlite_sink").connect().await?;
    let group = client.group_consumer("sqlite-sink").topic(topic);
    let mut member = group.commit_manually().until_end().open().await?;
    while let Some(batch) = member.next_batch().await.transpose()? {
        // SQLite blocks; the member's heartbeats go on meanwhile.
        let stored = block_in_place(|| store(&mut database, &batch))?;
        println!("stored {stored} of {} records", batch.record_count());
        member.commit().await?;
    }
    member.close().await?;
    println!("done");
    Ok(())
}

/// Stores what is not there yet, all of it or nothing. Returns how many that were.
fn store(database: &mut Connection, batch: &GroupBatch) -> Result<usize, Box<dyn Error>> {
    let transaction = database.transaction()?;
    let mut stored = 0;
    {
        let mut insert =
            transaction.prepare("INSERT OR IGNORE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let topic = batch.topic_id.as_bytes();
        let mut records = batch.records();
        while let Some(record) = records.next_ref() {
            let record = record?;
            let place = i64::try_from(record.offset)?;
            stored += insert.execute(params![
                topic,
                record.partition,
                place,
                record.timestamp,
                record.key,
                record.value
            ])?;
        }
    }
    transaction.commit()?;
    Ok(stored)
}
