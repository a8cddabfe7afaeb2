//! The CRC-32C of two runs of bytes, one behind the other, from the CRC of each.
//!
//! A CRC is a remainder modulo a polynomial P over GF(2): with `n` bits behind it, the first one counts times x^n mod P. That
//! power is a product of at most 32 of the powers below, one for each bit of `n`: some hundred nanoseconds, where squaring
//! matrices takes as many microseconds as encrypting a record of TLS.

/// Castagnoli's polynomial without its x^32, reflected: bit 31 is x^0.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^0.
const ONE: u32 = 1 << 31;

/// x^(2^k) mod P for each k. The order of x is 2^31 - 1, so that after 31 of them they begin again.
const SQUARES: [u32; 31] = {
    let mut squares = [ONE >> 1; 31];
    let mut k = 1;
    while k < squares.len() {
        squares[k] = multiply(squares[k - 1], squares[k - 1]);
        k += 1;
    }
    squares
};

/// `a` times `b` mod P.
const fn multiply(a: u32, b: u32) -> u32 {
    let (mut product, mut shifted) = (0, b);
    let mut bit = ONE;
    while bit != 0 {
        if a & bit != 0 {
            product ^= shifted;
        }
        let carry = shifted & 1;
        shifted >>= 1;
        if carry != 0 {
            shifted ^= POLYNOMIAL;
        }
        bit >>= 1;
    }
    product
}

/// The CRC of bytes whose CRC is `first`, followed by `len` bytes whose CRC is `second`.
pub(super) fn combine(first: u32, second: u32, len: usize) -> u32 {
    let mut power = ONE;
    let mut rest = len;
    // Eight bits a byte: 2^3.
    let mut k = 3;
    while rest != 0 {
        if rest & 1 != 0 {
            power = multiply(SQUARES[k % SQUARES.len()], power);
        }
        rest >>= 1;
        k += 1;
    }
    multiply(power, first) ^ second
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn two_runs_have_the_crc_of_the_whole(first: Vec<u8>, second: Vec<u8>, times in 0..200usize) {
            let second = second.repeat(times);
            let whole = crc32c::crc32c_append(crc32c::crc32c(&first), &second);
            let combined = combine(crc32c::crc32c(&first), crc32c::crc32c(&second), second.len());
            prop_assert_eq!(combined, whole);
        }
    }

    #[test]
    fn lengths_up_to_the_largest_batch_are_right_at_every_power_of_two() {
        let bytes = vec![0xa7; 32 << 20];
        let first = crc32c::crc32c(b"a header");
        for len in (0..25).map(|k| 1_usize << k).chain([bytes.len() - 1, bytes.len()]) {
            let second = crc32c::crc32c(&bytes[..len]);
            assert_eq!(combine(first, second, len), crc32c::crc32c_append(first, &bytes[..len]), "{len}");
        }
    }
}
