//! Frames over streams that tear them to pieces.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use sealstream_client::wire::{FrameReader, FrameWriter, WireError, fail};
use sealstream_protocol::Limits;
use sealstream_protocol::message::consume::Data;
use sealstream_protocol::message::hello::Ping;
use sealstream_protocol::message::produce::Produce;
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::io::{AsyncWriteExt as _, duplex};
use tokio::time::timeout;

/// Larger than any buffer on the way, and small enough for a debug build.
const LARGE: usize = 100_000;

/// Messages of every shape, the largest with a payload of so many bytes.
fn messages(large: usize) -> Vec<Message> {
    let payload = |length: usize| Bytes::from((0..=255).cycle().take(length).collect::<Vec<u8>>());
    vec![
        Message::Ping(Ping { nonce: 1 }),
        Message::Produce(Produce { request: 2, handle: 1, partition: 3, batch: payload(100) }),
        Message::Produce(Produce { request: 3, handle: 1, partition: 3, batch: payload(large) }),
        Message::Ping(Ping { nonce: 4 }),
        Message::Data(Data { subscription: 5, entries: payload(20_000) }),
        Message::Data(Data { subscription: 6, entries: Bytes::new() }),
    ]
}

/// What `messages` are on the wire.
fn encoded(large: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    for message in messages(large) {
        message.encode(&mut bytes);
    }
    bytes
}

#[tokio::test]
async fn frames_arrive_whole_however_they_are_cut() {
    for (piece, large) in [(1, 10_000), (3, 20_000), (13, 100_000), (4096, 700_000), (100_000, 2_000_000)] {
        let (mut to, from) = duplex(piece);
        let write = async move {
            to.write_all(&encoded(large)).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let read = async move {
            let mut reader = FrameReader::new(from, Limits::MAX_FRAME);
            for expected in messages(large) {
                assert_eq!(reader.next().await.unwrap(), Some(expected), "in pieces of {piece}");
            }
            assert_eq!(reader.next().await.unwrap(), None);
            assert_eq!(reader.received(), encoded(large).len() as u64);
        };
        tokio::join!(write, read);
    }
}

#[tokio::test]
async fn the_writer_writes_what_the_codec_encodes() {
    let (to, mut from) = duplex(1000);
    let mut writer = FrameWriter::new(to);
    for message in messages(LARGE) {
        writer.feed(&message);
    }
    assert_eq!(writer.pending(), encoded(LARGE).len());
    let write = async {
        writer.flush().await.unwrap();
        assert!(!writer.needs_flush());
        writer.finish(Duration::from_secs(1)).await.unwrap();
    };
    let mut read = Vec::new();
    let (read_all, ()) = tokio::join!(tokio::io::AsyncReadExt::read_to_end(&mut from, &mut read), write);
    read_all.unwrap();
    assert_eq!(read, encoded(LARGE));
}

#[tokio::test]
async fn several_chunks_make_one_data_frame() {
    let (to, from) = duplex(1 << 20);
    let mut writer = FrameWriter::new(to);
    let chunks = [Bytes::from(vec![1; 50_000]), Bytes::from(vec![2; 3]), Bytes::from(vec![3; 9_000])];
    writer.feed_data(7, chunks.clone());
    writer.flush().await.unwrap();
    let mut reader = FrameReader::new(from, Limits::MAX_FRAME);
    let Some(Message::Data(data)) = reader.next().await.unwrap() else { panic!("not Data") };
    assert_eq!((data.subscription, data.entries), (7, Bytes::from(chunks.concat())));
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_read_or_flush_loses_no_byte() {
    let (to, from) = duplex(301);
    let write = async move {
        let mut writer = FrameWriter::new(to);
        for message in messages(LARGE) {
            writer.feed(&message);
        }
        while writer.needs_flush() {
            // Gives up at once whenever the pipe is full.
            let _ = timeout(Duration::ZERO, writer.flush()).await;
            tokio::task::yield_now().await;
        }
        writer.finish(Duration::from_secs(1)).await.unwrap();
    };
    let read = async move {
        let mut reader = FrameReader::new(from, Limits::MAX_FRAME);
        let mut read = Vec::new();
        loop {
            match timeout(Duration::ZERO, reader.next()).await {
                Ok(Ok(Some(message))) => read.push(message),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => tokio::task::yield_now().await,
            }
        }
        assert_eq!(read, messages(LARGE));
    };
    tokio::join!(write, read);
}

#[tokio::test]
async fn an_end_in_the_middle_of_a_frame_is_no_clean_end() {
    for cut in [1, 4, 5, 12] {
        let (mut to, from) = duplex(1000);
        to.write_all(&encoded(LARGE)[..cut]).await.unwrap();
        drop(to);
        let error = FrameReader::new(from, Limits::MAX_FRAME).next().await.unwrap_err();
        assert!(matches!(error, WireError::EndedInFrame), "after {cut} bytes: {error}");
    }
}

#[tokio::test]
async fn a_frame_beyond_the_limit_is_refused_by_its_length_alone() {
    let (mut to, from) = duplex(1000);
    to.write_all(&[0xff, 0xff, 0xff, 0xff]).await.unwrap();
    let mut reader = FrameReader::new(from, 1 << 20);
    let error = reader.next().await.unwrap_err();
    assert!(matches!(error, WireError::Malformed(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn the_last_word_reaches_a_peer_that_reads_only_after_it_has_written() {
    let (ours, theirs) = duplex(1000);
    let (recv, send) = tokio::io::split(ours);
    let fault = Fault::new(FaultCode::Malformed, "a bad frame");
    let failing = fail(FrameReader::new(recv, 1 << 20), FrameWriter::new(send), fault.clone());
    let (recv, mut send) = tokio::io::split(theirs);
    let peer = async move {
        send.write_all(&vec![7; 200_000]).await.unwrap();
        let mut reader = FrameReader::new(recv, 1 << 20);
        assert_eq!(reader.next().await.unwrap(), Some(Message::Error(fault)));
        assert_eq!(reader.next().await.unwrap(), None);
    };
    let (failed, ()) = tokio::join!(failing, peer);
    failed.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_last_word_to_a_peer_that_never_reads_takes_two_seconds_at_most() {
    let (ours, _theirs) = duplex(10);
    let (recv, send) = tokio::io::split(ours);
    let started = tokio::time::Instant::now();
    let fault = Fault::new(FaultCode::Malformed, "a text that is longer than the pipe");
    let failed = fail(FrameReader::new(recv, 1 << 20), FrameWriter::new(send), fault).await;
    assert!(matches!(failed, Err(WireError::TimedOut)), "{failed:?}");
    assert!(started.elapsed() <= Duration::from_secs(2));
}
