//! Frames and messages: what is written is read back, and what is broken is named.

mod frames;
mod groups;
mod messages;
mod status;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use sealstream_protocol::limits::MAX_TEXT;
use sealstream_protocol::message::admin::DescribeTopic;
use sealstream_protocol::message::consume::{Membership, Position, Subscribe};
use sealstream_protocol::message::hello::{Hello, Ping, Secret, SessionKind};
use sealstream_protocol::message::produce::{Ack, OpenRefused};
use sealstream_protocol::message::{DecodeError, Fault, FaultClass, FaultCode, Kind, Message, Problem};

/// The frame of a message, from its kind on.
fn body(message: &Message) -> Bytes {
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out.split_off(4).freeze()
}

fn decode(bytes: &[u8]) -> Result<Message, DecodeError> {
    Message::decode(&Bytes::copy_from_slice(bytes))
}

/// How many cases a property is tried with: `few` times the rounds of a long run.
fn cases(few: u32) -> ProptestConfig {
    let rounds = std::env::var("SEALSTREAM_ROUNDS").ok().and_then(|rounds| rounds.parse::<u32>().ok());
    ProptestConfig::with_cases(few.saturating_mul(rounds.unwrap_or(1)))
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_message_comes_back_as_it_was_sent(message in messages::message()) {
        prop_assert_eq!(Message::decode(&body(&message)).unwrap(), message);
    }

    #[test]
    fn a_message_cut_anywhere_is_refused(message in messages::message()) {
        let whole = body(&message);
        for cut in 0..whole.len() {
            match Message::decode(&whole.slice(..cut)) {
                // The end of the frame is all that ends a payload.
                Ok(_) => prop_assert!(message.kind().has_payload()),
                Err(error) => prop_assert!(
                    matches!(error.problem(), Problem::EndsEarly | Problem::Empty | Problem::Magic),
                    "cut at {}: {}", cut, error
                ),
            }
        }
    }

    #[test]
    fn a_byte_too_many_is_refused(message in messages::message(), byte: u8) {
        let long = [&body(&message)[..], &[byte]].concat();
        match decode(&long) {
            Ok(_) => prop_assert!(message.kind().has_payload()),
            Err(error) => prop_assert_eq!(error.problem(), Problem::TrailingBytes(1)),
        }
    }

    #[test]
    fn whatever_is_read_is_written_as_something_that_reads_the_same(
        message in messages::message(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let mut bytes = body(&message).to_vec();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if let Ok(read) = decode(&bytes) {
            prop_assert_eq!(Message::decode(&body(&read)).unwrap(), read);
        }
    }
}

#[test]
fn unknown_tags_are_ignored() {
    let ack = Message::Ack(Ack { request: 1, base_offset: 2, epoch: 3, duplicate: true });
    let bytes = body(&ack);
    // Tag 9 with a value of two bytes, tag 300 twice with none.
    let unknown = [9, 2, 0xaa, 0xbb, 0xac, 0x02, 0, 0xac, 0x02, 0];
    let longer = [&bytes[..bytes.len() - 1], &[10], &unknown].concat();
    assert_eq!(decode(&longer).unwrap(), ack);

    let subscribe = Message::Subscribe(Subscribe { group: None, ..subscribe() });
    let bytes = body(&subscribe);
    let (fixed, known) = bytes.split_at(bytes.len() - 6);
    let fixed = &fixed[..fixed.len() - 1];
    assert_eq!(decode(&[fixed, &[16], &unknown, known].concat()).unwrap(), subscribe);
    assert_eq!(decode(&[fixed, &[16], known, &unknown].concat()).unwrap(), subscribe);
    let cut = [fixed, &[8], known, &unknown[..2]].concat();
    assert_eq!(decode(&cut).unwrap_err().to_string(), "Subscribe.tagged section: frame ends early");
}

#[test]
fn every_kind_has_its_own_number_and_name() {
    for kind in Kind::ALL {
        assert_eq!(Kind::from_number(kind.number()), Some(*kind));
    }
    let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Kind::ALL.len());
    assert_eq!(decode(&[0x7f, 0]).unwrap_err().to_string(), "frame kind 0x7f is unknown");
}

#[test]
fn an_error_names_the_frame_and_the_field() {
    let produce = [0x33, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 3, 0];
    assert_eq!(decode(&produce).unwrap_err().to_string(), "Produce.partition: frame ends early");
    let refused = Message::OpenRefused(OpenRefused { handle: 1, fault: Fault::new(FaultCode::Busy, "full") });
    let mut bytes = body(&refused).to_vec();
    bytes[10] = 0xff;
    assert_eq!(decode(&bytes).unwrap_err().to_string(), "OpenRefused: Fault.text: string is not UTF-8");
    let error = decode(&[&body(&Message::Ping(Ping { nonce: 1 }))[..], &[0]].concat()).unwrap_err();
    assert_eq!(error.to_string(), "Ping: bytes left over: 1");
    let fault = Fault::from(&error);
    assert_eq!((fault.class, fault.code_known()), (FaultClass::Caller, Some(FaultCode::Malformed)));
}

#[test]
fn values_out_of_their_range_are_refused() {
    let ack = body(&Message::Ack(Ack { request: 1, base_offset: 2, epoch: 3, duplicate: true }));
    let mut bytes = ack.to_vec();
    bytes[21] = 2;
    assert_eq!(decode(&bytes).unwrap_err().to_string(), "Ack.duplicate: 2 is neither 0 nor 1");
    let mut class = body(&Message::Error(Fault::new(FaultCode::Busy, ""))).to_vec();
    class[1] = 5;
    assert_eq!(
        decode(&class).unwrap_err().to_string(),
        "Error: Fault.class: 5 is not a value that it may have"
    );
    let mut code = body(&Message::Error(Fault::new(FaultCode::Busy, ""))).to_vec();
    code[2..4].copy_from_slice(&999u16.to_le_bytes());
    let Message::Error(fault) = decode(&code).unwrap() else { panic!("not an error") };
    assert_eq!((fault.code, fault.code_known(), fault.class), (999, None, FaultClass::RetryLater));
    let list = [&[0x52][..], &u32::MAX.to_le_bytes()].concat();
    assert_eq!(decode(&list).unwrap_err().to_string(), "Heartbeat.progress: frame ends early");
}

fn subscribe() -> Subscribe {
    Subscribe {
        subscription: 1,
        topic: "t".into(),
        partition: 0,
        position: Position::Beginning,
        topic_id: None,
        epoch: Some(4),
        group: Some(Membership { group: "g".into(), member: uuid::Uuid::from_u128(1), epoch: 2 }),
    }
}

#[test]
fn a_tag_that_is_there_twice_is_refused() {
    let bytes = body(&Message::Subscribe(Subscribe { group: None, ..subscribe() }));
    let section = &bytes[bytes.len() - 6..];
    assert_eq!(bytes[bytes.len() - 7], 6);
    let twice = [&bytes[..bytes.len() - 7], &[12], section, section].concat();
    assert_eq!(decode(&twice).unwrap_err().to_string(), "Subscribe.epoch: tag 2 is there twice");
}

#[test]
fn a_tagged_value_longer_than_its_field_is_refused() {
    let bytes = body(&Message::Subscribe(Subscribe { group: None, ..subscribe() })).to_vec();
    let at = bytes.len();
    let longer = [&bytes[..at - 7], &[7, 2, 5], &bytes[at - 4..], &[0]].concat();
    assert_eq!(decode(&longer).unwrap_err().to_string(), "Subscribe.epoch: bytes left over: 1");
}

#[test]
fn a_position_that_takes_no_value_has_none() {
    let mut bytes = body(&Message::Subscribe(subscribe())).to_vec();
    assert_eq!(bytes[12], 0);
    bytes[13] = 1;
    assert_eq!(
        decode(&bytes).unwrap_err().to_string(),
        "Subscribe.position: 1 is not a value that it may have"
    );
    bytes[12] = 4;
    assert_eq!(
        decode(&bytes).unwrap_err().to_string(),
        "Subscribe.position: 4 is not a value that it may have"
    );
}

fn hello() -> Hello {
    Hello {
        version_min: 1,
        version_max: 1,
        session: SessionKind::Admin,
        idle_ms: 30_000,
        client: "test".into(),
        token: Some(Secret("hush-hush".into())),
        cluster: None,
    }
}

#[test]
fn a_token_is_not_printed() {
    let shown = format!("{:?}", Message::Hello(hello()));
    assert!(!shown.contains("hush"), "{shown}");
}

#[test]
fn a_stray_client_of_another_protocol_is_told() {
    let mut bytes = body(&Message::Hello(hello())).to_vec();
    bytes[1] = b'X';
    let error = decode(&bytes).unwrap_err().to_string();
    assert_eq!(error, "Hello.magic: does not begin with SEAL: the peer does not speak Sealstream");
}

#[test]
fn a_text_that_is_too_long_is_cut_at_a_characters_edge() {
    let fault = Fault::new(FaultCode::Internal, "é".repeat(MAX_TEXT));
    let Message::Error(read) = Message::decode(&body(&Message::Error(fault))).unwrap() else { panic!() };
    assert_eq!(read.text, "é".repeat(MAX_TEXT / 2));
    let name = format!("x{}", "é".repeat(40_000));
    let Message::DescribeTopic(read) =
        Message::decode(&body(&Message::DescribeTopic(DescribeTopic { name }))).unwrap()
    else {
        panic!()
    };
    assert_eq!(read.name.len(), 65_535);
}

#[test]
fn every_fault_code_has_a_number_a_name_and_a_class() {
    for code in FaultCode::ALL {
        assert_eq!(FaultCode::from_number(code.number()), Some(code));
        let fault = Fault::new(code, "text");
        assert_eq!(fault.to_string(), format!("{} ({}): text", code.name(), code.number()));
    }
    assert!(FaultCode::ALL.is_sorted_by_key(|code| code.number()));
    let wait = std::time::Duration::from_micros(1500);
    assert_eq!(Fault::new(FaultCode::Busy, "").retry_after(wait).retry_after_ms, Some(2));
}
