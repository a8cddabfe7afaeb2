//! Reads certificates and keys from PEM files. Every refusal names the file, the fault and the remedy.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use zeroize::Zeroizing;

/// The largest PEM file that is read. The public roots of a Linux distribution are 0.25 MB; a hundred times that is not
/// a certificate file any more.
const MAX_FILE_BYTES: u64 = 25 * 1024 * 1024;

/// Why TLS material cannot be used. The message names the thing and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialError {
    /// The file cannot be read.
    #[error("cannot read the {what} {}: {source}{}", .path.display(), remedy(.source))]
    Unreadable {
        /// What the file was to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// The file holds nothing.
    #[error("the {what} {} is empty: write a PEM file there", .path.display())]
    Empty {
        /// What the file was to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is far larger than such a file can be.
    #[error("the {what} {} is larger than {} MiB: is it the right file?", .path.display(), MAX_FILE_BYTES >> 20)]
    TooLarge {
        /// What the file was to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
    },
    /// The file is PEM, of something else.
    #[error("the {what} {} holds {found}, but {wanted} is needed", .path.display())]
    WrongLabel {
        /// What the file was to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The labels found, or that there are none.
        found: String,
        /// The label needed.
        wanted: &'static str,
    },
    /// The file is damaged.
    #[error("the {what} {} is damaged: {detail}: write it again", .path.display())]
    Malformed {
        /// What the file was to hold.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Where it is damaged.
        detail: String,
    },
    /// Key and certificate are not a pair.
    #[error("key does not match certificate: {key} vs {chain}")]
    KeyMismatch {
        /// Where the key came from.
        key: String,
        /// Where the certificate came from.
        chain: String,
    },
    /// The key is of a kind that cannot sign here.
    #[error(
        "the key {key} cannot be used: {detail}: use ECDSA P-256 or P-384, Ed25519, or RSA of at least 2048 bits"
    )]
    UnsupportedKey {
        /// Where the key came from.
        key: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The certificate does not parse.
    #[error("the certificate {origin} cannot be used: {detail}")]
    BadCertificate {
        /// Where the certificate came from.
        origin: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The revocation list cannot be used.
    #[error("the revocation list {origin} cannot be used: {detail}")]
    BadRevocationList {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The OCSP response cannot be stapled.
    #[error("the OCSP response {origin} cannot be stapled: {detail}")]
    BadStaple {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        detail: String,
    },
    /// The ticket secret cannot be used.
    #[error("the ticket secret {origin} cannot be used: {detail}")]
    BadSecret {
        /// Where it came from.
        origin: String,
        /// What is wrong with it.
        detail: String,
    },
    /// Client certificates are asked for, and nobody could issue one.
    #[error("client certificates are {policy} but no client CA is given: name a CA file, or ask for none")]
    NoClientRoots {
        /// The policy.
        policy: &'static str,
    },
    /// The machine gives no randomness, or its equivalent.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => ": correct the path or create the file",
        io::ErrorKind::PermissionDenied => ": let this process's user read it",
        io::ErrorKind::IsADirectory => ": name a file in it",
        _ => "",
    }
}

/// Reads a chain: every certificate of the file, in its order.
pub(super) fn certificates(
    what: &'static str,
    path: &Path,
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    certificates_in(what, path, &read(what, path)?)
}

/// Reads the one private key of the file: PKCS#8, SEC1 or PKCS#1, not encrypted.
pub(super) fn private_key(what: &'static str, path: &Path) -> Result<PrivateKeyDer<'static>, MaterialError> {
    private_key_in(what, path, &read(what, path)?)
}

/// The certificates in the text of a file.
pub(super) fn certificates_in(
    what: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<Vec<CertificateDer<'static>>, MaterialError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    match found {
        Ok(chain) if chain.is_empty() => Err(wrong_label(what, path, text, "CERTIFICATE")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(malformed(what, path, &error)),
    }
}

/// The key in the text of a file.
pub(super) fn private_key_in(
    what: &'static str,
    path: &Path,
    text: &[u8],
) -> Result<PrivateKeyDer<'static>, MaterialError> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(key) => Ok(key),
        Err(pem::Error::NoItemsFound) => {
            Err(wrong_label(what, path, text, "PRIVATE KEY, EC PRIVATE KEY or RSA PRIVATE KEY"))
        }
        Err(error) => Err(malformed(what, path, &error)),
    }
}

pub(super) fn read(what: &'static str, path: &Path) -> Result<Zeroizing<Vec<u8>>, MaterialError> {
    let unreadable = |source| MaterialError::Unreadable { what, path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Sized up front: a buffer that grows leaves copies of a key behind in freed memory.
    let expected = file.metadata().map_err(unreadable)?.len().min(MAX_FILE_BYTES);
    let mut text = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0) + 1));
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(MaterialError::TooLarge { what, path: path.to_owned() });
    }
    if text.iter().all(u8::is_ascii_whitespace) {
        return Err(MaterialError::Empty { what, path: path.to_owned() });
    }
    Ok(text)
}

/// What a message says of a BEGIN line that is no such line. Often the line ends were lost, say in an environment variable: then
/// that line is the whole file, private key and all, and no message may repeat it.
const NO_LABEL: &str = "a -----BEGIN line holds more than a label: are the line ends lost?";

/// The label of a BEGIN line, if it is one: the longest in use, `NEW CERTIFICATE REQUEST`, has 23 characters.
fn label(text: &[u8]) -> Option<&str> {
    let fits = |byte: &u8| matches!(byte, b'A'..=b'Z' | b'0'..=b'9' | b' ' | b'.');
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
    (!text.is_empty() && text.len() <= 32 && text.as_bytes().iter().all(fits)).then_some(text)
}

pub(super) fn malformed(what: &'static str, path: &Path, error: &pem::Error) -> MaterialError {
    let detail = match error {
        pem::Error::MissingSectionEnd { end_marker } => {
            label(end_marker).map(|label| format!("it ends before -----END {label}-----"))
        }
        pem::Error::IllegalSectionStart { line } => {
            let inner = line.trim_ascii().strip_prefix(b"-----BEGIN ").unwrap_or_default();
            let dashes = inner.iter().rev().take_while(|&&byte| byte == b'-').count();
            label(&inner[..inner.len() - dashes])
                .map(|label| format!("the line that begins {label} does not end in five dashes"))
        }
        pem::Error::Base64Decode(_) => Some("it is not valid base64".to_owned()),
        other => Some(other.to_string()),
    };
    let detail = detail.unwrap_or_else(|| NO_LABEL.to_owned());
    MaterialError::Malformed { what, path: path.to_owned(), detail }
}

pub(super) fn wrong_label(
    what: &'static str,
    path: &Path,
    text: &[u8],
    wanted: &'static str,
) -> MaterialError {
    let mut labels: Vec<&str> = Vec::new();
    for line in text.split(|&byte| byte == b'\n') {
        let Some(rest) = line.trim_ascii().strip_prefix(b"-----BEGIN ") else { continue };
        let label = label(rest.strip_suffix(b"-----").unwrap_or(rest)).unwrap_or(NO_LABEL);
        // A message, not a listing: three kinds tell the operator which file this is.
        if labels.len() < 3 && !labels.contains(&label) {
            labels.push(label);
        }
    }
    let found = match labels.as_slice() {
        [] => "no PEM at all".to_owned(),
        ["ENCRYPTED PRIVATE KEY"] => {
            "an ENCRYPTED PRIVATE KEY (decrypt it with `openssl pkcs8 -in FILE -out NEW`)".to_owned()
        }
        [NO_LABEL] => "no PEM that can be read (".to_owned() + NO_LABEL + ")",
        several => several.join(", "),
    };
    MaterialError::WrongLabel { what, path: path.to_owned(), found, wanted }
}
