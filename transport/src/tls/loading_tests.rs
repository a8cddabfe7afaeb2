//! Every file in every wrong shape is refused with a message that names the file and the fault.

use std::fs;
use std::path::PathBuf;

use rcgen::{KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use tempfile::TempDir;

use super::{
    ClientAuth, IdentitySource, Material, MaterialError, Snapshot, StapleSource, Store, TrustSource,
};
use crate::testing::pki::{Authority, Leaf};

struct Files {
    dir: TempDir,
    authority: Authority,
}

impl Files {
    /// A server's chain and key, and the CA, as an operator has them.
    fn new() -> Self {
        let files = Self { dir: TempDir::new().unwrap(), authority: Authority::new("Test CA") };
        let issued = files.authority.issue(&Leaf::localhost());
        files.write("server.pem", issued.chain_pem());
        files.write("server.key", issued.key_pem());
        files.write("ca.pem", files.authority.pem());
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        fs::write(self.path(name), text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    fn material(&self) -> Material {
        let identity = IdentitySource::files(self.path("server.pem"), self.path("server.key"));
        Material::new().with_server_identity(identity).with_roots([TrustSource::File(self.path("ca.pem"))])
    }

    fn fault(&self) -> MaterialError {
        Snapshot::load(&self.material()).unwrap_err()
    }

    /// Loads with one file replaced, and asserts that the refusal names that file and says this.
    fn refuses(&self, name: &str, text: impl AsRef<[u8]>, says: &str) {
        let good = fs::read(self.path(name)).unwrap();
        self.write(name, text);
        let told = self.fault().to_string();
        assert!(told.contains(name) && told.contains(says), "{told}");
        self.write(name, good);
        Snapshot::load(&self.material()).unwrap();
    }
}

fn noise() -> Vec<u8> {
    (0..10_000_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

#[test]
fn good_files_load() {
    let files = Files::new();
    let snapshot = Snapshot::load(&files.material()).unwrap();
    assert_eq!(snapshot.identities()[0].chain().len(), 1);
}

#[test]
fn a_file_that_is_not_there_is_named() {
    for name in ["server.pem", "server.key", "ca.pem"] {
        let files = Files::new();
        fs::remove_file(files.path(name)).unwrap();
        let told = files.fault().to_string();
        assert!(told.contains(name) && told.contains("correct the path"), "{told}");
        // A directory in its place is no better.
        fs::create_dir(files.path(name)).unwrap();
        let told = files.fault().to_string();
        assert!(told.contains(name) && told.contains("name a file in it"), "{told}");
    }
}

#[test]
fn an_empty_file_is_named() {
    let files = Files::new();
    for name in ["server.pem", "server.key", "ca.pem"] {
        files.refuses(name, "", "is empty");
        files.refuses(name, "\n \n", "is empty");
    }
}

#[test]
fn a_file_of_something_else_says_what_it_holds() {
    let files = Files::new();
    let (chain, key) = (files.read("server.pem"), files.read("server.key"));
    files.refuses("server.pem", &key, "holds PRIVATE KEY, but CERTIFICATE is needed");
    files.refuses("ca.pem", &key, "holds PRIVATE KEY, but CERTIFICATE is needed");
    files.refuses("server.key", &chain, "holds CERTIFICATE, but PRIVATE KEY");
    files.refuses("server.key", "not PEM at all", "holds no PEM at all");
    let locked = key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY");
    files.refuses("server.key", locked, "openssl pkcs8");
}

#[test]
fn a_damaged_file_says_where() {
    let files = Files::new();
    for name in ["server.pem", "server.key", "ca.pem"] {
        let text = files.read(name);
        let cut = &text[..text.len() / 2];
        files.refuses(name, cut, "it ends before -----END");
        let mut bytes = text.into_bytes();
        bytes[60] = b'!';
        files.refuses(name, bytes, "not valid base64");
    }
    for name in ["server.pem", "server.key", "ca.pem"] {
        files.refuses(name, noise(), "no PEM at all");
    }
}

#[test]
fn a_file_without_its_line_ends_says_so_and_no_message_repeats_a_key() {
    let files = Files::new();
    let key = files.read("server.key");
    let secret = key.lines().nth(1).unwrap().to_owned();
    let lost = "are the line ends lost?";
    for joint in [" ", "", "\\n"] {
        let joined = key.trim_end().replace('\n', joint);
        // Alone, with text after it, and with a key in its right shape after it.
        for text in [joined.clone(), joined.clone() + "#", joined + "\n-----END PRIVATE KEY-----\n"] {
            for name in ["server.key", "server.pem", "ca.pem"] {
                files.write("good", fs::read(files.path(name)).unwrap());
                files.write(name, &text);
                let told = files.fault().to_string();
                assert!(told.contains(name) && told.contains(lost), "{told}");
                assert!(!told.contains(&secret), "{told}");
                fs::rename(files.path("good"), files.path(name)).unwrap();
            }
        }
    }
    files.refuses(
        "server.key",
        key.replacen("KEY-----", "KEY----", 1),
        "PRIVATE KEY does not end in five dashes",
    );
}

#[test]
fn a_chain_that_cannot_stand_for_a_server_names_its_file() {
    let files = Files::new();
    let ca = &files.authority;
    let foreign = rcgen::SanType::OtherName((vec![1, 2, 3], "somebody".into()));
    for (chain, says) in [
        (ca.issue(&Leaf::localhost().expired()).chain_pem(), "the leaf: it expired on"),
        (ca.issue(&Leaf::localhost().not_yet_valid()).chain_pem(), "the leaf: it becomes valid on"),
        (ca.pem(), "the first certificate is a CA"),
        (ca.issue(&Leaf::new().common_name("localhost")).chain_pem(), "no subject alternative name"),
        (ca.issue(&Leaf::new().san(foreign)).chain_pem(), "no subject alternative name"),
        (
            ca.issue(&Leaf::localhost()).chain_pem() + &Authority::new("Stranger").pem(),
            "put the chain in order",
        ),
    ] {
        files.refuses("server.pem", chain, says);
    }
}

#[test]
fn a_staple_in_any_wrong_shape_names_its_file() {
    let files = Files::new();
    let issuer = files.authority.intermediate("Issuer");
    let (leaf, other) = (issuer.issue(&Leaf::localhost()), issuer.issue(&Leaf::localhost()));
    files.write("server.pem", leaf.chain_pem());
    files.write("server.key", leaf.key_pem());
    let good = issuer.ocsp_good(&leaf);
    let load = |staple: &[u8]| {
        files.write("server.ocsp", staple);
        let staple = StapleSource::File(files.path("server.ocsp"));
        let identity = IdentitySource::files(files.path("server.pem"), files.path("server.key"));
        Snapshot::load(&Material::new().with_server_identity(identity.with_staple(staple)))
    };
    load(&good).unwrap();
    let pem = format!("-----BEGIN OCSP RESPONSE-----\n{}\n-----END OCSP RESPONSE-----\n", "MIIB");
    for (staple, says) in [
        (Vec::new(), "is empty"),
        (good[..good.len() / 2].to_vec(), "no OCSP response in DER"),
        ([&good[..], b"more"].concat(), "no OCSP response in DER"),
        (pem.into_bytes(), "no OCSP response in DER"),
        (noise(), "no OCSP response in DER"),
        (issuer.ocsp_good(&other), "about another certificate"),
        (Authority::new("Issuer").ocsp_good(&leaf), "not signed by the issuer"),
    ] {
        let told = load(&staple).unwrap_err().to_string();
        assert!(told.contains("server.ocsp") && told.contains(says), "{told}");
    }
}

#[test]
fn what_is_no_certificate_inside_is_refused() {
    let files = Files::new();
    let bogus = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    files.refuses("server.pem", bogus, "does not parse");
    files.refuses("ca.pem", bogus, "cannot be used");
    let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    files.refuses("server.key", key, "cannot be used");
}

#[test]
fn a_key_of_another_certificate_names_both() {
    let files = Files::new();
    let other = files.authority.issue(&Leaf::localhost());
    files.write("server.key", other.key_pem());
    let told = files.fault().to_string();
    let (key, chain) = (files.path("server.key"), files.path("server.pem"));
    assert_eq!(told, format!("key does not match certificate: {} vs {}", key.display(), chain.display()));
}

#[test]
fn a_chain_out_of_order_says_so() {
    let files = Files::new();
    let issued = files.authority.intermediate("Middle CA").issue(&Leaf::localhost());
    files.write("server.key", issued.key_pem());
    files.write("server.pem", issued.chain_pem());
    assert_eq!(Snapshot::load(&files.material()).unwrap().identities()[0].chain().len(), 2);
    let chain = issued.chain_pem();
    let second = chain.rfind("-----BEGIN").unwrap();
    files.write("server.pem", [&chain[second..], &chain[..second]].concat());
    let told = files.fault().to_string();
    assert!(told.contains("server.pem") && told.contains("put the chain in order"), "{told}");
}

#[test]
fn text_around_the_certificates_is_ignored() {
    let files = Files::new();
    files.write("ca.pem", format!("# the CA\n{}\n# its end", files.read("ca.pem")));
    files.write("server.key", files.read("server.key").replace('\n', "\r\n"));
    Snapshot::load(&files.material()).unwrap();
}

#[test]
fn keys_of_every_kind_and_encoding_load() {
    let dir = TempDir::new().unwrap();
    for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let certificate = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key);
        let (chain, path) = (dir.path().join("a.pem"), dir.path().join("a.key"));
        fs::write(&chain, certificate.unwrap().pem()).unwrap();
        fs::write(&path, key.serialize_pem()).unwrap();
        Snapshot::load(&Material::new().with_server_identity(IdentitySource::files(chain, path))).unwrap();
    }
    // The same key in the encodings of old tools; made with `openssl ec` and `openssl rsa -traditional`.
    for (chain, key) in [
        (include_str!("testdata/ec.pem"), include_str!("testdata/ec.sec1.key")),
        (include_str!("testdata/rsa.pem"), include_str!("testdata/rsa.pkcs1.key")),
        (include_str!("testdata/rsa.pem"), include_str!("testdata/rsa.pkcs8.key")),
    ] {
        let (chain_path, key_path) = (dir.path().join("b.pem"), dir.path().join("b.key"));
        fs::write(&chain_path, chain).unwrap();
        fs::write(&key_path, key).unwrap();
        let identity = IdentitySource::files(chain_path, key_path);
        Snapshot::load(&Material::new().with_server_identity(identity)).unwrap();
    }
}

#[test]
fn asking_for_client_certificates_needs_somebody_who_issues_them() {
    let material = Material::new().with_client_auth(ClientAuth::Required, []);
    let told = Snapshot::load(&material).unwrap_err().to_string();
    assert!(told.contains("required") && told.contains("client CA"), "{told}");
}

#[tokio::test]
async fn a_bad_publication_leaves_the_old_state_serving() {
    let files = Files::new();
    let store = Store::new(&files.material()).unwrap();
    let mut receiver = store.receiver();
    let before = receiver.current();
    files.write("server.key", "");
    store.publish(&files.material()).unwrap_err();
    assert!(std::sync::Arc::ptr_eq(&before, &receiver.current()));

    let renewed = files.authority.issue(&Leaf::localhost());
    files.write("server.pem", renewed.chain_pem());
    files.write("server.key", renewed.key_pem());
    store.publish(&files.material()).unwrap();
    let after = receiver.changed().await;
    assert_eq!(after.identities()[0].chain()[0], renewed.chain()[0]);
    assert_eq!(after.epoch(), before.epoch(), "a renewal changes no trust");
}

#[test]
fn an_epoch_stands_for_the_trust_in_clients_and_for_nothing_else() {
    let (one, two) = (Authority::new("One"), Authority::new("Two"));
    let epoch = |policy, roots: Vec<TrustSource>| {
        let material = Material::new().with_client_auth(policy, roots).with_roots([two.trust()]);
        Snapshot::load(&material).unwrap().epoch()
    };
    let both = epoch(ClientAuth::Required, vec![one.trust(), two.trust()]);
    assert_eq!(both, epoch(ClientAuth::Required, vec![two.trust(), one.trust(), one.trust()]));
    assert_ne!(both, epoch(ClientAuth::Optional, vec![one.trust(), two.trust()]));
    assert_ne!(both, epoch(ClientAuth::Required, vec![one.trust()]));
    assert_ne!(both, epoch(ClientAuth::None, vec![]));
    assert_eq!(epoch(ClientAuth::None, vec![]), Snapshot::load(&Material::new()).unwrap().epoch());
}
