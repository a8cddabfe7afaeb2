//! The development CA: what lets `sealstream serve` alone be a sealed broker.
//!
//! On first start a CA is made in the data directory, limited by name constraints to this machine, and with it a
//! certificate for localhost that is renewed long before it expires. Clients on this machine find the CA by the path
//! in [`ca_path`]. None of this is for production: there the operator gives the broker a certificate.
//!
//! ```text
//! DATA/dev-ca/ca.pem         the CA, 10 years         a client trusts this one
//! DATA/dev-ca/ca.key         its key, mode 0600
//! DATA/dev-ca/localhost.pem  the leaf, 30 days        renewed when 10 are left
//! DATA/dev-ca/localhost.key  its key, mode 0600, new at each renewal
//! ```

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, NameConstraints, SanType,
};
use ring::digest::{SHA256, digest};
use x509_parser::pem::Pem;

use crate::tls::hex;

const DAY: Duration = Duration::from_hours(24);

/// How long the CA is valid: longer than a development machine lives.
const CA_VALIDITY: Duration = DAY.saturating_mul(3650);

/// How long the leaf is valid: short, so that renewal is exercised and a leaked key is soon worthless.
const LEAF_VALIDITY: Duration = DAY.saturating_mul(30);

/// With a third of its life left the leaf is renewed: a broker that is stopped over a week-end never serves an expired one.
const RENEW_BEFORE: Duration = DAY.saturating_mul(10);

/// Certificates begin this much in the past, for clocks that are a little behind (virtual machines after a pause).
const BACKDATE: Duration = Duration::from_hours(1);

/// The files of the development CA in a data directory, all there and valid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DevCertificate {
    /// What a client trusts.
    pub ca: PathBuf,
    /// The chain to serve.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// When it should be renewed.
    pub renew_at: SystemTime,
    /// What had to be made: the CA, or the certificate only, or nothing.
    pub made: Made,
}

/// What [`ensure`] had to make.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Everything was there.
    Nothing,
    /// A certificate for localhost, under the CA that was there.
    Certificate,
    /// A CA and a certificate: clients must trust the new one.
    Authority,
}

/// Why there is no development certificate.
#[derive(Debug, thiserror::Error)]
pub enum DevCaError {
    /// The disk.
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        /// `read`, `write`, `remove` or `create`.
        action: &'static str,
        /// What.
        path: PathBuf,
        /// What the machine said.
        source: io::Error,
    },
    /// A file that is there is not what it should be.
    #[error("{} is not usable ({reason}): delete the directory {} and a new development CA is made at the next start", .path.display(), .path.parent().unwrap_or(.path).display())]
    Unusable {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("cannot make a development certificate: {0}")]
    Generate(#[from] rcgen::Error),
}

/// Where the development CA of a data directory is found.
pub fn ca_path(data_dir: &Path) -> PathBuf {
    data_dir.join("dev-ca").join("ca.pem")
}

/// Where the certificate for localhost and its key are found, once they were made.
pub(crate) fn leaf_paths(data_dir: &Path) -> [PathBuf; 2] {
    let dir = data_dir.join("dev-ca");
    [dir.join("localhost.pem"), dir.join("localhost.key")]
}

/// Where the key of the development CA is found, once it was made.
pub(crate) fn ca_key_path(data_dir: &Path) -> PathBuf {
    data_dir.join("dev-ca").join("ca.key")
}

/// Makes whatever is missing, expired or about to expire at `now`. The caller holds the data directory's lock.
pub fn ensure(data_dir: &Path, now: SystemTime) -> Result<DevCertificate, DevCaError> {
    let dir = data_dir.join("dev-ca");
    let create = |source| DevCaError::Io { action: "create", path: dir.clone(), source };
    fs::create_dir_all(&dir).map_err(create)?;
    let [leaf, leaf_key] = leaf_paths(data_dir);
    let files = Files { ca: ca_path(data_dir), ca_key: ca_key_path(data_dir), leaf, leaf_key };
    let mut made = Made::Nothing;
    if expiry(&files.ca)?.is_none_or(|end| end < now + LEAF_VALIDITY) || !files.ca_key.exists() {
        files.make_authority(now)?;
        made = Made::Authority;
    }
    let mut not_after = expiry(&files.leaf)?;
    if made == Made::Authority
        || not_after.is_none_or(|end| end < now + RENEW_BEFORE)
        || !files.leaf_key.exists()
    {
        files.make_leaf(now)?;
        not_after = expiry(&files.leaf)?;
        if made == Made::Nothing {
            made = Made::Certificate;
        }
    }
    let renew_at = not_after.map_or(now, |end| end - RENEW_BEFORE);
    Ok(DevCertificate { ca: files.ca, cert: files.leaf, key: files.leaf_key, renew_at, made })
}

struct Files {
    ca: PathBuf,
    ca_key: PathBuf,
    leaf: PathBuf,
    leaf_key: PathBuf,
}

impl Files {
    fn make_authority(&self, now: SystemTime) -> Result<(), DevCaError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        // A name of its own, of its key: a client that trusts another one is told that it does not know this one.
        let suffix = hex(&digest(&SHA256, key.public_key_raw()).as_ref()[..4]);
        params.distinguished_name.push(DnType::CommonName, format!("Sealstream development CA {suffix}"));
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + CA_VALIDITY).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        // Whoever gets hold of the key can pass for this machine to this machine, and for nobody else.
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName("localhost".into()),
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                    std::net::Ipv6Addr::LOCALHOST.octets(),
                    128,
                )),
            ],
            excluded_subtrees: Vec::new(),
        });
        let ca = params.self_signed(&key)?;
        remove(&self.ca)?;
        write(&self.ca_key, key.serialize_pem().as_bytes(), 0o600)?;
        write(&self.ca, ca.pem().as_bytes(), 0o644)
    }

    fn make_leaf(&self, now: SystemTime) -> Result<(), DevCaError> {
        let unusable = |path: &Path| {
            let path = path.to_owned();
            move |e: rcgen::Error| DevCaError::Unusable { path, reason: e.to_string() }
        };
        let ca_key = KeyPair::from_pem(&read(&self.ca_key)?).map_err(unusable(&self.ca_key))?;
        let issuer = Issuer::from_ca_cert_pem(&read(&self.ca)?, ca_key).map_err(unusable(&self.ca))?;
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "localhost");
        params.subject_alt_names = vec![
            SanType::DnsName("localhost".try_into()?),
            SanType::IpAddress(IpAddr::from([127, 0, 0, 1])),
            SanType::IpAddress(IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)),
        ];
        params.not_before = (now - BACKDATE).into();
        params.not_after = (now + LEAF_VALIDITY).into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&key, &issuer)?;
        remove(&self.leaf)?;
        write(&self.leaf_key, key.serialize_pem().as_bytes(), 0o600)?;
        write(&self.leaf, leaf.pem().as_bytes(), 0o644)
    }
}

/// The end of a certificate's validity; `None` if the file is not there.
fn expiry(path: &Path) -> Result<Option<SystemTime>, DevCaError> {
    if !path.exists() {
        return Ok(None);
    }
    let unusable = |reason: String| DevCaError::Unusable { path: path.to_owned(), reason };
    let text = read(path)?;
    let (pem, _) = Pem::read(io::Cursor::new(text)).map_err(|e| unusable(e.to_string()))?;
    let certificate = pem.parse_x509().map_err(|e| unusable(e.to_string()))?;
    let seconds = u64::try_from(certificate.validity().not_after.timestamp()).unwrap_or(0);
    Ok(Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)))
}

fn read(path: &Path) -> Result<String, DevCaError> {
    fs::read_to_string(path).map_err(|source| DevCaError::Io {
        action: "read",
        path: path.to_owned(),
        source,
    })
}

/// A certificate goes before its key is replaced: a crash in between leaves none, never one that its key does not match.
fn remove(path: &Path) -> Result<(), DevCaError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(DevCaError::Io { action: "remove", path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Writes a file whole or not at all, with `mode` from its first byte on.
fn write(path: &Path, content: &[u8], mode: u32) -> Result<(), DevCaError> {
    let partial = path.with_extension("partial");
    let attempt = || {
        // One that a crash has left would keep its own mode.
        match fs::remove_file(&partial) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&partial, path)
    };
    attempt().map_err(|source| DevCaError::Io { action: "write", path: path.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_first_start_makes_a_ca_whose_keys_only_the_owner_reads() {
        let dir = tempfile::tempdir().unwrap();
        let made = ensure(dir.path(), SystemTime::now()).unwrap();
        assert_eq!(made.made, Made::Authority);
        assert_eq!(mode(&dir.path().join("dev-ca/ca.key")), 0o600);
        assert_eq!(mode(&made.key), 0o600);
        assert_eq!(mode(&made.ca), 0o644);
        let again = ensure(dir.path(), SystemTime::now()).unwrap();
        assert_eq!(again.made, Made::Nothing);
    }

    #[test]
    fn each_ca_has_a_name_of_its_own() {
        let subject = || {
            let dir = tempfile::tempdir().unwrap();
            let made = ensure(dir.path(), SystemTime::now()).unwrap();
            let (pem, _) = Pem::read(io::Cursor::new(read(&made.ca).unwrap())).unwrap();
            pem.parse_x509().unwrap().subject().to_string()
        };
        let (one, other) = (subject(), subject());
        assert!(one.starts_with("CN=Sealstream development CA ") && one != other, "{one} and {other}");
    }

    #[test]
    fn the_certificate_is_renewed_under_the_same_ca_before_it_expires() {
        let dir = tempfile::tempdir().unwrap();
        let start = SystemTime::now();
        let first = ensure(dir.path(), start).unwrap();
        let ca = fs::read(&first.ca).unwrap();
        let leaf = fs::read(&first.cert).unwrap();
        assert!(first.renew_at > start + DAY * 19 && first.renew_at < start + DAY * 21);
        assert_eq!(ensure(dir.path(), first.renew_at - DAY).unwrap().made, Made::Nothing);
        let renewed = ensure(dir.path(), first.renew_at + DAY).unwrap();
        assert_eq!(renewed.made, Made::Certificate);
        assert_eq!(fs::read(&renewed.ca).unwrap(), ca);
        assert_ne!(fs::read(&renewed.cert).unwrap(), leaf);
    }

    #[test]
    fn a_lost_key_is_made_anew_and_a_file_of_noise_is_named_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let first = ensure(dir.path(), now).unwrap();
        fs::remove_file(&first.key).unwrap();
        assert_eq!(ensure(dir.path(), now).unwrap().made, Made::Certificate);
        fs::write(&first.ca, "noise").unwrap();
        let error = ensure(dir.path(), now).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("delete the directory"), "{error}");
    }
}
