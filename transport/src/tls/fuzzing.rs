//! The doors for fuzzing: bytes as each kind of file that an operator hands over.

use std::path::Path;
use std::time::Duration;

use rustls::RootCertStore;
use rustls_pki_types::UnixTime;

use super::identity::identity_of;
use super::pem::{MaterialError, certificates_in, private_key_in};
use super::revocation::{CrlPolicy, Revocations, Source};
use super::staple;

/// 1 December 2026, 0:00 UTC: what the seeds hold is valid then.
const NOW: UnixTime = UnixTime::since_unix_epoch(Duration::from_hours(24 * 20_788));

/// Every message about a file is shorter: none repeats the file.
const LONGEST_MESSAGE: usize = 1024;

/// Bytes as a file of certificates, and as one of a key.
///
/// # Panics
///
/// If a message repeats what is in the file.
pub fn fuzz_pem(data: &[u8]) {
    let path = Path::new("file");
    match certificates_in("file", path, data) {
        Ok(chain) => drop(identity_of(&chain)),
        Err(error) => assert_short(&error),
    }
    if let Err(error) = private_key_in("file", path, data) {
        assert_short(&error);
    }
}

/// Bytes as a file of revocation lists. The certificates in it are trusted, so that lists with a good signature are found too.
///
/// # Panics
///
/// If a list is shown with more entries than it revokes.
pub fn fuzz_crl(data: &[u8]) {
    let Ok(source) = Source::parse(Path::new("file"), data) else { return };
    let mut anchors = RootCertStore::empty();
    anchors.add_parsable_certificates(source.issuers.iter().cloned());
    let Ok(revocations) = Revocations::check(vec![source], &anchors, CrlPolicy::default(), NOW) else {
        return;
    };
    let shown: usize = revocations.summaries().iter().map(|list| list.revoked).sum();
    assert!(revocations.revoked().len() <= shown, "revoked more than the lists say");
}

/// Bytes as the length of an OCSP response (2, big endian), the response, and a PEM file with the leaf and its issuer.
///
/// # Panics
///
/// If a response passes that is not good, or not fresh.
pub fn fuzz_staple(data: &[u8]) {
    let Some((len, rest)) = data.split_first_chunk::<2>() else { return };
    let Some((response, chain)) = rest.split_at_checked(usize::from(u16::from_be_bytes(*len))) else {
        return;
    };
    let Ok(parsed) = staple::parse(response) else { return };
    let chain = certificates_in("file", Path::new("file"), chain).unwrap_or_default();
    let [leaf, issuer, ..] = &chain[..] else { return };
    let dates = staple::dates_for(&parsed, leaf, issuer, NOW);
    if let Ok((_, to)) = dates {
        assert!(to.unsigned_abs() > NOW.as_secs(), "a stale response passes");
    }
    if let Ok(passed) = staple::check(response, leaf, issuer, NOW) {
        assert_eq!(dates, Ok(passed), "a signature changes what a response says");
    }
}

fn assert_short(error: &MaterialError) {
    let text = error.to_string();
    assert!(text.len() < LONGEST_MESSAGE, "a message of {} bytes", text.len());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pki::{Authority, Leaf};

    #[test]
    fn files_that_are_good_pass_through_every_door() {
        let authority = Authority::new("CA");
        let issued = authority.issue(&Leaf::localhost());
        let response = authority.ocsp_good(&issued);
        let length = u16::try_from(response.len()).unwrap().to_be_bytes();
        fuzz_staple(&[&length[..], &response, b"no certificate"].concat());
        fuzz_crl(&authority.crl(&[&issued]));
        fuzz_pem(include_bytes!("testdata/ec.pem"));
        fuzz_pem(include_bytes!("testdata/ec.sec1.key"));
    }
}
