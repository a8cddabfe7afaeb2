//! What somebody at the command line can do about a broker that cannot be had: the errors of transport and client say what is wrong,
//! this names the flag, the variable or the command that cures it.

use std::error::Error;
use std::io;

use sealstream_client::consumer::ConsumeError;
use sealstream_client::group::{GroupError, JoinError};
use sealstream_client::producer::{DeliveryError, OpenProducerError, SendError};
use sealstream_client::{AdminError, ClientError, SessionError};
use sealstream_protocol::message::{Fault, FaultClass, FaultCode};
use sealstream_transport::{ConnectError, HandshakeError, OpenError, StreamError};

const NOBODY: &str = "nothing listens there: start the broker (`sealstream serve`), or correct host and port in --url; a broker's port is 7420 unless \
     configured otherwise";
const HANGS: &str = "what listens there is no Sealstream broker, or the broker hangs: correct the port in --url (a broker's is 7420 unless configured \
                     otherwise), or look at the broker";
const SOMETHING_ELSE: &str = "what listens there is no Sealstream broker, or something stands between: correct the port in --url; a broker's \
                              is 7420 unless configured otherwise";
const NO_ANSWER: &str = "nothing answers there: correct host and port in --url, or have the firewalls between let TCP pass to that port";
const NAME: &str = "correct the host in --url";
const CA: &str = "give the CA's file by --ca or SEALSTREAM_CA; that of a development broker is dev-ca/ca.pem in its data directory, and \
                  `sealstream serve` prints it when it starts";
const EXPIRED: &str = "set the clock if it is wrong; otherwise renew the broker's certificate, then `sealstream tls reload` there";
const WRONG_NAME: &str =
    "use a name of the certificate in --url, or give the broker a certificate for this one (tls.cert)";
const CERTIFICATE: &str = "show a certificate by --cert and --key";
const ANOTHER_CERTIFICATE: &str = "show another certificate by --cert and --key; whom the broker trusts, its operator sees with `sealstream tls show`";
const WHO: &str = "give --token-file or SEALSTREAM_TOKEN, or --cert and --key; an operator makes a token with `sealstream token create`";

const ANOTHER_TOKEN: &str = "give it by --token-file or SEALSTREAM_TOKEN";
const AS_IT_IS: &str = "--if-not-exists leaves it as it is";
const FORCE: &str = "--force does it while they are there";
const GROUPS: &str = "`sealstream group list` shows which there are";
const BEHIND: &str = "--from with a later offset reads behind the damage";
const FROM: &str = "--from takes an offset, a time, `beginning` or `end`";

/// What the transport says of the refusal where no certificate was shown.
const NONE_SHOWN: &str = "it requires a client certificate";

/// What a broker's refusal of a token begins with: it says by itself where another one comes from.
const TOKEN_REFUSED: &str = "the token is refused";

/// The remedy for `error`, where there is one that its own words do not name.
pub(super) fn of(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(session) = session_error(error) {
            return of_session(session);
        }
        if let Some(AdminError::Refused { fault, .. }) = error.downcast_ref() {
            return of_refusal(fault);
        }
        if let Some(ConsumeError::OutOfRange { .. } | ConsumeError::Diverged { .. }) = error.downcast_ref() {
            return Some(FROM);
        }
        if let Some(ConsumeError::Refused { fault, .. }) = error.downcast_ref()
            && (fault.code_known(), fault.class) == (Some(FaultCode::Storage), FaultClass::Caller)
        {
            return Some(BEHIND);
        }
        if let Some(connect) = error.downcast_ref() {
            return of_connect(connect);
        }
        next = error.source();
    }
    None
}

/// The session's error inside `error`: those that show it as their own do not name it as their source.
fn session_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a SessionError> {
    let within = |error: &'a ConsumeError| match error {
        ConsumeError::Session(error) => Some(error),
        ConsumeError::Lookup(error) => error.source()?.downcast_ref(),
        _ => None,
    };
    if let Some(error) = error.downcast_ref::<SessionError>() {
        return Some(error);
    }
    if let Some(ClientError::Session(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(OpenProducerError::Session(error)) = error.downcast_ref() {
        return Some(error);
    }
    if let Some(SendError::Closed(DeliveryError::Session { source, .. })) = error.downcast_ref() {
        return Some(source);
    }
    match error.downcast_ref() {
        Some(GroupError::Partition(error) | GroupError::Consume(error)) => within(error),
        Some(GroupError::Member(JoinError::Session(error))) => Some(error),
        _ => within(error.downcast_ref()?),
    }
}

fn of_refusal(fault: &Fault) -> Option<&'static str> {
    match fault.code_known()? {
        FaultCode::TopicExists => Some(AS_IT_IS),
        FaultCode::UnknownGroup => Some(GROUPS),
        FaultCode::GroupInUse => Some(FORCE),
        _ => None,
    }
}

fn of_session(error: &SessionError) -> Option<&'static str> {
    match error.fault().filter(|fault| fault.code_known() == Some(FaultCode::Unauthenticated)) {
        Some(fault) if fault.text.starts_with(TOKEN_REFUSED) => return Some(ANOTHER_TOKEN),
        Some(_) => return Some(WHO),
        None => {}
    }
    match error {
        SessionError::Connect(error) => of_connect(error),
        SessionError::Open { source, .. } => match source.as_ref() {
            OpenError::Connect(error) => of_connect(error),
            _ => None,
        },
        // In TLS 1.3 the refusal of a certificate, or of none, comes with the first that is read.
        SessionError::Hello { source, .. } => match source.as_ref() {
            sealstream_client::wire::OpenSessionError::Wire(error) => match error.stream_error() {
                Some(StreamError::Refused { reason }) => Some(certificate(reason)),
                _ => None,
            },
            _ => None,
        },
        SessionError::GaveUp { last, .. } => of_session(last),
        _ => None,
    }
}

/// The remedy for a refusal of the certificate that was shown, or of none.
fn certificate(refusal: &str) -> &'static str {
    if refusal.contains(NONE_SHOWN) { CERTIFICATE } else { ANOTHER_CERTIFICATE }
}

fn of_connect(error: &ConnectError) -> Option<&'static str> {
    match error {
        ConnectError::Resolve { .. } => Some(NAME),
        ConnectError::Unreachable { source, .. } if source.kind() == io::ErrorKind::ConnectionRefused => {
            Some(NOBODY)
        }
        // Over QUIC the error names the ways round by itself.
        ConnectError::TimedOut { target, .. } => (!target.starts_with("quic://")).then_some(NO_ANSWER),
        ConnectError::Handshake { source, .. } => of_handshake(source),
        ConnectError::NeitherWay { tls, .. } => of_connect(tls),
        _ => None,
    }
}

fn of_handshake(error: &HandshakeError) -> Option<&'static str> {
    match error {
        HandshakeError::Alpn { .. }
        | HandshakeError::Protocol { .. }
        | HandshakeError::Disconnected { .. } => Some(SOMETHING_ELSE),
        HandshakeError::TimedOut { .. } => Some(HANGS),
        HandshakeError::UntrustedIssuer { .. } => Some(CA),
        HandshakeError::Expired { .. } => Some(EXPIRED),
        HandshakeError::Unexpected { .. } => Some(WRONG_NAME),
        HandshakeError::ClientCertificateRequired => Some(CERTIFICATE),
        HandshakeError::RefusedByPeer { detail } => Some(certificate(detail)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn untrusted() -> SessionError {
        let source = HandshakeError::UntrustedIssuer { detail: String::new() };
        SessionError::Connect(Arc::new(ConnectError::Handshake { target: String::new(), source }))
    }

    #[test]
    fn whatever_else_may_listen_there_the_port_is_doubted() {
        let after = std::time::Duration::from_secs(10);
        for source in [
            HandshakeError::Alpn { detail: String::new() },
            HandshakeError::Protocol { detail: String::new() },
            HandshakeError::Disconnected { detail: String::new() },
        ] {
            let error = ConnectError::Handshake { target: String::new(), source };
            assert_eq!(of(&error), Some(SOMETHING_ELSE), "{error}");
        }
        let hangs = HandshakeError::TimedOut { after };
        assert_eq!(of(&ConnectError::Handshake { target: String::new(), source: hangs }), Some(HANGS));
        let silent = |target: &str| ConnectError::TimedOut { target: target.into(), after };
        assert_eq!((of(&silent("tls://a:1")), of(&silent("quic://a:1"))), (Some(NO_ANSWER), None));
    }

    #[test]
    fn who_has_shown_no_certificate_is_not_told_to_show_another() {
        for (detail, remedy) in [
            ("CertificateRequired: it requires a client certificate", CERTIFICATE),
            ("UnknownCA: it does not trust the issuer of our certificate", ANOTHER_CERTIFICATE),
        ] {
            assert_eq!(of_handshake(&HandshakeError::RefusedByPeer { detail: detail.into() }), Some(remedy));
        }
    }

    #[test]
    fn the_remedy_is_found_however_deep_the_cause_lies() {
        let gave_up = SessionError::GaveUp {
            attempts: 2,
            after: std::time::Duration::ZERO,
            last: Arc::new(untrusted()),
        };
        let request = String::new();
        let errors: [Box<dyn Error>; 7] = [
            Box::new(untrusted()),
            Box::new(gave_up),
            Box::new(ClientError::Session(untrusted())),
            Box::new(OpenProducerError::Session(untrusted())),
            Box::new(ConsumeError::Lookup(sealstream_client::admin::AdminError::Session {
                request,
                source: untrusted(),
            })),
            Box::new(GroupError::Member(JoinError::Session(untrusted()))),
            Box::new(SendError::Closed(DeliveryError::Session { source: untrusted(), maybe_stored: false })),
        ];
        for error in errors {
            assert_eq!(of(&*error), Some(CA), "{error:?}");
        }
        assert_eq!(of(&io::Error::other("something else")), None);
    }
}
