//! A producer as one would write it for one purpose, over the protocol and the transport alone: it builds a batch, writes it,
//! and goes on while the broker's window has room; another task reads the acknowledgements. It can do nothing else: no
//! partitions, no retries, no session after this one.

use std::io::IoSlice;
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use sealstream_benches::broker::Broker;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BatchBuilder, Codec};
use sealstream_protocol::frame::{FrameDecoder, produce_head};
use sealstream_protocol::limits::{ALPN, DEFAULT_PORT, VERSION};
use sealstream_protocol::message::Message;
use sealstream_protocol::message::hello::{Hello, SessionKind};
use sealstream_protocol::message::produce::OpenTopic;
use sealstream_transport::tls::{Material, Store, TrustSource};
use sealstream_transport::{Connector, RecvHalf, Scheme, SendHalf, TransportOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::Semaphore;
use uuid::Uuid;

const HANDLE: u32 = 1;

/// Unanswered batches of a partition that a broker remembers.
const UNANSWERED: usize = 16;

pub(crate) struct Loop {
    reader: Reader,
    send: SendHalf,
    /// Bytes that may be unanswered.
    window: usize,
}

struct Reader {
    recv: RecvHalf,
    decoder: FrameDecoder,
    buffer: BytesMut,
}

impl Reader {
    async fn next(&mut self) -> Message {
        loop {
            if let Some(message) = self.decoder.decode(&mut self.buffer).expect("a frame") {
                return message;
            }
            self.buffer.reserve(4096);
            let read = self.recv.read_buf(&mut self.buffer).await.expect("the broker answers");
            assert_ne!(read, 0, "the broker has ended the session");
        }
    }
}

impl Loop {
    /// Opens a session and the topic in it.
    pub(crate) async fn open(server: &Broker, topic: &str) -> Self {
        let material = Material::new().with_roots([TrustSource::File(server.ca())]);
        let store = Store::new(&material).expect("the CA can be read");
        let connector = Connector::new(&store.receiver(), &TransportOptions::new(ALPN, DEFAULT_PORT));
        let server = sealstream_transport::Server::named(
            connector.endpoint(&server.url(Scheme::Tls)).expect("an endpoint"),
        );
        let outbound = connector.connect(&server).await.expect("the broker is there");
        let stream = outbound.open().await.expect("a stream");
        let decoder = FrameDecoder::new(Limits::MAX_FRAME);
        let mut reader = Reader { recv: stream.recv, decoder, buffer: BytesMut::new() };
        let mut send = stream.send;
        let hello = Hello {
            version_min: VERSION,
            version_max: VERSION,
            session: SessionKind::Produce,
            idle_ms: 60_000,
            client: "by hand".to_owned(),
            token: None,
            cluster: None,
        };
        say(&mut send, &Message::Hello(hello)).await;
        let Message::Welcome(welcome) = reader.next().await else { panic!("not welcome") };
        say(&mut send, &Message::OpenTopic(OpenTopic { handle: HANDLE, name: topic.to_owned(), id: None }))
            .await;
        let Message::TopicOpened(_) = reader.next().await else { panic!("the topic is not opened") };
        Self { reader, send, window: welcome.window as usize }
    }

    /// Sends so many batches, and returns when all of them are acknowledged.
    pub(crate) async fn send(&mut self, value: &[u8], records: u32, batches: u32) {
        let largest = (value.len() + 64) * records as usize;
        let places = Arc::new(Semaphore::new(UNANSWERED.min(self.window / largest).max(1)));
        let Self { reader, send, .. } = self;
        let freed = places.clone();
        let acknowledged = async move {
            for _ in 0..batches {
                match reader.next().await {
                    Message::Ack(_) => freed.add_permits(1),
                    other => panic!("not an acknowledgement: {other:?}"),
                }
            }
        };
        let written = async move {
            let mut builder = BatchBuilder::new(Codec::None);
            let producer = Uuid::new_v4();
            let mut head = BytesMut::new();
            for sequence in 0..u64::from(batches) {
                places.acquire().await.expect("never closed").forget();
                for _ in 0..records {
                    builder.push(0, None, value, &[]).expect("it fits");
                }
                let mut batch = builder.build(producer, sequence).into_bytes();
                head.clear();
                produce_head(sequence, HANDLE, 0, batch.len(), &mut head);
                while head.has_remaining() || batch.has_remaining() {
                    let slices = [IoSlice::new(&head), IoSlice::new(&batch)];
                    let taken = send.write_vectored(&slices).await.expect("the broker reads");
                    let of_head = taken.min(head.len());
                    head.advance(of_head);
                    batch.advance(taken - of_head);
                }
                send.flush().await.expect("the broker reads");
            }
        };
        tokio::join!(acknowledged, written);
    }

    pub(crate) async fn close(mut self) {
        self.send.shutdown().await.expect("a clean end");
    }
}

async fn say(send: &mut SendHalf, message: &Message) {
    let mut frame = BytesMut::new();
    message.encode(&mut frame);
    send.write_all(&frame).await.expect("the broker reads");
    send.flush().await.expect("the broker reads");
}
