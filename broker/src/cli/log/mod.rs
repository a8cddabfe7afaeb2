//! `log verify|dump|snapshot`: commands that look at a data directory by themselves, whether a broker runs in it or not.

mod dump;
mod snapshot;
mod verify;

use std::collections::HashMap;
use std::path::Path;

use uuid::Uuid;

use super::args::LogCommand;
use super::{Failure, output};
use crate::topics;

/// Carries out a command about a data directory.
pub(super) fn run(command: &LogCommand) -> Result<(), Failure> {
    match command {
        LogCommand::Verify(args) => verify::verify(args),
        LogCommand::Dump(args) => dump::dump(args),
        LogCommand::Snapshot(args) => snapshot::snapshot(args),
    }
}

/// The topics of a data directory by id.
fn names(dir: &Path) -> Result<HashMap<Uuid, String>, Failure> {
    Ok(topics::names_in(dir)?.into_iter().map(|(name, id)| (id, name)).collect())
}
