//! The broker: the real one, in a process of its own.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser as _;
use sealstream_broker::cli::{self, args::Cli};
use sealstream_transport::Scheme;
use tempfile::TempDir;

use crate::handshake::world::{CA, World};
use crate::process;

/// The first argument of its process: the program that starts one calls [`run`] with those behind it.
pub const ROLE: &str = "--be-the-broker";

/// Every limit of rates by address is off: clients come from few. All else as it is by default.
const CONFIG: &str = "\
[tls]
cert = \"server.pem\"
key = \"server.key\"
[limits]
connections = 12000
sessions = 12000
address_rate = 0
";

/// A broker that runs until it is dropped.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Broker {
    /// Starts one with the certificates of a world, and waits until it listens.
    pub fn start(world: &World) -> Self {
        let dir = TempDir::new().expect("a directory");
        world.write(dir.path()).expect("files");
        fs::write(dir.path().join("s.toml"), CONFIG).expect("a file");
        let (child, port) = spawn(&dir);
        Self { child, port, dir }
    }

    /// Kills it, as SIGKILL does, and starts it again with what it has stored. Its port is another.
    pub fn kill_and_restart(&mut self) {
        self.kill();
        self.restart();
    }

    /// Kills it, as SIGKILL does.
    pub fn kill(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        (self.child, self.port) = spawn(&self.dir);
    }

    /// The port of both transports.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where clients reach it.
    pub fn url(&self, scheme: Scheme) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The CA behind its certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.path().join(CA)
    }

    /// Its process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The processor's time that it has taken so far.
    pub fn cpu(&self) -> Duration {
        process::cpu(self.id())
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(dir: &TempDir) -> (Child, u16) {
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args([ROLE, "serve", "--config", "s.toml", "--listen", "127.0.0.1:0", "--log-format", "text"])
        .current_dir(dir.path())
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a broker");
    let mut lines = BufReader::new(child.stderr.take().expect("its stderr")).lines();
    let mut port = None;
    for line in lines.by_ref().map_while(Result::ok) {
        if line.contains("listening on tls://") {
            port = line.trim_end().rsplit(':').next().and_then(|port| port.parse().ok());
        }
        if line.contains("no permissions are configured") {
            break;
        }
    }
    // What it says from now on must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, port.expect("the broker listens"))
}

/// Carries out a command of the broker's command line, as its binary does, while the process lives that started this one.
pub fn run(arguments: &[String]) {
    process::end_with_parent();
    let program = "sealstream".to_owned();
    cli::run(&Cli::parse_from(std::iter::once(&program).chain(arguments)));
}
