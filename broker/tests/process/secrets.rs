//! Nothing secret is shown or logged: at every level, in both forms, by the broker and by its clients.

use std::fs::File;
use std::process::{Child, Command};

use crate::flows::{REDIS_PASSWORD, Redis, Scene};
use crate::harness::{House, read};
use crate::monitor::http::{get, until};

/// A broker whose log goes into a file: at level trace it is long.
struct Served {
    child: Child,
    port: u16,
    monitor: String,
}

impl Served {
    fn start(scene: &Scene, form: &[&str]) -> Self {
        let log = scene.house.path("log");
        let child = scene.serve(form).stderr(File::create(&log).unwrap()).spawn().unwrap();
        let said = until(|| logged(scene), |said| said.contains("no permissions are configured"));
        let after = |text: &str| {
            let rest = said.split(text).nth(1).unwrap();
            rest.split(['"', '/', '\n']).next().unwrap().to_owned()
        };
        let port = after("listening on tls://127.0.0.1:").parse().unwrap();
        Self { child, port, monitor: after("monitor on http://") }
    }

    fn stop(mut self) {
        let stopped = Command::new("kill").arg(self.child.id().to_string()).status().unwrap();
        assert!(stopped.success() && self.child.wait().unwrap().success());
    }
}

fn logged(scene: &Scene) -> String {
    String::from_utf8_lossy(&read(&scene.house.path("log"))).into_owned()
}

/// Nobody listens there.
fn nowhere() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn assert_nothing_secret_is_said(form: &[&str], redis: u16, expected: &[&str]) {
    let mut scene = Scene::new("", redis);
    let served = Served::start(&scene, form);
    scene.play(served.port);
    let mut follower = scene.follow();
    let monitor = &served.monitor;
    let status = until(|| get(monitor, "/v1/status"), |status| status.contains("token:writer"));
    let shown = [status, get(monitor, "/metrics"), get(monitor, "/"), get(monitor, "/readyz")].concat();
    follower.kill().unwrap();
    follower.wait().unwrap();
    served.stop();

    let logged = logged(&scene);
    for text in ["INFO", "DEBUG", "token:writer", "token refused", "not reloaded"].iter().chain(expected) {
        assert!(
            logged.contains(text),
            "{text} is not in the log, which is searched for nothing then:\n{logged}"
        );
    }
    let heard = String::from_utf8_lossy(&scene.heard);
    for text in ["DEBUG", "unauthenticated", "server.key", "password in it"] {
        assert!(heard.contains(text), "{text} was not said by a client:\n{heard}");
    }
    scene.secrets.assert_absent("the log", logged.as_bytes());
    scene.secrets.assert_absent("what the monitor shows", shown.as_bytes());
    scene.secrets.assert_absent("what clients say", heard.as_bytes());
}

#[test]
fn nothing_secret_is_logged_or_shown_even_at_trace_level() {
    assert_nothing_secret_is_said(&[], nowhere(), &["Redis is away"]);
}

#[test]
fn nothing_secret_is_logged_as_json_even_at_trace_level() {
    assert_nothing_secret_is_said(&["--log-format", "json"], nowhere(), &["Redis is away", "\"spans\":["]);
}

#[test]
#[ignore = "needs redis-server"]
fn the_password_of_redis_is_not_logged_whether_it_is_right_or_not() {
    let house = House::new();
    for (password, said) in
        [(REDIS_PASSWORD, "Redis is there"), ("another", "Password authentication failed")]
    {
        let redis = Redis::start(&house, password);
        assert_nothing_secret_is_said(&["--log-format", "json"], redis.port, &[said]);
    }
}
