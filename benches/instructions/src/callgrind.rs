//! Runs this program once more under callgrind, and reads what it counted.
//!
//! Two functions mark where the counting of a path begins and ends ([`paths`](crate::paths)). Callgrind sets its counters to zero at
//! the one and writes them down at the other: those of all threads, for an append is mostly done by the shard's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::paths::{ALL, HotPath};

/// Where what callgrind wrote last lies, from the root of the repository.
pub(crate) const KEPT: &str =
    "callgrind_annotate --threshold=100 --auto=no target/instructions/callgrind.N, N the row of the table";

/// What a path took.
#[derive(Debug)]
pub(crate) struct Count {
    pub(crate) path: &'static HotPath,
    /// Instructions of one unit.
    pub(crate) of_one: f64,
}

/// Why there are no counts.
#[derive(Debug)]
pub(crate) enum CountError {
    /// Valgrind could not be started.
    NoValgrind(std::io::Error),
    /// What ran under it failed, and said why.
    Failed(String),
    /// A part is not there, or has no total.
    NoCount { file: PathBuf, path: &'static str },
}

impl fmt::Display for CountError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoValgrind(error) => {
                write!(f, "valgrind does not start: {error}. Install it: apt-get install valgrind")
            }
            Self::Failed(said) => write!(f, "under valgrind the paths end with:\n{said}"),
            Self::NoCount { file, path } => write!(
                f,
                "{} has no count of {path}: is the release profile stripped of its symbols?",
                file.display()
            ),
        }
    }
}

/// How often everything is counted. The least is taken: threads that wake once more than they need to only add to it.
const ROUNDS: usize = 3;

/// Counts what every path takes.
pub(crate) fn counts() -> Result<Vec<Count>, CountError> {
    let mut least = counted_once()?;
    for _ in 1..ROUNDS {
        for (least, again) in least.iter_mut().zip(counted_once()?) {
            least.of_one = least.of_one.min(again.of_one);
        }
    }
    Ok(least)
}

fn counted_once() -> Result<Vec<Count>, CountError> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/instructions");
    // What is left of the last time would be taken for what was counted now.
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a directory in target");
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .args(["--zero-before=*counting_begins*", "--dump-before=*counting_ends*"])
        // One thread at a time, in turn: not whichever is faster.
        .arg("--fair-sched=try")
        .arg(format!("--callgrind-out-file={}", dir.join("callgrind").display()))
        .arg(program)
        .arg("--count")
        .arg(&dir)
        // How memory is moved depends on the size of the processor's caches otherwise, and "rep movsb" counts every byte.
        .env("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-ERMS,-FSRM:glibc.cpu.x86_non_temporal_threshold=0x10000000")
        .output()
        .map_err(CountError::NoValgrind)?;
    if !output.status.success() {
        return Err(CountError::Failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    ALL.iter().zip(1..).map(|(path, part)| count(path, dir.join(format!("callgrind.{part}")))).collect()
}

fn count(path: &'static HotPath, file: PathBuf) -> Result<Count, CountError> {
    let text = std::fs::read_to_string(&file).unwrap_or_default();
    let total = total(&text).ok_or(CountError::NoCount { file, path: path.name })?;
    Ok(Count { path, of_one: total / f64::from(path.calls * path.units) })
}

/// The instructions of a part, if it was written where the counting of a path ends.
fn total(part: &str) -> Option<f64> {
    part.lines().find(|line| line.starts_with("desc: Trigger:") && line.contains("counting_ends"))?;
    let total = part.lines().rev().find_map(|line| line.strip_prefix("totals: "))?;
    total.trim().parse().ok()
}

/// What compiled this, and what counts: the versions that counts depend on.
pub(crate) fn tools() -> Vec<String> {
    let first_line = |program: &str| {
        let output = Command::new(program).arg("--version").output().ok()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        said.lines().next().map(|line| line.split(" (").next().unwrap_or(line).to_owned())
    };
    ["rustc", "valgrind"].iter().filter_map(|program| first_line(program)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PART: &str = "version: 1\npart: 1\n\ndesc: Trigger: --dump-before=x::counting_ends\n\nevents: Ir\n\
                        fn=(1) a\n16 400\n\ntotals: 1200\n";

    #[test]
    fn the_total_of_a_part_is_its_count() {
        assert_eq!(total(PART), Some(1200.0));
    }

    #[test]
    fn a_part_that_was_written_for_another_reason_is_no_count() {
        assert_eq!(total(&PART.replace("--dump-before=x::counting_ends", "Program termination")), None);
        assert_eq!(total(""), None);
    }
}
