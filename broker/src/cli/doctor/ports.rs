//! Whether the broker's addresses can be listened on, or who holds them.

use std::net::SocketAddr;

use super::finding::Finding;
use crate::config::TransportName;

const CHECK: &str = "ports";

/// An address by one transport.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) addr: SocketAddr,
    pub(super) transport: TransportName,
    pub(super) state: State,
}

/// What binding it says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    Free,
    InUse(Occupant),
    /// A privileged port.
    Denied,
    /// No interface of this machine has the address.
    Foreign,
    Failed(String),
}

/// Who holds an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Occupant {
    Sealstream,
    SomethingElse,
    /// UDP does not say.
    Unknown,
}

/// Whether it may be a broker that holds these addresses.
pub(super) fn may_be_ours(ports: &[Port]) -> bool {
    let held_by = |occupant| ports.iter().any(|port| port.state == State::InUse(occupant));
    held_by(Occupant::Sealstream) || held_by(Occupant::Unknown) && !held_by(Occupant::SomethingElse)
}

pub(super) fn judge(ports: &[Port]) -> Vec<Finding> {
    ports.iter().map(|port| one(port, ports)).collect()
}

fn one(port: &Port, all: &[Port]) -> Finding {
    let Port { addr, transport, state } = port;
    let protocol = match transport {
        TransportName::Tls => "TCP",
        TransportName::Quic => "UDP",
    };
    let place = format!("{protocol} {addr}");
    let by_ours =
        || all.iter().any(|other| other.addr == *addr && other.state == State::InUse(Occupant::Sealstream));
    match state {
        State::Free => Finding::ok(CHECK, format!("{place} is free")),
        State::InUse(Occupant::Sealstream) => {
            Finding::ok(CHECK, format!("{place} is held by a Sealstream broker"))
        }
        State::InUse(Occupant::Unknown) if by_ours() => {
            Finding::ok(CHECK, format!("{place} is held, by the broker on TCP as it seems"))
        }
        State::InUse(Occupant::Unknown) => Finding::warn(
            CHECK,
            format!("{place} is held by some process"),
            "if `reach` does not find a broker there, stop that process (`ss -lpu` names it), or listen elsewhere (listen)",
        ),
        State::InUse(Occupant::SomethingElse) => Finding::fail(
            CHECK,
            format!("{place} is held by something that is no Sealstream broker"),
            Some("stop it (`ss -lptu` names it), or listen elsewhere (listen)"),
        ),
        State::Denied => Finding::fail(
            CHECK,
            format!("{place} cannot be listened on: ports below 1024 are privileged"),
            Some("take another port (listen), or give the broker CAP_NET_BIND_SERVICE"),
        ),
        State::Foreign => Finding::fail(
            CHECK,
            format!("{place} cannot be listened on: no interface of this machine has the address"),
            Some("correct it (listen), or listen on 0.0.0.0 or [::]"),
        ),
        State::Failed(fault) => Finding::fail(CHECK, format!("{place} cannot be listened on: {fault}"), None),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    fn port(transport: TransportName, state: State) -> Port {
        Port { addr: "127.0.0.1:7420".parse().unwrap(), transport, state }
    }

    #[test]
    fn what_is_free_or_ours_is_well_and_what_is_another_s_is_not() {
        for (state, level) in [
            (State::Free, Level::Ok),
            (State::InUse(Occupant::Sealstream), Level::Ok),
            (State::InUse(Occupant::SomethingElse), Level::Fail),
            (State::InUse(Occupant::Unknown), Level::Warn),
            (State::Denied, Level::Fail),
            (State::Foreign, Level::Fail),
            (State::Failed("odd".into()), Level::Fail),
        ] {
            let found = judge(&[port(TransportName::Tls, state)]);
            assert_eq!(found[0].level, level, "{found:?}");
            assert!(found[0].text.contains("TCP 127.0.0.1:7420"), "{found:?}");
        }
    }

    #[test]
    fn udp_beside_a_broker_on_tcp_is_taken_for_its_own() {
        let found = judge(&[
            port(TransportName::Tls, State::InUse(Occupant::Sealstream)),
            port(TransportName::Quic, State::InUse(Occupant::Unknown)),
        ]);
        assert!(found.iter().all(|found| found.level == Level::Ok), "{found:?}");
    }

    #[test]
    fn what_a_stranger_holds_is_not_dialled() {
        let held = |occupant| port(TransportName::Tls, State::InUse(occupant));
        assert!(may_be_ours(&[held(Occupant::Sealstream), held(Occupant::SomethingElse)]));
        assert!(may_be_ours(&[held(Occupant::Unknown)]));
        assert!(!may_be_ours(&[held(Occupant::Unknown), held(Occupant::SomethingElse)]));
        assert!(!may_be_ours(&[port(TransportName::Tls, State::Free)]));
    }
}
