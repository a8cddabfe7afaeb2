//! Tests that need a process to themselves, because they count or exhaust what a process has.

use std::future::Future;
use std::process::Command;

use super::run::run;

/// Set in the process that runs one test alone.
const ALONE: &str = "SEALSTREAM_TEST_ALONE";

/// Runs a test's future in a process of its own: the test binary again, with this test only.
///
/// `path` is `concat!(module_path!(), "::", "name_of_the_test")`.
pub fn alone<F: Future<Output = ()>>(path: &str, test: impl FnOnce() -> F) {
    // The test harness leaves the crate's name out.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    if std::env::var_os(ALONE).is_some() {
        return run(name, async { test().await });
    }
    let program = std::env::current_exe().expect("the test's own program");
    let output = Command::new(program)
        .args([name, "--exact", "--nocapture", "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("the test's own program starts");
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed alone:\n{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{name} is not a test of this program:\n{stdout}");
}

/// The sockets that this process holds.
pub fn open_sockets() -> usize {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}
