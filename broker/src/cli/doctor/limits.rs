//! Whether the machine gives the broker what its own limits let it take.

use super::finding::Finding;
use crate::cli::descriptors;
use crate::cli::output::bytes;
use crate::config::{Config, TransportName};
use crate::server::{self, CONSUME_BUDGET};

const CHECK: &str = "limits";

/// What the transport asks of the kernel for each UDP socket, each way (`transport/src/quic/socket.rs`).
const UDP_BUFFER: u64 = 2 << 20;

/// KiB that each QUIC connection may have sent without an acknowledgement, beside what all share (`transport/src/quic/`).
const QUIC_FLOOR_KIB: u64 = 512;

/// KiB that each QUIC stream may have unread, beside what all share.
const QUIC_UNREAD_KIB: u64 = 256;

/// What was found.
#[derive(Debug)]
pub(super) struct LimitFacts {
    /// Files that the process may have open, after it has raised that; `None` is no limit.
    pub(super) files: Option<u64>,
    pub(super) files_wanted: u64,
    /// What the machine, or the container, has; `None` where it does not say.
    pub(super) memory: Option<u64>,
    pub(super) memory_bound: u64,
    /// What the kernel lets a UDP socket keep, received and to be sent; `None` where it does not say, or QUIC is off.
    pub(super) udp_buffers: Option<(u64, u64)>,
}

/// What a broker holds at most of what all sessions share, with everything at its bound: the first table under "How much memory" in
/// `docs/operations.md`, line by line.
pub(super) fn memory_bound(config: &Config) -> u64 {
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (connections, sessions) = (count(config.limits.connections), count(config.limits.sessions));
    let quic = config.transports.contains(&TransportName::Quic);
    let kib = |number: u64, each: u64| number.saturating_mul(each << 10);
    [
        config.limits.in_flight.0,
        config.limits.arriving.0.saturating_add(config.limits.frame.0),
        u64::from(CONSUME_BUDGET).saturating_add(config.limits.frame.0),
        kib(sessions, 64),
        config.log.tail_cache.0,
        config.limits.decompressed_batch.0.saturating_mul(4),
        kib(connections, 64),
        kib(sessions, 10 + 2 * 64),
        kib(connections, 36),
        if quic {
            kib(sessions.saturating_add(connections), QUIC_UNREAD_KIB)
                .saturating_add(config.quic.receive_budget.0)
        } else {
            0
        },
        if quic { kib(connections, QUIC_FLOOR_KIB).saturating_add(config.quic.send_budget.0) } else { 0 },
        kib(u64::from(server::MAX_PARTITIONS), 10),
        kib(2 * descriptors::MOST_SEGMENTS as u64, 48),
        65_536 * (82 + 200),
        kib(count(config.groups.max_groups), 10),
    ]
    .into_iter()
    .fold(0, u64::saturating_add)
}

pub(super) fn judge(facts: &LimitFacts) -> Vec<Finding> {
    let mut findings = vec![files(facts)];
    findings.extend(facts.memory.map(|memory| self::memory(facts.memory_bound, memory)));
    findings.extend(facts.udp_buffers.map(|(receive, send)| udp(receive, send)));
    findings
}

fn files(facts: &LimitFacts) -> Finding {
    let wanted = facts.files_wanted;
    match facts.files {
        Some(allowed) if allowed < wanted => Finding::warn(
            CHECK,
            format!("{allowed} files may be open, and limits.connections and the log may need {wanted}"),
            "raise the limit (`ulimit -Hn`, or LimitNOFILE of a systemd unit), or lower limits.connections",
        ),
        Some(allowed) => {
            Finding::ok(CHECK, format!("{allowed} files may be open, of {wanted} that may be needed"))
        }
        None => Finding::ok(CHECK, format!("files that may be open are not limited; {wanted} may be needed")),
    }
}

fn memory(bound: u64, memory: u64) -> Finding {
    let text = format!(
        "the broker holds {} with everything at its bound; there are {} of memory",
        bytes(bound),
        bytes(memory)
    );
    if bound > memory {
        let remedy = "lower limits.sessions, limits.connections or limits.in_flight (\"How much memory\" in docs/operations.md), or give it more";
        return Finding::warn(CHECK, text, remedy);
    }
    Finding::ok(CHECK, text)
}

fn udp(receive: u64, send: u64) -> Finding {
    let text = format!("UDP sockets may keep {} received and {} to be sent", bytes(receive), bytes(send));
    if receive.min(send) < UDP_BUFFER {
        let text =
            format!("{text}, less than the {} that QUIC asks for: bursts lose packets", bytes(UDP_BUFFER));
        let remedy = "sysctl -w net.core.rmem_max=2097152 net.core.wmem_max=2097152, and in /etc/sysctl.d for the next start";
        return Finding::warn(CHECK, text, remedy);
    }
    Finding::ok(CHECK, text)
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn facts() -> LimitFacts {
        LimitFacts {
            files: Some(1 << 20),
            files_wanted: 2000,
            memory: Some(8 << 30),
            memory_bound: memory_bound(&Config::default()),
            udp_buffers: Some((4 << 20, 4 << 20)),
        }
    }

    fn found(change: impl FnOnce(&mut LimitFacts)) -> Vec<(Level, String)> {
        let mut facts = facts();
        change(&mut facts);
        judge(&facts).into_iter().map(|found| (found.level, found.to_string())).collect()
    }

    #[test]
    fn what_is_enough_is_well_and_what_is_too_little_names_the_key_and_the_command() {
        assert!(found(|_| {}).iter().all(|(level, _)| *level == Level::Ok));
        let found_files = found(|facts| facts.files = Some(1024));
        assert!(
            found_files[0].0 == Level::Warn && found_files[0].1.contains("LimitNOFILE"),
            "{found_files:?}"
        );
        let found_memory = found(|facts| facts.memory = Some(512 << 20));
        assert!(
            found_memory[1].0 == Level::Warn && found_memory[1].1.contains("limits.sessions"),
            "{found_memory:?}"
        );
        let found_udp = found(|facts| facts.udp_buffers = Some((212_992, 4 << 20)));
        assert!(
            found_udp[2].0 == Level::Warn && found_udp[2].1.contains("net.core.rmem_max"),
            "{found_udp:?}"
        );
        assert_eq!(
            found(|facts| (facts.files, facts.memory, facts.udp_buffers) = (None, None, None)).len(),
            1
        );
    }

    #[test]
    fn without_quic_a_broker_holds_much_less() {
        let bound = memory_bound(&Config::default());
        let tls_alone = memory_bound(&Config { transports: vec![TransportName::Tls], ..Config::default() });
        assert!(tls_alone < bound / 3 * 2, "{}", bytes(tls_alone));
    }
}
