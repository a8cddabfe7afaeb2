//! `man`: a page for every command.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};
use jiff::Timestamp;

use crate::cli::args::{Cli, Manual};
use crate::cli::{Failure, output};

/// Ends the introduction of a command's examples in the text behind its options.
const EXAMPLES: &str = "Examples:";

/// `man`.
pub(in crate::cli) fn man(args: &Manual) -> Result<(), Failure> {
    let cannot =
        |path: &Path, error: io::Error| Failure::new(format!("cannot write {}: {error}", path.display()));
    fs::create_dir_all(&args.dir).map_err(|error| cannot(&args.dir, error))?;
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let date = date();
    let source = concat!("sealstream ", env!("CARGO_PKG_VERSION"));
    let mut pages = 0;
    for command in tree(&command) {
        let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_uppercase();
        let page = Man::new(command.clone()).title(name).date(&*date).source(source).manual("Sealstream");
        let path = args.dir.join(page.get_filename());
        let mut text = Vec::new();
        render(&page, command, &mut text)?;
        fs::write(&path, tidy(&String::from_utf8(text)?)).map_err(|error| cannot(&path, error))?;
        pages += 1;
    }
    output::line(format_args!("{pages} pages in {}", args.dir.display()))
}

/// A command and all below it.
fn tree(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().flat_map(tree);
    std::iter::once(command).chain(below).collect()
}

/// What a page is dated: today, or the day that a reproducible build says.
fn date() -> String {
    let told = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|seconds| seconds.parse().ok());
    let at = told.and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or_else(Timestamp::now);
    at.strftime("%Y-%m-%d").to_string()
}

/// What formatters complain of: line breaks on both sides of a blank line, and backslashes that escape themselves.
fn tidy(page: &str) -> String {
    page.replace("\n.br\n\n.br\n", "\n.sp\n").replace(r"\\", r"\(rs")
}

/// The page as it is by default, but for the text behind the options: there paragraphs and examples are told apart.
fn render(page: &Man, command: &Command, to: &mut Vec<u8>) -> io::Result<()> {
    page.render_title(to)?;
    page.render_name_section(to)?;
    page.render_synopsis_section(to)?;
    page.render_description_section(to)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        page.render_options_section(to)?;
    }
    if command.has_subcommands() {
        page.render_subcommands_section(to)?;
    }
    let text = command.get_after_long_help().or_else(|| command.get_after_help());
    behind(&text.map(ToString::to_string).unwrap_or_default()).to_writer(to)
}

/// Paragraphs are lines; those that begin with a blank are shown as they are.
fn behind(text: &str) -> Roff {
    let mut roff = Roff::new();
    let mut section = None;
    let mut verbatim = false;
    for line in text.lines().filter(|line| !line.is_empty()) {
        let wanted = if line == EXAMPLES { "EXAMPLES" } else { section.unwrap_or("NOTES") };
        let first = section != Some(wanted);
        if first {
            section = Some(wanted);
            roff.control("SH", [wanted]);
        }
        if line == EXAMPLES {
            continue;
        }
        let shown_as_it_is = line.starts_with(' ');
        match (verbatim, shown_as_it_is) {
            (false, true) => drop(roff.control("nf", [])),
            (true, false) => drop(roff.control("fi", []).control("PP", [])),
            (false, false) if !first => drop(roff.control("PP", [])),
            (false, false) | (true, true) => {}
        }
        verbatim = shown_as_it_is;
        roff.text([roman(line.trim_start())]);
    }
    if verbatim {
        roff.control("fi", []);
    }
    roff
}
