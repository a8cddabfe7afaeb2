//! Bytes that must be refused, and how.

use bytes::{Bytes, BytesMut};
use sealstream_protocol::Limits;
use sealstream_protocol::batch::{BATCH_HEADER, Batch};
use sealstream_protocol::entry;
use sealstream_protocol::frame::FrameDecoder;
use sealstream_protocol::message::{Fault, Message};

use crate::samples::{batches, entries, messages, raw, sealed, unhex};

/// What the bytes pretend to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// As it stands on the stream, with its length.
    Frame,
    /// The payload of a Produce.
    Batch,
    /// As in the payload of Data.
    Entry,
}

/// Bytes that are wrong.
pub(crate) struct Bad {
    pub(crate) name: &'static str,
    pub(crate) what: What,
    pub(crate) bytes: Bytes,
}

impl Bad {
    /// What the codec says of it: the fault where one is sent, and the reason.
    pub(crate) fn refusal(&self) -> (Option<Fault>, String) {
        match self.what {
            What::Frame => {
                let error = FrameDecoder::new(Limits::MAX_FRAME).decode(&mut BytesMut::from(&self.bytes[..]));
                let error = error.expect_err(self.name);
                (Some(Fault::from(&error)), error.to_string())
            }
            What::Batch => {
                let error = Batch::validate(self.bytes.clone(), &Limits::default()).expect_err(self.name);
                (Some(Fault::from(&error)), error.to_string())
            }
            What::Entry => (None, entry::check(&self.bytes).expect_err(self.name).to_string()),
        }
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Bad> {
    let of = |what, list: Vec<(&'static str, Bytes)>| {
        list.into_iter().map(move |(name, bytes)| Bad { name, what, bytes })
    };
    let batches = bad_batches().into_iter().chain(bad_lz4()).collect();
    of(What::Frame, bad_frames())
        .chain(of(What::Batch, batches))
        .chain(of(What::Entry, bad_entries()))
        .collect()
}

fn framed(body: &[u8]) -> Bytes {
    [&u32::try_from(body.len()).unwrap().to_le_bytes(), body].concat().into()
}

/// The frame of a sample from its kind on, changed.
fn changed(name: &str, change: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let message = messages().into_iter().find(|(sample, _)| *sample == name).expect("a sample").1;
    let mut out = BytesMut::new();
    Message::encode(&message, &mut out);
    let mut body = out[4..].to_vec();
    change(&mut body);
    framed(&body)
}

fn bad_frames() -> Vec<(&'static str, Bytes)> {
    let claim = |length: u32, kind: u8| Bytes::from([&length.to_le_bytes()[..], &[kind]].concat());
    vec![
        ("an-empty-frame", framed(&[])),
        ("a-frame-beyond-16-mib", claim((16 << 20) + 1, 0x33)),
        ("a-control-frame-beyond-1-mib", claim((1 << 20) + 1, 0x10)),
        ("an-unknown-kind", framed(&[0x7f, 0])),
        ("kind-0", framed(&[0, 0])),
        ("another-protocols-hello", changed("hello", |b| b[1..5].copy_from_slice(b"HTTP"))),
        ("an-unknown-kind-of-session", changed("hello", |b| b[9] = 5)),
        ("a-field-that-is-cut", framed(&[0x33, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])),
        ("no-tagged-section", framed(&[0x04, 1, 0, 0, 0, 0, 0, 0, 0])),
        ("a-byte-too-many", changed("ping", |b| b.push(0))),
        ("a-string-beyond-its-frame", changed("describe-topic", |b| b[1] = 0xff)),
        ("a-string-that-is-not-utf-8", changed("describe-topic", |b| b[3] = 0xff)),
        ("a-bool-of-2", changed("create-topic", |b| b[13] = 2)),
        ("an-unknown-class-of-fault", changed("error", |b| b[1] = 5)),
        ("class-0-of-fault", changed("error", |b| b[1] = 0)),
        ("a-position-without-a-value-that-has-one", changed("subscribe-from-the-end", |b| b[18] = 1)),
        ("an-unknown-kind-of-position", changed("subscribe", |b| b[17] = 4)),
        ("a-list-that-lies-about-its-count", framed(&[0x52, 0xff, 0xff, 0xff, 0xff, 0])),
        ("a-list-one-longer-than-it-is", changed("heartbeat", |b| b[1] = 3)),
        (
            "a-tag-twice",
            framed(&[0x43, 1, 0, 0, 0, 18, 1, 7, 1, 1, 0, 1, 0, 65, 0, 1, 7, 1, 1, 0, 1, 0, 65, 0]),
        ),
        (
            "a-tagged-value-with-a-byte-too-many",
            framed(&[0x43, 1, 0, 0, 0, 10, 1, 8, 1, 1, 0, 1, 0, 65, 0, 0]),
        ),
        ("a-tagged-value-that-is-cut", framed(&[0x43, 1, 0, 0, 0, 4, 1, 2, 1, 1])),
        ("a-tagged-section-beyond-its-frame", framed(&[0x43, 1, 0, 0, 0, 5, 1, 2, 1, 1])),
        ("a-tagged-section-with-half-a-tag", framed(&[0x43, 1, 0, 0, 0, 1, 9])),
        ("a-padded-varint", framed(&[0x43, 1, 0, 0, 0, 0x80, 0])),
        ("a-varint-beyond-64-bits", {
            framed(&[0x43, 1, 0, 0, 0, 12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0])
        }),
    ]
}

/// One record: no key, an empty value, no headers, at the first timestamp.
const RECORD: [u8; 5] = [4, 0, 0, 0, 0];

fn bad_batches() -> Vec<(&'static str, Bytes)> {
    let good = raw(0, 1, (5, 5), &RECORD);
    let with = |at: usize, value: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = value;
        sealed(bytes)
    };
    let two = |record: &[u8]| raw(0, 2, (0, 0), &[&RECORD[..], record].concat());
    let mut damaged = good.to_vec();
    damaged[68] ^= 1;
    let mut nil = good.to_vec();
    nil[40..56].fill(0);
    vec![
        ("an-empty-batch", Bytes::new()),
        ("half-a-header", good.slice(..BATCH_HEADER / 2)),
        ("another-magic", with(0, b'X')),
        ("a-length-too-large", with(4, 70)),
        ("a-length-too-small", with(4, 68)),
        ("a-length-below-the-header", with(4, 63)),
        ("a-batch-that-is-cut", good.slice(..good.len() - 1)),
        ("a-wrong-crc", damaged.into()),
        ("no-records", raw(0, 0, (0, 0), &[])),
        ("a-wrong-last-offset-delta", with(16, 1)),
        ("flags", with(36, 1)),
        ("a-reserved-byte", with(39, 1)),
        ("an-unknown-codec", with(38, 2)),
        ("a-nil-producer", sealed(nil)),
        ("a-count-too-high", raw(0, 3, (0, 0), &[RECORD, RECORD].concat())),
        ("a-count-of-four-billion", raw(0, u32::MAX, (0, 0), &[RECORD, RECORD].concat())),
        ("a-count-too-low", raw(0, 1, (0, 0), &[RECORD, RECORD].concat())),
        ("a-first-timestamp-that-is-not-the-first-records", raw(0, 1, (0, 1), &[4, 2, 0, 0, 0])),
        ("a-last-timestamp-that-is-not-the-last-records", with(28, 6)),
        ("a-record-beyond-the-batch", two(&[5, 0, 0, 0, 0])),
        ("a-record-of-4-gib", two(&[0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0])),
        ("a-record-longer-than-its-fields", two(&[5, 0, 0, 0, 0, 0])),
        ("a-record-shorter-than-its-fields", two(&[3, 0, 0, 0, 0])),
        ("a-key-beyond-its-record", two(&[4, 0, 9, 0, 0])),
        ("a-value-beyond-its-record", two(&[4, 0, 0, 9, 0])),
        ("more-headers-than-there-are", two(&[4, 0, 0, 0, 9])),
        ("a-header-name-that-is-not-utf-8", two(&[7, 0, 0, 0, 1, 1, 0xff, 0])),
        ("a-padded-varint-in-a-record", two(&[5, 0x80, 0, 0, 0, 0])),
    ]
}

fn bad_lz4() -> Vec<(&'static str, Bytes)> {
    let samples = batches();
    let content = |name: &str| {
        let bytes = &samples.iter().find(|(sample, _)| *sample == name).expect("a sample").1;
        bytes[BATCH_HEADER..].to_vec()
    };
    let (linked, checked) = (content("lz4-linked-blocks"), content("lz4-with-checksums"));
    let times = (1_735_689_600_000, 1_735_689_600_070);
    let batch = |content: &[u8]| raw(1, 8, times, content);
    let changed = |content: &[u8], change: &dyn Fn(&mut Vec<u8>)| {
        let mut content = content.to_vec();
        change(&mut content);
        batch(&content)
    };
    let end = checked.len();
    vec![
        ("records-that-are-not-lz4", batch(&RECORD)),
        ("lz4-without-content", raw(1, 8, times, &[])),
        ("lz4-that-is-cut", batch(&linked[..40])),
        ("lz4-without-its-end-mark", batch(&linked[..linked.len() - 4])),
        ("lz4-with-a-byte-behind-it", changed(&linked, &|c| c.push(0))),
        ("two-lz4-frames", changed(&linked, &|c| c.extend_from_slice(&linked))),
        ("lz4-with-a-dictionary", changed(&linked, &|c| c[4] |= 1)),
        ("lz4-of-another-version", changed(&linked, &|c| c[4] = 0xa8)),
        ("lz4-with-blocks-of-an-unknown-size", changed(&linked, &|c| c[5] = 0x30)),
        ("lz4-with-a-wrong-header-checksum", changed(&linked, &|c| c[14] ^= 1)),
        ("lz4-with-a-wrong-block-checksum", changed(&checked, &|c| c[end - 12] ^= 1)),
        ("lz4-with-a-wrong-content-checksum", changed(&checked, &|c| c[end - 1] ^= 1)),
        ("lz4-with-a-block-beyond-its-size", changed(&checked, &|c| c[9] = 2)),
        // A match that reaches back before the content: token 0, offset 9, then the literals of the end.
        (
            "lz4-with-a-match-from-nowhere",
            batch(&unhex("04224d18604082090000000009005061616161610000000000")),
        ),
        // 33 MiB in the descriptor: refused before a byte is decompressed.
        ("lz4-beyond-32-mib", batch(&unhex("04224d1868400000100200000000e500000000"))),
        ("a-count-too-high-in-lz4", raw(1, 9, times, &linked)),
        ("a-count-too-low-in-lz4", raw(1, 7, times, &linked)),
    ]
}

fn bad_entries() -> Vec<(&'static str, Bytes)> {
    let [(_, good), _] = entries();
    let with = |at: usize, change: u8| {
        let mut bytes = good.to_vec();
        bytes[at] ^= change;
        Bytes::from(bytes)
    };
    vec![
        ("zeroes", Bytes::from(vec![0; 128])),
        ("an-entry-with-another-magic", with(0, 1)),
        ("an-entry-with-another-length", with(8, 1)),
        ("an-entry-with-another-offset", with(16, 1)),
        ("an-entry-over-another-batch", with(48, 1)),
        ("an-entry-with-damage-in-its-records", with(good.len() - 1, 1)),
        ("an-entry-that-is-cut", good.slice(..good.len() - 1)),
    ]
}
