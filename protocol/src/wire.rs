//! The primitives that frames, batches and entries are made of: little-endian integers and varints over a slice.
//!
//! Nothing here indexes: whatever the input, a read gives a value or says what is wrong with the bytes.

use bytes::BufMut;

/// Why bytes are not the value that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// There are too few of them.
    EndsEarly,
    /// A varint that is longer than it need be, or than its type can hold.
    Varint,
}

/// What is left of a slice that is being read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn len(&self) -> usize {
        self.rest.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, len: usize) -> Result<&'a [u8], Flaw> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Flaw::EndsEarly)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.rest)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N], Flaw> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Flaw::EndsEarly)?;
        self.rest = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Flaw> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Flaw> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Flaw> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Flaw> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, Flaw> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// An unsigned LEB128 number in as few bytes as it takes: at most ten.
    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Flaw> {
        // Nearly all lengths and deltas are one byte.
        match self.rest.split_first() {
            Some((&byte, rest)) if byte < 0x80 => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Flaw> {
        let mut value = 0;
        for shift in (0..u64::BITS).step_by(7) {
            let byte = self.u8()?;
            let low = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && byte > 1 {
                return Err(Flaw::Varint);
            }
            value |= low << shift;
            if byte < 0x80 {
                let padded = byte == 0 && shift > 0;
                return if padded { Err(Flaw::Varint) } else { Ok(value) };
            }
        }
        Err(Flaw::Varint)
    }

    /// A varint that counts bytes or things: one beyond `usize` can only be a lie.
    #[inline]
    pub(crate) fn length(&mut self) -> Result<usize, Flaw> {
        usize::try_from(self.varint()?).map_err(|_| Flaw::EndsEarly)
    }

    /// A varint length, then so many bytes.
    #[inline]
    pub(crate) fn run(&mut self) -> Result<&'a [u8], Flaw> {
        let len = self.length()?;
        self.take(len)
    }
}

/// How many bytes [`put_varint`] takes.
pub(crate) fn varint_len(value: u64) -> usize {
    let bits = (u64::BITS - value.leading_zeros()).max(1);
    bits.div_ceil(7) as usize
}

pub(crate) fn put_varint(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(low_byte(value) | 0x80);
        value >>= 7;
    }
    out.put_u8(low_byte(value));
}

fn low_byte(value: u64) -> u8 {
    (value & 0x7f) as u8
}

/// Maps small numbers of either sign to small unsigned ones: 0, -1, 1, -2 … become 0, 1, 2, 3 …
#[expect(clippy::cast_sign_loss, reason = "the bits are the point")]
pub(crate) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[expect(clippy::cast_possible_wrap, reason = "the bits are the point")]
pub(crate) fn unzigzag(value: u64) -> i64 {
    ((value >> 1) as i64) ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_comes_back_in_the_length_that_was_foretold(value: u64) {
            for value in [value, value >> 21, value >> 43, value >> 57] {
                let mut bytes = Vec::new();
                put_varint(&mut bytes, value);
                prop_assert_eq!(bytes.len(), varint_len(value));
                let mut reader = Reader::new(&bytes);
                prop_assert_eq!(reader.varint(), Ok(value));
                prop_assert!(reader.is_empty());
                for cut in 0..bytes.len() {
                    prop_assert_eq!(Reader::new(&bytes[..cut]).varint(), Err(Flaw::EndsEarly));
                }
            }
        }

        #[test]
        fn zigzag_comes_back(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }

        #[test]
        fn a_varint_read_from_any_bytes_is_written_as_the_same_bytes(bytes: [u8; 12]) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let mut again = Vec::new();
                put_varint(&mut again, value);
                prop_assert_eq!(&again[..], &bytes[..bytes.len() - reader.len()]);
            }
        }
    }

    #[test]
    fn a_padded_or_overlong_varint_is_refused() {
        let eleven = [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01];
        let too_big = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02];
        for bytes in [&[0x80, 0x00][..], &[0xff, 0x80, 0x00], &eleven, &too_big] {
            assert_eq!(Reader::new(bytes).varint(), Err(Flaw::Varint), "{bytes:02x?}");
        }
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&most).varint(), Ok(u64::MAX));
    }

    #[test]
    fn small_numbers_of_either_sign_zigzag_to_small_ones() {
        assert_eq!([0, -1, 1, -2, i64::MAX, i64::MIN].map(zigzag), [0, 1, 2, 3, u64::MAX - 1, u64::MAX]);
    }
}
