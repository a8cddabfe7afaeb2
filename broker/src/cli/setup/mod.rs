//! `completions` and `man`: what shells and manuals know of the command line, made from its own definitions.

mod completions;
mod man;

pub(super) use self::completions::completions;
pub(super) use self::man::man;
