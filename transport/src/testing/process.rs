//! Tests that need a process to themselves, because they count or exhaust what a process has.

use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::run::run;

/// Set in the process that runs one test alone.
const ALONE: &str = "SEALSTREAM_TEST_ALONE";

/// Who owns nothing on any Unix.
const NOBODY: u32 = 65_534;

/// Runs a test's future in a process of its own: the test binary again, with this test only.
///
/// `path` is `concat!(module_path!(), "::", "name_of_the_test")`.
pub fn alone<F: Future<Output = ()>>(path: &str, test: impl FnOnce() -> F) {
    again(path, test, |_| {});
}

/// Runs a test's future in a process of its own that may do nothing special, whoever runs the tests.
///
/// `path` is as for [`alone`]. Where nobody else may read the test binary, it runs with the privileges at hand.
pub fn unprivileged<F: Future<Output = ()>>(path: &str, test: impl FnOnce() -> F) {
    again(path, test, |command| {
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).current_dir("/");
        }
    });
}

fn again<F: Future<Output = ()>>(path: &str, test: impl FnOnce() -> F, prepare: impl FnOnce(&mut Command)) {
    // The test harness leaves the crate's name out.
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    if std::env::var_os(ALONE).is_some() {
        return run(name, async { test().await });
    }
    let program = std::env::current_exe().expect("the test's own program");
    let mut command = Command::new(program);
    command.args([name, "--exact", "--nocapture", "--test-threads=1"]).env(ALONE, "1");
    prepare(&mut command);
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            eprintln!("{name} runs with the privileges at hand: nobody else may read the test's own program");
            return run(name, async { test().await });
        }
        Err(error) => panic!("the test's own program does not start: {error}"),
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{name} failed alone:\n{stdout}\n{stderr}");
    assert!(stdout.contains("1 passed"), "{name} is not a test of this program:\n{stdout}");
}

/// Lowers the number of file descriptors that this process may have to `count`: for tests that run [`alone`].
pub(super) fn limit_descriptors(count: u64) {
    let limit = Rlimit { current: Some(count), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).expect("a limit may be lowered");
}

/// The sockets that this process holds.
pub fn open_sockets() -> usize {
    let Ok(descriptors) = std::fs::read_dir("/proc/self/fd") else { return 0 };
    descriptors
        .filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok())
        .filter(|target| target.to_string_lossy().starts_with("socket:"))
        .count()
}
