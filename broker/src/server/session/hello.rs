//! What a Hello is answered with: pure decisions, no I/O.

use std::time::Duration;

use sealstream_protocol::limits::VERSION;
use sealstream_protocol::message::hello::{Hello, Welcome};
use sealstream_protocol::message::{Fault, FaultCode};
use sealstream_protocol::name;
use uuid::Uuid;

use super::identity::Identified;
use crate::server::options::BrokerOptions;

/// The oldest protocol version that is spoken.
const OLDEST_VERSION: u16 = 1;

/// The Welcome that `hello` deserves, or why it gets none. `who` is whom it comes from, or why that is nobody.
pub(super) fn answer(
    hello: &Hello,
    who: Result<Identified, Fault>,
    options: &BrokerOptions,
    incarnation: Uuid,
) -> Result<(Welcome, Identified), Fault> {
    let version = negotiate(hello)?;
    check_cluster(hello, options)?;
    if !hello.client.is_empty() {
        // It goes into logs.
        name::check_name(&hello.client).map_err(|error| Fault::from(&error))?;
    }
    let who = who?;
    let welcome = Welcome {
        version,
        idle_ms: millis(idle_deadline(hello.idle_ms, options)),
        max_frame: options.limits.frame,
        max_decompressed_batch: options.limits.decompressed_batch,
        window: options.produce_window,
        broker: options.name.clone(),
        cluster: options.cluster.clone(),
        incarnation,
        identity: who.identity.to_string(),
    };
    Ok((welcome, who))
}

/// The newest version that both speak.
fn negotiate(hello: &Hello) -> Result<u16, Fault> {
    let Hello { version_min, version_max, .. } = *hello;
    let newest = version_max.min(VERSION);
    if newest < version_min.max(OLDEST_VERSION) {
        let text = format!(
            "the client speaks protocol versions {version_min} to {version_max}, this broker {OLDEST_VERSION} to \
             {VERSION}: use a client and a broker with a version in common"
        );
        return Err(Fault::new(FaultCode::VersionMismatch, text));
    }
    Ok(newest)
}

fn check_cluster(hello: &Hello, options: &BrokerOptions) -> Result<(), Fault> {
    match &hello.cluster {
        Some(asked) if *asked != options.cluster => {
            let text = format!(
                "this broker belongs to the cluster {:?}, not to {asked:?}: check the URL and the cluster's name",
                options.cluster
            );
            Err(Fault::new(FaultCode::WrongCluster, text))
        }
        _ => Ok(()),
    }
}

/// What the client asks for, within the broker's bounds.
fn idle_deadline(asked_ms: u32, options: &BrokerOptions) -> Duration {
    let asked = match asked_ms {
        0 => options.idle_default,
        millis => Duration::from_millis(u64::from(millis)),
    };
    asked.min(options.idle_max).max(options.idle_min)
}

fn millis(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use sealstream_protocol::message::hello::SessionKind;

    use super::*;

    /// As whoever says Hello is taken for in most of these tests.
    #[expect(clippy::unnecessary_wraps, reason = "as it is handed over")]
    fn guest() -> Result<Identified, Fault> {
        Ok(Identified { identity: "anonymous".into(), badge: None })
    }

    fn hello() -> Hello {
        Hello {
            version_min: 1,
            version_max: 1,
            session: SessionKind::Produce,
            idle_ms: 30_000,
            client: "test".into(),
            token: None,
            cluster: None,
        }
    }

    fn welcomed(hello: &Hello) -> Result<Welcome, Fault> {
        answer(hello, guest(), &BrokerOptions::default(), Uuid::nil()).map(|(welcome, _)| welcome)
    }

    fn refused(hello: &Hello) -> FaultCode {
        welcomed(hello).unwrap_err().code_known().unwrap()
    }

    fn idle_granted(asked_ms: u32) -> u32 {
        let hello = Hello { idle_ms: asked_ms, ..hello() };
        welcomed(&hello).unwrap().idle_ms
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        let newer = Hello { version_max: 9, ..hello() };
        let welcome = welcomed(&newer).unwrap();
        assert_eq!(welcome.version, 1);
        assert_eq!(refused(&Hello { version_min: 2, version_max: 9, ..hello() }), FaultCode::VersionMismatch);
        assert_eq!(refused(&Hello { version_min: 0, version_max: 0, ..hello() }), FaultCode::VersionMismatch);
        assert_eq!(refused(&Hello { version_min: 2, version_max: 1, ..hello() }), FaultCode::VersionMismatch);
    }

    #[test]
    fn the_idle_deadline_stays_within_bounds() {
        assert_eq!(idle_granted(30_000), 30_000);
        assert_eq!(idle_granted(0), 60_000);
        assert_eq!(idle_granted(1), 1_000);
        assert_eq!(idle_granted(u32::MAX), 600_000);
    }

    #[test]
    fn another_cluster_is_refused_and_the_right_one_is_not() {
        assert_eq!(refused(&Hello { cluster: Some("other".into()), ..hello() }), FaultCode::WrongCluster);
        let right = Hello { cluster: Some("sealstream".into()), ..hello() };
        assert!(welcomed(&right).is_ok());
    }

    #[test]
    fn who_is_nobody_is_told_why_but_not_before_what_version_is_spoken() {
        let nobody = || Err(Fault::new(FaultCode::Unauthenticated, "who are you?"));
        let refused = |hello: &Hello| {
            let answer = answer(hello, nobody(), &BrokerOptions::default(), Uuid::nil());
            answer.unwrap_err().code_known().unwrap()
        };
        assert_eq!(refused(&hello()), FaultCode::Unauthenticated);
        assert_eq!(refused(&Hello { version_min: 2, version_max: 9, ..hello() }), FaultCode::VersionMismatch);
    }

    #[test]
    fn a_client_cannot_write_control_characters_into_the_log() {
        assert_eq!(refused(&Hello { client: "a\nb".into(), ..hello() }), FaultCode::InvalidRequest);
    }
}
