//! Debian's redis-server, on a free port of this machine, with nothing on the disk.

use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::PATIENCE;

/// A port that was free a moment ago may be taken by then.
const ATTEMPTS: usize = 5;

/// A server that ends with the test.
pub(super) struct Server {
    child: Child,
    port: u16,
    args: Vec<String>,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::start_with(|port| vec!["--port".into(), port.to_string()])
    }

    /// One that speaks TLS alone, with the files of this directory, and asks its clients for a certificate.
    pub(super) fn start_sealed(dir: &Path) -> Self {
        let file = |name: &str| dir.join(name).to_str().unwrap().to_owned();
        Self::start_with(|port| {
            let port = port.to_string();
            let args = [
                ["--port", "0"],
                ["--tls-port", &port],
                ["--tls-cert-file", &file("server.pem")],
                ["--tls-key-file", &file("server.key")],
                ["--tls-ca-cert-file", &file("clients.pem")],
                ["--tls-auth-clients", "yes"],
                ["--tls-protocols", "TLSv1.3"],
                ["--requirepass", "open sesame"],
            ];
            args.into_iter().flatten().map(ToOwned::to_owned).collect()
        })
    }

    fn start_with(args: impl Fn(u16) -> Vec<String>) -> Self {
        for _ in 0..ATTEMPTS {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let args = args(port);
            if let Some(child) = launch(&args, port) {
                return Self { child, port, args };
            }
        }
        panic!("redis-server finds no free port");
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash would.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again where it was. It has forgotten everything.
    pub(super) fn restart(&mut self) {
        self.child = launch(&self.args, self.port).expect("its port is free still");
    }

    /// Makes it stand still, with its connections open.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Makes it go on.
    pub(super) fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Killed by the test already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The running server, once it takes connections; `None` if it ends before.
fn launch(args: &[String], port: u16) -> Option<Child> {
    let mut child = Command::new("redis-server")
        .args(args)
        .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--daemonize", "no"])
        .args(["--dir", std::env::temp_dir().to_str().unwrap()])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is installed");
    let start = Instant::now();
    loop {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Some(child);
        }
        assert!(start.elapsed() < PATIENCE, "redis-server takes no connections");
        thread::sleep(Duration::from_millis(5));
    }
}
