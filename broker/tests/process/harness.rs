//! The real binary in a directory of its own: started, asked, killed, started again.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How long a process may take to say what is waited for: generous, for a machine that builds something else meanwhile.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// Lines of stderr that may wait to be looked at.
const LINES: usize = 10_000;

/// A directory in which brokers and clients run.
pub(crate) struct House {
    dir: tempfile::TempDir,
}

/// A file system, until dropped.
pub(crate) struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily, for a test that failed has a broker there.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}

/// What a client command gave.
pub(crate) struct Ran {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl Ran {
    /// What it wrote, if it did what it was told to.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert!(self.status.success(), "{:?}: {}", self.status, self.stderr);
        String::from_utf8(self.stdout).unwrap()
    }

    /// What it complained of, if it failed with exit code 1.
    #[track_caller]
    pub(crate) fn failed(self) -> String {
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        self.stderr
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        Self { status: output.status, stdout: output.stdout, stderr }
    }
}

impl House {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }

    /// A file system of its own there, in memory: `size` as `mount` takes it. Needs root.
    pub(crate) fn mount(&self, name: &str, size: &str) -> Mounted {
        let dir = self.path(name);
        std::fs::create_dir(&dir).unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "none"]).arg(&dir);
        assert!(mount.status().unwrap().success());
        Mounted(dir)
    }

    /// The binary, in this directory and with nothing of the tester's environment that it reads.
    ///
    /// The monitor of a broker takes a free port: the one beside a port that was free may be another test's.
    pub(crate) fn command<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let args: Vec<&str> = args.into_iter().collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealstream"));
        for (name, _) in std::env::vars_os() {
            if ["SEALSTREAM_", "OTEL_"].iter().any(|prefix| name.to_string_lossy().starts_with(prefix)) {
                command.env_remove(name);
            }
        }
        if args.first() == Some(&"serve") {
            command.env("SEALSTREAM_MONITOR_LISTEN", "127.0.0.1:0");
            // As on a terminal.
            command.env("SEALSTREAM_LOG_FORMAT", "text");
        }
        command.env("XDG_CONFIG_HOME", self.path("config"));
        command.current_dir(self.dir.path()).args(args).stdin(Stdio::null());
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Ran {
        self.command(args).output().unwrap().into()
    }

    /// Starts a broker on a free port and waits until it is ready.
    pub(crate) fn serve(&self) -> Broker {
        self.serve_on("127.0.0.1:0")
    }

    /// Starts a broker and waits until it is ready.
    #[track_caller]
    pub(crate) fn serve_on(&self, listen: &str) -> Broker {
        Self::start(self.command(["serve", "--listen", listen]))
    }

    /// Starts a broker on a free port by a configuration of its own.
    #[track_caller]
    pub(crate) fn serve_with(&self, config: &str) -> Broker {
        Self::start(self.command(["serve", "--listen", "127.0.0.1:0", "--config", config]))
    }

    /// Starts a broker for development by nothing but a configuration.
    #[track_caller]
    pub(crate) fn serve_by(&self, config: &str) -> Broker {
        Self::start(self.command(["serve", "--config", config]))
    }

    /// Starts a broker with certificates by nothing but a configuration; its port is that of the first address.
    #[track_caller]
    pub(crate) fn serve_sealed(&self, config: &str) -> Broker {
        let mut process = Process::start(&mut self.command(["serve", "--config", config]));
        let line = process.wait_for("listening on tls://");
        let port = line.trim_end().rsplit(':').next().unwrap().parse().unwrap();
        process.wait_for("ready: clients are served");
        Broker { process, port }
    }

    #[track_caller]
    fn start(mut command: Command) -> Broker {
        let mut process = Process::start(&mut command);
        let line = process.wait_for("export SEALSTREAM_URL=");
        let url = line.split("SEALSTREAM_URL=").nth(1).unwrap().split(' ').next().unwrap();
        let port = url.rsplit(':').next().unwrap().parse().unwrap();
        Broker { process, port }
    }
}

/// A running broker.
pub(crate) struct Broker {
    pub(crate) process: Process,
    pub(crate) port: u16,
}

impl Broker {
    pub(crate) fn tls(&self) -> String {
        format!("tls://localhost:{}", self.port)
    }

    pub(crate) fn quic(&self) -> String {
        format!("quic://localhost:{}", self.port)
    }

    /// The address of its monitor on loopback.
    #[track_caller]
    pub(crate) fn monitor(&self) -> String {
        self.process.monitor("http://")
    }

    /// Stops it in order.
    #[track_caller]
    pub(crate) fn stop(mut self) {
        self.process.signal("TERM");
        let status = self.process.wait();
        assert!(status.success(), "{status:?}: {}", self.process.said);
    }
}

/// A child process whose stderr is listened to. Killed when dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<String>,
    /// All of its stderr so far.
    pub(crate) said: String,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = sync_channel(LINES);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines, said: String::new() }
    }

    /// Waits for a line that holds `text`.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    writeln!(self.said, "{line}").unwrap();
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("`{text}` was not said in time, but: {}", self.said),
                Err(RecvTimeoutError::Disconnected) => panic!("ended without `{text}`: {}", self.said),
            }
        }
    }

    /// The address of the monitor that speaks `scheme`, once it was said.
    #[track_caller]
    pub(crate) fn monitor(&self, scheme: &str) -> String {
        let said = self.said.split(&format!("monitor on {scheme}")).nth(1).unwrap();
        said.split('/').next().unwrap().to_owned()
    }

    /// Sends a signal by its name.
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.said.extend(self.lines.iter().map(|line| line + "\n"));
                return status;
            }
            assert!(Instant::now() < deadline, "did not end in time: {}", self.said);
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Already gone is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Feeds `input` to a command and gives what it wrote.
pub(crate) fn feed(mut command: Command, input: Vec<u8>) -> Ran {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    // A command that fails early reads no further; its exit code tells.
    let writer = thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output.into()
}

/// Reads a file whole.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut content = Vec::new();
    std::fs::File::open(path).unwrap().read_to_end(&mut content).unwrap();
    content
}
