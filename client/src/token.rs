//! The bearer token of a client: a text, or a file that is read anew for each session, so that a token can be replaced
//! while the program runs.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use sealstream_protocol::message::hello::Secret;

/// The largest file of a token, in bytes: a Hello has no room for more than 64 KiB, and whatever is longer is no token.
const MAX_FILE: u64 = 16 << 10;

/// Why a token cannot be had from its file.
///
/// ```
/// use sealstream_client::{BuildError, Client};
///
/// let built = Client::builder().url("tls://localhost").token_file("/nowhere/token").build();
/// let Err(BuildError::Token(error)) = built else { panic!("there is no such file") };
/// assert!(error.to_string().starts_with("cannot read the token file /nowhere/token"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the token file {}: {source}: correct the path, or let this user read the file", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// There is nothing in it.
    #[error("the token file {} is empty: put a token into it", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is something else.
    #[error("the token file {} holds no token: it has more than one line, or more than {MAX_FILE} bytes", .path.display())]
    NoToken {
        /// The file.
        path: PathBuf,
    },
}

/// Where a client's token comes from.
#[derive(Clone)]
pub(crate) enum TokenSource {
    /// It is known.
    Text(Secret),
    /// It is in this file, alone; white space around it, such as an editor's newline, is not part of it.
    File(PathBuf),
}

impl TokenSource {
    /// The token as it is now. Files are read on a thread that may block.
    pub(crate) async fn token(&self) -> Result<Secret, TokenError> {
        match self {
            Self::Text(secret) => Ok(secret.clone()),
            Self::File(path) => {
                let file = path.clone();
                let reading = tokio::task::spawn_blocking(move || read(&file)).await;
                reading.unwrap_or_else(|error| {
                    Err(TokenError::Read { path: path.clone(), source: io::Error::other(error) })
                })
            }
        }
    }

    /// Whether the token can be had now: a wrong name of a file is found before anything is sent. Blocks.
    pub(crate) fn check(&self) -> Result<(), TokenError> {
        match self {
            Self::Text(_) => Ok(()),
            Self::File(path) => read(path).map(drop),
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(secret) => secret.fmt(f),
            Self::File(path) => path.fmt(f),
        }
    }
}

fn read(path: &Path) -> Result<Secret, TokenError> {
    let failed = |source| TokenError::Read { path: path.to_owned(), source };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    file.take(MAX_FILE + 1).read_to_string(&mut text).map_err(failed)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(TokenError::Empty { path: path.to_owned() });
    }
    if text.len() as u64 > MAX_FILE || token.contains(['\n', '\r']) {
        return Err(TokenError::NoToken { path: path.to_owned() });
    }
    Ok(Secret(token.to_owned()))
}
