//! Revocation lists in every shape, and what each policy makes of them.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use rustls_pki_types::{CertificateRevocationListDer, UnixTime};
use tempfile::TempDir;

use super::material::{TrustMaterial, TrustSource};
use super::pem::MaterialError;
use super::revocation::{CrlExpiry, CrlPolicy, CrlSource, UnknownStatus};
use super::trust::{Purpose, Trust};
use crate::testing::pki::{Authority, Issued, Leaf};

const HOUR: Duration = Duration::from_hours(1);

fn leaf() -> Leaf {
    Leaf::new().dns("somebody")
}

fn load(roots: &[&Authority], crls: CrlSource, policy: CrlPolicy) -> Result<Trust, MaterialError> {
    let mut material = TrustMaterial::roots(roots.iter().map(|root| root.trust()));
    (material.crls, material.crl_policy) = (vec![crls], policy);
    Trust::load(&material, UnixTime::now())
}

fn der(lists: impl IntoIterator<Item = CertificateRevocationListDer<'static>>) -> CrlSource {
    CrlSource::Der(lists.into_iter().collect())
}

fn refusal(roots: &[&Authority], crls: CrlSource, policy: CrlPolicy) -> String {
    load(roots, crls, policy).err().expect("a refusal").to_string()
}

fn accepts(trust: &Trust, issued: &Issued) -> bool {
    let chain = issued.chain();
    trust.verify(Purpose::Client, &chain[0], &chain[1..], UnixTime::now()).is_ok()
}

fn pem(list: &CertificateRevocationListDer<'_>) -> String {
    use base64::Engine as _;

    let text = base64::engine::general_purpose::STANDARD.encode(list.as_ref());
    format!("-----BEGIN X509 CRL-----\n{text}\n-----END X509 CRL-----\n")
}

/// A file in a directory that lives as long as the test.
fn file(text: impl AsRef<[u8]>) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("clients.crl");
    fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let ca = Authority::new("CA");
    let (bad, good) = (ca.issue(&leaf()), ca.issue(&leaf()));
    let list = ca.crl(&[&bad]);
    for text in [pem(&list).into_bytes(), list.to_vec()] {
        let (_dir, path) = file(text);
        let trust = load(&[&ca], CrlSource::File(path), CrlPolicy::default()).unwrap();
        assert!(!accepts(&trust, &bad) && accepts(&trust, &good));
        assert_eq!(trust.revocations().summaries()[0].revoked, 1);
    }
}

#[test]
fn an_issuer_without_a_list_is_accepted_unless_every_status_must_be_known() {
    let (ca, other) = (Authority::new("CA"), Authority::new("Other"));
    let stranger = other.issue(&leaf());
    let lenient = load(&[&ca, &other], der([ca.crl(&[])]), CrlPolicy::default()).unwrap();
    assert!(accepts(&lenient, &stranger));
    let strict = CrlPolicy { unknown: UnknownStatus::Refuse, ..CrlPolicy::default() };
    let trust = load(&[&ca, &other], der([ca.crl(&[])]), strict).unwrap();
    assert!(!accepts(&trust, &stranger) && accepts(&trust, &ca.issue(&leaf())));
    let nothing = load(&[&ca], der([]), strict).unwrap();
    assert!(!accepts(&nothing, &ca.issue(&leaf())), "no list at all says nothing of anybody");
}

#[test]
fn a_list_past_its_time_counts_on_or_is_refused() {
    let ca = Authority::new("CA");
    let bad = ca.issue(&leaf());
    let now = SystemTime::now();
    let stale = || der([ca.crl_of(&[&bad], 1, now - 2 * HOUR, now - HOUR)]);
    let trust = load(&[&ca], stale(), CrlPolicy::default()).unwrap();
    assert!(!accepts(&trust, &bad) && accepts(&trust, &ca.issue(&leaf())));
    let enforced = CrlPolicy { expiry: CrlExpiry::Enforce, ..CrlPolicy::default() };
    assert!(refusal(&[&ca], stale(), enforced).contains("it expired on"));
    let early = der([ca.crl_of(&[], 1, now + HOUR, now + 2 * HOUR)]);
    assert!(refusal(&[&ca], early, CrlPolicy::default()).contains("becomes valid on"));
}

#[test]
fn of_two_lists_of_one_issuer_the_newer_counts_in_whatever_order_they_come() {
    let ca = Authority::new("CA");
    let bad = ca.issue(&leaf());
    let now = SystemTime::now();
    let old = || ca.crl_of(&[], 255, now - 2 * HOUR, now + HOUR);
    // A larger number with fewer digits in its first byte.
    let new = || ca.crl_of(&[&bad], 256, now - HOUR, now + HOUR);
    for lists in [[old(), new()], [new(), old()]] {
        assert!(!accepts(&load(&[&ca], der(lists), CrlPolicy::default()).unwrap(), &bad));
    }
}

#[test]
fn a_list_of_an_intermediate_needs_its_certificate_and_that_a_root() {
    let root = Authority::new("Root");
    let middle = root.intermediate("Middle");
    let bad = middle.issue(&leaf());
    let list = middle.crl(&[&bad]);
    let (_dir, alone) = file(pem(&list));
    let told = refusal(&[&root], CrlSource::File(alone), CrlPolicy::default());
    assert!(
        told.contains("clients.crl") && told.contains("Middle") && told.contains("no trusted CA"),
        "{told}"
    );
    let (_dir, together) = file(pem(&list) + &middle.pem());
    let trust = load(&[&root], CrlSource::File(together), CrlPolicy::default()).unwrap();
    assert!(!accepts(&trust, &bad) && accepts(&trust, &middle.issue(&leaf())));
    let stranger = Authority::new("Middle");
    let (_dir, strange) = file(pem(&stranger.crl(&[])) + &stranger.pem());
    let told = refusal(&[&root], CrlSource::File(strange), CrlPolicy::default());
    assert!(told.contains("no CA of a trusted root"), "{told}");
}

#[test]
fn a_list_that_is_forged_or_in_the_wrong_shape_is_refused_by_name() {
    let ca = Authority::new("CA");
    let forged = Authority::new("CA").crl(&[]);
    let good = ca.crl(&[]);
    let mut touched = good.to_vec();
    let last = touched.len() - 1;
    touched[last] ^= 1;
    let noise: Vec<u8> =
        (0..10_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    for (text, says) in [
        (forged.to_vec(), "its signature does not verify"),
        (touched, "its signature does not verify"),
        (good[..good.len() / 2].to_vec(), "damaged"),
        (pem(&good).into_bytes()[..100].to_vec(), "it ends before"),
        (ca.pem().into_bytes(), "holds CERTIFICATE, but X509 CRL is needed"),
        (Vec::new(), "is empty"),
        (noise, "clients.crl"),
    ] {
        let (_dir, path) = file(text);
        let told = refusal(&[&ca], CrlSource::File(path), CrlPolicy::default());
        assert!(told.contains("clients.crl") && told.contains(says), "{told}");
    }
}

#[test]
fn a_list_issued_anew_with_nothing_new_is_the_same_trust() {
    let ca = Authority::new("CA");
    let bad = ca.issue(&leaf());
    let epoch = |list| {
        let mut material = super::Material::new();
        material.clients = TrustMaterial::roots([ca.trust()]);
        material.clients.crls = vec![der([list])];
        material.client_auth = super::ClientAuth::Required;
        super::Snapshot::load(&material).unwrap().epoch()
    };
    let now = SystemTime::now();
    let first = epoch(ca.crl_of(&[&bad], 1, now - HOUR, now + HOUR));
    assert_eq!(first, epoch(ca.crl_of(&[&bad], 2, now - HOUR / 2, now + 2 * HOUR)));
    assert_ne!(first, epoch(ca.crl_of(&[&bad, &ca.issue(&leaf())], 2, now - HOUR / 2, now + 2 * HOUR)));
}

#[test]
fn the_public_roots_go_with_a_private_list() {
    let ca = Authority::new("CA");
    let mut material = TrustMaterial::roots([TrustSource::PublicRoots, ca.trust()]);
    material.crls = vec![der([ca.crl(&[])])];
    let trust = Trust::load(&material, UnixTime::now()).unwrap();
    assert!(accepts(&trust, &ca.issue(&leaf())));
}
