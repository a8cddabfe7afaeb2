//! The client of a Sealstream broker: the wire helpers that broker and client share, and the SDK on top of them.

pub mod wire;
