//! The file that the contexts are kept in: small, read whole, replaced whole.
//!
//! Changes are made by one process at a time, who holds the lock of the file beside it; readers need none, for the file is exchanged
//! by a rename. Bounds: 1 MiB, and 5 s of waiting for the lock.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::cli::Failure;
use crate::config::nearest;

/// What the file may have at the most: thousands of contexts.
const MAX_BYTES: u64 = 1 << 20;

/// How long another process may hold the lock, which takes it milliseconds.
const LOCK_PATIENCE: Duration = Duration::from_secs(5);

/// How often the lock is tried for.
const LOCK_RETRY: Duration = Duration::from_millis(10);

/// The keys of a context, as they stand in the file and in its messages.
const KEYS: [&str; 5] = ["url", "ca", "cert", "key", "token_file"];

/// How to reach a broker.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(in crate::cli) struct Context {
    pub(in crate::cli) url: String,
    pub(in crate::cli) ca: Option<PathBuf>,
    pub(in crate::cli) cert: Option<PathBuf>,
    pub(in crate::cli) key: Option<PathBuf>,
    pub(in crate::cli) token_file: Option<PathBuf>,
}

/// All contexts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub(in crate::cli) struct Contexts {
    /// The one that is taken where none is named.
    pub(in crate::cli) in_use: Option<String>,
    #[serde(default, rename = "context")]
    pub(in crate::cli) by_name: BTreeMap<String, Context>,
}

impl Contexts {
    /// The context of a name; without it an error that names the nearest.
    pub(in crate::cli) fn get(&self, name: &str, file: &Path) -> Result<&Context, Failure> {
        self.by_name.get(name).ok_or_else(|| {
            let hint = match nearest(name, self.by_name.keys().map(|known| (known.clone(), known.clone()))) {
                Some(known) => format!("did you mean `{known}`?"),
                None if self.by_name.is_empty() => "make one with `sealstream context add`".into(),
                None => "`sealstream context list` shows which there are".into(),
            };
            Failure::new(format!("no context `{name}` in {}: {hint}", file.display()))
        })
    }
}

/// The file of this user.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Store {
    pub(in crate::cli) file: PathBuf,
}

impl Store {
    /// `$XDG_CONFIG_HOME/sealstream/contexts.toml`, or in `~/.config`; `None` for a user without either.
    pub(in crate::cli) fn of_user() -> Option<Self> {
        // The specification has relative paths passed over.
        let absolute = |path: &PathBuf| path.is_absolute();
        let configured = env::var_os("XDG_CONFIG_HOME").map(PathBuf::from).filter(absolute);
        let dir = configured.or_else(|| Some(env::home_dir().filter(absolute)?.join(".config")))?;
        Some(Self { file: dir.join("sealstream").join("contexts.toml") })
    }

    /// The contexts; none if there is no file.
    pub(in crate::cli) fn read(&self) -> Result<Contexts, Failure> {
        let shown = self.file.display();
        let text = match self.text() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
            text => {
                text.map_err(|error| Failure::new(format!("cannot read the contexts in {shown}: {error}")))?
            }
        };
        parse(&text).map_err(|reason| Failure::new(format!("{shown}: {reason}")))
    }

    fn text(&self) -> io::Result<String> {
        let mut text = String::new();
        let read = File::open(&self.file)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
        if read as u64 > MAX_BYTES {
            return Err(io::Error::other("it is larger than 1 MiB"));
        }
        Ok(text)
    }

    /// Reads the contexts, has them changed, and keeps what came of it, unless `change` fails.
    pub(in crate::cli) fn change<T>(
        &self,
        change: impl FnOnce(&mut Contexts) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let cannot = |error: io::Error| {
            Failure::new(format!("cannot keep contexts in {}: {error}", self.file.display()))
        };
        let dir = self.file.parent().unwrap_or(Path::new("/"));
        // For this user alone, as the specification asks.
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(cannot)?;
        let _lock = self.lock().map_err(cannot)?;
        let mut contexts = self.read()?;
        let before = contexts.clone();
        let made = change(&mut contexts)?;
        if contexts != before {
            self.replace(&toml::to_string(&contexts)?).map_err(cannot)?;
        }
        Ok(made)
    }

    fn beside(&self, extension: &str) -> PathBuf {
        self.file.with_extension(extension)
    }

    fn lock(&self) -> io::Result<File> {
        let lock = OpenOptions::new().create(true).append(true).mode(0o600).open(self.beside("lock"))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_RETRY),
                Err(TryLockError::WouldBlock) => {
                    return Err(io::Error::other("another process has been changing them for 5 seconds"));
                }
            }
        }
    }

    /// A reader finds the old file or the new one, and so does the next start after a crash.
    fn replace(&self, text: &str) -> io::Result<()> {
        let fresh = self.beside("new");
        // Left behind by a crash: its mode is not to be relied on.
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.file)
    }
}

fn parse(text: &str) -> Result<Contexts, String> {
    let table: toml::Table = toml::from_str(text).map_err(|error| error.to_string())?;
    for key in table.keys() {
        known(key, "", &["in_use", "context"])?;
    }
    for (name, context) in table.get("context").and_then(toml::Value::as_table).into_iter().flatten() {
        for key in context.as_table().into_iter().flatten().map(|(key, _)| key) {
            known(key, &format!("context.{name}."), &KEYS)?;
        }
    }
    // From the text, for an error that knows line and column.
    toml::from_str(text).map_err(|error| error.to_string())
}

fn known(key: &str, prefix: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&key) {
        return Ok(());
    }
    let hint = nearest(key, known.iter().map(|known| ((*known).to_owned(), format!("{prefix}{known}"))));
    let hint = hint.map(|hint| format!(": did you mean `{hint}`?")).unwrap_or_default();
    Err(format!("unknown key `{prefix}{key}`{hint}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn context(url: &str) -> Context {
        Context { url: url.into(), ca: None, cert: None, key: None, token_file: None }
    }

    fn store(dir: &Path) -> Store {
        Store { file: dir.join("made/on/the/way/contexts.toml") }
    }

    fn add(store: &Store, name: &str) {
        let context = context("tls://a:1");
        store.change(|all| Ok(all.by_name.insert(name.to_owned(), context))).unwrap();
    }

    #[test]
    fn what_was_kept_is_read_again_and_is_for_its_user_alone() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        assert_eq!(store.read().unwrap(), Contexts::default());
        add(&store, "a");
        let kept = store.read().unwrap();
        assert_eq!(kept.by_name["a"], context("tls://a:1"));
        for (path, mode) in [(&*store.file, 0o600), (store.file.parent().unwrap(), 0o700)] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode, "{}", path.display());
        }
        assert!(!store.beside("new").exists());
    }

    #[test]
    fn a_file_that_a_crash_left_half_written_is_neither_read_nor_in_the_way() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        add(&store, "a");
        fs::write(store.beside("new"), "half a li").unwrap();
        add(&store, "b");
        assert_eq!(store.read().unwrap().by_name.len(), 2);
        assert_eq!(fs::metadata(&store.file).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn changes_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        thread::scope(|scope| {
            for n in 0..8 {
                let store = store.clone();
                scope.spawn(move || add(&store, &format!("c{n}")));
            }
        });
        assert_eq!(store.read().unwrap().by_name.len(), 8);
    }

    #[test]
    fn a_change_that_fails_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        add(&store, "a");
        let failed = store.change(|all| -> Result<(), Failure> {
            all.by_name.clear();
            Err(Failure::new("no"))
        });
        assert!(failed.is_err());
        assert_eq!(store.read().unwrap().by_name.len(), 1);
    }

    #[test]
    fn unknown_keys_and_names_are_refused_with_the_nearest_known_one() {
        let refused = |text: &str| parse(text).unwrap_err();
        let error = refused("[context.prod]\nurl = \"tls://a\"\ntoken-file = \"t\"\n");
        assert!(
            error.contains("`context.prod.token-file`: did you mean `context.prod.token_file`?"),
            "{error}"
        );
        let error = refused("in_used = \"prod\"\n");
        assert!(error.contains("`in_used`: did you mean `in_use`?"), "{error}");
        let error = refused("[context.prod]\nca = \"a\"\n");
        assert!(error.contains("url"), "{error}");
        let mut contexts = Contexts::default();
        contexts.by_name.insert("production".into(), context("tls://a"));
        let error = contexts.get("prodction", Path::new("/f")).unwrap_err().to_string();
        assert_eq!(error, "no context `prodction` in /f: did you mean `production`?");
    }
}
