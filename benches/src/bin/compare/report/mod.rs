//! What a run leaves behind: tables, JSON, charts, and which marks are met.

mod charts;
mod marks;
mod tables;

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::Failure;
use crate::args::Args;
use crate::runner::Outcome;

/// The machine, as far as it tells.
struct Machine {
    cores: usize,
    processor: String,
    memory_gib: i64,
    kernel: String,
    /// How much else ran, over the last minute before the end.
    load: String,
}

impl Machine {
    fn here() -> Self {
        let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
        let value = |file: &str, field: &str| {
            let text = read(file);
            let line = text.lines().find(|line| line.starts_with(field)).unwrap_or_default();
            line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
        };
        let memory = value("/proc/meminfo", "MemTotal");
        let memory =
            memory.split_whitespace().next().and_then(|kib| kib.parse::<i64>().ok()).unwrap_or_default();
        Self {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            processor: value("/proc/cpuinfo", "model name"),
            memory_gib: memory >> 20,
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            load: read("/proc/loadavg").split_whitespace().next().unwrap_or_default().to_owned(),
        }
    }

    fn json(&self) -> Value {
        let Self { cores, processor, memory_gib, kernel, load } = self;
        json!({ "cores": cores, "processor": processor, "memory_gib": memory_gib, "kernel": kernel, "load": load })
    }
}

/// Writes all of it, and prints the tables; tells whether everybody could do everything.
pub(crate) fn write(args: &Args, outcome: &Outcome) -> Result<bool, Failure> {
    fs::create_dir_all(&args.out)?;
    let (machine, marks) = (Machine::here(), marks::judge(&outcome.figures));
    let tables = tables::markdown(args, &machine, outcome, &marks);
    println!("{tables}");
    fs::write(args.out.join("compare.md"), &tables)?;
    let json = json!({
        "machine": machine.json(), "quick": args.quick, "rounds": args.rounds(), "seconds": outcome.took.as_secs_f64(),
        "figures": outcome.figures, "marks": marks, "failures": outcome.failures, "missing": outcome.missing,
    });
    fs::write(args.out.join("compare.json"), serde_json::to_string_pretty(&json)?)?;
    let charts = charts::draw(&args.out, &outcome.figures)?;
    eprintln!("written to {}: compare.md, compare.json, {charts} charts", shown(&args.out));
    Ok(outcome.failures.is_empty())
}

fn shown(dir: &Path) -> String {
    dir.canonicalize().unwrap_or_else(|_| dir.to_owned()).display().to_string()
}

/// Distinct values, in the order in which they come.
fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}
