//! Which operation fails, and how.

use std::io;
use std::path::Path;

use rustix::io::Errno;

/// How an operation fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// EIO. A write may have written a part; a sync has lost some of its pages for good and marked all of them clean.
    Io,
    /// ENOSPC, likewise.
    NoSpace,
    /// The process ends in the middle, as by SIGKILL: the page cache stays.
    Kill,
    /// The power goes in the middle.
    PowerCut,
}

impl Fault {
    pub(super) fn ends_the_process(self) -> bool {
        matches!(self, Self::Kill | Self::PowerCut)
    }

    pub(super) fn error(self) -> io::Error {
        match self {
            Self::Io => Errno::IO.into(),
            Self::NoSpace => Errno::NOSPC.into(),
            Self::Kill | Self::PowerCut => super::dead(),
        }
    }
}

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the method of `Disk` or `DiskFile` that it is named after")]
pub enum Operation {
    Create,
    Open,
    Rename,
    Remove,
    List,
    CreateDir,
    SyncDir,
    Lock,
    Write,
    Read,
    Allocate,
    Truncate,
    SyncData,
}

/// A fault, and what it waits for: by default the next operation, whatever it is.
#[derive(Clone, Debug)]
pub struct Injection {
    fault: Fault,
    operation: Option<Operation>,
    path: Option<String>,
    skip: u64,
    again: bool,
}

impl Injection {
    /// The next operation fails like this.
    pub fn new(fault: Fault) -> Self {
        Self { fault, operation: None, path: None, skip: 0, again: false }
    }

    /// Only an operation of this kind counts.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Only an operation on a path that contains this counts.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Lets so many of the operations that count pass first.
    #[must_use]
    pub fn after(mut self, skip: u64) -> Self {
        self.skip = skip;
        self
    }

    /// Strikes again and again, until faults are cleared.
    #[must_use]
    pub fn always(mut self) -> Self {
        self.again = true;
        self
    }
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    planned: Vec<Injection>,
    operations: u64,
    struck: u64,
    full: u64,
}

/// Whether an operation fails.
pub(super) enum Verdict {
    Pass,
    Strike(Fault),
}

impl Faults {
    pub(super) fn plan(&mut self, injection: Injection) {
        self.planned.push(injection);
    }

    pub(super) fn clear(&mut self) {
        self.planned.clear();
    }

    pub(super) fn are_planned(&self) -> bool {
        !self.planned.is_empty()
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations
    }

    pub(super) fn struck(&self) -> u64 {
        self.struck
    }

    /// Those of them that had no room indeed.
    pub(super) fn full(&self) -> u64 {
        self.full
    }

    /// There was no room indeed.
    pub(super) fn no_room(&mut self) -> io::Error {
        self.struck += 1;
        self.full += 1;
        Fault::NoSpace.error()
    }

    pub(super) fn next(&mut self, operation: Operation, path: &Path) -> Verdict {
        self.operations += 1;
        let mut strikes = None;
        for (index, plan) in self.planned.iter_mut().enumerate() {
            let counts = plan.operation.is_none_or(|wanted| wanted == operation)
                && plan.path.as_ref().is_none_or(|part| path.to_string_lossy().contains(part));
            if !counts {
                continue;
            }
            if plan.skip > 0 {
                plan.skip -= 1;
            } else if strikes.is_none() {
                strikes = Some(index);
            }
        }
        let Some(index) = strikes else { return Verdict::Pass };
        self.struck += 1;
        let fault = self.planned[index].fault;
        if !self.planned[index].again {
            self.planned.remove(index);
        }
        Verdict::Strike(fault)
    }
}
