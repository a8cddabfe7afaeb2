//! How many instructions the hot paths take, counted by valgrind's callgrind and held against a baseline.
//!
//! The time of a shared machine says little about a change of a tenth. The number of instructions is the same to a few in a thousand,
//! whatever else runs, so that it can fail a build.
//!
//! ```text
//! main ─► valgrind --tool=callgrind main --count DIR ─► paths, one after the other ─► DIR/callgrind.N, one a path
//!   └──► callgrind: counts ─► baseline: verdicts ─► the table, baseline.json, the exit code
//! ```
//!
//! Valgrind shows the program a processor of its own: what is chosen by the processor (of `ring`, `crc32c`, `memcpy`) may be other
//! code than outside of it. Changes of our own code are what the counts are good for.

mod baseline;
mod callgrind;
mod paths;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

use baseline::{Baseline, Verdict};

/// Count the instructions of the hot paths, and compare them with the baseline
#[derive(Debug, Parser)]
struct Args {
    /// Print the table (the default)
    #[arg(long, conflicts_with_all = ["check", "record"])]
    table: bool,
    /// Print the table, and fail if a path takes 10 % more than the baseline says
    #[arg(long, conflicts_with = "record")]
    check: bool,
    /// Print the table, and make what was counted the baseline
    #[arg(long)]
    record: bool,
    /// Only take the paths, for valgrind to count: with their files in this directory
    #[arg(long, hide = true, value_name = "DIR")]
    count: Option<PathBuf>,
}

/// How to make new counts the baseline.
const RECORD: &str = "cargo run --release -p sealstream-instructions -- --record";

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(dir) = args.count {
        paths::take_all(&dir);
        return ExitCode::SUCCESS;
    }
    let counts = match callgrind::counts() {
        Ok(counts) => counts,
        Err(error) => {
            eprintln!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let tools = callgrind::tools();
    // Of one that is to be recorded anew it does not matter whether the old one can be read.
    let baseline = match Baseline::load() {
        Err(error) if !args.record => {
            eprintln!("{error}: `{RECORD}` writes it");
            return ExitCode::FAILURE;
        }
        loaded => loaded.unwrap_or_default(),
    };
    let verdicts = baseline.judge(&counts);
    table(&verdicts);
    if args.record {
        Baseline::of(tools, &verdicts).save();
        return ExitCode::SUCCESS;
    }
    remedies(&baseline, &tools, &verdicts);
    let failed = args.check && verdicts.iter().any(Verdict::is_failure);
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn table(verdicts: &[Verdict]) {
    println!("| path | of one | instructions | baseline | change |\n|---|---|---|---|---|");
    for Verdict { path, count, baseline, .. } in verdicts {
        let before = baseline.map_or_else(|| "none".to_owned(), |baseline| grouped(baseline.round()));
        let change = baseline.map_or_else(String::new, |before| percent(count / before));
        println!("| {} | {} | {} | {before} | {change} |", path.name, path.unit, grouped(count.round()));
    }
}

/// What to do about what is not as it was.
fn remedies(baseline: &Baseline, tools: &[String], verdicts: &[Verdict]) {
    let mut moved = false;
    for verdict in verdicts {
        let Verdict { path, count, baseline, .. } = verdict;
        let Some(before) = *baseline else {
            println!("{}: the baseline does not have it: `{RECORD}` adds it", path.name);
            continue;
        };
        let change = percent(count / before);
        if verdict.has_grown() {
            moved = true;
            println!(
                "{}: {change}. If no change of yours is meant to cost that, look for what does: {}. If it is worth its price, \
                 record it with `{RECORD}` and say so in the commit",
                path.name,
                callgrind::KEPT
            );
        } else if verdict.has_fallen() {
            moved = true;
            println!("{}: {change}. Keep it: `{RECORD}`", path.name);
        }
    }
    if moved && baseline.tools != tools {
        println!(
            "The baseline was recorded with {}; this is {}. If nothing of ours has changed, that is why: record it anew",
            baseline.tools.join(", "),
            tools.join(", ")
        );
    }
}

/// By how much more or less.
fn percent(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

/// A whole number with a comma at every thousand.
fn grouped(count: f64) -> String {
    let digits = format!("{count:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [7.0, 999.0, 1000.0, 1_234_567.0].map(grouped),
            ["7", "999", "1,000", "1,234,567"].map(str::to_owned)
        );
    }
}
