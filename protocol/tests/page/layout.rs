//! Reads the layouts out of the page of the protocol, and bytes by those layouts alone: a second decoder, which knows
//! nothing of the first. What it shows of a message is what the page says of it.

use std::collections::HashMap;

/// The layouts of a page.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) structures: HashMap<String, Structure>,
    pub(crate) enumerations: HashMap<String, Vec<(u8, String)>>,
}

/// A structure, and if it has a kind a message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Structure {
    pub(crate) kind: Option<u8>,
    pub(crate) plain: bool,
    pub(crate) same_as: Option<String>,
    pub(crate) fields: Vec<Field>,
    pub(crate) tags: Vec<(u64, Field)>,
    pub(crate) payload: Option<Field>,
}

#[derive(Clone, Debug)]
pub(crate) struct Field {
    pub(crate) name: String,
    pub(crate) ty: Type,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Type {
    /// A primitive, a structure or an enumeration.
    Named(String),
    /// With its count in four bytes.
    List(String),
    /// With its count in a varint.
    Many(String),
    /// These bytes.
    Magic(String),
}

impl Page {
    /// Of the page's Markdown.
    pub(crate) fn parse(markdown: &str) -> Self {
        let mut page = Self::default();
        let mut lines = markdown.lines();
        while let Some(line) = lines.next() {
            let Some(fence) = line.strip_prefix("```") else { continue };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if fence == "layout" {
                page.layouts(&block);
            }
        }
        page
    }

    fn layouts(&mut self, block: &[&str]) {
        for paragraph in block.split(|line| line.is_empty()) {
            let (head, body) = paragraph.split_first().expect("a layout is not empty");
            let head: Vec<&str> = head.split_whitespace().collect();
            let body = body.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let name = head[0].to_owned();
            if head.get(1) == Some(&"u8") {
                let values = body.map(|words| (words[0].parse().unwrap(), words[1].to_owned()));
                self.enumerations.insert(name, values.collect());
                continue;
            }
            let mut structure = Structure::default();
            let mut rest = head[1..].iter();
            while let Some(word) = rest.next() {
                match *word {
                    "plain" => structure.plain = true,
                    "as" => structure.same_as = rest.next().map(|name| (*name).to_owned()),
                    kind => {
                        let kind = kind.strip_prefix("0x").expect("a kind in hexadecimal");
                        structure.kind = Some(u8::from_str_radix(kind, 16).unwrap());
                    }
                }
            }
            body.for_each(|words| structure.line(&words));
            assert!(self.structures.insert(name.clone(), structure).is_none(), "{name} is there twice");
        }
    }

    /// The name and layout of a kind of frame.
    pub(crate) fn message(&self, kind: u8) -> (&str, &Structure) {
        let found = self.structures.iter().find(|(_, structure)| structure.kind == Some(kind));
        let (name, structure) = found.unwrap_or_else(|| panic!("the page has no kind {kind:02x}"));
        match &structure.same_as {
            Some(other) => (name, &self.structures[other]),
            None => (name, structure),
        }
    }
}

impl Structure {
    fn line(&mut self, words: &[&str]) {
        match words {
            ["tag", number, rest @ ..] => self.tags.push((number.parse().unwrap(), Field::parse(rest))),
            ["payload", rest @ ..] => self.payload = Some(Field::parse(rest)),
            words => self.fields.push(Field::parse(words)),
        }
    }
}

impl Field {
    /// A name and a type; what follows is for people.
    fn parse(words: &[&str]) -> Self {
        let ty = match words[1..] {
            ["list", "of", item, ..] => Type::List(item.to_owned()),
            ["many", item, ..] => Type::Many(item.to_owned()),
            [word, ..] if word.starts_with('"') => Type::Magic(word.trim_matches('"').to_owned()),
            [word, ..] => Type::Named(word.to_owned()),
            [] => panic!("{words:?} has no type"),
        };
        Self { name: words[0].to_owned(), ty }
    }
}
