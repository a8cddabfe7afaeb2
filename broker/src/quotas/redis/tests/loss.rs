//! Redis goes away: how soon that is noticed, what holds meanwhile, and that it ends by itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::super::DEFAULT_DEADLINE;
use super::server::Server;
use super::{Connected, OnLoss, Rates, UNHURRIED, broker, eventually, key, still};
use crate::quotas::{Allowance, Denied, Quotas};

/// Ten times the 100 ms that are promised, for a loaded machine.
const SOON: Duration = Duration::from_secs(1);

fn session(quotas: &Arc<Quotas>) -> Allowance {
    quotas.allowance(&"dns:client".into(), [127, 0, 0, 1].into())
}

fn is_away(quotas: &Quotas) -> bool {
    quotas.counts().redis.unwrap().away
}

fn rates() -> Rates {
    Rates { produced: Some(still(1_000)), requests: Some(still(3)), ..Rates::default() }
}

async fn timed(session: &mut Allowance) -> Result<(), Denied> {
    let start = Instant::now();
    let answer = session.request().await;
    assert!(start.elapsed() < SOON, "it took {:?}", start.elapsed());
    answer
}

/// Two requests with Redis, some without, and again with a Redis that has forgotten all.
async fn kill_and_restart(on_loss: OnLoss, away: impl AsyncFn(&mut Allowance)) {
    let mut server = Server::start();
    let quotas = broker(&server, rates(), on_loss, 100, UNHURRIED).await;
    let mut session = session(&quotas);
    for _ in 0..2 {
        session.request().await.unwrap();
    }
    server.kill();
    away(&mut session).await;
    let lost = quotas.counts();
    assert!(lost.requests.by_policy > 0);
    assert!(lost.redis.unwrap().away);
    assert_eq!(lost.redis.unwrap().losses, 1, "once a change, however many asked");
    server.restart();
    eventually("Redis is back", || !is_away(&quotas)).await;
    for _ in 0..3 {
        session.request().await.unwrap();
    }
    assert!(session.request().await.is_err(), "it is Redis that counts");
    let redis = quotas.counts().redis.unwrap();
    assert_eq!((redis.losses, redis.recoveries), (1, 2));
    quotas.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn open_lets_everything_pass_until_redis_is_back() {
    kill_and_restart(OnLoss::Open, async |session| {
        for _ in 0..20 {
            timed(session).await.unwrap();
            session.produce(1_000).await.unwrap();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn closed_lets_nothing_pass_until_redis_is_back() {
    kill_and_restart(OnLoss::Closed, async |session| {
        for _ in 0..20 {
            let denied = timed(session).await.unwrap_err();
            assert!(denied.text.contains("closed"), "{denied:?}");
            session.consume(1).unwrap();
            session.produce(1).await.unwrap_err();
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn local_lets_each_broker_count_by_itself_until_redis_is_back() {
    kill_and_restart(OnLoss::Local, async |session| {
        for _ in 0..3 {
            timed(session).await.unwrap();
        }
        let denied = timed(session).await.unwrap_err();
        assert!(denied.retry_after > Duration::from_mins(1), "{denied:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_redis_that_stands_still_is_away_within_the_deadline_and_back_when_it_goes_on() {
    let server = Server::start();
    let quotas = broker(&server, rates(), OnLoss::Open, 100, DEFAULT_DEADLINE).await;
    let mut session = session(&quotas);
    eventually("Redis is there", || !is_away(&quotas)).await;
    server.freeze();
    timed(&mut session).await.unwrap();
    assert!(is_away(&quotas));
    let start = Instant::now();
    for _ in 0..1_000 {
        session.request().await.unwrap();
    }
    assert!(start.elapsed() < SOON, "nobody waits for what is away: {:?}", start.elapsed());
    server.thaw();
    eventually("Redis is back", || !is_away(&quotas)).await;
    quotas.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_broker_that_starts_without_redis_goes_by_the_policy_and_finds_it_later() {
    let mut server = Server::start();
    server.kill();
    let quotas = broker(&server, rates(), OnLoss::Open, 100, UNHURRIED).await;
    let mut session = session(&quotas);
    for _ in 0..10 {
        session.request().await.unwrap();
    }
    assert_eq!(quotas.counts().redis.unwrap().losses, 1);
    server.restart();
    eventually("Redis is there", || !is_away(&quotas)).await;
    quotas.close().await;
}

/// Between a store and its server: passes everything on, or keeps what the server says to itself.
async fn proxy(server: u16, deaf: Arc<AtomicBool>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    #[expect(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let deaf = Arc::clone(&deaf);
            tokio::spawn(async move {
                let upstream = TcpStream::connect(("127.0.0.1", server)).await.unwrap();
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = upstream.into_split();
                let there = async {
                    // The client goes as it likes.
                    let _ = tokio::io::copy(&mut from_client, &mut to_server).await;
                };
                let back = async {
                    let mut buffer = vec![0; 4096];
                    while let Ok(length @ 1..) = from_server.read(&mut buffer).await {
                        if !deaf.load(Ordering::Relaxed)
                            && to_client.write_all(&buffer[..length]).await.is_err()
                        {
                            return;
                        }
                    }
                };
                tokio::select! { () = there => {}, () = back => {} }
            });
        }
    });
    port
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_spend_whose_answer_was_lost_is_not_repeated() {
    let server = Server::start();
    let deaf = Arc::new(AtomicBool::new(false));
    let port = proxy(server.port(), Arc::clone(&deaf)).await;
    let direct = Connected::to(&server.url(), UNHURRIED).await;
    let proxied = Connected::to(&format!("redis://127.0.0.1:{port}"), Duration::from_millis(100)).await;
    eventually("it is connected", || !proxied.store.counts().away).await;
    let (key, limit) = (key("a"), still(10));
    deaf.store(true, Ordering::Relaxed);
    proxied.spend(&key, &limit, 3).await.unwrap_err();
    assert!(proxied.store.counts().unanswered >= 1);
    assert_eq!(direct.remaining(&key, &limit).await, 7, "it was carried out");
    deaf.store(false, Ordering::Relaxed);
    eventually("it is connected again", || !proxied.store.counts().away).await;
    assert_eq!(direct.remaining(&key, &limit).await, 7, "once");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs redis-server"]
async fn a_lease_whose_answer_was_lost_is_nobodys_and_the_next_one_is_another() {
    let server = Server::start();
    let deaf = Arc::new(AtomicBool::new(false));
    let port = proxy(server.port(), Arc::clone(&deaf)).await;
    let rules = crate::quotas::Rules {
        defaults: Rates { produced: Some(still(10_000)), ..Rates::default() },
        ..crate::quotas::Rules::default()
    };
    let redis = super::options(&format!("redis://127.0.0.1:{port}"), Duration::from_millis(100));
    let shared = crate::quotas::SharedOptions { redis, on_loss: OnLoss::Closed, lease: 1_000 };
    let quotas = Arc::new(Quotas::shared(rules, shared).await);
    eventually("it is connected", || !is_away(&quotas)).await;
    // The server has the script by then: what it answers is no demand for it.
    quotas
        .allowance(&"dns:another".into(), [127, 0, 0, 1].into())
        .warm(crate::quotas::Resource::Produced)
        .await;
    let mut session = session(&quotas);
    deaf.store(true, Ordering::Relaxed);
    session.warm(crate::quotas::Resource::Produced).await;
    session.produce(1).await.unwrap_err();
    deaf.store(false, Ordering::Relaxed);
    eventually("it is connected again", || !is_away(&quotas)).await;
    let mut produced = 0;
    loop {
        match session.produce(10).await {
            Ok(_) => produced += 10,
            Err(denied) if denied.retry_after > Duration::from_mins(1) => break,
            Err(denied) => tokio::time::sleep(denied.retry_after).await,
        }
    }
    // On a loaded machine more than one answer may be late.
    assert!(
        (5_000..=9_000).contains(&produced),
        "{produced}: a lease of 1,000 is lost, and not ordered again"
    );
    quotas.close().await;
}
