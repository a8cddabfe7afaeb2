//! The life of tokens, over a log in memory and a clock that is moved by hand.

use std::sync::Arc;

use futures_util::FutureExt as _;
use sealstream_protocol::limits::MAX_CONTROL_FRAME;
use sealstream_protocol::message::Message;
use sealstream_protocol::message::admin::{CreateToken, Token, TokenList};
use sealstream_protocol::message::hello::Secret;
use tokio_util::sync::CancellationToken;

use super::secret::Misformed;
use super::tokens::{TokenError, TokenRefused, Tokens};
use super::{MAX_TOKENS, RuleBook, Rules};
use crate::log::clock::ManualClock;
use crate::log::memory::{MemoryEngine, MemoryStore};
use crate::log::{CommitError, LogEngine, ShardId};

const START: i64 = 1_000_000;

struct World {
    store: MemoryStore,
    clock: Arc<ManualClock>,
    rules: RuleBook,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(ManualClock::at(START));
        Self { store: MemoryStore::new(1), clock, rules: RuleBook::default() }
    }

    /// As a broker has them that starts now.
    async fn tokens(&self) -> Arc<Tokens> {
        let engine = MemoryEngine::over(&self.store, self.clock.clone());
        let shard = engine.open_shard(ShardId::METADATA, 1).await.unwrap();
        Arc::new(Tokens::load(shard, self.clock.clone(), self.rules.clone()).unwrap())
    }
}

fn named(name: &str) -> CreateToken {
    CreateToken { name: name.into(), identity: None, lifetime_ms: None }
}

async fn made(tokens: &Tokens, request: CreateToken) -> String {
    let Secret(secret) = tokens.create(request, "dns:ops").await.unwrap().secret;
    secret
}

fn refused(tokens: &Arc<Tokens>, secret: &str) -> TokenRefused {
    tokens.find(secret).unwrap_err().0
}

#[tokio::test]
async fn a_token_is_found_by_its_secret_after_a_restart_too_and_its_secret_is_kept_nowhere() {
    let world = World::new();
    let tokens = world.tokens().await;
    let secret = made(&tokens, named("billing")).await;
    let other = made(&tokens, named("other")).await;
    for tokens in [tokens, world.tokens().await] {
        assert_eq!(&**tokens.find(&secret).unwrap().identity(), "token:billing");
        assert_eq!(&**tokens.find(&other).unwrap().identity(), "token:other");
        let listed = tokens.list();
        assert_eq!(listed.iter().map(|token| &*token.name).collect::<Vec<_>>(), ["billing", "other"]);
        assert_eq!((&*listed[0].created_by, listed[0].created_ms), ("dns:ops", START));
    }
    let engine = MemoryEngine::over(&world.store, world.clock.clone());
    let shard = engine.open_shard(ShardId::METADATA, 1).await.unwrap();
    let kept = shard.meta_with_prefix("");
    assert_eq!(kept.len(), 2);
    for (key, value) in kept {
        let text = String::from_utf8(value.value.to_vec()).unwrap();
        assert!(!text.contains(&secret) && !text.contains(&secret[5..30]) && !key.contains(&secret[5..30]));
    }
}

#[tokio::test]
async fn what_is_no_token_or_nobodys_is_refused_each_for_its_reason() {
    let world = World::new();
    let tokens = world.tokens().await;
    let secret = made(&tokens, named("a")).await;
    assert_eq!(refused(&tokens, "letmein"), TokenRefused::Misformed(Misformed::Prefix));
    let cut = &secret[..secret.len() - 1];
    assert_eq!(refused(&tokens, cut), TokenRefused::Misformed(Misformed::Checksum));
    let (Secret(strange), _) = super::secret::mint();
    assert_eq!(refused(&tokens, &strange), TokenRefused::Unknown);
}

#[tokio::test]
async fn a_revoked_token_lets_nobody_in_also_after_a_restart_and_its_name_is_free() {
    let world = World::new();
    let tokens = world.tokens().await;
    let secret = made(&tokens, named("a")).await;
    let badge = tokens.find(&secret).unwrap();
    assert_eq!(badge.lost().now_or_never(), None);
    tokens.revoke("a").await.unwrap();
    assert!(badge.lost().await.contains("\"a\" was revoked"));
    let second = made(&tokens, named("a")).await;
    // The new one is another.
    assert!(badge.lost().await.contains("was revoked"));
    for tokens in [tokens, world.tokens().await] {
        assert_eq!(refused(&tokens, &secret), TokenRefused::Unknown);
        assert!(tokens.find(&second).is_ok());
        assert!(matches!(tokens.revoke("b").await, Err(TokenError::Unknown(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_ends_at_its_end_for_sessions_that_are_open_too() {
    let world = World::new();
    let tokens = world.tokens().await;
    let secret = made(&tokens, CreateToken { lifetime_ms: Some(60_000), ..named("a") }).await;
    let lasting = tokens.find(&made(&tokens, named("b")).await).unwrap();
    let badge = tokens.find(&secret).unwrap();
    let stop = CancellationToken::new();
    let watching = tokens.watch_over_ends(stop.clone());
    let session = async {
        let lost = badge.lost();
        tokio::pin!(lost);
        world.clock.advance(59_999);
        let early = tokio::time::timeout(std::time::Duration::from_secs(5), &mut lost).await;
        assert!(early.is_err(), "it has not ended yet");
        assert!(tokens.find(&secret).is_ok());
        world.clock.advance(1);
        let within = std::time::Duration::from_millis(500);
        let why = tokio::time::timeout(within, lost).await.expect("noticed soon");
        assert!(why.contains("\"a\" has ended"), "{why}");
        assert_eq!(refused(&tokens, &secret), TokenRefused::Ended);
        assert_eq!(lasting.lost().now_or_never(), None);
        stop.cancel();
    };
    tokio::join!(watching, session);
}

#[tokio::test]
async fn a_token_has_the_identity_of_a_certificate_only_while_the_configuration_lets_it() {
    let world = World::new();
    let tokens = world.tokens().await;
    let wanted = CreateToken { identity: Some("spiffe://example.org/billing".into()), ..named("a") };
    for identity in ["spiffe://example.org/billing", "anonymous", "token:", "", "dns:a", "token:a\n"] {
        let request = CreateToken { identity: Some(identity.into()), ..named("a") };
        let error = tokens.create(request, "dns:ops").await.unwrap_err();
        assert!(matches!(error, TokenError::BadIdentity(_)), "{identity:?}: {error}");
    }
    world.rules.publish(Rules::new([], ["spiffe://example.org/*"]).unwrap());
    let secret = made(&tokens, wanted).await;
    let badge = tokens.find(&secret).unwrap();
    assert_eq!(&**badge.identity(), "spiffe://example.org/billing");
    assert_eq!(badge.lost().now_or_never(), None);
    world.rules.publish(Rules::new([], ["spiffe://example.com/*"]).unwrap());
    assert!(badge.lost().await.contains("auth.token_identities"));
    assert_eq!(refused(&tokens, &secret), TokenRefused::BadIdentity);
}

#[tokio::test]
async fn two_tokens_may_have_one_identity_so_that_one_can_replace_the_other() {
    let world = World::new();
    let tokens = world.tokens().await;
    let first = made(&tokens, named("billing")).await;
    let request = CreateToken { identity: Some("token:billing".into()), ..named("billing-2") };
    let second = made(&tokens, request).await;
    let [first, second] = [first, second].map(|secret| tokens.find(&secret).unwrap());
    assert_eq!(first.identity(), second.identity());
    tokens.revoke("billing").await.unwrap();
    assert!(first.lost().now_or_never().is_some());
    assert_eq!(second.lost().now_or_never(), None);
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_refused_by_what_is_wrong_with_it() {
    let world = World::new();
    let tokens = world.tokens().await;
    made(&tokens, named("a")).await;
    assert!(matches!(tokens.create(named("a"), "x").await, Err(TokenError::Exists(_))));
    for name in ["", "a b", "a/b", "..", &"n".repeat(256)] {
        assert!(matches!(tokens.create(named(name), "x").await, Err(TokenError::BadName(_))), "{name}");
    }
    let dead = CreateToken { lifetime_ms: Some(0), ..named("b") };
    assert!(matches!(tokens.create(dead, "x").await, Err(TokenError::NoLife)));
    let eternal = CreateToken { lifetime_ms: Some(u64::MAX), ..named("b") };
    assert_eq!(tokens.create(eternal, "x").await.unwrap().token.expires_ms, Some(i64::MAX));
}

#[tokio::test]
async fn there_is_a_bound_on_tokens_and_those_that_have_ended_make_room() {
    let world = World::new();
    let tokens = world.tokens().await;
    for n in 0..MAX_TOKENS {
        let lifetime_ms = (n < 2).then_some(10 + n as u64);
        made(&tokens, CreateToken { lifetime_ms, ..named(&format!("t{n}")) }).await;
    }
    assert!(matches!(tokens.create(named("more"), "x").await, Err(TokenError::NoRoom)));
    world.clock.advance(11);
    made(&tokens, named("more")).await;
    let names: Vec<_> = tokens.list().into_iter().map(|token| token.name).collect();
    assert_eq!(names.len(), MAX_TOKENS);
    // The one that had ended first.
    assert!(!names.contains(&"t0".to_owned()) && names.contains(&"t1".to_owned()));
    assert_eq!(world.tokens().await.list().len(), MAX_TOKENS);
}

#[tokio::test]
async fn the_last_use_is_told_from_the_start_of_the_broker_on() {
    let world = World::new();
    let tokens = world.tokens().await;
    let secret = made(&tokens, named("a")).await;
    assert_eq!(tokens.list()[0].last_used_ms, None);
    world.clock.advance(7);
    tokens.find(&secret).unwrap();
    assert_eq!(tokens.list()[0].last_used_ms, Some(START + 7));
    assert_eq!(world.tokens().await.list()[0].last_used_ms, None);
}

#[test]
fn a_list_of_as_many_tokens_as_there_may_be_fits_a_frame() {
    let token = Token {
        name: "n".repeat(255),
        id: uuid::Uuid::nil(),
        identity: format!("token:{}", "n".repeat(255)),
        created_by: "n".repeat(255),
        created_ms: 1,
        expires_ms: Some(1),
        last_used_ms: Some(1),
    };
    let mut frame = bytes::BytesMut::new();
    Message::TokenList(TokenList { tokens: vec![token; MAX_TOKENS] }).encode(&mut frame);
    assert!(frame.len() < MAX_CONTROL_FRAME as usize, "{}", frame.len());
}

/// What the log does not keep is told, and errs on the side of nobody getting in.
#[tokio::test]
async fn a_token_that_is_not_durable_was_not_made_and_a_revocation_that_is_not_holds_all_the_same() {
    let world = World::new();
    let engine = MemoryEngine::over(&world.store, world.clock.clone());
    let shard = engine.open_shard(ShardId::METADATA, 1).await.unwrap();
    let tokens = Tokens::load(shard, world.clock.clone(), world.rules.clone()).unwrap();
    let tokens = Arc::new(tokens);
    let secret = made(&tokens, named("kept")).await;

    let hold = engine.hold_durability();
    let (created, ()) = tokio::join!(tokens.create(named("a"), "dns:ops"), async {
        tokio::task::yield_now().await;
        assert_eq!(tokens.list().len(), 1, "it is not there before it is durable");
        hold.fail("the disk is gone");
    });
    let error = created.unwrap_err();
    assert!(matches!(&error, TokenError::NotMade { .. }), "{error}");
    assert!(error.to_string().contains("the disk is gone"), "{error}");
    assert_eq!(tokens.list().len(), 1);
    // Its name is not lost.
    made(&tokens, named("a")).await;

    let badge = tokens.find(&secret).unwrap();
    let hold = engine.hold_durability();
    let (revoked, ()) = tokio::join!(tokens.revoke("kept"), async {
        assert!(badge.lost().await.contains("was revoked"), "at once");
        hold.fail("the disk is gone");
    });
    assert!(matches!(revoked, Err(TokenError::NotForGood { .. })));
    assert_eq!(refused(&tokens, &secret), TokenRefused::Unknown);

    engine.fail_next_commit(CommitError::DiskFull);
    assert!(matches!(tokens.revoke("a").await, Err(TokenError::Log { .. })));
    assert_eq!(tokens.list().len(), 1, "what the log did not take has not happened");
}
