//! What programs outside of this crate rely on, seen from outside.

use std::fmt::Debug;

use sealstream_protocol::Limits;
use sealstream_protocol::batch::{
    Batch, BatchBuilder, BatchError, BatchHeader, BufferPool, Codec, Header, HeaderRefs, Headers, Lz4Problem,
    Record, RecordProblem, RecordRef, RecordTooLarge, Records,
};
use sealstream_protocol::entry::{Entries, Entry, EntryError, EntryHeader, EntryView};
use sealstream_protocol::frame::FrameDecoder;
use sealstream_protocol::message::{DecodeError, Fault, FaultClass, FaultCode, Kind, Message, Problem};
use sealstream_protocol::name::NameError;

fn shared<T: Debug + Send + Sync>() {}
fn thrown<T: std::error::Error + Send + Sync + 'static>() {}

macro_rules! each {
    ($check:ident: $($kind:ty),+ $(,)?) => { $($check::<$kind>();)+ };
}

/// It is the compiler that tests this: a type that is not any more does not compile. Every message is a part of `Message`.
#[test]
fn everything_is_shown_and_shared_between_threads() {
    each!(shared: Batch, BatchBuilder, BatchHeader, BufferPool, Codec, Header, HeaderRefs<'static>, Headers, Record);
    each!(shared: RecordRef<'static>, Records, Entries, Entry, EntryHeader, EntryView, FrameDecoder, Limits);
    each!(shared: Message, Kind, Fault, FaultClass, FaultCode, Problem, Lz4Problem, RecordProblem);
    each!(thrown: BatchError, DecodeError, EntryError, NameError, RecordTooLarge);
}
