//! What the paths took when somebody last said that it was right, in `baseline.json`, and what to think of what they take now.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::callgrind::Count;
use crate::paths::HotPath;

/// By how much a count may differ, either way: a tenth. Two runs differ by less than one in a hundred.
const TOLERANCE: f64 = 0.10;

/// The counts of all paths, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Baseline {
    /// What compiled, and what counted: other versions of these give other counts.
    pub(crate) tools: Vec<String>,
    /// Instructions of one unit.
    instructions: BTreeMap<String, f64>,
}

/// A path, and how it stands.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) path: &'static HotPath,
    pub(crate) count: f64,
    /// `None` of a path that is new.
    pub(crate) baseline: Option<f64>,
}

/// Why there is no baseline.
#[derive(Debug)]
pub(crate) struct LoadError {
    file: PathBuf,
    reason: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} holds no baseline: {}", self.file.display(), self.reason)
    }
}

impl Verdict {
    pub(crate) fn has_grown(&self) -> bool {
        self.baseline.is_some_and(|before| self.count > before * (1.0 + TOLERANCE))
    }

    pub(crate) fn has_fallen(&self) -> bool {
        self.baseline.is_some_and(|before| self.count < before * (1.0 - TOLERANCE))
    }

    /// Whether a check is not passed with it. What nothing is known of cannot be held.
    pub(crate) fn is_failure(&self) -> bool {
        self.baseline.is_none() || self.has_grown()
    }
}

impl Baseline {
    fn file() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.json")
    }

    /// Reads the one of the repository.
    pub(crate) fn load() -> Result<Self, LoadError> {
        let file = Self::file();
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string());
        let parsed = text.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
        parsed.map_err(|reason| LoadError { file, reason })
    }

    /// One that has what was counted now.
    pub(crate) fn of(tools: Vec<String>, verdicts: &[Verdict]) -> Self {
        // Tenths are enough, and leave a line alone that has not changed.
        let tenths = |verdict: &Verdict| (verdict.count * 10.0).round() / 10.0;
        let instructions = verdicts.iter().map(|verdict| (verdict.path.name.to_owned(), tenths(verdict)));
        Self { tools, instructions: instructions.collect() }
    }

    /// Writes it into the repository.
    pub(crate) fn save(&self) {
        let text = serde_json::to_string_pretty(self).expect("numbers by names are JSON") + "\n";
        std::fs::write(Self::file(), text).expect("the baseline is written");
    }

    /// Holds what was counted against it.
    pub(crate) fn judge(&self, counts: &[Count]) -> Vec<Verdict> {
        let verdict = |count: &Count| Verdict {
            path: count.path,
            count: count.of_one,
            baseline: self.instructions.get(count.path.name).copied(),
        };
        counts.iter().map(verdict).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paths::ALL;

    fn judged(count: f64, baseline: &Baseline) -> Verdict {
        baseline.judge(&[Count { path: &ALL[0], of_one: count }]).remove(0)
    }

    #[test]
    fn more_than_a_tenth_more_fails_and_less_never_does() {
        let verdicts = [Verdict { path: &ALL[0], count: 1000.0, baseline: None }];
        let baseline = Baseline::of(Vec::new(), &verdicts);
        assert!(judged(1101.0, &baseline).is_failure());
        assert!(!judged(1099.0, &baseline).is_failure() && !judged(1099.0, &baseline).has_fallen());
        assert!(judged(899.0, &baseline).has_fallen() && !judged(899.0, &baseline).is_failure());
    }

    #[test]
    fn a_path_that_the_baseline_does_not_have_fails() {
        assert!(judged(1.0, &Baseline::default()).is_failure());
    }

    #[test]
    fn the_baseline_of_the_repository_has_every_path_and_no_other() {
        let baseline = Baseline::load().unwrap();
        let mut names: Vec<_> = ALL.iter().map(|path| path.name).collect();
        names.sort_unstable();
        assert_eq!(baseline.instructions.keys().map(String::as_str).collect::<Vec<_>>(), names);
    }
}
