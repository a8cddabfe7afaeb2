//! Everything that touches a secret, carried out once, and what nobody may find of it afterwards.

use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use memchr::memmem;
use sealstream_transport::testing::pki::{Authority, Issued, Leaf};

use crate::harness::{House, PATIENCE, Ran, read};

/// A token that nobody made.
const WRONG_TOKEN: &str = "slt1_0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJ";

/// Redis' password, in a file.
pub(crate) const REDIS_PASSWORD: &str = "redis-password-correct-horse";

/// One in the URL, where it does not belong.
const URL_PASSWORD: &str = "url-password-battery-staple";

const RECORD_KEY: &str = "record-key-0451";
const RECORD_VALUE: &str = "record-value-that-is-nobodys-business";

/// What must not be found.
#[derive(Default)]
pub(crate) struct Secrets(Vec<(&'static str, Vec<u8>)>);

impl Secrets {
    pub(crate) fn add(&mut self, name: &'static str, secret: impl Into<Vec<u8>>) {
        self.0.push((name, secret.into()));
    }

    /// Looks for each secret in each form in which it might be written.
    #[track_caller]
    pub(crate) fn assert_absent(&self, place: &str, text: &[u8]) {
        for (name, secret) in &self.0 {
            for form in forms(secret) {
                let shown = String::from_utf8_lossy(&form);
                assert!(memmem::find(text, &form).is_none(), "{name} is in {place} as {shown}");
            }
        }
    }
}

/// A secret as it is, and in hexadecimal digits, as a list of numbers and in Base64: what shortens it is found by its first half.
fn forms(secret: &[u8]) -> Vec<Vec<u8>> {
    let hex = secret.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
    let texts = [
        hex.to_uppercase(),
        hex,
        format!("{secret:?}"),
        STANDARD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
    ];
    let halves = texts.into_iter().map(|text| text.as_bytes()[..text.len() / 2].to_vec());
    halves.chain([secret.to_vec()]).collect()
}

/// A house in which the flows can be carried out, and its broker's configuration in `s.toml`.
pub(crate) struct Scene {
    pub(crate) house: House,
    pub(crate) secrets: Secrets,
    config: String,
    served: Issued,
    stranger: Issued,
    /// What clients wrote to stderr at level trace, and to stdout where that is not what they were asked for.
    pub(crate) heard: Vec<u8>,
    url: String,
}

impl Scene {
    /// `more` is what else the configuration says; Redis is asked for at `redis`.
    pub(crate) fn new(more: &str, redis: u16) -> Self {
        let house = House::new();
        let authority = Authority::new("CA");
        let (served, stranger) = (authority.issue(&Leaf::localhost()), authority.issue(&Leaf::localhost()));
        house.write("ca.pem", authority.pem());
        house.write("server.key", served.key_pem());
        house.write("server.pem", served.chain_pem());
        house.write("redis.password", REDIS_PASSWORD);
        let config = format!(
            "[tls]\ncert = \"server.pem\"\nkey = \"server.key\"\nticket_secret = \"tickets\"\nwatch = false\n\
             [quotas]\nrequests = \"10000/s\"\nstore = \"redis://127.0.0.1:{redis}\"\nredis_password_file = \"redis.password\"\n{more}"
        );
        house.write("s.toml", &config);
        let mut secrets = Secrets::default();
        for (name, secret) in [
            ("the wrong token", WRONG_TOKEN),
            ("the password of Redis", REDIS_PASSWORD),
            ("the password in a URL", URL_PASSWORD),
            ("the key of a record", RECORD_KEY),
            ("the value of a record", RECORD_VALUE),
        ] {
            secrets.add(name, secret);
        }
        for (name, issued) in [("the key", &served), ("the key of another certificate", &stranger)] {
            secrets.add(name, issued.key_der().secret_der());
            for line in issued.key_pem().lines().filter(|line| !line.starts_with("-----") && line.len() > 16)
            {
                secrets.add(name, line);
            }
        }
        let (heard, url) = (Vec::new(), String::new());
        let mut scene = Self { house, secrets, config, served, stranger, heard, url };
        scene.write_tickets(&[0xa1, 0xb2]);
        scene
    }

    /// The command that serves, at level trace.
    pub(crate) fn serve(&self, args: &[&str]) -> Command {
        let fixed = ["serve", "--config", "s.toml", "--listen", "127.0.0.1:0"];
        let mut command = self.house.command(fixed.into_iter().chain(args.iter().copied()));
        command.env("SEALSTREAM_LOG", "trace");
        command
    }

    /// Carries everything out, with the broker on this port.
    pub(crate) fn play(&mut self, port: u16) {
        self.url = format!("tls://localhost:{port}");
        self.run(&["topic", "create", "events"]).ok();
        self.tokens(port);
        self.contexts();
        self.keys();
        self.ticket_secrets();
        self.configurations();
    }

    fn tokens(&mut self, port: u16) {
        for (name, file) in [("writer", "token"), ("lost", "revoked")] {
            let made = self.ask(&["token", "create", name]);
            let token = made.ok().trim().to_owned();
            self.house.write(file, &token);
            self.secrets.add("what is secret in a token", &token.as_bytes()["slt1_".len()..]);
        }
        self.run(&["token", "list"]).ok();
        self.run(&["token", "revoke", "lost"]).ok();
        self.house.write("wrong", WRONG_TOKEN);
        let record = self.house.write("record", format!("{RECORD_KEY},{RECORD_VALUE}\n"));
        let produce = ["produce", "events", "--key-separator", ",", "--timeout", "2s", "--file"];
        let produce = [produce.as_slice(), &[record.to_str().unwrap()]].concat();
        self.run(&[&produce[..], &["--token-file", "token"]].concat()).ok();
        for file in ["wrong", "revoked"] {
            assert!(!self.run(&[&produce[..], &["--token-file", file]].concat()).status.success());
        }
        // By the environment, and over QUIC.
        let tls = std::mem::replace(&mut self.url, format!("quic://localhost:{port}"));
        let token = String::from_utf8(read(&self.house.path("token"))).unwrap();
        for (token, good) in [(&*token, true), (WRONG_TOKEN, false)] {
            let mut command = self.command(&produce);
            let ran = self.listen(command.env("SEALSTREAM_TOKEN", token.trim()));
            assert_eq!(ran.status.success(), good, "{}", ran.stderr);
        }
        self.url = tls;
        let read = self.ask(&["consume", "events", "--count", "2", "--token-file", "token"]);
        assert!(read.ok().contains(RECORD_VALUE));
    }

    fn contexts(&mut self) {
        let url = self.url.clone();
        let add =
            ["context", "add", "ci", "--url", &url, "--ca", "ca.pem", "--token-file", "token", "--check"];
        for args in
            [&add[..], &["context", "show", "ci"], &["health", "--context", "ci"], &["context", "list"]]
        {
            let mut command = self.house.command(args.iter().copied());
            let ran = self.listen(&mut command);
            self.heard.extend(&ran.stdout);
            ran.ok();
        }
    }

    /// A key that is another's, one that is none, and the right one again.
    fn keys(&mut self) {
        let good = self.served.key_pem();
        let half = |text: &str| text[..text.len() / 2].to_owned();
        let garbage = [self.stranger.key_pem(), half(&good), good.replace("PRIVATE", "SECRET")];
        for key in garbage {
            self.house.write("server.key", key);
            assert!(!self.run(&["tls", "reload"]).status.success());
        }
        self.house.write("server.key", good);
        self.run(&["tls", "reload"]).ok();
    }

    fn ticket_secrets(&mut self) {
        self.write_tickets(&[0xc3, 0xa1]);
        self.run(&["tls", "reload"]).ok();
        // A digit is missing.
        let mut broken = read(&self.house.path("tickets"));
        broken.remove(3);
        self.house.write("tickets", broken);
        assert!(!self.run(&["tls", "reload"]).status.success());
        self.write_tickets(&[0xc3, 0xa1]);
        self.run(&["tls", "reload"]).ok();
    }

    fn write_tickets(&mut self, seeds: &[u8]) {
        let mut text = String::new();
        for seed in seeds {
            let secret: Vec<u8> =
                (0..32).map(|n: u8| seed.wrapping_mul(31).wrapping_add(n.wrapping_mul(*seed))).collect();
            text.extend(secret.iter().map(|byte| format!("{byte:02x}")));
            text.push('\n');
            self.secrets.add("a secret of tickets", secret);
        }
        let path = self.house.write("tickets", text);
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Passwords in places where they are refused, in a check and in a reload.
    fn configurations(&mut self) {
        let redis = self.config.replace("redis://127.0.0.1", &format!("redis://:{URL_PASSWORD}@127.0.0.1"));
        let collector = format!("{}[traces]\notlp = \"https://ada:{URL_PASSWORD}@localhost\"\n", self.config);
        let collector = if self.config.contains("[traces]") { redis.clone() } else { collector };
        for config in [redis, collector] {
            self.house.write("bad.toml", &config);
            let mut check = self.house.command(["config", "check", "--config", "bad.toml"]);
            let checked = self.listen(&mut check);
            self.heard.extend(&checked.stdout);
            let error = checked.failed();
            assert!(error.contains("password in it"), "{error}");
            self.house.write("s.toml", &config);
            assert!(!self.run(&["tls", "reload"]).status.success());
            let mut check = self.house.command(["config", "check"]);
            check.env("SEALSTREAM_QUOTAS_STORE", format!("rediss://:{URL_PASSWORD}@localhost"));
            check.env("SEALSTREAM_QUOTAS_REDIS_PASSWORD_FILE", "redis.password");
            self.listen(&mut check).failed();
        }
        self.house.write("s.toml", &self.config);
        self.run(&["tls", "reload"]).ok();
        let mut show = self.house.command(["config", "show", "--config", "s.toml"]);
        let shown = self.listen(&mut show);
        self.heard.extend(&shown.stdout);
        shown.ok();
    }

    fn command(&self, args: &[&str]) -> Command {
        self.house.command(args.iter().copied().chain(["--ca", "ca.pem", "--url", &self.url]))
    }

    /// Runs a client that says everything to stderr.
    fn listen(&mut self, command: &mut Command) -> Ran {
        let ran: Ran = command.env("SEALSTREAM_LOG", "trace").output().unwrap().into();
        self.heard.extend(ran.stderr.as_bytes());
        ran
    }

    /// A client whose output is no secret.
    fn run(&mut self, args: &[&str]) -> Ran {
        let ran = self.ask(args);
        self.heard.extend(&ran.stdout);
        ran
    }

    fn ask(&mut self, args: &[&str]) -> Ran {
        let mut command = self.command(args);
        self.listen(&mut command)
    }

    /// A consumer that goes on with a token until it is killed.
    pub(crate) fn follow(&self) -> std::process::Child {
        let mut command = self.command(&["consume", "events", "--follow", "--token-file", "token"]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    }
}

/// A Redis that wants [`REDIS_PASSWORD`] or another. Ends with the test.
pub(crate) struct Redis {
    process: std::process::Child,
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) fn start(house: &House, password: &str) -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("redis-server")
            .args([
                "--port",
                &port.to_string(),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--requirepass",
                password,
                "--dir",
            ])
            .arg(house.path("."))
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        let (redis, begun) = (Self { process, port }, Instant::now());
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "redis-server takes no connections");
            std::thread::sleep(Duration::from_millis(5));
        }
        redis
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
