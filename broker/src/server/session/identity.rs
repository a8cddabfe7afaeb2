//! Who a client is, as one line of text that rules and logs can go by: by its token, else by its certificate, else nobody.

use std::net::SocketAddr;
use std::sync::Arc;

use sealstream_protocol::message::hello::Secret;
use sealstream_protocol::message::{Fault, FaultCode};
use sealstream_transport::Identity;

use crate::access::{ANONYMOUS, Access, Badge};

/// A client that is somebody, or nobody where that is allowed.
#[derive(Debug)]
pub(in crate::server) struct Identified {
    pub(in crate::server) identity: Arc<str>,
    /// What it rests on besides the connection.
    pub(in crate::server) badge: Option<Badge>,
}

/// Finds out who says Hello. A token outranks the certificate, and a bad one is not made good by it: letting its
/// bearer in by the certificate would be another identity.
pub(in crate::server) fn identify(
    access: &Access,
    token: Option<&Secret>,
    certificate: Option<&Identity>,
    anonymous_allowed: bool,
    remote: SocketAddr,
) -> Result<Identified, Fault> {
    if let Some(Secret(token)) = token {
        return match access.tokens().find(token) {
            Ok(badge) => Ok(Identified { identity: Arc::clone(badge.identity()), badge: Some(badge) }),
            Err((error, name)) => {
                access.audit().token_refused(name.as_deref(), &error.to_string(), remote);
                Err(unauthenticated(format!(
                    "the token is refused: {error}; come with another, which `sealstream token create` makes, or \
                     without one"
                )))
            }
        };
    }
    let identity = text_of(certificate);
    if identity == ANONYMOUS && !anonymous_allowed {
        let text = "this broker asks who you are: connect with a client certificate or a token";
        return Err(unauthenticated(text.to_owned()));
    }
    Ok(Identified { identity: identity.into(), badge: None })
}

fn unauthenticated(text: String) -> Fault {
    Fault::new(FaultCode::Unauthenticated, text)
}

/// The first name of the first kind that the verified certificate has: SPIFFE ID, DNS name, e-mail, common name.
pub(in crate::server) fn text_of(identity: Option<&Identity>) -> String {
    let Some(identity) = identity else { return ANONYMOUS.to_owned() };
    let spiffe = || identity.spiffe_id.clone();
    // In lower case, as their comparison ignores it (RFC 4343): a rule against a name is one against all of its spellings.
    let dns = || identity.dns_names.first().map(|name| format!("dns:{}", name.to_ascii_lowercase()));
    let email = || identity.emails.first().map(|email| format!("email:{email}"));
    let common = || identity.common_name.as_ref().map(|name| format!("cn:{name}"));
    spiffe().or_else(dns).or_else(email).or_else(common).unwrap_or_else(|| ANONYMOUS.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_name_of_the_first_kind_counts() {
        let mut identity = Identity::default();
        identity.spiffe_id = Some("spiffe://example.org/writer".into());
        identity.dns_names = vec!["A.Example.org".into(), "b.example.org".into()];
        identity.emails = vec!["ops@example.org".into()];
        identity.common_name = Some("writer".into());
        assert_eq!(text_of(Some(&identity)), "spiffe://example.org/writer");
        identity.spiffe_id = None;
        assert_eq!(text_of(Some(&identity)), "dns:a.example.org");
        identity.dns_names.clear();
        assert_eq!(text_of(Some(&identity)), "email:ops@example.org");
        identity.emails.clear();
        assert_eq!(text_of(Some(&identity)), "cn:writer");
        identity.common_name = None;
        assert_eq!(text_of(Some(&identity)), "anonymous");
        assert_eq!(text_of(None), "anonymous");
    }

    /// A certificate cannot pass for a token, whatever its names are.
    #[test]
    fn no_certificate_has_an_identity_that_is_for_tokens_or_for_nobody() {
        for name in ["token:x", "anonymous", "*"] {
            let mut identities = [(); 3].map(|()| Identity::default());
            identities[0].common_name = Some(name.into());
            identities[1].dns_names = vec![name.into()];
            identities[2].emails = vec![name.into()];
            for identity in identities {
                let text = text_of(Some(&identity));
                assert!(!text.starts_with("token:") && text != ANONYMOUS && text != "*", "{text}");
            }
        }
    }
}
