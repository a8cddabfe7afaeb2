//! The text of a token: made, checked, and turned into what is kept of it.
//!
//! ```text
//! slt1_ ‖ base64url( 32 random bytes ‖ CRC-32C of the prefix and these )        53 characters
//! ```
//!
//! The prefix lets scanners of secrets find a token that was published by mistake; the checksum lets them, and us, tell one
//! from what only looks like it, and a typing error from a token that was revoked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest;
use ring::rand::{SecureRandom, SystemRandom};
use sealstream_protocol::message::hello::Secret;
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

/// What every token begins with. The number is that of this form.
pub(super) const PREFIX: &str = "slt1_";

/// 256 bits, which nobody guesses.
const RANDOM: usize = 32;

/// Of the checksum.
const CHECK: usize = 4;

/// Why a text can be no token, whichever tokens there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misformed {
    #[error("it is no token: a token begins with {PREFIX}")]
    Prefix,
    #[error("it was cut or mistyped: its checksum does not fit")]
    Checksum,
}

/// SHA-256 of a token's text. A token has 256 random bits: there is no list of likely ones to be tried against a hash that was
/// stolen, which is what slow hashes of passwords are for, and a fast one costs a Hello nothing.
///
/// Not `PartialEq`: hashes are compared in constant time only.
#[derive(Clone, Copy)]
pub(super) struct TokenHash([u8; digest::SHA256_OUTPUT_LEN]);

impl TokenHash {
    fn of(token: &str) -> Self {
        let mut hash = [0; digest::SHA256_OUTPUT_LEN];
        hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
        Self(hash)
    }

    pub(super) fn from_bytes(bytes: [u8; digest::SHA256_OUTPUT_LEN]) -> Self {
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; digest::SHA256_OUTPUT_LEN] {
        &self.0
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A new token, and what is kept of it.
///
/// # Panics
///
/// If the operating system gives no random numbers.
pub(super) fn mint() -> (Secret, TokenHash) {
    let mut random = Zeroizing::new([0; RANDOM]);
    SystemRandom::new().fill(&mut *random).expect("the operating system gives random numbers");
    let token = text_of(&random);
    let hash = TokenHash::of(&token);
    (Secret(token), hash)
}

fn text_of(random: &[u8; RANDOM]) -> String {
    let mut bytes = Zeroizing::new([0; RANDOM + CHECK]);
    bytes[..RANDOM].copy_from_slice(random);
    bytes[RANDOM..].copy_from_slice(&checksum(random).to_le_bytes());
    let mut text = PREFIX.to_owned();
    URL_SAFE_NO_PAD.encode_string(*bytes, &mut text);
    text
}

/// What would be kept of this token, if it can be one.
pub(super) fn hash_of(token: &str) -> Result<TokenHash, Misformed> {
    let encoded = token.strip_prefix(PREFIX).ok_or(Misformed::Prefix)?;
    let mut bytes = Zeroizing::new([0; RANDOM + CHECK]);
    let read = URL_SAFE_NO_PAD.decode_slice(encoded, &mut *bytes).map_err(|_| Misformed::Checksum)?;
    let (random, check) = bytes.split_first_chunk::<RANDOM>().expect("there are more bytes than that");
    if read != RANDOM + CHECK || check != checksum(random).to_le_bytes() {
        return Err(Misformed::Checksum);
    }
    Ok(TokenHash::of(token))
}

fn checksum(random: &[u8; RANDOM]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(PREFIX.as_bytes()), random)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_token_has_the_form_that_the_page_of_the_protocol_gives() {
        // The one on the page.
        assert_eq!(text_of(&[0xa5; 32]), "slt1_paWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaUbn-1l");
        let (Secret(token), hash) = mint();
        assert_eq!(token.len(), 53);
        assert!(token.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'));
        assert!(bool::from(hash_of(&token).unwrap().ct_eq(&hash)));
    }

    #[test]
    fn no_two_tokens_are_the_same() {
        let tokens: HashSet<_> = (0..1000).map(|_| mint().0.0).collect();
        assert_eq!(tokens.len(), 1000);
    }

    #[test]
    fn every_typing_error_is_found_before_anything_is_looked_up() {
        let (Secret(token), _) = mint();
        for at in PREFIX.len()..token.len() {
            for other in ['A', 'b', '0', '-', '_', ' '] {
                let mut wrong: Vec<char> = token.chars().collect();
                if wrong[at] == other {
                    continue;
                }
                wrong[at] = other;
                let wrong: String = wrong.into_iter().collect();
                assert_eq!(hash_of(&wrong).unwrap_err(), Misformed::Checksum, "at {at}: {other}");
            }
            assert_eq!(hash_of(&token[..at]).unwrap_err(), Misformed::Checksum);
        }
        for n in PREFIX.len()..token.len() - 1 {
            let mut swapped = token.clone().into_bytes();
            swapped.swap(n, n + 1);
            let swapped = String::from_utf8(swapped).unwrap();
            assert!(swapped == token || hash_of(&swapped).is_err(), "{n} and {}", n + 1);
        }
        assert_eq!(hash_of(&format!("{token}A")).unwrap_err(), Misformed::Checksum);
        for wrong in ["", "slt1", "slt2_", "Bearer x", "s3cret", &token[1..]] {
            assert_eq!(hash_of(wrong).unwrap_err(), Misformed::Prefix, "{wrong:?}");
        }
    }

    /// Were `TokenHash` to get `PartialEq`, both implementations would fit, and this would not compile.
    #[test]
    fn hashes_of_tokens_can_be_compared_in_constant_time_only() {
        trait OnlyOnce<Hint> {
            fn holds() {}
        }
        impl<T: ?Sized> OnlyOnce<()> for T {}
        impl<T: ?Sized + PartialEq> OnlyOnce<u8> for T {}
        <TokenHash as OnlyOnce<_>>::holds();
    }

    #[test]
    fn nothing_shows_a_token_or_its_hash() {
        let (secret, hash) = mint();
        assert_eq!(format!("{secret:?}{hash:?}"), "Secret(…)TokenHash(…)");
    }
}
