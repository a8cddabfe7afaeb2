//! Redis by TLS.

use std::fs;
use std::path::Path;

use sealstream_transport::testing::pki::{Authority, Leaf};
use tempfile::TempDir;

use super::server::Server;
use super::{Connected, RedisFiles, RedisOptions, UNHURRIED, key, options, still};

/// A server with its certificates, and those of its client.
struct World {
    dir: TempDir,
    server: Server,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
        let write = |name: &str, text: String| fs::write(dir.path().join(name), text).unwrap();
        let server = servers.issue(&Leaf::localhost());
        write("server.pem", server.chain_pem());
        write("server.key", server.key_pem());
        write("ca.pem", servers.pem());
        write("stranger.pem", Authority::new("stranger").pem());
        let client = clients.issue(&Leaf::new().common_name("broker").for_clients());
        write("client.pem", client.chain_pem());
        write("client.key", client.key_pem());
        write("clients.pem", clients.pem());
        write("password", "open sesame\n".into());
        let server = Server::start_sealed(dir.path());
        Self { dir, server }
    }

    fn options(&self) -> RedisOptions {
        let path = |name: &str| self.dir.path().join(name);
        let url = format!("rediss://localhost:{}", self.server.port());
        let files = RedisFiles {
            ca: Some(path("ca.pem")),
            identity: Some((path("client.pem"), path("client.key"))),
            password: Some(path("password")),
        };
        RedisOptions { files, ..options(&url, UNHURRIED) }
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn quotas_are_counted_over_tls_with_a_ca_a_client_certificate_and_a_password() {
    let world = World::new();
    let store = Connected::with(world.options()).await;
    assert!(store.spend(&key("a"), &still(2), 1).await.unwrap().allowed);
    assert_eq!(store.remaining(&key("a"), &still(2)).await, 1);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_redis_of_another_ca_or_that_does_not_know_the_broker_is_as_good_as_away() {
    let world = World::new();
    let change = |change: fn(&Path, &mut RedisFiles)| {
        let mut options = world.options();
        change(world.dir.path(), &mut options.files);
        options
    };
    for options in [
        change(|dir, files| files.ca = Some(dir.join("stranger.pem"))),
        change(|_, files| files.ca = None),
        change(|_, files| files.identity = None),
        change(|_, files| files.password = None),
        RedisOptions {
            url: format!("rediss://127.0.0.2:{}", world.server.port()).parse().unwrap(),
            ..world.options()
        },
    ] {
        let store = Connected::with(options).await;
        store.spend(&key("a"), &still(2), 1).await.unwrap_err();
        assert!(store.store.counts().away);
    }
}

#[test]
fn files_at_fault_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing.pem");
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "nothing\n").unwrap();
    for files in [
        RedisFiles { ca: Some(missing.clone()), ..RedisFiles::default() },
        RedisFiles { ca: Some(empty.clone()), ..RedisFiles::default() },
        RedisFiles { identity: Some((empty.clone(), missing.clone())), ..RedisFiles::default() },
        RedisFiles { password: Some(missing.clone()), ..RedisFiles::default() },
    ] {
        let options = RedisOptions { files, ..options("rediss://localhost", UNHURRIED) };
        let error = options.check().unwrap_err();
        assert!(error.contains(".pem"), "{error}");
    }
}
