//! The broker: the real one, in a process of its own, with its development CA.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use clap::Parser as _;
use sealstream_broker::cli::{self, args::Cli};
use tempfile::TempDir;

/// The first argument of its process.
pub(crate) const ROLE: &str = "--be-the-broker";

/// A broker that runs until it is dropped.
pub(crate) struct Server {
    child: Child,
    url: String,
    dir: TempDir,
}

impl Server {
    pub(crate) fn start() -> Self {
        let dir = TempDir::new().expect("a directory");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([ROLE, "serve", "--listen", "127.0.0.1:0"])
            .current_dir(dir.path())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a broker");
        let mut lines = BufReader::new(child.stderr.take().expect("its stderr")).lines();
        let ready = lines.by_ref().map_while(Result::ok).find(|line| line.contains("SEALSTREAM_URL="));
        let ready = ready.expect("the broker says where it is");
        let url = ready.split("SEALSTREAM_URL=").nth(1).and_then(|rest| rest.split(' ').next());
        let url = url.expect("a URL").to_owned();
        // What it says from now on must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, url, dir }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The CA behind its certificate.
    pub(crate) fn ca(&self) -> PathBuf {
        self.dir.path().join("sealstream-data/dev-ca/ca.pem")
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
