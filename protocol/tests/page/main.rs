//! The page of the protocol, its vectors and the code say the same.
#![expect(clippy::unwrap_used, reason = "a failed unwrap fails the test, as it should")]

mod access;
mod bad;
mod groups;
mod json;
mod layout;
mod reading;
mod samples;
mod status;
mod tls;
mod vectors;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use layout::Page;
use sealstream_protocol::Limits;
use sealstream_protocol::batch::Batch;
use sealstream_protocol::entry::{Entries, Entry};
use sealstream_protocol::frame::FrameDecoder;
use sealstream_protocol::message::{FaultClass, FaultCode, Kind};

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn markdown() -> String {
    std::fs::read_to_string(path("../docs/protocol.md")).unwrap()
}

/// The hex dumps of the page, each with its name and lines.
fn dumps(markdown: &str) -> Vec<(&str, Vec<&str>)> {
    let blocks = markdown.split("\n```hex ").skip(1);
    let dumps = blocks.map(|block| {
        let mut lines = block.lines();
        (lines.next().unwrap(), lines.take_while(|line| *line != "```").collect())
    });
    dumps.collect()
}

const REMEDY: &str = "run `cargo run -p sealstream-protocol --example vectors` and look at what changed";

#[test]
fn every_kind_of_frame_is_on_the_page_under_its_number() {
    let page = Page::parse(&markdown());
    for kind in Kind::ALL {
        assert_eq!(page.message(kind.number()).0, kind.name());
    }
    let on_page = page.structures.values().filter(|structure| structure.kind.is_some()).count();
    assert_eq!(on_page, Kind::ALL.len());
}

#[test]
fn every_kind_of_frame_has_a_vector() {
    let kinds: HashSet<_> = samples::messages().iter().map(|(_, message)| message.kind()).collect();
    let without: Vec<_> = Kind::ALL.iter().filter(|kind| !kinds.contains(kind)).collect();
    assert!(without.is_empty(), "{without:?}");
    let mut names: Vec<_> = samples::messages().iter().map(|(name, _)| *name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
}

#[test]
fn every_dump_on_the_page_is_what_the_codec_writes_and_the_layouts_read() {
    let markdown = markdown();
    assert!(dumps(&markdown).len() >= 12);
    assert!(vectors::fill_in(&markdown) == markdown, "a dump is not current: {REMEDY}");
}

#[test]
fn the_bytes_of_every_dump_are_a_message_of_the_codec() {
    for (name, lines) in dumps(&markdown()) {
        let hex: String = lines.iter().map(|line| line.get(..48).unwrap_or(line)).collect();
        let mut bytes = BytesMut::from(&samples::unhex(&hex)[..]);
        let message = FrameDecoder::new(Limits::MAX_FRAME).decode(&mut bytes).unwrap().unwrap();
        assert!(bytes.is_empty());
        let mut again = BytesMut::new();
        message.encode(&mut again);
        assert_eq!(again, vectors::frame(name), "{name}");
    }
}

#[test]
fn the_files_of_vectors_are_current() {
    for (name, content) in vectors::files(&Page::parse(&markdown())) {
        let file = std::fs::read_to_string(path("vectors").join(name)).unwrap_or_default();
        assert!(file == content, "vectors/{name} is not current: {REMEDY}");
    }
}

#[test]
fn the_codec_reads_every_vector_as_the_value_it_was_made_of() {
    for (name, message) in samples::messages() {
        let mut bytes = vectors::frame(name);
        let read = FrameDecoder::new(Limits::MAX_FRAME).decode(&mut bytes).unwrap();
        assert_eq!(read, Some(message), "{name}");
    }
    for (name, bytes) in samples::batches() {
        let batch =
            Batch::validate(bytes, &Limits::default()).unwrap_or_else(|error| panic!("{name}: {error}"));
        let records: Result<Vec<_>, _> = batch.records(&Limits::default()).unwrap().collect();
        assert_eq!(records.unwrap().len(), batch.header().count as usize, "{name}");
    }
    let run: Bytes = samples::entries().map(|(_, bytes)| bytes).concat().into();
    let entries: Result<Vec<Entry>, _> = Entries::new(run).collect();
    assert_eq!(entries.unwrap().iter().map(Entry::next_offset).collect::<Vec<_>>(), [1002, 1010]);
}

#[test]
fn both_lz4_vectors_hold_the_same_records() {
    let records = |wanted: &str| {
        let (_, bytes) = samples::batches().into_iter().find(|(name, _)| *name == wanted).unwrap();
        let batch = Batch::validate(bytes, &Limits::default()).unwrap();
        batch.records(&Limits::default()).unwrap().map(Result::unwrap).collect::<Vec<_>>()
    };
    let linked = records("lz4-linked-blocks");
    assert_eq!(linked, records("lz4-with-checksums"));
    assert_eq!(linked[7].value, "the same words again and again, line 7");
}

#[test]
fn every_bad_vector_is_refused_for_a_reason_of_its_own() {
    let bad = bad::all();
    let mut reasons: Vec<_> = bad.iter().map(|bad| (bad.refusal().1, bad.name)).collect();
    reasons.sort();
    // Where two share a reason, the bytes differ in where it is.
    let distinct: HashSet<_> = reasons.iter().map(|(reason, _)| reason).collect();
    assert!(distinct.len() * 4 > reasons.len() * 3, "{reasons:#?}");
}

#[test]
fn every_fault_code_is_in_the_table_of_the_page_with_its_class() {
    let markdown = markdown();
    let rows: Vec<Vec<&str>> = markdown
        .lines()
        .filter(|line| {
            line.starts_with("| ") && line.split('|').nth(3).is_some_and(|class| is_class(class.trim()))
        })
        .map(|line| line.split('|').map(str::trim).collect())
        .collect();
    let table: Vec<_> = rows.iter().map(|row| (row[1], row[2], row[3])).collect();
    let codes =
        FaultCode::ALL.map(|code| (code.number().to_string(), code.name(), format!("{:?}", code.class())));
    let codes: Vec<_> = codes.iter().map(|(number, name, class)| (&number[..], *name, &class[..])).collect();
    assert_eq!(table, codes);
}

fn is_class(word: &str) -> bool {
    use FaultClass::{Broker, Caller, RetryElsewhere, RetryLater};
    [Caller, RetryLater, RetryElsewhere, Broker].iter().any(|class| format!("{class:?}") == word)
}
