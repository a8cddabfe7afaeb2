//! `log verify|dump|snapshot`: commands that look at a data directory by themselves, whether a broker runs in it or not.

mod dump;
mod snapshot;
mod verify;

use super::args::LogCommand;
use super::{Failure, output};

/// Carries out a command about a data directory.
pub(super) fn run(command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Verify(args) => verify::verify(args),
        LogCommand::Dump(args) => dump::dump(args),
        LogCommand::Snapshot(args) => snapshot::snapshot(args),
    }
}
