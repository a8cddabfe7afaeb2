//! The files of vectors, and the page with its dumps filled in.

use bytes::BytesMut;
use sealstream_protocol::partition;

use crate::bad;
use crate::json::{Json, hex};
use crate::layout::Page;
use crate::{reading, samples};

/// Every file by name.
pub(crate) fn files(page: &Page) -> Vec<(&'static str, String)> {
    [
        ("messages.json", messages(page)),
        ("batches.json", structures(page, "Batch", &samples::batches())),
        ("entries.json", structures(page, "Entry", &samples::entries())),
        ("partitions.json", partitions()),
        ("bad.json", refused()),
    ]
    .map(|(name, json)| (name, json.file()))
    .to_vec()
}

/// The frame of a sample.
pub(crate) fn frame(name: &str) -> BytesMut {
    let samples = samples::messages();
    let (_, message) =
        samples.iter().find(|(sample, _)| *sample == name).unwrap_or_else(|| panic!("no {name}"));
    let mut out = BytesMut::new();
    message.encode(&mut out);
    out
}

fn messages(page: &Page) -> Json {
    let list = samples::messages().into_iter().map(|(name, message)| {
        let bytes = frame(name);
        let (fields, _) = reading::frame(page, &bytes);
        Json::map([
            ("name", Json::text(name)),
            ("kind", Json::text(message.kind().name())),
            ("fields", fields),
            ("hex", Json::Text(hex(&bytes))),
        ])
    });
    Json::List(list.collect())
}

fn structures(page: &Page, structure: &str, samples: &[(&str, bytes::Bytes)]) -> Json {
    let list = samples.iter().map(|(name, bytes)| {
        let fields = reading::whole(page, structure, bytes);
        Json::map([("name", Json::text(*name)), ("fields", fields), ("hex", Json::Text(hex(bytes)))])
    });
    Json::List(list.collect())
}

fn partitions() -> Json {
    let long = "k".repeat(300);
    let keys = ["", "a", "user-7", "0123456789abcdef", "0123456789abcdef0", "naïve", &long];
    let list = keys.iter().flat_map(|key| {
        [1, 2, 12, 10_000].map(|partitions| {
            Json::map([
                ("key_hex", Json::Text(hex(key.as_bytes()))),
                ("partitions", Json::Number(partitions)),
                ("partition", Json::Number(partition::for_key(key.as_bytes(), partitions))),
            ])
        })
    });
    Json::List(list.collect())
}

fn refused() -> Json {
    let list = bad::all().into_iter().map(|bad| {
        let (fault, reason) = bad.refusal();
        let code = fault.and_then(|fault| fault.code_known());
        Json::map([
            ("name", Json::text(bad.name)),
            ("what", Json::Text(format!("{:?}", bad.what).to_lowercase())),
            ("fault", code.map_or(Json::Null, |code| Json::text(code.name()))),
            ("reason", Json::Text(reason)),
            ("hex", Json::Text(hex(&bad.bytes))),
        ])
    });
    Json::List(list.collect())
}

/// The page with every dump as it should be.
pub(crate) fn fill_in(markdown: &str) -> String {
    let page = Page::parse(markdown);
    let mut out = String::new();
    let mut lines = markdown.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        if let Some(name) = line.strip_prefix("```hex ") {
            out.push_str(&reading::frame(&page, &frame(name)).1);
            let end = lines.by_ref().find(|line| *line == "```").expect("a dump has an end");
            out.push_str(end);
            out.push('\n');
        }
    }
    out
}
