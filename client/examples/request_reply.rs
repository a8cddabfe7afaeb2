//! Requests and replies over two topics.
//!
//! ```text
//! request_reply serve         answers requests until Ctrl-C; start several, they share the requests
//! request_reply ask TEXT      asks once, and prints the reply: TEXT in capitals
//! ```
//!
//! A request says in its headers which partition of the topic `replies` is listened to, and by which number the reply will be
//! recognised. The asker listens from the end that the partition has *before* it asks, so that no reply is missed. The broker
//! is taken from the environment: see `Client::from_env`.

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use sealstream_client::admin::NewTopic;
use sealstream_client::consumer::Headers;
use sealstream_client::group::GroupRecord;
use sealstream_client::{Client, Position, Producer, Record};

const REQUESTS: &str = "requests";
const REPLIES: &str = "replies";

/// Partitions of both: so many servers can share the requests, and askers spread over the replies.
const PARTITIONS: u32 = 4;

/// How long a reply may take.
const PATIENCE: Duration = Duration::from_secs(30);

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("request_reply: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Outcome {
    // Warnings: who waits for a broker that is away is told so.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let client = Client::from_env()?.name("request_reply").connect().await?;
    for topic in [REQUESTS, REPLIES] {
        client.admin().create_topic(NewTopic::new(topic).partitions(PARTITIONS).if_not_exists()).await?;
    }
    match arguments[..] {
        ["serve"] => serve(&client).await,
        ["ask", text] => match tokio::time::timeout(PATIENCE, ask(&client, text)).await {
            Ok(reply) => {
                println!("{}", reply?);
                Ok(())
            }
            Err(_) => Err(format!("no reply within {PATIENCE:?}: is anybody serving?").into()),
        },
        _ => Err("usage: request_reply serve | request_reply ask TEXT".into()),
    }
}

async fn serve(client: &Client) -> Outcome {
    // Without waiting for more: somebody waits for the reply.
    let producer = client.producer(REPLIES).linger(Duration::ZERO).open().await?;
    let mut member = client.group_consumer("servers").topic(REQUESTS).open().await?;
    println!("serving");
    loop {
        // Either can be dropped while the other is done: `next` is cancellation safe.
        tokio::select! {
            request = member.next() => match request.transpose()? {
                // Asking for the next request says that this one is done: one that was not answered comes again.
                Some(request) => reply(&producer, &request).await?,
                None => break,
            },
            stop = tokio::signal::ctrl_c() => {
                stop?;
                break;
            }
        }
    }
    producer.close().await?;
    member.close().await?;
    println!("served");
    Ok(())
}

async fn reply(producer: &Producer, request: &GroupRecord) -> Outcome {
    let partition = header(&request.headers, "reply-partition").and_then(|text| text.parse().ok());
    let (Some(partition), Some(number)) = (partition, header(&request.headers, "number")) else {
        eprintln!("left out: the request at offset {} does not say where to reply", request.offset);
        return Ok(());
    };
    let text = String::from_utf8_lossy(&request.value).to_uppercase();
    let headers: [(&str, &[u8]); 1] = [("number", number.as_bytes())];
    producer.send(Record::new(&text).partition(partition).headers(&headers)).await?.await?;
    Ok(())
}

async fn ask(client: &Client, text: &str) -> Outcome<String> {
    let number = uuid::Uuid::new_v4().to_string();
    let replies = client.admin().describe_topic(REPLIES).await?;
    // Any partition will do; this asker listens to one only.
    let chosen = &replies.partitions[usize::from(number.as_bytes()[0]) % replies.partitions.len()];
    let listening = client.consumer(REPLIES).partitions([chosen.index]).start(Position::Offset(chosen.end));
    let mut consumer = listening.open().await?;

    let producer = client.producer(REQUESTS).linger(Duration::ZERO).open().await?;
    let partition = chosen.index.to_string();
    let headers: [(&str, &[u8]); 2] =
        [("reply-partition", partition.as_bytes()), ("number", number.as_bytes())];
    producer.send(Record::new(text).key(&number).headers(&headers)).await?.await?;

    while let Some(reply) = consumer.next().await.transpose()? {
        if header(&reply.headers, "number").is_some_and(|its| its == number) {
            return Ok(String::from_utf8_lossy(&reply.value).into_owned());
        }
    }
    Err("the topic of replies has ended".into())
}

fn header(headers: &Headers, name: &str) -> Option<String> {
    let header = headers.clone().find(|header| header.name() == name)?;
    Some(String::from_utf8_lossy(&header.value).into_owned())
}
