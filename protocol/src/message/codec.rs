//! How each type of field stands in a frame, and how structures are put together from fields.
//!
//! A structure is its fields in order and then its tagged section: a varint byte length, then for each field that is
//! there varint tag, varint length, value, by rising tags. *Plain* structures have no tagged section.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::error::{DecodeError, Problem};
use crate::wire::{Reader, put_varint};

/// A type with one form on the wire. What is read without an error is written as the same bytes again, unknown tags
/// aside. Every value takes at least one byte.
pub(super) trait Field: Sized {
    fn put(&self, out: &mut BytesMut);
    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;
}

macro_rules! integers {
    ($($type:ident: $put:ident),*) => {$(
        impl Field for $type {
            fn put(&self, out: &mut BytesMut) {
                out.$put(*self);
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(reader.$type()?)
            }
        }
    )*};
}

integers!(u8: put_u8, u16: put_u16_le, u32: put_u32_le, u64: put_u64_le, i64: put_i64_le);

impl Field for bool {
    fn put(&self, out: &mut BytesMut) {
        out.put_u8(u8::from(*self));
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match reader.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(Problem::Bool(other).into()),
        }
    }
}

impl<T: Field> Field for Box<T> {
    fn put(&self, out: &mut BytesMut) {
        (**self).put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        T::get(reader).map(Self::new)
    }
}

impl<const N: usize> Field for [u8; N] {
    fn put(&self, out: &mut BytesMut) {
        out.put_slice(self);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(reader.array()?)
    }
}

impl Field for Uuid {
    fn put(&self, out: &mut BytesMut) {
        self.as_bytes().put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self::from_bytes(reader.array()?))
    }
}

/// A string with its length in two bytes. A longer one is cut at a character's edge: no string of this protocol is
/// valid at that length, so that a cut one is refused where the whole one would be.
impl Field for String {
    fn put(&self, out: &mut BytesMut) {
        put_text(self, usize::from(u16::MAX), out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let len = reader.u16()?;
        let bytes = reader.take(usize::from(len))?;
        let text = std::str::from_utf8(bytes).map_err(|_| Problem::Utf8)?;
        Ok(text.to_owned())
    }
}

/// Writes as much of `text` as fits into `max` bytes, of which there may be at most 65,535.
pub(super) fn put_text(text: &str, max: usize, out: &mut BytesMut) {
    let text = &text[..text.floor_char_boundary(max)];
    out.put_u16_le(u16::try_from(text.len()).expect("cut to what two bytes can say"));
    out.put_slice(text.as_bytes());
}

/// A list with its count in four bytes.
impl<T: Field> Field for Vec<T> {
    fn put(&self, out: &mut BytesMut) {
        out.put_u32_le(u32::try_from(self.len()).expect("a list fits a frame, which is below 4 GiB"));
        for item in self {
            item.put(out);
        }
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let count = reader.u32()? as usize;
        if count > reader.len() {
            return Err(Problem::EndsEarly.into());
        }
        // No more memory than there are bytes left to read: what is needed beyond it is earned item by item.
        let mut items = Self::with_capacity(count.min(reader.len() / size_of::<T>().max(1)));
        for _ in 0..count {
            items.push(T::get(reader)?);
        }
        Ok(items)
    }
}

impl<A: Field, B: Field> Field for (A, B) {
    fn put(&self, out: &mut BytesMut) {
        self.0.put(out);
        self.1.put(out);
    }

    fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok((A::get(reader)?, B::get(reader)?))
    }
}

/// A group of tagged fields that is a structure of its own in Rust, but not on the wire.
pub(super) trait Tags: Default {
    fn put(&self, writer: &mut TagWriter);
    fn get(&mut self, tag: u64, value: &mut Reader<'_>) -> Result<(), DecodeError>;
}

/// Collects a tagged section, whose length precedes it.
#[derive(Default)]
pub(super) struct TagWriter {
    section: BytesMut,
    value: BytesMut,
}

impl TagWriter {
    pub(super) fn field<T: Field>(&mut self, tag: u64, field: Option<&T>) {
        if let Some(field) = field {
            self.value.clear();
            field.put(&mut self.value);
            put_varint(&mut self.section, tag);
            put_varint(&mut self.section, self.value.len() as u64);
            self.section.put_slice(&self.value);
        }
    }

    pub(super) fn finish(self, out: &mut BytesMut) {
        put_varint(out, self.section.len() as u64);
        out.put_slice(&self.section);
    }
}

/// Reads a tagged section and hands each field to `field`, which leaves alone what it does not know.
pub(super) fn read_tags(
    reader: &mut Reader<'_>,
    mut field: impl FnMut(u64, &mut Reader<'_>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    let mut section = Reader::new(reader.run()?);
    while !section.is_empty() {
        let tag = section.varint()?;
        let mut value = Reader::new(section.run()?);
        field(tag, &mut value)?;
    }
    Ok(())
}

/// Reads the value of a known tag, which must be there once and have no bytes left over.
pub(super) fn read_tag<T: Field>(
    into: &mut Option<T>,
    tag: u64,
    value: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    if into.is_some() {
        return Err(Problem::DuplicateTag(tag).into());
    }
    *into = Some(T::get(value)?);
    end(value)
}

/// Nothing may be left.
pub(super) fn end(reader: &Reader<'_>) -> Result<(), DecodeError> {
    if reader.is_empty() { Ok(()) } else { Err(Problem::TrailingBytes(reader.len()).into()) }
}

/// Gives a structure its form on the wire: `structure!(Name { fields in order } tags { number: field })`.
///
/// `plain Name { … }` has no tagged section, `Name { … } tags in field` has the tags of the [`Tags`] in that field,
/// `[MAGIC] Name { … }` begins with constant bytes, and `Name { … } payload field` leaves the payload, which is not a part of
/// the structure, to the frame.
macro_rules! structure {
    (plain $name:ident { $($field:ident),* $(,)? }) => {
        impl Field for $name {
            fn put(&self, out: &mut BytesMut) {
                $(self.$field.put(out);)*
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $(let $field = Field::get(reader).map_err(|e| e.within(stringify!($name), stringify!($field)))?;)*
                Ok(Self { $($field),* })
            }
        }
    };
    ($name:ident { $($field:ident),* $(,)? } tags in $tags:ident) => {
        impl Field for $name {
            fn put(&self, out: &mut BytesMut) {
                $(self.$field.put(out);)*
                let mut writer = TagWriter::default();
                self.$tags.put(&mut writer);
                writer.finish(out);
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $(let $field = Field::get(reader).map_err(|e| e.within(stringify!($name), stringify!($field)))?;)*
                let mut $tags = Default::default();
                read_tags(reader, |tag, value| Tags::get(&mut $tags, tag, value))
                    .map_err(|e| e.within(stringify!($name), "tagged section"))?;
                Ok(Self { $($field,)* $tags })
            }
        }
    };
    ($([$magic:ident])? $name:ident { $($field:ident),* $(,)? }
        $(tags { $($tag:literal: $tagged:ident),* $(,)? })? $(payload $payload:ident)?) => {
        impl Field for $name {
            fn put(&self, out: &mut BytesMut) {
                $(out.put_slice(&$magic);)?
                $(self.$field.put(out);)*
                let writer = TagWriter::default();
                $(
                    let mut writer = writer;
                    $(writer.field($tag, self.$tagged.as_ref());)*
                )?
                writer.finish(out);
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $(if Field::get(reader) != Ok($magic) {
                    return Err(DecodeError::from(Problem::Magic).within(stringify!($name), "magic"));
                })?
                $(let $field = Field::get(reader).map_err(|e| e.within(stringify!($name), stringify!($field)))?;)*
                $($(let mut $tagged = None;)*)?
                read_tags(reader, |tag, value| match tag {
                    $($($tag => read_tag(&mut $tagged, tag, value)
                        .map_err(|e| e.within(stringify!($name), stringify!($tagged))),)*)?
                    _ => {
                        let _ = value;
                        Ok(())
                    }
                })
                .map_err(|e| e.within(stringify!($name), "tagged section"))?;
                Ok(Self { $($field,)* $($($tagged,)*)? $($payload: Bytes::new())? })
            }
        }
    };
}

/// Gives an enum without fields the form of a number: `enumeration!(Name { variants })`.
macro_rules! enumeration {
    ($name:ident { $($variant:ident),* $(,)? }) => {
        impl Field for $name {
            fn put(&self, out: &mut BytesMut) {
                out.put_u8(*self as u8);
            }

            fn get(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let value = reader.u8()?;
                $(if value == Self::$variant as u8 {
                    return Ok(Self::$variant);
                })*
                Err(Problem::Value(u64::from(value)).into())
            }
        }
    };
}

pub(super) use {enumeration, structure};
