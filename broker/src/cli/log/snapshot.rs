//! `log snapshot`.

use serde_json::json;

use super::{Failure, output};
use crate::cli::args::LogSnapshot;
use crate::cli::interrupt;
use crate::cli::progress::Progress;
use crate::log::segmented::snapshot as copy;

/// Copies a data directory.
pub(super) fn snapshot(args: &LogSnapshot) -> Result<(), Failure> {
    let mut progress = Progress::new(None, args.json);
    let (view, to) = (progress.view(), args.to.display().to_string());
    interrupt::end_with(move || {
        let done = view.clear();
        output::note(format_args!("interrupted after {done}: {to} is no copy yet, remove it"));
    })?;
    let made = copy(&args.dir, &args.to, &mut |bytes| progress.advance(0, bytes))?;
    progress.finish();
    let records: u64 = made.report.partitions.iter().map(|partition| partition.records).sum();
    let partitions = made.report.partitions.len();
    if args.json {
        return output::json(&json!({
            "snapshot": args.to.display().to_string(), "partitions": partitions, "records": records,
            "copied_bytes": made.copied, "linked_bytes": made.linked,
        }));
    }
    output::line(format_args!(
        "{} with {}, checked and sound",
        output::counted(partitions as u64, "partition", "partitions"),
        output::counted(records, "record", "records")
    ))?;
    output::line(format_args!(
        "{} copied, {} shared with the original",
        output::bytes(made.copied),
        output::bytes(made.linked)
    ))?;
    output::note(
        "Certificates, ticket secrets and the configuration are not in it. A broker that starts on it begins new log epochs: consumers that \
         were further than the copy are told so.",
    );
    Ok(())
}
