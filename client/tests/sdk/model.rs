//! A small broker in memory with the real rules of producers and sequences, and a gift for breaking at the worst
//! moment. What a session has read it processes even after the session was cut: brokers do.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use sealstream_client::producer::MAX_UNANSWERED;
use sealstream_client::wire::{FrameReader, FrameWriter};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Batch;
use sealstream_protocol::message::hello::{Pong, SessionKind};
use sealstream_protocol::message::produce::{Ack, Produce, ProduceRefused, TopicOpened};
use sealstream_protocol::message::{Fault, FaultClass, FaultCode, Message};
use sealstream_transport::memory::MemoryNetwork;
use sealstream_transport::{SendHalf, Stream, Transport as _};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::fake::{TOPIC, welcome};

/// How often, in a thousand, what happens.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trouble {
    /// The session is cut after a batch was read.
    pub(crate) cut: u32,
    /// The session is cut in the middle of an answer.
    pub(crate) cut_in_frame: u32,
    /// A batch is refused for now.
    pub(crate) busy: u32,
    /// A batch is stored, and the answer says that nobody knows.
    pub(crate) storage: u32,
    /// A batch is refused for good.
    pub(crate) invalid: u32,
    /// The broker asks for the end of the session.
    pub(crate) go_away: u32,
    /// The broker forgets its producers, as when their state has expired.
    pub(crate) amnesia: u32,
}

/// What the broker knows of a producer in a partition.
#[derive(Debug, Default)]
struct Known {
    next: u64,
    recent: VecDeque<(u64, u64)>,
}

#[derive(Debug, Default)]
struct Partition {
    /// The values stored, by offset.
    log: Vec<Vec<u8>>,
    producers: HashMap<Uuid, Known>,
}

#[derive(Debug)]
struct State {
    partitions: Vec<Partition>,
    random: StdRng,
    trouble: Trouble,
    sessions: u32,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    state: Arc<Mutex<State>>,
}

impl Model {
    pub(crate) fn new(partitions: usize, trouble: Trouble, seed: u64) -> Self {
        let state = State {
            partitions: std::iter::repeat_with(Partition::default).take(partitions).collect(),
            random: StdRng::seed_from_u64(seed),
            trouble,
            sessions: 0,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Serves whoever connects, until the task set is dropped. Returns the URL.
    pub(crate) async fn serve(&self, network: &MemoryNetwork, tasks: &mut JoinSet<()>) -> String {
        let listener = network.listen("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let url = format!("tls://{}", listener.local_addr());
        let model = self.clone();
        tasks.spawn(async move {
            let mut sessions = JoinSet::new();
            while let Some(incoming) = listener.accept().await {
                let model = model.clone();
                sessions.spawn(async move {
                    let mut streams = JoinSet::new();
                    let Ok(inbound) = incoming.handshake().await else { return };
                    while let Some(stream) = inbound.accept().await {
                        streams.spawn(model.clone().session(stream));
                    }
                    while streams.join_next().await.is_some() {}
                });
            }
        });
        url
    }

    /// The values stored in a partition, by offset.
    pub(crate) fn log(&self, partition: usize) -> Vec<Vec<u8>> {
        self.state.lock().unwrap().partitions[partition].log.clone()
    }

    /// No more trouble from here on.
    pub(crate) fn behave(&self) {
        self.state.lock().unwrap().trouble = Trouble::default();
    }

    /// How many sessions there were.
    pub(crate) fn sessions(&self) -> u32 {
        self.state.lock().unwrap().sessions
    }

    fn happens(&self, pick: impl FnOnce(&Trouble) -> u32) -> bool {
        let mut state = self.state.lock().unwrap();
        let chance = pick(&state.trouble);
        state.random.random_range(0..1000) < chance
    }

    fn dawdle(&self) -> Duration {
        Duration::from_micros(self.state.lock().unwrap().random.random_range(0..20_000))
    }

    async fn session(self, stream: Stream) {
        let mut reader = FrameReader::new(stream.recv, Limits::MAX_FRAME);
        let mut writer = FrameWriter::new(stream.send);
        let Ok(Some(Message::Hello(hello))) = reader.next().await else { return };
        assert_eq!(hello.session, SessionKind::Produce);
        self.state.lock().unwrap().sessions += 1;
        writer.feed(&Message::Welcome(welcome()));
        if writer.flush().await.is_err() {
            return;
        }
        // What was read is processed even when the stream is gone.
        let (read, work) = mpsc::channel(64);
        tokio::join!(self.read(reader, read), self.work(Some(writer), work));
    }

    async fn read(&self, mut reader: FrameReader, read: mpsc::Sender<Message>) {
        while let Ok(Some(message)) = reader.next().await {
            if self.happens(|trouble| trouble.cut) {
                // The last frame is still processed, and its answer goes nowhere.
                let _ = read.send(message).await;
                return;
            }
            if read.send(message).await.is_err() {
                return;
            }
        }
    }

    async fn work(&self, mut writer: Option<FrameWriter<SendHalf>>, mut work: mpsc::Receiver<Message>) {
        // After a refusal of the session's first batch the gap is remembered here.
        let mut gaps: BTreeMap<(u32, Uuid), u64> = BTreeMap::new();
        while let Some(message) = work.recv().await {
            tokio::time::sleep(self.dawdle()).await;
            let answer = match message {
                Message::OpenTopic(open) => {
                    let partitions = self.state.lock().unwrap().partitions.len();
                    let partitions = u32::try_from(partitions).unwrap();
                    Message::TopicOpened(TopicOpened { handle: open.handle, id: TOPIC, partitions })
                }
                Message::Produce(produce) => self.produce(&produce, &mut gaps),
                Message::Ping(ping) => Message::Pong(Pong { nonce: ping.nonce }),
                Message::Pong(_) => continue,
                other => panic!("not for a Produce session: {other:?}"),
            };
            writer = self.answer(writer, &answer).await;
        }
        if let Some(mut writer) = writer {
            let _ = writer.finish(Duration::from_secs(1)).await;
        }
    }

    /// Answers, or breaks trying.
    async fn answer(
        &self,
        writer: Option<FrameWriter<SendHalf>>,
        answer: &Message,
    ) -> Option<FrameWriter<SendHalf>> {
        let mut writer = writer?;
        if self.happens(|trouble| trouble.cut_in_frame) {
            let mut bytes = bytes::BytesMut::new();
            answer.encode(&mut bytes);
            let half = bytes.len() / 2;
            let mut send = writer.into_inner();
            let _ = tokio::io::AsyncWriteExt::write_all(&mut send, &bytes[..half]).await;
            let _ = tokio::io::AsyncWriteExt::flush(&mut send).await;
            return None;
        }
        if self.happens(|trouble| trouble.go_away) {
            let fault = Fault::new(FaultCode::ShuttingDown, "be right back");
            writer.feed(&Message::GoAway(fault.retry_after(Duration::from_millis(20))));
        }
        writer.feed(answer);
        writer.flush().await.ok().map(|()| writer)
    }

    /// The rules of the protocol's page, section 7.
    fn produce(&self, produce: &Produce, gaps: &mut BTreeMap<(u32, Uuid), u64>) -> Message {
        let request = produce.request;
        let refuse = |fault| Message::ProduceRefused(ProduceRefused { request, fault });
        let batch = Batch::validate(produce.batch.clone(), &Limits::default()).expect("a valid batch");
        let (producer, sequence) = (batch.header().producer_id, batch.header().sequence);
        if self.happens(|trouble| trouble.amnesia) {
            self.state.lock().unwrap().partitions[produce.partition as usize].producers.clear();
        }
        let gap = (produce.partition, producer);
        if let Some(awaited) = gaps.get(&gap).copied().filter(|awaited| *awaited != sequence) {
            return refuse(Fault::new(FaultCode::OutOfSequence, "gap").offset(awaited));
        }
        if self.happens(|trouble| trouble.busy) {
            gaps.insert(gap, sequence);
            return refuse(Fault::new(FaultCode::Busy, "later").retry_after(Duration::from_millis(5)));
        }
        if self.happens(|trouble| trouble.invalid) {
            gaps.insert(gap, sequence);
            return refuse(Fault::new(FaultCode::InvalidBatch, "never"));
        }
        gaps.remove(&gap);
        let unsure = self.happens(|trouble| trouble.storage);
        match self.store(produce.partition as usize, &batch, producer, sequence) {
            Err(fault) => refuse(fault),
            Ok(_) if unsure => refuse(Fault::new(FaultCode::Storage, "who knows")),
            Ok((base_offset, duplicate)) => Message::Ack(Ack { request, base_offset, epoch: 1, duplicate }),
        }
    }

    fn store(
        &self,
        partition: usize,
        batch: &Batch,
        producer: Uuid,
        sequence: u64,
    ) -> Result<(u64, bool), Fault> {
        let mut state = self.state.lock().unwrap();
        let Partition { log, producers } = &mut state.partitions[partition];
        if sequence > 0 && !producers.contains_key(&producer) {
            return Err(Fault::new(FaultCode::UnknownProducer, "who are you?"));
        }
        let known = producers.entry(producer).or_default();
        if sequence > known.next {
            return Err(Fault::new(FaultCode::OutOfSequence, "gap").offset(known.next));
        }
        if sequence < known.next {
            // A copy in a session that was cut may be older than anything remembered; nobody hears the answer.
            let forgotten = || Fault::new(FaultCode::OutOfSequence, "old").class(FaultClass::Caller);
            let stored = known.recent.iter().find(|(stored, _)| *stored == sequence);
            return stored.map(|(_, base)| (*base, true)).ok_or_else(forgotten);
        }
        let base = log.len() as u64;
        for record in batch.records(&Limits::default()).unwrap() {
            log.push(record.unwrap().value.to_vec());
        }
        known.next += 1;
        known.recent.push_back((sequence, base));
        if known.recent.len() > MAX_UNANSWERED {
            known.recent.pop_front();
        }
        Ok((base, false))
    }
}
