//! What a listener of `tracing` is told.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, LazyLock, Mutex};

use sealstream_client::Record;
use sealstream_protocol::message::FaultCode;
use tracing::Dispatch;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as Values};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

use crate::consumer::{data, ended, entry, fault, offset, subscribe, subscribed};
use crate::fake::Fake;
use crate::group::{Broker, assignment};

/// Spans as text, in the order in which they end: parents, name, fields.
#[derive(Clone, Default)]
struct Listener {
    ended: Arc<Mutex<Vec<String>>>,
    warned: Arc<Mutex<Vec<String>>>,
}

struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Listener {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields(String::new());
        attributes.record(&mut fields);
        context.span(id).unwrap().extensions_mut().insert(fields);
    }

    fn on_record(&self, id: &Id, values: &Values<'_>, context: Context<'_, S>) {
        let span = context.span(id).unwrap();
        let mut extensions = span.extensions_mut();
        values.record(extensions.get_mut::<Fields>().unwrap());
    }

    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() <= tracing::Level::WARN {
            let mut fields = Fields(String::new());
            event.record(&mut fields);
            self.warned.lock().unwrap().push(fields.0);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let span = context.span(&id).unwrap();
        if !span.metadata().target().starts_with("sealstream_client") {
            return;
        }
        let mut path = String::new();
        for ancestor in span.scope().from_root() {
            write!(path, "/{}", ancestor.name()).unwrap();
        }
        let extensions = span.extensions();
        self.ended.lock().unwrap().push(format!("{path}{}", extensions.get::<Fields>().unwrap().0));
    }
}

/// While there is one subscriber alone, the thread that comes by a span first decides for all whether anybody listens: that of
/// another test, where nobody does. Once there are two, each of them is asked.
static ANOTHER: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(tracing_subscriber::registry()));

impl Listener {
    fn listen() -> (Self, tracing::subscriber::DefaultGuard) {
        LazyLock::force(&ANOTHER);
        let listener = Self::default();
        let subscriber = tracing_subscriber::registry().with(listener.clone());
        (listener, tracing::subscriber::set_default(subscriber))
    }

    #[track_caller]
    fn heard(&self, begins: &str, holds: &[&str]) {
        let ended = self.ended.lock().unwrap();
        let found =
            ended.iter().any(|span| span.starts_with(begins) && holds.iter().all(|part| span.contains(part)));
        assert!(found, "no span {begins} with {holds:?} in {ended:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connecting_producing_and_consuming_are_spans_with_what_they_are_about() {
    let (listener, _guard) = Listener::listen();
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (producer, mut peer) = tokio::join!(client.producer("t").open(), fake.produce_session(1));
    let producer = producer.unwrap();
    let _first = producer.send(Record::new("a")).await.unwrap();
    let _second = producer.send(Record::new("b")).await.unwrap();
    let play = async {
        let produce = peer.batch().await;
        peer.ack(produce.request, 40).await;
        assert_eq!(peer.hear_or_end().await, None);
        peer.finish().await;
    };
    tokio::join!(producer.close(), play).0.unwrap();

    let (mut consumer, mut peer) = crate::consumer::open(&mut fake, &client, 1, |builder| builder).await;
    let asked = subscribe(&mut peer).await;
    subscribed(&mut peer, asked.subscription, 7, 1_000).await;
    data(&mut peer, asked.subscription, entry(7, 3, 1)).await;
    consumer.next().await.unwrap().unwrap();
    let end = async {
        assert_eq!(peer.hear_or_end().await, None);
        peer.finish().await;
    };
    tokio::join!(consumer.close(), end);
    listener.heard("/connect", &[&format!("endpoint={}", fake.url())]);
    listener.heard("/session", &["kind=\"produce\"", "topic=\"t\""]);
    listener.heard("/session/produce_batch", &["partition=0", "records=2", "sequence=0", "offset=40"]);
    listener.heard("/admin", &["request=\"describe topic t\""]);
    listener.heard("/session", &["kind=\"consume\""]);
    listener.heard("/session/consume_batch", &["topic=\"t\"", "partition=0", "offset=7", "records=3"]);
}

#[tokio::test(start_paused = true)]
async fn a_membership_is_a_span_and_its_sessions_are_in_it() {
    let (listener, _guard) = Listener::listen();
    let mut broker = Broker::start().await;
    let client = broker.client();
    let (consumer, mut group, _) =
        broker.open(&client, vec![assignment(0, 5, None)], |builder| builder).await;
    let member = async { crate::group::let_leave(&mut group).await };
    tokio::join!(consumer.close(), member).0.unwrap();
    listener.heard("/membership", &["group=\"g\"", "member="]);
    listener.heard("/membership/session", &["kind=\"group\""]);
}

#[tokio::test(start_paused = true)]
async fn a_partition_that_cannot_be_read_for_now_is_warned_of_once_until_it_can() {
    let (listener, _listening) = Listener::listen();
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (mut consumer, mut peer) = crate::consumer::open(&mut fake, &client, 1, |builder| builder).await;
    for round in 1..=2 {
        for _ in 0..3 {
            let asked = subscribe(&mut peer).await;
            ended(&mut peer, asked.subscription, fault(FaultCode::Storage)).await;
        }
        let asked = subscribe(&mut peer).await;
        let next = round - 1;
        subscribed(&mut peer, asked.subscription, next, next).await;
        data(&mut peer, asked.subscription, entry(next, 1, 1)).await;
        assert_eq!(offset(&mut consumer).await, next);
        let warned = listener.warned.lock().unwrap().clone();
        let told: Vec<_> =
            warned.iter().filter(|text| text.contains("cannot read a partition for now")).collect();
        assert_eq!(told.len() as u64, round, "{warned:?}");
        assert!(told[0].contains("topic=\"t\"") && told[0].contains("storage (35)"), "{told:?}");
        ended(&mut peer, asked.subscription, fault(FaultCode::Storage)).await;
    }
}
