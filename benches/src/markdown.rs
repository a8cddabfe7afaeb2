//! Tables of Markdown.

use std::fmt;

/// Prints one row.
pub fn row<C: fmt::Display>(cells: impl IntoIterator<Item = C>) {
    println!("{}", line(cells));
}

/// One row.
pub fn line<C: fmt::Display>(cells: impl IntoIterator<Item = C>) -> String {
    let cells: Vec<_> = cells.into_iter().map(|cell| cell.to_string()).collect();
    format!("| {} |", cells.join(" | "))
}
