//! What is in the files that the configuration names.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ParsedCertificate;
use sealstream_transport::tls::{ServedIdentity, Snapshot, Staple};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::cli::args::Connection;
use crate::cli::doctor::keys::{KeyFacts, Served};
use crate::config::{Config, CrlExpired};
use crate::devca;
use crate::tls::{material, names};

/// Whether the files load that quotas need.
pub(in crate::cli::doctor) fn quotas(config: &Config) -> Result<(), String> {
    config.quotas.shared(&config.cluster).map_or(Ok(()), |shared| shared.redis.check())
}

/// Certificates and keys as `serve` would load them, though it makes what is missing. `host` is the name that clients ask for.
pub(in crate::cli::doctor) fn keys(config: &Config, host: Option<&str>) -> KeyFacts {
    let own = config.tls.cert.is_none();
    let [cert, key] = devca::leaf_paths(&config.data_dir);
    let made = own && cert.exists() && key.exists();
    let mut facts = KeyFacts {
        loaded: Ok(()),
        certificates: Vec::new(),
        to_be_made: own && !made,
        secrets: secrets(config, made.then_some(&*key)),
        lists: Vec::new(),
        lists_enforced: config.tls.crl_expired == CrlExpired::Enforce,
        asked_for: None,
    };
    match Snapshot::load(&material(config, made.then_some((&*cert, &*key)))) {
        // One of its own that has ended is made anew by the next start.
        Err(_) if made && !facts.to_be_made && ended(&cert, &mut facts) => {}
        Err(fault) => facts.loaded = Err(fault.to_string()),
        Ok(snapshot) => {
            facts.certificates =
                snapshot.identities().iter().filter_map(|identity| served(identity, own)).collect();
            let lists = snapshot.client_revocations().summaries().iter();
            facts.lists = lists.map(|list| (list.issuer.clone(), list.next_update)).collect();
            facts.asked_for = host.filter(|_| !facts.to_be_made).map(|host| {
                let covered = snapshot.identities().iter().any(|identity| is_for(identity.chain(), host));
                (host.to_owned(), covered)
            });
        }
    }
    facts
}

/// What a client shows, if the flags name anything.
pub(in crate::cli::doctor) fn of_client(connection: &Connection) -> KeyFacts {
    let described = connection.cert.as_ref().and_then(|file| {
        let (_, pem) = x509_parser::pem::parse_x509_pem(&std::fs::read(file).ok()?).ok()?;
        described(&pem.contents, file.display().to_string(), false)
    });
    KeyFacts {
        // What does not load is told by whoever dials with it.
        loaded: Ok(()),
        certificates: described.into_iter().collect(),
        to_be_made: false,
        secrets: with_modes(connection.key.iter().chain(&connection.token_file).cloned()),
        lists: Vec::new(),
        lists_enforced: false,
        asked_for: None,
    }
}

/// Notes the broker's own certificate, if it does not load for its dates alone.
fn ended(cert: &Path, facts: &mut KeyFacts) -> bool {
    let Ok(text) = std::fs::read(cert) else { return false };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&text) else { return false };
    let Some(served) = described(&pem.contents, cert.display().to_string(), true) else { return false };
    if served.not_after >= crate::cli::doctor::unix_now() {
        return false;
    }
    facts.certificates.push(served);
    true
}

fn served(identity: &ServedIdentity, renewed: bool) -> Option<Served> {
    let served = described(identity.chain().first()?, identity.origin().to_owned(), renewed)?;
    Some(Served { staple_until: identity.staple().map(Staple::next_update), ..served })
}

fn described(der: &[u8], file: String, renewed: bool) -> Option<Served> {
    let (_, leaf) = X509Certificate::from_der(der).ok()?;
    let (not_before, not_after) =
        (leaf.validity().not_before.timestamp(), leaf.validity().not_after.timestamp());
    Some(Served { file, names: names(&leaf), not_before, not_after, renewed, staple_until: None })
}

/// Whether a client that asks for `host` accepts this chain's leaf, by the rules that it goes by itself.
fn is_for(chain: &[CertificateDer<'_>], host: &str) -> bool {
    let Ok(host) = ServerName::try_from(host) else { return false };
    let leaf = chain.first().and_then(|leaf| ParsedCertificate::try_from(leaf).ok());
    leaf.is_some_and(|leaf| rustls::client::verify_server_name(&leaf, &host).is_ok())
}

/// The files that hold secrets and are there, with their modes.
fn secrets(config: &Config, own_key: Option<&Path>) -> Vec<(PathBuf, u32)> {
    let tls = &config.tls;
    let keys = tls.key.iter().chain(tls.identity.iter().map(|identity| &identity.key)).cloned();
    let own = [devca::ca_key_path(&config.data_dir), config.ticket_secret()];
    let own = own_key.map(Path::to_owned).into_iter().chain(own);
    let redis = config.quotas.redis_key.iter().chain(&config.quotas.redis_password_file).cloned();
    with_modes(keys.chain(own).chain(redis))
}

fn with_modes(files: impl Iterator<Item = PathBuf>) -> Vec<(PathBuf, u32)> {
    let mode = |file: PathBuf| {
        let mode = std::fs::metadata(&file).ok()?.permissions().mode();
        Some((file, mode))
    };
    files.filter_map(mode).collect()
}
