//! Why a frame cannot be read.

use std::fmt;

use super::{Fault, FaultCode, Kind};
use crate::wire::Flaw;

/// Why a frame cannot be read. Its session cannot go on: send the [`Fault`] made of it as an Error, and end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    kind: Option<Kind>,
    place: Option<Place>,
    problem: Problem,
}

/// What is wrong with a frame, or with one of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The length field says 0: there is not even a kind.
    #[error("frame is empty")]
    Empty,
    /// The length field exceeds the limit for frames of this kind.
    #[error("frame of {length} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// The length field.
        length: u32,
        /// The limit, in bytes after the length field.
        limit: u32,
    },
    /// No message has this kind.
    #[error("frame kind {0:#04x} is unknown")]
    UnknownKind(u8),
    /// The frame, or the value of a tagged field, is over before the field is.
    #[error("frame ends early")]
    EndsEarly,
    /// Bytes are left over behind the last field.
    #[error("bytes left over: {0}")]
    TrailingBytes(usize),
    /// A varint is longer than it need be, or beyond 64 bits.
    #[error("varint is malformed")]
    Varint,
    /// A string is not UTF-8.
    #[error("string is not UTF-8")]
    Utf8,
    /// A bool is neither 0 nor 1.
    #[error("{0} is neither 0 nor 1")]
    Bool(u8),
    /// A number that is none of those the field may have.
    #[error("{0} is not a value that it may have")]
    Value(u64),
    /// A Hello does not begin with `SEAL`.
    #[error("does not begin with SEAL: the peer does not speak Sealstream")]
    Magic,
    /// A tagged field is there twice.
    #[error("tag {0} is there twice")]
    DuplicateTag(u64),
}

/// Where in a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    structure: &'static str,
    field: &'static str,
}

impl DecodeError {
    /// The kind of the frame, if it is known.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// What is wrong.
    pub fn problem(&self) -> Problem {
        self.problem
    }

    pub(crate) fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = Some(kind);
        self
    }

    /// Names the field, unless a structure inside it has named one already.
    pub(super) fn within(mut self, structure: &'static str, field: &'static str) -> Self {
        self.place = self.place.or(Some(Place { structure, field }));
        self
    }
}

impl From<Problem> for DecodeError {
    fn from(problem: Problem) -> Self {
        Self { kind: None, place: None, problem }
    }
}

impl From<Flaw> for DecodeError {
    fn from(flaw: Flaw) -> Self {
        Self::from(match flaw {
            Flaw::EndsEarly => Problem::EndsEarly,
            Flaw::Varint => Problem::Varint,
        })
    }
}

impl fmt::Display for DecodeError {
    /// `Produce.partition: frame ends early`, `OpenRefused: Fault.text: string is not UTF-8`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.map(Kind::name);
        match (kind, self.place) {
            (Some(kind), Some(place)) if kind != place.structure => {
                write!(f, "{kind}: {}.{}: ", place.structure, place.field)?;
            }
            (_, Some(place)) => write!(f, "{}.{}: ", place.structure, place.field)?,
            (Some(kind), None) => write!(f, "{kind}: ")?,
            (None, None) => {}
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for DecodeError {}

impl From<&DecodeError> for Fault {
    fn from(error: &DecodeError) -> Self {
        let code = match error.problem {
            Problem::TooLarge { .. } => FaultCode::TooLarge,
            Problem::UnknownKind(_) => FaultCode::UnexpectedFrame,
            _ => FaultCode::Malformed,
        };
        Self::new(code, error.to_string())
    }
}
