//! How sessions begin, and what a client makes of brokers that do not want it.

use std::time::Duration;

use sealstream_client::wire::{OpenSessionError, WireError};
use sealstream_client::{ClientError, RetryPolicy, SessionError};
use sealstream_protocol::message::{Fault, FaultCode, Message};
use tokio::io::AsyncWriteExt as _;
use tokio::time::Instant;

use crate::fake::{Fake, Peer};

/// The error of a Hello.
fn hello_error(error: &SessionError) -> &OpenSessionError {
    match error {
        SessionError::Hello { source, .. } => source,
        SessionError::GaveUp { last, .. } => hello_error(last),
        other => panic!("not about Hello: {other}"),
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_says_who_it_is_and_hears_who_the_broker_is() {
    let mut fake = Fake::start().await;
    let client = fake.builder().token("secret").cluster("test").build().unwrap();
    let play = async {
        let mut peer = Peer::new(fake.stream().await);
        let hello = peer.welcome(|welcome| welcome.broker = "b-7".to_owned()).await;
        assert_eq!(hello.client, "test");
        assert_eq!(hello.token.unwrap().0, "secret");
        assert_eq!(hello.cluster.as_deref(), Some("test"));
        assert_eq!(peer.hear_or_end().await, None, "a health check ends its session cleanly");
    };
    let (welcome, ()) = tokio::join!(client.hello(), play);
    assert_eq!(welcome.unwrap().broker, "b-7");
}

#[tokio::test]
async fn a_token_in_a_file_is_read_for_each_session_anew() {
    let mut fake = Fake::start().await;
    let file = std::env::temp_dir().join(format!("sealstream-token-{}", uuid::Uuid::new_v4()));
    std::fs::write(&file, "first\n").unwrap();
    let brief = RetryPolicy::default().retry_for(Duration::from_millis(200));
    let client = fake.builder().retry(brief).token_file(&file).build().unwrap();
    for token in ["first", "second"] {
        std::fs::write(&file, format!("{token}\n")).unwrap();
        let play = async {
            let mut peer = Peer::new(fake.stream().await);
            let hello = peer.welcome(|_| {}).await;
            assert_eq!(peer.hear_or_end().await, None);
            hello.token.unwrap().0
        };
        let (welcome, sent) = tokio::join!(client.hello(), play);
        welcome.unwrap();
        assert_eq!(sent, token);
    }
    std::fs::remove_file(&file).unwrap();
    // It may be on its way: tried again for as long as the policy has it.
    let error = client.hello().await.unwrap_err();
    assert!(error.is_retryable() && error.to_string().contains("cannot read the token file"), "{error}");
    let error = fake.builder().token_file(&file).build().unwrap_err();
    assert!(error.to_string().contains(file.to_str().unwrap()), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_hello_is_given_up_in_bounded_time() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let started = Instant::now();
    let silent = async {
        let mut held = Vec::new();
        loop {
            held.push(fake.stream().await);
        }
    };
    let error = tokio::select! {
        answer = client.hello() => answer.unwrap_err(),
        () = silent => unreachable!(),
    };
    assert!(matches!(hello_error(&error), OpenSessionError::TimedOut { .. }), "{error}");
    assert!(error.is_retryable());
    let taken = started.elapsed();
    // An attempt of 2 s, ten seconds of trying again, and the last attempt.
    assert!(taken >= Duration::from_secs(12) && taken <= Duration::from_secs(15), "took {taken:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_on_which_nothing_is_heard_is_not_used_again() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let (first, peer) = tokio::join!(client.hello(), async {
        let mut peer = fake.session().await;
        peer.finish().await;
        peer
    });
    first.unwrap();
    assert_eq!(fake.connections(), 1);
    let (second, _peers) = tokio::join!(client.hello(), async {
        // Opened on the shared connection, and never answered.
        let silent = fake.stream().await;
        assert_eq!(fake.connections(), 1);
        let mut next = fake.session().await;
        assert_eq!(fake.connections(), 2);
        next.finish().await;
        (silent, next)
    });
    second.unwrap();
    drop(peer);
}

#[tokio::test(start_paused = true)]
async fn a_refused_identity_is_not_tried_again() {
    let mut fake = Fake::start().await;
    let builder = fake.builder();
    let play = async {
        let mut peer = Peer::new(fake.stream().await);
        peer.hear().await;
        let fault = Fault::new(FaultCode::Unauthenticated, "show a certificate");
        peer.say(Message::Error(fault)).await;
        peer.finish().await;
        fake
    };
    let (client, mut fake) = tokio::join!(builder.connect(), play);
    let error = client.unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("show a certificate"), "{error}");
    assert!(matches!(&error, ClientError::Session(error) if error.fault().is_some()));
    assert!(!fake.has_stream(), "it tried again");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_was_not_offered_is_refused() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = Peer::new(fake.stream().await);
        peer.welcome(|welcome| welcome.version = 9).await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.hello(), play);
    let error = answer.unwrap_err();
    assert!(!error.is_retryable());
    assert!(error.to_string().contains("version 9"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_busy_broker_is_asked_again_not_before_it_wants_to_be() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = Peer::new(fake.stream().await);
        peer.hear().await;
        let fault = Fault::new(FaultCode::Busy, "too many sessions").retry_after(Duration::from_secs(3));
        peer.say(Message::Error(fault)).await;
        peer.finish().await;
        let refused = Instant::now();
        let peer = fake.session().await;
        let waited = refused.elapsed();
        assert!(waited >= Duration::from_secs(3) && waited < Duration::from_secs(5), "waited {waited:?}");
        peer
    };
    let (answer, _peer) = tokio::join!(client.hello(), play);
    answer.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_sends_us_on_is_followed() {
    let mut fake = Fake::start().await;
    let mut owner = Fake::start_in(fake.network.clone()).await;
    let client = fake.client();
    let url = owner.url();
    let play = async {
        let mut peer = Peer::new(fake.stream().await);
        peer.hear().await;
        peer.say(Message::Error(Fault::new(FaultCode::NotOwner, "ask the other").url(url))).await;
        peer.finish().await;
        let mut peer = Peer::new(owner.stream().await);
        peer.welcome(|welcome| welcome.broker = "owner".to_owned()).await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.hello(), play);
    assert_eq!(answer.unwrap().broker, "owner");
}

#[tokio::test(start_paused = true)]
async fn brokers_that_send_us_round_in_circles_do_not_do_so_for_ever() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let url = fake.url();
    let mut sessions = 0;
    let circle = async {
        loop {
            let mut peer = Peer::new(fake.stream().await);
            sessions += 1;
            peer.hear().await;
            peer.say(Message::Error(Fault::new(FaultCode::NotOwner, "ask the other").url(url.clone()))).await;
            peer.finish().await;
        }
    };
    let error = tokio::select! {
        answer = client.hello() => answer.unwrap_err(),
        () = circle => unreachable!(),
    };
    assert!(error.fault().is_some_and(|fault| fault.code_known() == Some(FaultCode::NotOwner)), "{error}");
    assert!(sessions < 50, "{sessions} sessions in ten seconds");
}

#[tokio::test(start_paused = true)]
async fn being_sent_to_nowhere_is_an_error_that_names_it() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = Peer::new(fake.stream().await);
        peer.hear().await;
        peer.say(Message::Error(Fault::new(FaultCode::NotOwner, "go").url("http://elsewhere"))).await;
        peer
    };
    let (answer, _peer) = tokio::join!(client.hello(), play);
    let error = answer.unwrap_err();
    assert!(matches!(error, SessionError::BadRedirect { .. }), "{error}");
    assert!(error.to_string().contains("http://elsewhere"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_frame_or_a_giant_is_an_error() {
    for answer in [&[0xff; 64][..], &[200, 0, 0, 0, 0xee, 0, 0], b"HTTP/1.1 400 Bad Request\r\n\r\n"] {
        let mut fake = Fake::start().await;
        let client = fake.client();
        let garbage = async {
            loop {
                let mut stream = fake.stream().await;
                stream.send.write_all(answer).await.unwrap();
                let _ = stream.send.shutdown().await;
            }
        };
        let error = tokio::select! {
            answer = client.hello() => answer.unwrap_err(),
            () = garbage => unreachable!(),
        };
        let error = hello_error(&error);
        assert!(matches!(error, OpenSessionError::Wire(WireError::Malformed(_))), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_next_url_is_tried_when_one_cannot_be_reached() {
    let mut fake = Fake::start().await;
    let builder = sealstream_client::Client::builder().url("tls://127.0.0.1:9");
    let client =
        builder.url(fake.url()).transport(std::sync::Arc::new(fake.network.clone())).build().unwrap();
    let (answer, _peer) = tokio::join!(client.hello(), fake.session());
    answer.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_by_its_own_pong() {
    let mut fake = Fake::start().await;
    let client = fake.client();
    let play = async {
        let mut peer = fake.session().await;
        let message = peer.reader.next().await.unwrap().unwrap();
        let Message::Ping(ping) = message else { panic!("not a ping: {message:?}") };
        let answer = |nonce| Message::Pong(sealstream_protocol::message::hello::Pong { nonce });
        peer.say(answer(ping.nonce ^ 1)).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        peer.say(answer(ping.nonce)).await;
        peer.finish().await;
    };
    let (taken, ()) = tokio::join!(client.ping(), play);
    assert!(taken.unwrap() >= Duration::from_millis(300));
}

#[test]
fn a_client_without_a_url_or_with_a_wrong_one_is_not_built() {
    let error = sealstream_client::Client::builder().build().unwrap_err();
    assert!(error.to_string().contains("tls://localhost:7420"), "{error}");
    let error = sealstream_client::Client::builder().url("ftp://host").build().unwrap_err();
    assert!(error.to_string().contains("ftp"), "{error}");
}
