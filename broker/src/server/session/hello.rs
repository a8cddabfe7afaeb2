//! What a Hello is answered with: pure decisions, no I/O.

use std::time::Duration;

use sealstream_protocol::limits::VERSION;
use sealstream_protocol::message::hello::{Hello, Welcome};
use sealstream_protocol::message::{Fault, FaultCode};
use sealstream_protocol::name;
use uuid::Uuid;

use super::identity::ANONYMOUS;
use crate::server::options::BrokerOptions;

/// The oldest protocol version that is spoken.
const OLDEST_VERSION: u16 = 1;

/// Who says Hello, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caller<'a> {
    /// As rules will see it.
    pub(crate) identity: &'a str,
    /// Whether this listener takes callers without an identity.
    pub(crate) anonymous_allowed: bool,
}

/// The Welcome that `hello` deserves, or why it gets none.
pub(crate) fn answer(
    hello: &Hello,
    caller: Caller<'_>,
    options: &BrokerOptions,
    incarnation: Uuid,
) -> Result<Welcome, Fault> {
    let version = negotiate(hello)?;
    check_cluster(hello, options)?;
    if !hello.client.is_empty() {
        // It goes into logs.
        name::check_name(&hello.client).map_err(|error| Fault::from(&error))?;
    }
    authenticate(hello, caller)?;
    Ok(Welcome {
        version,
        idle_ms: millis(idle_deadline(hello.idle_ms, options)),
        max_frame: options.limits.frame,
        max_decompressed_batch: options.limits.decompressed_batch,
        window: options.produce_window,
        broker: options.name.clone(),
        cluster: options.cluster.clone(),
        incarnation,
        identity: caller.identity.to_owned(),
    })
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

fn authenticate(hello: &Hello, caller: Caller<'_>) -> Result<(), Fault> {
    let refuse = |text: &str| Err(Fault::new(FaultCode::Unauthenticated, text));
    if hello.token.is_some() {
        // A token outranks the certificate: letting its bearer in by the certificate would be another identity.
        return refuse(
            "bearer tokens are not served by this version: come without one, or with a certificate",
        );
    }
    if caller.identity == ANONYMOUS && !caller.anonymous_allowed {
        return refuse("this broker asks who you are: connect with a client certificate");
    }
    Ok(())
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
    use sealstream_protocol::message::hello::{Secret, SessionKind};

    use super::*;

    const GUEST: Caller<'_> = Caller { identity: ANONYMOUS, anonymous_allowed: true };

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

    fn refused(hello: &Hello, caller: Caller<'_>) -> FaultCode {
        let fault = answer(hello, caller, &BrokerOptions::default(), Uuid::nil()).unwrap_err();
        fault.code_known().unwrap()
    }

    fn idle_granted(asked_ms: u32) -> u32 {
        let hello = Hello { idle_ms: asked_ms, ..hello() };
        answer(&hello, GUEST, &BrokerOptions::default(), Uuid::nil()).unwrap().idle_ms
    }

    #[test]
    fn the_newest_common_version_is_chosen() {
        let newer = Hello { version_max: 9, ..hello() };
        let welcome = answer(&newer, GUEST, &BrokerOptions::default(), Uuid::nil()).unwrap();
        assert_eq!(welcome.version, 1);
        assert_eq!(
            refused(&Hello { version_min: 2, version_max: 9, ..hello() }, GUEST),
            FaultCode::VersionMismatch
        );
        assert_eq!(
            refused(&Hello { version_min: 0, version_max: 0, ..hello() }, GUEST),
            FaultCode::VersionMismatch
        );
        assert_eq!(
            refused(&Hello { version_min: 2, version_max: 1, ..hello() }, GUEST),
            FaultCode::VersionMismatch
        );
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
        assert_eq!(
            refused(&Hello { cluster: Some("other".into()), ..hello() }, GUEST),
            FaultCode::WrongCluster
        );
        let right = Hello { cluster: Some("sealstream".into()), ..hello() };
        assert!(answer(&right, GUEST, &BrokerOptions::default(), Uuid::nil()).is_ok());
    }

    #[test]
    fn a_token_is_refused_even_from_whom_a_certificate_names() {
        let named = Caller { identity: "dns:writer.example.org", anonymous_allowed: true };
        let hello = Hello { token: Some(Secret("secret".into())), ..hello() };
        assert_eq!(refused(&hello, named), FaultCode::Unauthenticated);
    }

    #[test]
    fn nobody_is_anonymous_where_it_is_not_allowed() {
        let stranger = Caller { identity: ANONYMOUS, anonymous_allowed: false };
        assert_eq!(refused(&hello(), stranger), FaultCode::Unauthenticated);
        let named = Caller { identity: "cn:writer", anonymous_allowed: false };
        assert!(answer(&hello(), named, &BrokerOptions::default(), Uuid::nil()).is_ok());
    }

    #[test]
    fn a_client_cannot_write_control_characters_into_the_log() {
        assert_eq!(refused(&Hello { client: "a\nb".into(), ..hello() }, GUEST), FaultCode::InvalidRequest);
    }
}
