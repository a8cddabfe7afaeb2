//! Files that change under a running server, in every way that operators change them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sealstream_transport::testing::eventually;
use sealstream_transport::testing::pki::{Authority, Issued, Leaf};
use sealstream_transport::tls::{
    Along, IdentitySource, Material, Published, Reloader, Sourced, Store, Trigger,
};
use tempfile::TempDir;
use tokio::task::JoinSet;

/// A server's files, and what reloads them.
struct Served {
    authority: Authority,
    dir: TempDir,
    store: Arc<Store>,
    reloader: Reloader,
    tasks: JoinSet<()>,
}

impl Served {
    /// Serves `tls.crt` and `tls.key` in `folder`, which `lay` has to fill.
    fn new(folder: &str, lay: impl FnOnce(&Path, &Issued)) -> Self {
        let (authority, dir) = (Authority::new("CA"), TempDir::new().unwrap());
        let first = authority.issue(&Leaf::localhost());
        lay(dir.path(), &first);
        let folder = dir.path().join(folder);
        let source = move || {
            Ok(Material::new()
                .with_server_identity(IdentitySource::files(folder.join("tls.crt"), folder.join("tls.key"))))
        };
        let store = Arc::new(Store::new(&source().unwrap()).unwrap());
        let reloader = Reloader::new(Arc::clone(&store), source);
        Self { authority, dir, store, reloader, tasks: JoinSet::new() }
    }

    fn watch(&mut self) {
        let reloader = self.reloader.clone();
        self.tasks.spawn(async move { reloader.watch().await });
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn serves(&self, issued: &Issued) -> bool {
        self.store.receiver().current().identities()[0].chain() == issued.chain()
    }

    async fn comes_to_serve(&self, issued: &Issued) {
        eventually("the new certificate is served", || self.serves(issued)).await;
    }

    fn renewed(&self) -> Issued {
        self.authority.issue(&Leaf::localhost())
    }
}

fn write(folder: &Path, issued: &Issued) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("tls.crt"), issued.chain_pem()).unwrap();
    fs::write(folder.join("tls.key"), issued.key_pem()).unwrap();
}

/// Waits until the watch is set: what changed before that is nobody's event.
async fn set(served: &Served) {
    // The first look is one event of its own.
    let touched = served.path("certs/touch");
    let mut n = 0;
    eventually("the folder is watched", || {
        n += 1;
        fs::write(served.path("certs/tls.crt"), fs::read(served.path("certs/tls.crt")).unwrap()).unwrap();
        let _ = fs::write(&touched, n.to_string());
        served.reloader.counts().accepted > 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_written_in_place_or_renamed_into_place_is_served() {
    let mut served = Served::new("certs", |dir, first| write(&dir.join("certs"), first));
    served.watch();
    set(&served).await;
    let renewed = served.renewed();
    write(&served.path("certs"), &renewed);
    served.comes_to_serve(&renewed).await;

    let again = served.renewed();
    write(&served.path("new"), &again);
    for name in ["tls.crt", "tls.key"] {
        fs::rename(served.path("new").join(name), served.path("certs").join(name)).unwrap();
    }
    served.comes_to_serve(&again).await;
    assert_eq!(served.reloader.last().unwrap().trigger, Trigger::Files);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_whose_link_is_exchanged_is_served() {
    // As a Kubernetes volume: tls.crt ─► ..data/tls.crt, ..data ─► ..1, and an update renames a link to ..2 over ..data.
    let mut served = Served::new("certs", |dir, first| {
        let certs = dir.join("certs");
        write(&certs.join("..1"), first);
        symlink("..1", certs.join("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(name), certs.join(name)).unwrap();
        }
    });
    served.watch();
    let first = served.reloader.counts();
    let certs = served.path("certs");
    for generation in 2..5 {
        let renewed = served.renewed();
        write(&certs.join(format!("..{generation}")), &renewed);
        let exchange = || {
            let _ = fs::remove_file(certs.join("..tmp"));
            symlink(format!("..{generation}"), certs.join("..tmp")).unwrap();
            fs::rename(certs.join("..tmp"), certs.join("..data")).unwrap();
        };
        exchange();
        // The first may come before the watch is set.
        eventually("the exchange is noticed", || {
            if served.reloader.counts() == first {
                exchange();
            }
            served.serves(&renewed)
        })
        .await;
        fs::remove_dir_all(certs.join(format!("..{}", generation - 1))).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_comes_late_is_waited_for_with_the_old_pair_serving() {
    let mut served = Served::new("certs", |dir, first| write(&dir.join("certs"), first));
    served.watch();
    set(&served).await;
    let before = served.store.receiver().current();
    let renewed = served.renewed();
    fs::write(served.path("certs/tls.crt"), renewed.chain_pem()).unwrap();
    eventually("half a pair is refused", || {
        let last = served.reloader.last().unwrap().outcome;
        last.is_err_and(|fault| fault.contains("key does not match certificate"))
    })
    .await;
    assert!(Arc::ptr_eq(&before, &served.store.receiver().current()));
    fs::write(served.path("certs/tls.key"), renewed.key_pem()).unwrap();
    served.comes_to_serve(&renewed).await;
}

#[tokio::test]
async fn a_reload_by_request_says_what_changed_or_why_nothing_did() {
    let served = Served::new("certs", |dir, first| write(&dir.join("certs"), first));
    let reload = async |trigger| served.reloader.reload(trigger).await.outcome;
    assert_eq!(reload(Trigger::Request).await, Ok(Published::Unchanged));
    write(&served.path("certs"), &served.renewed());
    assert_eq!(reload(Trigger::Signal).await, Ok(Published::Renewed));
    fs::remove_file(served.path("certs/tls.key")).unwrap();
    assert!(reload(Trigger::Request).await.unwrap_err().contains("tls.key"));
    let counts = served.reloader.counts();
    assert_eq!((counts.accepted, counts.refused), (2, 1));
}

/// A configuration that names a certificate, and says something else besides.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_goes_along_with_the_material_is_published_with_it_and_not_without_it() {
    let (authority, dir) = (Authority::new("CA"), TempDir::new().unwrap());
    let folder = dir.path().join("certs");
    write(&folder, &authority.issue(&Leaf::localhost()));
    let config = dir.path().join("config");
    fs::write(&config, "one").unwrap();
    let (published, file) = (Arc::new(Mutex::new(String::new())), config.clone());
    let along = Arc::clone(&published);
    let source = move || {
        let identity = IdentitySource::files(folder.join("tls.crt"), folder.join("tls.key"));
        let said = fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let material = Material::new().with_server_identity(identity).with_watched(&file);
        let along = Arc::clone(&along);
        Ok(Sourced::along(material, move || {
            let changed = std::mem::replace(&mut *along.lock().unwrap(), said.clone()) != said;
            let mut along = Along::default();
            along.changed.extend(changed.then(|| "the rest".to_owned()));
            along
        }))
    };
    let store = Arc::new(Store::new(source().map_err(|fault: String| fault).unwrap().material()).unwrap());
    let reloader = Reloader::new(store, source);
    let said = || published.lock().unwrap().clone();
    assert_eq!(said(), "", "what is only asked for is not published");
    let first = reloader.reload(Trigger::Request).await;
    assert_eq!((first.outcome, first.along.changed), (Ok(Published::Unchanged), vec!["the rest".to_owned()]));
    assert!(reloader.reload(Trigger::Request).await.along.is_nothing());
    assert_eq!(said(), "one");

    // Refused for a file, none of it is published.
    let key = fs::read(dir.path().join("certs/tls.key")).unwrap();
    fs::write(&config, "two").unwrap();
    fs::write(dir.path().join("certs/tls.key"), "no key").unwrap();
    let refused = reloader.reload(Trigger::Request).await;
    assert!(refused.outcome.is_err() && refused.along.is_nothing());
    assert_eq!(said(), "one");
    fs::write(dir.path().join("certs/tls.key"), key).unwrap();

    // The file that says it is watched as those are that it names.
    let mut tasks = JoinSet::new();
    let watching = reloader.clone();
    tasks.spawn(async move { watching.watch().await });
    eventually("a change of the configuration is noticed", || {
        fs::write(&config, "three").unwrap();
        said() == "three"
    })
    .await;
}
