//! Bytes read by the layouts of the page: into JSON, and into an annotated dump.

use std::fmt::Write;
use std::io::Read;

use lz4_flex::frame::FrameDecoder;
use uuid::Uuid;

use crate::json::{Json, hex};
use crate::layout::{Field, Page, Structure, Type};

/// How many bytes a line of a dump shows.
const WIDTH: usize = 16;

/// Bytes that are being read.
pub(crate) struct Reading<'a> {
    page: &'a Page,
    bytes: &'a [u8],
    at: usize,
    dump: String,
}

/// A frame, its length included: the fields by the page, and the dump.
pub(crate) fn frame(page: &Page, bytes: &[u8]) -> (Json, String) {
    let mut reading = Reading { page, bytes, at: 0, dump: String::new() };
    let length = reading.number(4, "length", |length| length.to_string());
    assert_eq!(length, bytes.len() as u128 - 4);
    let kind = u8::try_from(reading.peek(1)).unwrap();
    let (name, structure) = page.message(kind);
    reading.number(1, "kind", |_| name.to_owned());
    let mut fields = reading.structure(structure, "");
    if let Some(payload) = &structure.payload {
        let value = reading.payload(payload);
        fields.push((payload.name.clone(), value));
    }
    assert_eq!(reading.at, bytes.len(), "{name} ends where its fields do");
    (Json::Map(fields), reading.dump)
}

/// One structure that fills `bytes`.
pub(crate) fn whole(page: &Page, name: &str, bytes: &[u8]) -> Json {
    let mut reading = Reading { page, bytes, at: 0, dump: String::new() };
    let fields = reading.structure(&page.structures[name], "");
    assert_eq!(reading.at, bytes.len(), "{name} ends where its fields do");
    Json::Map(fields)
}

impl Reading<'_> {
    fn take(&mut self, len: usize, path: &str, shown: &str) -> &[u8] {
        let taken = &self.bytes[self.at..self.at + len];
        self.at += len;
        for (index, line) in taken.chunks(WIDTH).enumerate() {
            let pairs: Vec<_> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            let line = match index {
                0 => format!("{:<50}{path}: {shown}", pairs.join(" ")),
                _ => pairs.join(" "),
            };
            writeln!(self.dump, "{line}").unwrap();
        }
        taken
    }

    /// The little-endian number that comes next.
    fn peek(&self, len: usize) -> u128 {
        let bytes = &self.bytes[self.at..self.at + len];
        bytes.iter().rev().fold(0, |number, byte| number << 8 | u128::from(*byte))
    }

    fn number(&mut self, len: usize, path: &str, shown: impl FnOnce(u128) -> String) -> u128 {
        let number = self.peek(len);
        self.take(len, path, &shown(number));
        number
    }

    /// The varint that comes next and how many bytes it takes.
    fn peek_varint(&self) -> (u64, usize) {
        self.peek_varint_at(0)
    }

    /// The same, so many bytes further on.
    fn peek_varint_at(&self, skip: usize) -> (u64, usize) {
        let (mut value, mut len) = (0, 0);
        loop {
            let byte = self.bytes[self.at + skip + len];
            value |= u64::from(byte & 0x7f) << (7 * len);
            len += 1;
            if byte < 0x80 {
                return (value, len);
            }
        }
    }

    fn varint(&mut self, path: &str, shown: impl FnOnce(u64) -> String) -> u64 {
        let (value, len) = self.peek_varint();
        self.take(len, path, &shown(value));
        value
    }

    fn structure(&mut self, structure: &Structure, path: &str) -> Vec<(String, Json)> {
        let start = self.at;
        let mut fields: Vec<(String, Json)> = Vec::new();
        for field in &structure.fields {
            let value = match &field.ty {
                Type::Named(ty) if ty == "records" => self.records(start, &fields, path),
                _ => self.field(field, path),
            };
            if !matches!(field.ty, Type::Magic(_)) {
                fields.push((field.name.clone(), value));
            }
        }
        if !structure.plain {
            self.tags(structure, path, &mut fields);
        }
        fields
    }

    fn tags(&mut self, structure: &Structure, path: &str, fields: &mut Vec<(String, Json)>) {
        let len = self.varint(&join(path, "tagged section"), |len| format!("{len} bytes"));
        let end = self.at + usize::try_from(len).unwrap();
        let mut tags = structure.tags.iter();
        while self.at < end {
            let (number, tag_len) = self.peek_varint();
            let tag = tags.find(|(tag, field)| {
                if *tag != number {
                    fields.push((field.name.clone(), Json::Null));
                }
                *tag == number
            });
            let (_, field) =
                tag.unwrap_or_else(|| panic!("{path} has no tag {number}, or not in this place"));
            let (value, value_len) = self.peek_varint_at(tag_len);
            self.take(tag_len + value_len, &join(path, "tag"), &format!("{number}, {value} bytes"));
            let value_end = self.at + usize::try_from(value).unwrap();
            fields.push((field.name.clone(), self.field(field, path)));
            assert_eq!(self.at, value_end, "tag {number} of {path} fills its length");
        }
        assert_eq!(self.at, end, "the tagged section of {path} fills its length");
        fields.extend(tags.map(|(_, field)| (field.name.clone(), Json::Null)));
    }

    fn field(&mut self, field: &Field, path: &str) -> Json {
        let path = join(path, &field.name);
        match &field.ty {
            Type::Magic(magic) => {
                assert_eq!(self.take(magic.len(), &path, &format!("{magic:?}")), magic.as_bytes());
                Json::Null
            }
            Type::Named(ty) => self.value(ty, &path),
            Type::List(item) => {
                let count = self.number(4, &path, |count| format!("{count} of them"));
                self.items(item, &path, count)
            }
            Type::Many(item) => {
                let count = self.varint(&path, |count| format!("{count} of them"));
                self.items(item, &path, count.into())
            }
        }
    }

    fn items(&mut self, item: &str, path: &str, count: u128) -> Json {
        Json::List((0..count).map(|index| self.value(item, &format!("{path}[{index}]"))).collect())
    }

    fn value(&mut self, ty: &str, path: &str) -> Json {
        if let Some(structure) = self.page.structures.get(ty) {
            return Json::Map(self.structure(structure, path));
        }
        if let Some(values) = self.page.enumerations.get(ty) {
            let number = self.peek(1);
            let found = values.iter().find(|(value, _)| u128::from(*value) == number);
            let (_, name) = found.unwrap_or_else(|| panic!("{path}: {ty} has no {number}"));
            self.take(1, path, name);
            return Json::text(name);
        }
        self.primitive(ty, path)
    }

    fn primitive(&mut self, ty: &str, path: &str) -> Json {
        let decimal = |number: u128| number.to_string();
        match ty {
            "u8" => Json::Number(u32::try_from(self.number(1, path, decimal)).unwrap()),
            "u16" => Json::Number(u32::try_from(self.number(2, path, decimal)).unwrap()),
            "u32" if path.ends_with("crc") => {
                Json::Number(u32::try_from(self.number(4, path, |crc| format!("{crc:08x}"))).unwrap())
            }
            "u32" => Json::Number(u32::try_from(self.number(4, path, decimal)).unwrap()),
            "u64" => Json::Text(self.number(8, path, decimal).to_string()),
            "i64" => {
                let signed = |number: u128| u64::try_from(number).unwrap().cast_signed();
                Json::Text(signed(self.number(8, path, |number| signed(number).to_string())).to_string())
            }
            "bool" => Json::Bool(self.number(1, path, |number| (number == 1).to_string()) == 1),
            "uuid" => {
                let id = Uuid::from_slice(&self.bytes[self.at..self.at + 16]).unwrap().to_string();
                self.take(16, path, &id);
                Json::Text(id)
            }
            "hash" => Json::Text(hex(self.take(32, path, "32 bytes"))),
            "string" => {
                let len = usize::try_from(self.peek(2)).unwrap();
                self.text(2, len, path)
            }
            "varint" => Json::Text(self.varint(path, |value| value.to_string()).to_string()),
            "zigzag" => {
                let signed = |value: u64| (value >> 1).cast_signed() ^ -(value & 1).cast_signed();
                Json::Text(signed(self.varint(path, |value| signed(value).to_string())).to_string())
            }
            "text" => {
                let (len, before) = self.peek_varint();
                self.text(before, usize::try_from(len).unwrap(), path)
            }
            "bytes" => {
                let (len, before) = self.peek_varint();
                self.blob(before, usize::try_from(len).unwrap(), path)
            }
            "nullable" => match self.peek_varint() {
                (0, before) => {
                    self.take(before, path, "null");
                    Json::Null
                }
                (len, before) => self.blob(before, usize::try_from(len - 1).unwrap(), path),
            },
            other => panic!("{path}: the page does not say what {other} is"),
        }
    }

    fn text(&mut self, before: usize, len: usize, path: &str) -> Json {
        let start = self.at + before;
        let text = str::from_utf8(&self.bytes[start..start + len]).unwrap();
        self.take(before + len, path, &format!("{text:?}"));
        Json::text(text)
    }

    fn blob(&mut self, before: usize, len: usize, path: &str) -> Json {
        let bytes = &self.bytes[self.at + before..self.at + before + len];
        let shown = match str::from_utf8(bytes) {
            Ok(text) => format!("{text:?}"),
            Err(_) => format!("{len} bytes"),
        };
        self.take(before + len, path, &shown);
        Json::Text(hex(bytes))
    }

    /// The records of the batch that began at `start`; compressed ones as they are.
    fn records(&mut self, start: usize, fields: &[(String, Json)], path: &str) -> Json {
        let field = |name: &str| &fields.iter().find(|(field, _)| field == name).unwrap().1;
        let Json::Number(length) = field("length") else { panic!("{path} has no length") };
        let end = start + *length as usize;
        let Json::Number(count) = field("count") else { panic!("{path} has no count") };
        let count = u128::from(*count);
        if field("codec") == &Json::text("Lz4") {
            let mut content = Vec::new();
            let mut frame = FrameDecoder::new(self.take(end - self.at, &join(path, "records"), "compressed"));
            frame.read_to_end(&mut content).unwrap();
            let mut inner = Reading { page: self.page, bytes: &content, at: 0, dump: String::new() };
            let records = inner.items("Record", path, count);
            assert_eq!(inner.at, content.len(), "the records of {path} fill their frame");
            return records;
        }
        let records = self.items("Record", &join(path, "records"), count);
        assert_eq!(self.at, end, "the records of {path} fill its length");
        records
    }

    fn payload(&mut self, payload: &Field) -> Json {
        let Type::Named(ty) = &payload.ty else { panic!("a payload is of a structure") };
        if ty == "Batch" {
            return self.value(ty, &payload.name);
        }
        let mut items = Vec::new();
        while self.at < self.bytes.len() {
            items.push(self.value(ty, &format!("{}[{}]", payload.name, items.len())));
        }
        Json::List(items)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}
