//! What processes take from the system, and what they may. Linux, by `/proc`.

use std::time::Duration;
use std::{fs, io};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, setpriority_process, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

/// A priority before that of other processes: nineteen steps of 25 % each (sched(7)).
const FIRST: i32 = -19;

/// The processors' time that this process has taken so far.
pub fn own_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a time since the start")
}

/// The processors' time that a process has taken so far, to 10 ms.
pub fn cpu(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("a process");
    // Behind the name, which may hold anything: the 14th and 15th field, in ticks of 10 ms (proc_pid_stat(5)).
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let ticks = fields.split_whitespace().skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    Duration::from_millis(10 * ticks.sum::<u64>())
}

/// Resident memory of a process (`self`, or its id), in bytes; zero where the system does not tell.
pub fn resident(id: &str) -> i64 {
    status(id, "VmRSS:")
}

/// What of it is no file's: the heap, and stacks.
pub fn anonymous(id: &str) -> i64 {
    status(id, "RssAnon:")
}

fn status(id: &str, field: &str) -> i64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let kibibytes = status
        .lines()
        .find_map(|line| line.strip_prefix(field)?.trim().strip_suffix(" kB")?.parse::<i64>().ok());
    kibibytes.unwrap_or_default() * 1024
}

/// As many open files as this process may have.
pub fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    // Where it may not be raised, it stays.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
}

/// Ends this process with the one that started it with a pipe for its stdin, however that ends.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        drop(io::copy(&mut io::stdin(), &mut io::sink()));
        std::process::exit(0);
    });
}

/// This process, and what it starts from now on, runs on one core, before all else that the machine does there, as if the core
/// were its own: that takes privileges (`CAP_SYS_NICE`).
pub fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core);
    sched_setaffinity(None::<Pid>, &cores).expect("a machine with two cores");
    if setpriority_process(None, FIRST).is_err() {
        eprintln!("no privileges to go before others: figures are good on an idle machine only");
    }
}
