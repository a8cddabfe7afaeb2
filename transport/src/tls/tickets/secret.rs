//! The secret from which every ticket key is derived. Whoever holds it can pass for any client: it is to be kept like the key
//! of a CA.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use zeroize::Zeroizing;

use crate::tls::pem::{self, MaterialError};

/// Bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Secrets that a file may name: the one in use, the next, and some that are on their way out.
pub(super) const MAX_SECRETS: usize = 8;

/// 32 bytes that nobody else may know. Wiped when dropped, and not shown.
#[derive(Clone, Eq)]
pub struct TicketSecret(Zeroizing<[u8; SECRET_BYTES]>);

impl TicketSecret {
    /// A new one.
    ///
    /// # Panics
    ///
    /// If the operating system gives no random numbers.
    pub fn random() -> Self {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        SystemRandom::new().fill(&mut *bytes).expect("the operating system gives random numbers");
        Self(bytes)
    }

    pub(super) fn as_bytes(&self) -> &[u8; SECRET_BYTES] {
        &self.0
    }

    fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 2 * SECRET_BYTES || !text.is_ascii() {
            return None;
        }
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        for (byte, digits) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        // `from_str_radix` takes a sign.
        text.bytes().all(|digit| digit.is_ascii_hexdigit()).then_some(Self(bytes))
    }

    pub(super) fn to_hex(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(2 * SECRET_BYTES + 1));
        for byte in self.0.iter() {
            for digit in [byte >> 4, byte & 15] {
                text.push(char::from_digit(digit.into(), 16).unwrap_or('0'));
            }
        }
        text
    }
}

impl PartialEq for TicketSecret {
    /// Takes as long wherever they differ.
    fn eq(&self, other: &Self) -> bool {
        self.0.iter().zip(other.0.iter()).fold(0, |differs, (one, two)| differs | (one ^ two)) == 0
    }
}

impl From<[u8; SECRET_BYTES]> for TicketSecret {
    fn from(bytes: [u8; SECRET_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for TicketSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TicketSecret")
    }
}

/// Where the secret comes from. Where there are several, the first seals and all of them open, so that a fleet can be given the
/// next one before any node uses it.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum SecretSource {
    /// Made by this process, and lost with it: no ticket survives a restart.
    #[default]
    Random,
    /// A text file with one secret a line, each of 64 hexadecimal digits; empty lines and those that begin with `#` are
    /// ignored. [`create_secret_file`] makes one.
    File(PathBuf),
    /// Already in memory.
    Given(Vec<TicketSecret>),
}

impl SecretSource {
    pub(in crate::tls) fn path(&self) -> Option<&Path> {
        match self {
            Self::File(path) => Some(path),
            Self::Random | Self::Given(_) => None,
        }
    }

    /// The secrets, the one that seals first; `None` where this process is to make one.
    pub(super) fn load(&self) -> Result<Option<Vec<TicketSecret>>, MaterialError> {
        let (secrets, origin) = match self {
            Self::Random => return Ok(None),
            Self::File(path) => (read(path)?, path.display().to_string()),
            Self::Given(secrets) => (secrets.clone(), "the secrets in memory".to_owned()),
        };
        let bad = |detail| Err(MaterialError::BadSecret { origin: origin.clone(), detail });
        match secrets.len() {
            0 => bad("it names none: write 64 hexadecimal digits".to_owned()),
            1..=MAX_SECRETS => Ok(Some(secrets)),
            more => bad(format!("it names {more}, but {MAX_SECRETS} are enough: leave the old ones out")),
        }
    }
}

fn read(path: &Path) -> Result<Vec<TicketSecret>, MaterialError> {
    let text = pem::read("ticket secret", path)?;
    warn_of_readers(path);
    parse(&text).map_err(|detail| MaterialError::BadSecret { origin: path.display().to_string(), detail })
}

/// The secrets in the text of a file. What is wrong is told without showing any of it.
pub(super) fn parse(text: &[u8]) -> Result<Vec<TicketSecret>, String> {
    let text = std::str::from_utf8(text)
        .map_err(|_| "it is not text: one secret a line is needed, of 64 hexadecimal digits".to_owned())?;
    let lines = text.lines().map(str::trim).enumerate();
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(index, line)| {
            TicketSecret::from_hex(line)
                .ok_or_else(|| format!("line {} is not 64 hexadecimal digits: write it again", index + 1))
        })
        .collect()
}

#[cfg(unix)]
fn warn_of_readers(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o077 != 0 {
        tracing::warn!(
            file = %path.display(), mode = format!("{:o}", mode & 0o777),
            "others may read the ticket secret, with which they can pass for any client: chmod 600"
        );
    }
}

#[cfg(not(unix))]
fn warn_of_readers(_path: &Path) {}

/// Makes a file with a new secret, readable by its owner only, whole or not at all. One that is there already is left alone;
/// false then.
///
/// Blocks: it syncs the file and its folder.
pub fn create_secret_file(path: &Path) -> io::Result<bool> {
    if path.try_exists()? {
        return Ok(false);
    }
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // A name that nobody can have taken before us, be it another thread or a link that leads elsewhere.
    let mut suffix = [0; 8];
    SystemRandom::new().fill(&mut suffix).map_err(|_| io::Error::other("no random numbers"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{:016x}.new", u64::from_be_bytes(suffix)));
    let temporary = folder.join(name);
    let made = write_secret(&temporary).and_then(|()| match fs::hard_link(&temporary, path) {
        Ok(()) => Ok(true),
        // Another process was faster: its secret counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    });
    let removed = fs::remove_file(&temporary);
    let made = made?;
    removed?;
    fs::File::open(folder)?.sync_all()?;
    Ok(made)
}

fn write_secret(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    writeln!(
        file,
        "# Seals session tickets: whoever reads it can pass for any client. Guard it like the key of a CA."
    )?;
    // In one piece: a formatted line would leave the digits in a buffer that nobody wipes.
    let mut line = TicketSecret::random().to_hex();
    line.push('\n');
    file.write_all(line.as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn told(text: &str) -> String {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("tickets.secret");
        fs::write(&path, text).unwrap();
        let error = SecretSource::File(path.clone()).load().unwrap_err().to_string();
        assert!(error.contains("tickets.secret"), "{error}");
        error
    }

    #[test]
    fn a_file_that_was_made_loads_and_is_nobody_else_s() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("tickets.secret");
        assert!(create_secret_file(&path).unwrap());
        let first = SecretSource::File(path.clone()).load().unwrap().unwrap();
        assert_eq!(first.len(), 1);
        assert!(!create_secret_file(&path).unwrap(), "it was there");
        assert!(SecretSource::File(path.clone()).load().unwrap().unwrap() == first);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn of_many_that_make_the_file_at_once_one_does_and_nothing_else_is_left() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("tickets.secret");
        let made = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| create_secret_file(&path).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap()).filter(|made| *made).count()
        });
        assert_eq!(made, 1);
        assert_eq!(SecretSource::File(path).load().unwrap().unwrap().len(), 1);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_names_several_secrets_in_order() {
        let (one, two) = (TicketSecret::from([1; 32]), TicketSecret::from([2; 32]));
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("s");
        fs::write(&path, format!("# next\n{}\n\n  {}  \n", *one.to_hex(), two.to_hex().to_uppercase()))
            .unwrap();
        assert!(SecretSource::File(path).load().unwrap().unwrap() == [one, two]);
    }

    #[test]
    fn a_secret_in_the_wrong_shape_names_file_and_line() {
        let good = TicketSecret::from([1; 32]).to_hex().to_string();
        assert!(told("").contains("is empty"));
        assert!(told("# nothing\n").contains("names none"));
        assert!(
            told(&format!("{good}\n{}", &good[1..]))
                .contains("line 2 is not 64 hexadecimal digits: write it")
        );
        assert!(told(&format!("+{}", &good[1..])).contains("line 1"));
        assert!(told(&"ü".repeat(32)).contains("line 1"));
        assert!(told(&format!("{good}\n").repeat(MAX_SECRETS + 1)).contains("leave the old ones out"));
    }

    #[test]
    fn two_secrets_differ_by_any_bit() {
        let one = TicketSecret::from([0; 32]);
        assert!(one == one.clone());
        for bit in 0..256 {
            let mut other = [0; 32];
            other[bit / 8] = 1 << (bit % 8);
            assert!(one != other.into(), "bit {bit}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", SecretSource::Given(vec![[7; 32].into()])), "Given([TicketSecret])");
    }
}
