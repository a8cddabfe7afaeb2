//! The rules of SPIFFE IDs and of the certificates that carry them (X.509-SVID).

/// The longest SPIFFE ID, in bytes, by the specification.
pub const MAX_ID_BYTES: usize = 2048;

/// The longest trust domain, in bytes, by the specification.
pub const MAX_TRUST_DOMAIN_BYTES: usize = 255;

/// Why a text is no SPIFFE ID, or a certificate carries none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpiffeError {
    /// The text breaks the rules.
    #[error("\"{id}\" is not a SPIFFE ID: {fault}")]
    Malformed {
        /// The text.
        id: String,
        /// The rule broken.
        fault: &'static str,
    },
    /// An X.509-SVID carries exactly one URI.
    #[error("the certificate has {count} URI names, but a SPIFFE certificate has exactly one")]
    UriCount {
        /// How many URI names there are.
        count: usize,
    },
    /// A leaf must not be a CA.
    #[error("the certificate is a CA, which cannot stand for a workload")]
    IsCa,
}

/// Checks a SPIFFE ID, `spiffe://trust-domain/path`, and returns it.
///
/// The trust domain has lower-case letters, digits, dots, dashes and underscores; the path has segments of letters,
/// digits, dots, dashes and underscores, none empty, `.` or `..`. IDs compare byte by byte: there is nothing to normalise.
pub fn check_id(id: &str) -> Result<&str, SpiffeError> {
    let malformed = |fault| SpiffeError::Malformed { id: id.chars().take(MAX_ID_BYTES).collect(), fault };
    if id.len() > MAX_ID_BYTES {
        return Err(malformed("it is longer than 2048 bytes"));
    }
    let rest = id.strip_prefix("spiffe://").ok_or_else(|| malformed("it does not begin with spiffe://"))?;
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    if domain.is_empty() || domain.len() > MAX_TRUST_DOMAIN_BYTES {
        return Err(malformed("the trust domain has 1 to 255 bytes"));
    }
    if !domain.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_')) {
        return Err(malformed("the trust domain has only lower-case letters, digits, '.', '-' and '_'"));
    }
    let Some(path) = path.strip_prefix('/') else {
        return Err(malformed("a workload's ID has a path"));
    };
    for segment in path.split('/') {
        if matches!(segment, "" | "." | "..") {
            return Err(malformed("no path segment is empty, '.' or '..'"));
        }
        if !segment.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_')) {
            return Err(malformed("a path segment has only letters, digits, '.', '-' and '_'"));
        }
    }
    Ok(id)
}

/// The SPIFFE ID among the URI names of a leaf certificate.
pub fn id_of<S: AsRef<str>>(uris: &[S], is_ca: bool) -> Result<&str, SpiffeError> {
    match uris {
        [only] if !is_ca => check_id(only.as_ref()),
        [_] => Err(SpiffeError::IsCa),
        several => Err(SpiffeError::UriCount { count: several.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_the_specification_are_accepted() {
        for id in ["spiffe://example.org/db", "spiffe://a-b_c.d/ns/x/sa/Y.z-1_2", "spiffe://k8s/..."] {
            assert_eq!(check_id(id), Ok(id));
        }
    }

    #[test]
    fn whatever_breaks_a_rule_is_refused() {
        let long = format!("spiffe://example.org/{}", "a".repeat(MAX_ID_BYTES));
        for id in [
            "https://example.org/db",
            "spiffe://",
            "spiffe:///db",
            "spiffe://example.org",
            "spiffe://example.org/",
            "spiffe://example.org/db/",
            "spiffe://example.org//db",
            "spiffe://example.org/../db",
            "spiffe://example.org/./db",
            "spiffe://Example.org/db",
            "spiffe://user@example.org/db",
            "spiffe://example.org:443/db",
            "spiffe://example.org/db?x=1",
            "spiffe://example.org/db#x",
            "spiffe://example.org/d%62",
            &long,
        ] {
            assert!(matches!(check_id(id), Err(SpiffeError::Malformed { .. })), "{id}");
        }
    }

    #[test]
    fn a_certificate_has_exactly_one_uri_and_is_no_ca() {
        assert_eq!(id_of(&["spiffe://a/b"], false), Ok("spiffe://a/b"));
        assert_eq!(id_of(&["spiffe://a/b"], true), Err(SpiffeError::IsCa));
        assert_eq!(id_of::<&str>(&[], false), Err(SpiffeError::UriCount { count: 0 }));
        let two = ["spiffe://a/b", "https://a/b"];
        assert_eq!(id_of(&two, false), Err(SpiffeError::UriCount { count: 2 }));
    }
}
