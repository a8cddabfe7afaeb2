//! A token as the metadata shard keeps it: JSON, with a version of its own, as topics are.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::secret::TokenHash;

/// The version that is written. A newer one is refused; an older one is read.
const VERSION: u32 = 1;

/// What the keys of all tokens begin with.
pub(super) const TOKENS: &str = "token/";

/// The key of a token's record.
pub(super) fn token_key(name: &str) -> String {
    format!("{TOKENS}{name}")
}

/// Why the tokens could not be read at the start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadTokensError {
    /// A record is not what this broker writes.
    #[error(
        "the record {key} cannot be read: {reason}; restore the data directory from a copy, or report it"
    )]
    Unreadable {
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A record comes from the future.
    #[error(
        "{key} was written by a newer broker (record version {version}, this one reads up to {newest}): start that version"
    )]
    Newer {
        /// Its key.
        key: String,
        /// Its version.
        version: u32,
        /// The newest version that this broker reads.
        newest: u32,
    },
}

/// A token, without its secret.
#[derive(Clone, Debug)]
pub(super) struct TokenRecord {
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) identity: String,
    pub(super) hash: TokenHash,
    pub(super) created_by: String,
    pub(super) created_ms: i64,
    pub(super) expires_ms: Option<i64>,
}

/// [`TokenRecord`], as it is written.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    name: String,
    id: Uuid,
    identity: String,
    /// In base64url.
    sha256: String,
    created_by: String,
    created_ms: i64,
    expires_ms: Option<i64>,
}

/// The version first: it decides how the rest is read.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    version: u32,
    token: Kept,
}

impl TokenRecord {
    pub(super) fn encode(&self) -> Bytes {
        let token = Kept {
            name: self.name.clone(),
            id: self.id,
            identity: self.identity.clone(),
            sha256: URL_SAFE_NO_PAD.encode(self.hash.as_bytes()),
            created_by: self.created_by.clone(),
            created_ms: self.created_ms,
            expires_ms: self.expires_ms,
        };
        let envelope = Envelope { version: VERSION, token };
        serde_json::to_vec(&envelope).expect("a record of strings and numbers can be written as JSON").into()
    }

    pub(super) fn decode(key: &str, value: &[u8]) -> Result<Self, LoadTokensError> {
        let unreadable = |reason: String| LoadTokensError::Unreadable { key: key.to_owned(), reason };
        let of_json = |error: serde_json::Error| unreadable(error.to_string());
        let Versioned { version } = serde_json::from_slice(value).map_err(of_json)?;
        if version > VERSION {
            return Err(LoadTokensError::Newer { key: key.to_owned(), version, newest: VERSION });
        }
        let Envelope { token, .. } = serde_json::from_slice(value).map_err(of_json)?;
        let hash = URL_SAFE_NO_PAD.decode(&token.sha256).ok().and_then(|bytes| bytes.try_into().ok());
        let hash = hash.ok_or_else(|| unreadable("sha256 is no hash".into()))?;
        Ok(Self {
            name: token.name,
            id: token.id,
            identity: token.identity,
            hash: TokenHash::from_bytes(hash),
            created_by: token.created_by,
            created_ms: token.created_ms,
            expires_ms: token.expires_ms,
        })
    }

    /// Whether it has ended by `now`.
    pub(super) fn has_ended(&self, now: i64) -> bool {
        self.expires_ms.is_some_and(|end| end <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> TokenRecord {
        TokenRecord {
            name: "billing".into(),
            id: Uuid::from_u128(7),
            identity: "token:billing".into(),
            hash: TokenHash::from_bytes([0xa5; 32]),
            created_by: "anonymous".into(),
            created_ms: 1,
            expires_ms: Some(2),
        }
    }

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        let written = record().encode();
        let read = TokenRecord::decode("token/billing", &written).unwrap();
        assert_eq!(read.encode(), written);
        assert_eq!((read.hash.as_bytes(), read.id), (&[0xa5; 32], record().id));
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_and_says_so() {
        let error = TokenRecord::decode("token/x", br#"{"version":2,"token":{"shape":"new"}}"#).unwrap_err();
        assert!(error.to_string().contains("newer broker (record version 2"), "{error}");
    }

    #[test]
    fn noise_is_refused_by_the_name_of_its_key() {
        let cut = String::from_utf8(record().encode().to_vec()).unwrap().replace("paWlpaWl", "");
        for noise in [&b"\xff\x00"[..], cut.as_bytes()] {
            let error = TokenRecord::decode("token/x", noise).unwrap_err();
            assert!(error.to_string().starts_with("the record token/x cannot be read"), "{error}");
        }
    }

    #[test]
    fn a_token_ends_at_its_end_and_one_without_never() {
        assert!(!record().has_ended(1) && record().has_ended(2));
        assert!(!TokenRecord { expires_ms: None, ..record() }.has_ended(i64::MAX));
    }
}
