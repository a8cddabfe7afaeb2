//! One stream under measurement: ours and bare ones, which carry the same bytes in the same writes.

pub mod ends;
pub mod subject;
