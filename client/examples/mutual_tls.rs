//! Mutual TLS with SPIFFE identities: the broker proves that it is the broker, by its SPIFFE ID and not by a host name, and
//! this program proves who it is by a certificate of its own.
//!
//! ```text
//! mutual_tls BROKER_ID TOPIC TEXT    sends TEXT to TOPIC, if the broker is BROKER_ID and lets us
//!
//! SEALSTREAM_URL=tls://10.0.0.7:7420 SEALSTREAM_CA=bundle.pem SEALSTREAM_CERT=svid.pem SEALSTREAM_KEY=svid.key \
//!     mutual_tls spiffe://example.org/broker orders 'two pears'
//! ```
//!
//! The files are what a SPIFFE agent writes: the trust bundle, an X.509-SVID and its key. At the broker, `tls.client_ca` names
//! the bundle, `tls.client_certificates` is `"required"`, and rules say what an identity may do:
//!
//! ```toml
//! [[auth.rule]]
//! identity = "spiffe://example.org/shop/*"
//! actions = ["produce"]
//! topics = ["orders"]
//! effect = "allow"
//! ```

use std::error::Error;
use std::process::ExitCode;

use sealstream_client::{Client, Expectation, Record};

#[tokio::main]
async fn main() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mutual_tls: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    // Warnings: who waits for a broker that is away is told so.
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [broker, topic, text] = &arguments[..] else {
        return Err("usage: mutual_tls BROKER_ID TOPIC TEXT".into());
    };
    let client = Client::from_env()?
        // Exactly this identity, at whatever address: names in the certificate do not count.
        .expectation(Expectation::SpiffeId(broker.clone()))
        .connect()
        .await?;
    let welcome = client.hello().await?;
    println!("{broker} takes us for {}", welcome.identity);

    match client.producer(topic).open().await {
        Ok(producer) => {
            let stored = producer.send(Record::new(text)).await?.await?;
            println!("stored at offset {}", stored.offset);
            producer.close().await?;
            Ok(())
        }
        // No retry would help: it is for the operator to say what we may do.
        Err(error) => Err(error.into()),
    }
}
