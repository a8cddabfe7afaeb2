//! The names of the simulated disk: directories in the cache, and as they are on stable storage.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::super::DirEntry;
use super::content::{Content, Loss};

/// A file or directory, whatever its names are.
pub(super) type NodeId = u64;

const ROOT: NodeId = 0;

/// Unlinked files are looked for after so many removals.
const SWEEP_AFTER: usize = 64;

/// A change of a directory that is not on stable storage yet.
#[derive(Clone, Debug)]
enum Change {
    Link { name: String, node: NodeId },
    Unlink { name: String },
    Rename { from: String, to: String, node: NodeId },
}

#[derive(Debug, Default)]
struct Directory {
    entries: BTreeMap<String, NodeId>,
    stable: BTreeMap<String, NodeId>,
    pending: Vec<Change>,
}

impl Directory {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.entries);
        self.pending.push(change);
    }

    /// Every change reaches the storage.
    fn sync(&mut self) {
        self.stable.clone_from(&self.entries);
        self.pending.clear();
    }

    /// The first so many changes reach the storage; the others wait.
    fn sync_some(&mut self, count: usize) {
        for change in self.pending.drain(..count) {
            change.apply(&mut self.stable);
        }
    }

    /// The power is gone: each change has reached the storage, or never was.
    fn lose(&mut self, mut reaches: impl FnMut() -> bool) {
        for change in self.pending.drain(..) {
            if reaches() {
                change.apply(&mut self.stable);
            }
        }
        self.entries.clone_from(&self.stable);
    }
}

impl Change {
    fn apply(&self, names: &mut BTreeMap<String, NodeId>) {
        match self {
            Self::Link { name, node } => {
                names.insert(name.clone(), *node);
            }
            Self::Unlink { name } => {
                names.remove(name);
            }
            Self::Rename { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

#[derive(Debug)]
enum Node {
    File { content: Content, open: Arc<()> },
    Directory(Directory),
}

#[derive(Debug)]
pub(super) struct Tree {
    nodes: BTreeMap<NodeId, Node>,
    next: NodeId,
    removals: usize,
}

impl Default for Tree {
    fn default() -> Self {
        let root = Node::Directory(Directory::default());
        Self { nodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, removals: 0 }
    }
}

impl Tree {
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut node = ROOT;
        for name in names(path)? {
            node = *self.directory(node)?.entries.get(name).ok_or(ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    pub(super) fn file(&mut self, node: NodeId) -> io::Result<&mut Content> {
        match self.nodes.get_mut(&node) {
            Some(Node::File { content, .. }) => Ok(content),
            Some(Node::Directory(_)) => Err(ErrorKind::IsADirectory.into()),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Keeps the content of a file while the token lives, unlinked or not.
    pub(super) fn hold(&self, node: NodeId) -> Arc<()> {
        match self.nodes.get(&node) {
            Some(Node::File { open, .. }) => Arc::clone(open),
            _ => Arc::default(),
        }
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<NodeId> {
        self.link(path, Node::File { content: Content::default(), open: Arc::default() })
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut here = PathBuf::from("/");
        for name in names(path)? {
            let above = here.clone();
            here.push(name);
            match self.find(&here) {
                Ok(node) => self.directory(node).map(|_| ())?,
                Err(_) => self.link(&here, Node::Directory(Directory::default())).map(|_| ())?,
            }
            self.sync_dir(&above)?;
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let ((dir, from), (other, to)) = (self.split(from)?, self.split(to)?);
        if dir != other {
            return Err(ErrorKind::InvalidInput.into());
        }
        let entries = &self.directory(dir)?.entries;
        let node = *entries.get(&from).ok_or(ErrorKind::NotFound)?;
        if let Some(replaced) = entries.get(&to)
            && let Ok(replaced) = self.directory(*replaced)
            && !replaced.entries.is_empty()
        {
            return Err(ErrorKind::DirectoryNotEmpty.into());
        }
        if from != to {
            self.directory_mut(dir)?.change(Change::Rename { from, to, node });
        }
        self.count_removal();
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &Path, want_dir: bool) -> io::Result<()> {
        let (dir, name) = self.split(path)?;
        let node = *self.directory(dir)?.entries.get(&name).ok_or(ErrorKind::NotFound)?;
        match (self.directory(node), want_dir) {
            (Ok(_), false) => return Err(ErrorKind::IsADirectory.into()),
            (Err(_), true) => return Err(ErrorKind::NotADirectory.into()),
            (Ok(inner), true) if !inner.entries.is_empty() => {
                return Err(ErrorKind::DirectoryNotEmpty.into());
            }
            _ => {}
        }
        self.directory_mut(dir)?.change(Change::Unlink { name });
        self.count_removal();
        Ok(())
    }

    pub(super) fn list(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let entries = &self.directory(self.find(path)?)?.entries;
        Ok(entries
            .iter()
            .map(|(name, node)| DirEntry { name: name.clone(), is_dir: self.directory(*node).is_ok() })
            .collect())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        self.directory_mut(node)?.sync();
        Ok(())
    }

    /// Some changes reach the storage; the later ones wait for the next sync. Unlike the pages of a file, names that could not
    /// be written are not marked clean: a file system with a journal keeps them, or stops taking changes at all.
    pub(super) fn fail_sync_dir(&mut self, path: &Path, random: &mut StdRng) -> io::Result<()> {
        let node = self.find(path)?;
        let directory = self.directory_mut(node)?;
        directory.sync_some(random.random_range(0..=directory.pending.len()));
        Ok(())
    }

    /// The power goes, and comes back.
    pub(super) fn lose(&mut self, loss: Loss, random: &mut StdRng) {
        for node in self.nodes.values_mut() {
            match node {
                Node::File { content, open } => {
                    content.lose(loss, random);
                    *open = Arc::default(); // whoever held it is gone
                }
                Node::Directory(directory) => directory.lose(|| match loss {
                    Loss::Nothing => true,
                    Loss::Everything => false,
                    Loss::Some => random.random(),
                }),
            }
        }
        self.sweep();
    }

    pub(super) fn drop_caches(&mut self) {
        for node in self.nodes.values_mut() {
            if let Node::File { content, .. } = node {
                content.drop_caches();
            }
        }
    }

    pub(super) fn used(&self) -> u64 {
        let reserved = |node| match self.nodes.get(&node) {
            Some(Node::File { content, .. }) => content.reserved(),
            _ => 0,
        };
        let linked = self.reachable(|directory| directory.entries.values().copied().collect());
        let held = self.nodes.iter().filter(|(node, content)| {
            !linked.contains(node)
                && matches!(content, Node::File { open, .. } if Arc::strong_count(open) > 1)
        });
        linked.iter().copied().map(reserved).sum::<u64>() + held.map(|(node, _)| reserved(*node)).sum::<u64>()
    }

    pub(super) fn files(&self) -> Vec<(PathBuf, u64)> {
        let mut files = Vec::new();
        self.walk(ROOT, &PathBuf::from("/"), &mut files);
        files
    }

    fn walk(&self, node: NodeId, path: &Path, files: &mut Vec<(PathBuf, u64)>) {
        match self.nodes.get(&node) {
            Some(Node::File { content, .. }) => files.push((path.to_owned(), content.len())),
            Some(Node::Directory(directory)) => {
                for (name, node) in &directory.entries {
                    self.walk(*node, &path.join(name), files);
                }
            }
            None => {}
        }
    }

    fn link(&mut self, path: &Path, node: Node) -> io::Result<NodeId> {
        let (dir, name) = self.split(path)?;
        let id = self.next;
        let directory = self.directory_mut(dir)?;
        if directory.entries.contains_key(&name) {
            return Err(ErrorKind::AlreadyExists.into());
        }
        directory.change(Change::Link { name, node: id });
        self.nodes.insert(id, node);
        self.next += 1;
        Ok(id)
    }

    fn directory(&self, node: NodeId) -> io::Result<&Directory> {
        match self.nodes.get(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    fn directory_mut(&mut self, node: NodeId) -> io::Result<&mut Directory> {
        match self.nodes.get_mut(&node) {
            Some(Node::Directory(directory)) => Ok(directory),
            _ => Err(ErrorKind::NotADirectory.into()),
        }
    }

    /// The directory that holds the last name of `path`, and that name.
    fn split(&self, path: &Path) -> io::Result<(NodeId, String)> {
        let mut names = names(path)?;
        let last = names.pop().ok_or(ErrorKind::InvalidInput)?.to_owned();
        let above: PathBuf = names.into_iter().collect();
        Ok((self.find(&above)?, last))
    }

    fn count_removal(&mut self) {
        self.removals += 1;
        if self.removals >= SWEEP_AFTER {
            self.sweep();
        }
    }

    /// Lets go of files and directories that nothing can bring back.
    fn sweep(&mut self) {
        self.removals = 0;
        let linked = self.reachable(|directory| {
            let pending = directory.pending.iter().filter_map(|change| match change {
                Change::Link { node, .. } | Change::Rename { node, .. } => Some(*node),
                Change::Unlink { .. } => None,
            });
            directory.entries.values().chain(directory.stable.values()).copied().chain(pending).collect()
        });
        self.nodes.retain(|id, node| {
            linked.contains(id) || matches!(node, Node::File { open, .. } if Arc::strong_count(open) > 1)
        });
    }

    fn reachable(&self, children: impl Fn(&Directory) -> Vec<NodeId>) -> BTreeSet<NodeId> {
        let mut reached = BTreeSet::from([ROOT]);
        let mut left = vec![ROOT];
        while let Some(node) = left.pop() {
            if let Some(Node::Directory(directory)) = self.nodes.get(&node) {
                left.extend(children(directory).into_iter().filter(|child| reached.insert(*child)));
            }
        }
        reached
    }
}

/// The names in a path from the root; relative paths start there too.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_str().ok_or(ErrorKind::InvalidInput.into())),
            Component::ParentDir => Some(Err(ErrorKind::InvalidInput.into())),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}
