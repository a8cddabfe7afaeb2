//! The broker: the real one, in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clap::Parser as _;
use rustix::process::{Pid, setpriority_process};
use rustix::thread::{CpuSet, sched_setaffinity};
use sealstream_broker::cli::{self, args::Cli};
use sealstream_transport::testing::pki::{Authority, Leaf};
use tempfile::TempDir;

/// A priority before that of other processes: nineteen steps of 25 % each (sched(7)).
const FIRST: i32 = -19;

/// The file of its CA.
const CA: &str = "ca.pem";

/// The first argument of its process.
pub(crate) const ROLE: &str = "--be-the-broker";

/// Every limit of rates by address is off: the flood comes from few, compared with the world's. All else as it is by default.
const CONFIG: &str = "\
[tls]
cert = \"server.pem\"
key = \"server.key\"
[limits]
connections = 20000
sessions = 20000
address_rate = 0
";

/// The key of a broker's certificate: what it costs to sign.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Key {
    EcdsaP256,
    Rsa2048,
}

/// A broker that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    port: u16,
    dir: TempDir,
}

impl Server {
    /// Starts one on a core.
    pub(crate) fn start(core: usize, key: Key) -> Self {
        let dir = TempDir::new().expect("a directory");
        let authority = Authority::new("Storm CA");
        let issued = match key {
            Key::EcdsaP256 => authority.issue(&Leaf::localhost()),
            Key::Rsa2048 => authority.issue_rsa(&Leaf::localhost()),
        };
        for (name, content) in [
            ("s.toml", CONFIG),
            (CA, &authority.pem()),
            ("server.pem", &issued.chain_pem()),
            ("server.key", &issued.key_pem()),
        ] {
            std::fs::write(dir.path().join(name), content).expect("a file");
        }
        pin(core);
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([ROLE, "serve", "--config", "s.toml", "--listen", "127.0.0.1:0"])
            .current_dir(dir.path())
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
        Self { child, port: port.expect("the broker listens"), dir }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The CA behind its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join(CA)
    }

    /// The processor's time that it has taken so far.
    pub(crate) fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("a process");
        // Behind the name, which may hold anything: the 14th and 15th field, in ticks of 10 ms (proc_pid_stat(5)).
        let (_, fields) = stat.rsplit_once(')').expect("a name");
        let ticks =
            fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already is as good.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Serves, as the command line says.
pub(crate) fn serve(arguments: &[String]) {
    let program = "sealstream".to_owned();
    cli::run(&Cli::parse_from(std::iter::once(&program).chain(arguments)));
}

/// This process, and what it starts from now on, runs on one core, before all else that the machine does there, as if the core
/// were its own: that takes privileges (`CAP_SYS_NICE`).
pub(crate) fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None::<Pid>, &cores).expect("a machine with two cores");
    if setpriority_process(None, FIRST).is_err() {
        eprintln!("storm: no privileges to go before others: figures are good on an idle machine only");
    }
}
