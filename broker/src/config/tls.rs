//! The `[tls]` section: what the broker serves, whom it lets in, and how they resume.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::de::{SeqAccess, Visitor, value::SeqAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};

use super::Size;

/// 64 identities besides the default one: what is served is shown in one frame of at most 1 MiB, and a certificate with all
/// its names takes up to 10 KiB there.
pub const MAX_IDENTITIES: usize = 64;

/// 64 MiB of sessions: at about 1 KiB each, or 3 KiB with a client's chain, tens of thousands of clients.
const RESUMPTION_CACHE: Size = Size::mib(64);

/// Certificates. Without `cert` and `key` the broker makes a development CA and a certificate for localhost.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// The chain in PEM, leaf first: of the identity that clients see which ask for no name, or for one that no other has.
    pub cert: Option<PathBuf>,
    /// The leaf's private key in PEM: PKCS#8, SEC1 or PKCS#1.
    pub key: Option<PathBuf>,
    /// An OCSP response (DER) for the leaf.
    pub staple: Option<PathBuf>,
    /// Further identities, chosen by the name that a client asks for.
    pub identity: Vec<TlsIdentity>,
    /// Whether clients show certificates.
    pub client_certificates: ClientCertificates,
    /// The CAs of client certificates, in PEM.
    pub client_ca: Paths,
    /// Revocation lists of client certificates, in PEM or DER.
    pub client_crl: Paths,
    /// The only keys that clients may have; empty is no limit.
    pub client_pins: Vec<Pin>,
    /// A client certificate of an issuer that has no revocation list, where another has one.
    pub crl_unknown: CrlUnknown,
    /// A revocation list that is past its own next update.
    pub crl_expired: CrlExpired,
    /// A connection whose client certificate ends while it is open.
    pub expired_clients: ExpiredClients,
    /// How clients resume.
    pub resumption: Resumption,
    /// Where the secret is kept that tickets, and the address tokens of QUIC, are sealed with; by default in the data
    /// directory.
    pub ticket_secret: Option<PathBuf>,
    /// What `resumption = "cache"` may take.
    pub resumption_cache: Size,
    /// Whether a change of a file is noticed by itself.
    pub watch: bool,
}

/// An identity that is chosen by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsIdentity {
    /// The chain in PEM, leaf first.
    pub cert: PathBuf,
    /// The leaf's private key in PEM: PKCS#8, SEC1 or PKCS#1.
    pub key: PathBuf,
    /// An OCSP response (DER) for the leaf.
    #[serde(default)]
    pub staple: Option<PathBuf>,
}

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientCertificates {
    /// They are not asked.
    #[default]
    None,
    /// They may; one that is shown must be valid.
    Optional,
    /// They must.
    Required,
}

/// What becomes of a certificate about which no revocation list says anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlUnknown {
    /// It is accepted.
    #[default]
    Accept,
    /// It is refused: every issuer must have a list.
    Refuse,
}

/// What becomes of a revocation list that should have been replaced by now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CrlExpired {
    /// What it revokes stays revoked, and nobody else suffers.
    #[default]
    Ignore,
    /// Nobody whom it covers gets in until there is a newer one.
    Enforce,
}

/// What becomes of a connection whose client certificate ends while it is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpiredClients {
    /// It is closed: a client that has renewed comes back with the new one.
    #[default]
    Close,
    /// It lives on; only what is begun afterwards needs a valid one.
    Keep,
}

/// How clients resume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resumption {
    /// By tickets that they keep: these survive a restart, and every broker with the same secret honours them.
    #[default]
    Tickets,
    /// By sessions that this process keeps.
    Cache,
    /// Not at all.
    Off,
}

/// One path or several: `"a.pem"` or `["a.pem", "b.pem"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Paths(pub Vec<PathBuf>);

/// SHA-256 over the `SubjectPublicKeyInfo` of a leaf: 64 hexadecimal digits, behind `sha256:` or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Pin(pub [u8; 32]);

impl Default for Tls {
    fn default() -> Self {
        Self {
            cert: None,
            key: None,
            staple: None,
            identity: Vec::new(),
            client_certificates: ClientCertificates::default(),
            client_ca: Paths::default(),
            client_crl: Paths::default(),
            client_pins: Vec::new(),
            crl_unknown: CrlUnknown::default(),
            crl_expired: CrlExpired::default(),
            expired_clients: ExpiredClients::default(),
            resumption: Resumption::default(),
            ticket_secret: None,
            resumption_cache: RESUMPTION_CACHE,
            watch: true,
        }
    }
}

impl Tls {
    /// Keys that need each other, and keys that do nothing alone.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.cert.is_some() != self.key.is_some() {
            return Err(
                "tls.cert and tls.key go together: set both, or neither for a development certificate".into(),
            );
        }
        if self.cert.is_none() && self.staple.is_some() {
            return Err(
                "tls.staple needs tls.cert and tls.key: an OCSP response is for one certificate".into()
            );
        }
        if self.cert.is_none() && !self.identity.is_empty() {
            return Err(
                "tls.identity needs tls.cert and tls.key: what a client sees whose name no identity has"
                    .into(),
            );
        }
        if self.identity.len() > MAX_IDENTITIES {
            return Err(format!(
                "tls.identity names {} identities: at most {MAX_IDENTITIES} can be served by one broker",
                self.identity.len()
            ));
        }
        self.check_clients()
    }

    fn check_clients(&self) -> Result<(), String> {
        if self.client_certificates != ClientCertificates::None {
            if self.client_ca.0.is_empty() {
                return Err("tls.client_certificates needs tls.client_ca: the CAs that signed them".into());
            }
            return Ok(());
        }
        let idle = [
            ("client_ca", self.client_ca.0.is_empty()),
            ("client_crl", self.client_crl.0.is_empty()),
            ("client_pins", self.client_pins.is_empty()),
        ];
        match idle.into_iter().find(|(_, unset)| !unset) {
            Some((key, _)) => Err(format!(
                "tls.{key} without tls.client_certificates does nothing: set that to `optional` or `required`"
            )),
            None => Ok(()),
        }
    }
}

impl<'de> Deserialize<'de> for Paths {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Paths;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a path or a list of paths")
            }

            fn visit_str<E>(self, path: &str) -> Result<Paths, E> {
                Ok(Paths(vec![path.into()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, paths: A) -> Result<Paths, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(paths)).map(Paths)
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl FromStr for Pin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is not a pin: it must be the SHA-256 of a key in 64 hexadecimal digits, as `openssl x509 -pubkey \
                 -noout -in client.pem | openssl pkey -pubin -outform der | sha256sum` prints it"
            )
        };
        let digits = text.strip_prefix("sha256:").unwrap_or(text);
        if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let mut pin = [0; 32];
        for (byte, pair) in pin.iter_mut().zip(digits.as_bytes().chunks_exact(2)) {
            let pair = str::from_utf8(pair).map_err(|_| wrong())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong())?;
        }
        Ok(Self(pin))
    }
}

impl TryFrom<String> for Pin {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Pin> for String {
    fn from(pin: Pin) -> Self {
        format!("sha256:{}", crate::tls::hex(&pin.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, load};

    fn parse(section: &str) -> Result<Tls, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sealstream.toml");
        std::fs::write(&path, format!("[tls]\n{section}")).unwrap();
        load(Some(&path), [], []).map(|resolved| resolved.config.tls).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn refused(section: &str, words: &[&str]) {
        let error = parse(section).unwrap_err();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }

    #[test]
    fn paths_are_one_or_a_list() {
        let with = |ca: &str| parse(&format!("client_certificates = \"optional\"\nclient_ca = {ca}\n"));
        assert_eq!(with("\"a.pem\"").unwrap().client_ca.0, [PathBuf::from("a.pem")]);
        let both = [PathBuf::from("a.pem"), PathBuf::from("b.pem")];
        assert_eq!(with("[\"a.pem\", \"b.pem\"]").unwrap().client_ca.0, both);
        assert!(with("5").unwrap_err().contains("a path or a list of paths"));
        let env = [
            ("SEALSTREAM_TLS_CLIENT_CERTIFICATES".to_owned(), "required".to_owned()),
            ("SEALSTREAM_TLS_CLIENT_CA".to_owned(), "a.pem, b.pem".to_owned()),
        ];
        assert_eq!(load(None, env, []).unwrap().config.tls.client_ca.0, both);
    }

    #[test]
    fn a_pin_is_64_digits_with_or_without_the_name_of_the_hash() {
        let digits = "00ff".repeat(16);
        let bare: Pin = digits.parse().unwrap();
        assert_eq!(bare.0[..2], [0, 0xff]);
        assert_eq!(format!("sha256:{digits}").parse(), Ok(bare));
        assert_eq!(String::from(bare).parse(), Ok(bare));
        assert_eq!(digits.to_uppercase().parse(), Ok(bare));
        for wrong in
            [&digits[..62], &format!("{digits}00"), &format!("+0{}", &digits[2..]), "sha1:00", "ключ"]
        {
            assert!(wrong.parse::<Pin>().unwrap_err().contains("64 hexadecimal digits"), "{wrong}");
        }
    }

    #[test]
    fn keys_that_need_each_other_are_named_together() {
        refused("cert = \"a\"\n", &["tls.cert", "tls.key"]);
        refused("staple = \"a\"\n", &["tls.staple", "tls.cert"]);
        refused("[[tls.identity]]\ncert = \"a\"\nkey = \"b\"\n", &["tls.identity", "tls.cert"]);
        refused("client_certificates = \"required\"\n", &["tls.client_ca"]);
    }

    #[test]
    fn keys_that_would_do_nothing_are_named() {
        refused("client_ca = \"a\"\n", &["tls.client_ca", "tls.client_certificates"]);
        refused("client_crl = [\"a\"]\n", &["tls.client_crl", "tls.client_certificates"]);
        let pin = format!("client_pins = [\"{}\"]\n", "0".repeat(64));
        refused(&pin, &["tls.client_pins", "tls.client_certificates"]);
    }

    #[test]
    fn a_key_of_an_identity_that_means_nothing_names_the_nearest() {
        let section = "cert = \"a\"\nkey = \"b\"\n[[tls.identity]]\ncret = \"a\"\nkey = \"b\"\n";
        refused(section, &["tls.identity.cret", "tls.identity.cert"]);
    }

    #[test]
    fn identities_come_from_a_file_only() {
        let env = [("SEALSTREAM_TLS_IDENTITY_CERT".to_owned(), "a".to_owned())];
        let error = load(None, env, []).unwrap_err().to_string();
        assert!(error.contains("tls.identity") && error.contains("file"), "{error}");
    }

    #[test]
    fn there_is_a_bound_on_identities() {
        let one = "[[tls.identity]]\ncert = \"a\"\nkey = \"b\"\n";
        let with = |count| format!("cert = \"a\"\nkey = \"b\"\n{}", one.repeat(count));
        assert_eq!(parse(&with(MAX_IDENTITIES)).unwrap().identity.len(), MAX_IDENTITIES);
        refused(&with(MAX_IDENTITIES + 1), &["tls.identity", "64"]);
    }

    #[test]
    fn what_is_shown_reads_back_as_the_same() {
        let mut config = Config::default();
        config.tls.cert = Some("a".into());
        config.tls.key = Some("b".into());
        config.tls.identity =
            vec![TlsIdentity { cert: "c".into(), key: "d".into(), staple: Some("e".into()) }];
        config.tls.client_certificates = ClientCertificates::Required;
        config.tls.client_ca = Paths(vec!["f".into()]);
        config.tls.client_pins = vec![Pin([7; 32])];
        config.tls.crl_expired = CrlExpired::Enforce;
        config.tls.expired_clients = ExpiredClients::Keep;
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }
}
