//! Checks an identity's chain when it is loaded, as far as that goes without asking anybody: a mistake is to show here, not at
//! the first client.

use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::classify::{becomes_valid_on, expired_on};
use super::pem::MaterialError;
use super::trust::Purpose;

/// Checks that every certificate parses and is in date, that each was signed by the next, and that the leaf is no CA and, if it is
/// a server's, names it: a client may be known by its common name alone. A root at the end is allowed, though nobody needs to be
/// sent it.
pub(super) fn check_chain(
    chain: &[CertificateDer<'_>],
    origin: &str,
    purpose: Purpose,
    now: UnixTime,
) -> Result<(), MaterialError> {
    let check = || {
        let parsed = chain.iter().enumerate().map(parse).collect::<Result<Vec<_>, _>>()?;
        let leaf = parsed.first().ok_or("it holds no certificate")?;
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        for (index, certificate) in parsed.iter().enumerate() {
            check_dates(certificate, now).map_err(|fault| format!("{}: {fault}", position(index)))?;
        }
        for (index, pair) in parsed.windows(2).enumerate() {
            check_link(&pair[0], &pair[1], index)?;
        }
        check_leaf(leaf, purpose)
    };
    check().map_err(|detail| MaterialError::BadCertificate { origin: origin.to_owned(), detail })
}

fn position(index: usize) -> String {
    if index == 0 { "the leaf".to_owned() } else { format!("certificate {} of the chain", index + 1) }
}

fn parse<'a>((index, der): (usize, &'a CertificateDer<'_>)) -> Result<X509Certificate<'a>, String> {
    match X509Certificate::from_der(der) {
        Ok(([], parsed)) => Ok(parsed),
        Ok(_) => Err(format!("{} does not parse as X.509: something follows it", position(index))),
        Err(error) => Err(format!("{} does not parse as X.509: {error}", position(index))),
    }
}

fn check_dates(certificate: &X509Certificate<'_>, now: i64) -> Result<(), String> {
    let validity = certificate.validity();
    let (from, to) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    if to < now {
        return Err(format!("{}: renew it", expired_on(to, now)));
    }
    if from > now {
        return Err(format!("{}: set the clock, or wait", becomes_valid_on(from, now)));
    }
    Ok(())
}

fn check_link(
    subject: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    index: usize,
) -> Result<(), String> {
    let signed =
        subject.issuer() == issuer.subject() && subject.verify_signature(Some(issuer.public_key())).is_ok();
    if signed {
        return Ok(());
    }
    Err(format!(
        "{} was not issued by certificate {}: put the chain in order, leaf first, each followed by its issuer",
        position(index),
        index + 2
    ))
}

fn check_leaf(leaf: &X509Certificate<'_>, purpose: Purpose) -> Result<(), String> {
    if leaf.is_ca() {
        return Err(
            "the first certificate is a CA, which cannot stand for a server or client: put the leaf first"
                .to_owned(),
        );
    }
    match leaf.subject_alternative_name() {
        Ok(Some(names)) if names.value.general_names.iter().any(names_somebody) => Ok(()),
        Ok(_) if purpose == Purpose::Client => Ok(()),
        Ok(_) => Err("the leaf has no subject alternative name, and a common name is not looked at: \
                      issue it for a DNS name, an IP address, a URI or an e-mail address"
            .to_owned()),
        Err(error) => Err(format!("the leaf's alternative names do not parse: {error}")),
    }
}

/// Checks that a chain is for servers, or for clients, as far as it says (RFC 5280, section 4.2.1.12): peers look at the extended key
/// usage of every certificate but the root's.
pub(super) fn check_usage(
    chain: &[CertificateDer<'_>],
    origin: &str,
    purpose: Purpose,
) -> Result<(), MaterialError> {
    let check = || {
        for (index, der) in chain.iter().enumerate() {
            let certificate = parse((index, der))?;
            if index > 0 && certificate.issuer() == certificate.subject() {
                continue;
            }
            let usage = certificate.extended_key_usage();
            let usage = usage.map_err(|error| {
                format!("{}: its extended key usage does not parse: {error}", position(index))
            })?;
            let (fits, whom, wanted) = match purpose {
                Purpose::Server => {
                    (usage.as_ref().is_none_or(|usage| usage.value.server_auth), "servers", "serverAuth")
                }
                Purpose::Client => {
                    (usage.as_ref().is_none_or(|usage| usage.value.client_auth), "clients", "clientAuth")
                }
            };
            if !fits {
                return Err(format!(
                    "{} is not for {whom}: its extended key usage lacks {wanted}: issue it with that, or with none",
                    position(index)
                ));
            }
        }
        Ok(())
    };
    check().map_err(|detail| MaterialError::BadCertificate { origin: origin.to_owned(), detail })
}

fn names_somebody(name: &GeneralName<'_>) -> bool {
    use GeneralName::{DNSName, IPAddress, RFC822Name, URI};

    matches!(name, DNSName(_) | IPAddress(_) | URI(_) | RFC822Name(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::pki::{Authority, Issued, Leaf};

    fn check(chain: &[CertificateDer<'static>]) -> Result<(), String> {
        check_chain(chain, "server.pem", Purpose::Server, UnixTime::now()).map_err(|error| error.to_string())
    }

    fn refused(chain: &[CertificateDer<'static>], says: &str) {
        let told = check(chain).unwrap_err();
        assert!(told.contains("server.pem") && told.contains(says), "{told}");
    }

    #[test]
    fn a_chain_in_order_passes_with_and_without_its_root() {
        let root = Authority::new("Root");
        let middle = root.intermediate("Middle");
        let mut chain = middle.intermediate("Lower").issue(&Leaf::localhost()).chain();
        assert_eq!(chain.len(), 3);
        check(&chain).unwrap();
        chain.push(root.certificate().clone());
        check(&chain).unwrap();
        check(&Issued::by_itself(&Leaf::localhost()).chain()).unwrap();
    }

    #[test]
    fn a_chain_out_of_order_or_with_a_stranger_in_it_says_where() {
        let root = Authority::new("Root");
        let mut chain = root.intermediate("Middle").intermediate("Lower").issue(&Leaf::localhost()).chain();
        chain.swap(1, 2);
        refused(&chain, "the leaf was not issued by certificate 2");
        chain.swap(1, 2);
        // Of the same name, with another key.
        chain[2] = root.intermediate("Middle").certificate().clone();
        refused(&chain, "certificate 2 of the chain was not issued by certificate 3");
    }

    #[test]
    fn what_is_out_of_date_is_refused_with_the_dates() {
        let root = Authority::new("Root");
        refused(&root.issue(&Leaf::localhost().expired()).chain(), "the leaf: it expired on");
        refused(&root.issue(&Leaf::localhost().not_yet_valid()).chain(), "the leaf: it becomes valid on");
    }

    #[test]
    fn a_chain_is_for_what_it_is_shown_as() {
        let root = Authority::new("Root");
        let told = |leaf: Leaf, purpose| {
            let refused = check_usage(&root.issue(&leaf).chain(), "a.pem", purpose);
            refused.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let for_clients = told(Leaf::localhost().for_clients(), Purpose::Server);
        assert!(for_clients.contains("a.pem") && for_clients.contains("is not for servers"), "{for_clients}");
        let for_servers = told(Leaf::localhost().for_servers(), Purpose::Client);
        assert!(for_servers.contains("lacks clientAuth"), "{for_servers}");
        for (leaf, purpose) in [
            (Leaf::localhost().for_clients(), Purpose::Client),
            (Leaf::localhost().for_servers(), Purpose::Server),
            (Leaf::localhost(), Purpose::Server),
        ] {
            assert_eq!(told(leaf, purpose), "");
        }
    }

    #[test]
    fn a_leaf_is_no_ca_and_names_somebody() {
        let root = Authority::new("Root");
        refused(&[root.certificate().clone()], "is a CA");
        let unnamed = root.issue(&Leaf::new().common_name("localhost")).chain();
        refused(&unnamed, "no subject alternative name");
        check_chain(&unnamed, "client.pem", Purpose::Client, UnixTime::now()).unwrap();
        refused(&[], "holds no certificate");
        refused(&[CertificateDer::from(vec![1, 2, 3])], "does not parse");
    }
}
