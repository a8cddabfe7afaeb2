//! `produce`: lines become records.

use std::fs::File;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use sealstream_client::{Client, Producer, Record};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Codec;
use serde_json::json;

use super::args::{Compression, Produce};
use super::connect::{PATIENT, with_client};
use super::lines::Lines;
use super::progress::Progress;
use super::{Failure, output};

/// Writes every line of the input to a topic, and returns once all are acknowledged.
pub(super) fn run(args: &Produce) -> Result<(), Failure> {
    // Opened first: a file that is not there is said before a broker is bothered.
    let (lines, total) = input(args)?;
    with_client(&args.connection, PATIENT, |client| produce(client, args, lines, total))
}

fn input(args: &Produce) -> Result<(Lines, Option<u64>), Failure> {
    // The whole of a frame; what a record may have exactly depends on the broker, and is found out there.
    let max_line = Limits::MAX_FRAME as usize;
    let Some(path) = &args.file else { return Ok((Lines::read(io::stdin(), max_line)?, None)) };
    let cannot = |error: io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let file = File::open(path).map_err(cannot)?;
    let metadata = file.metadata().map_err(cannot)?;
    let total = metadata.is_file().then_some(metadata.len());
    Ok((Lines::read(file, max_line)?, total))
}

async fn produce(
    client: Client,
    args: &Produce,
    mut lines: Lines,
    total: Option<u64>,
) -> Result<(), Failure> {
    let codec = match args.compression {
        Compression::None => Codec::None,
        Compression::Lz4 => Codec::Lz4,
    };
    let batch_bytes = usize::try_from(args.batch_bytes.as_u64()).unwrap_or(usize::MAX);
    let producer = client
        .producer(&args.topic)
        .linger(Duration::from_millis(args.linger))
        .batch_bytes(batch_bytes)
        .codec(codec)
        .delivery_timeout(args.connection.timeout.map_or(PATIENT, |span| span.0))
        .open()
        .await?;
    let mut progress = Progress::new(total, args.connection.json);
    let sent = send_all(&producer, args, &mut lines, &mut progress).await;
    // What was sent before a line could not be is stored all the same, and counted.
    let flushed = producer.close().await;
    let total = progress.finish();
    sent?;
    flushed?;
    if args.connection.json {
        return output::json(&json!({
            "topic": args.topic, "records": total.records, "bytes": total.bytes,
            "seconds": total.elapsed.as_secs_f64(),
        }));
    }
    eprintln!("{total} to {}", args.topic);
    Ok(())
}

async fn send_all(
    producer: &Producer,
    args: &Produce,
    lines: &mut Lines,
    progress: &mut Progress,
) -> Result<(), Failure> {
    while let Some(line) = lines.next().await? {
        let record = record(&line, args, lines.count())?;
        if let Err(error) = producer.send(record).await {
            let Failure::Message(why) = Failure::from(error) else { return Err(Failure::OutputClosed) };
            return Err(Failure::new(format!("line {}: {why}", lines.count())));
        }
        progress.advance(1, line.len() as u64);
    }
    Ok(())
}

fn record<'a>(line: &'a Bytes, args: &Produce, number: u64) -> Result<Record<'a>, Failure> {
    let record = match &args.key_separator {
        None => Record::new(line),
        Some(separator) => {
            let at = memchr::memmem::find(line, separator.as_bytes()).ok_or_else(|| {
                Failure::new(format!(
                    "line {number} has no `{separator}`: with --key-separator every line needs a key"
                ))
            })?;
            Record::new(&line[at + separator.len()..]).key(&line[..at])
        }
    };
    Ok(match args.partition {
        Some(partition) => record.partition(partition),
        None => record,
    })
}
