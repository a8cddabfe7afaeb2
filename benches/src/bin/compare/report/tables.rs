//! The tables: one for each piece of work, a row for each contestant, a column for what was measured.

use std::fmt::Write as _;

use sealstream_benches::markdown::line;

use super::marks::Mark;
use super::{Machine, distinct};
use crate::args::Args;
use crate::figure::Figure;
use crate::runner::Outcome;

/// All of it, as Markdown.
pub(super) fn markdown(args: &Args, machine: &Machine, outcome: &Outcome, marks: &[Mark]) -> String {
    let mut text = String::from("# Comparison\n\n");
    let Machine { cores, processor, memory_gib, kernel, load } = machine;
    // A string takes whatever is written to it.
    let _ = writeln!(
        text,
        "{processor}, {cores} cores, {memory_gib} GiB, Linux {kernel}; rounds: {}, in {} s; load in the end: {load}. Medians, and between which \
         quarters of the rounds they lie.",
        args.rounds(),
        outcome.took.as_secs()
    );
    if args.quick {
        text.push_str("\n**Quick: rounds so small that the figures mean nothing.**\n");
    }
    if !outcome.missing.is_empty() {
        text.push_str("\nLeft out:\n\n");
        for missing in &outcome.missing {
            let _ = writeln!(text, "- {missing}");
        }
    }
    for workload in distinct(outcome.figures.iter().map(|figure| &*figure.workload)) {
        let _ = writeln!(text, "\n## {}{}", workload[..1].to_uppercase(), &workload[1..]);
        let figures: Vec<_> = outcome.figures.iter().filter(|figure| figure.workload == workload).collect();
        for case in distinct(figures.iter().map(|figure| &*figure.case)) {
            let figures: Vec<_> = figures.iter().copied().filter(|figure| figure.case == case).collect();
            text.push_str(&table(case, &figures));
        }
    }
    if !outcome.failures.is_empty() {
        text.push_str("\n## Failed\n\n");
        for failure in &outcome.failures {
            let _ = writeln!(text, "- {failure}");
        }
    }
    text.push_str("\n## The marks\n\n");
    let _ = writeln!(text, "{}", line(["", "mark", "wanted", "measured", ""]));
    let _ = writeln!(text, "{}", line(["---"; 5]));
    for mark in marks {
        let Mark { number, what, wanted, measured, .. } = mark;
        let cells =
            [*number, what.as_str(), wanted.as_str(), measured.as_deref().unwrap_or("-"), mark.verdict()];
        let _ = writeln!(text, "{}", line(cells));
    }
    text
}

fn table(case: &str, figures: &[&Figure]) -> String {
    let names = distinct(figures.iter().map(|figure| &*figure.name));
    let mut text = format!("\n### {case}\n\n");
    let _ = writeln!(text, "{}", line(std::iter::once("").chain(names.iter().copied())));
    let _ = writeln!(text, "{}", line(std::iter::repeat_n("---", names.len() + 1)));
    for contestant in distinct(figures.iter().map(|figure| &*figure.contestant)) {
        let cell = |name: &&str| {
            let found = figures.iter().find(|figure| figure.contestant == contestant && figure.name == *name);
            found.map(|figure| figure.show()).unwrap_or_default()
        };
        let cells = std::iter::once(contestant.to_owned()).chain(names.iter().map(cell));
        let _ = writeln!(text, "{}", line(cells));
    }
    text
}
