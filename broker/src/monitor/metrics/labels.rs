//! Every label, and what bounds its values.

/// A label, what it says, and how many values it can have.
pub(super) const LABELS: [(&str, &str); 18] = [
    ("budget", "`arriving`, `produce`, `consume`, `tail_cache`: a bound in bytes over the whole broker"),
    ("cause", "why a handshake failed or a connection was turned away; a closed list of each"),
    ("certificate", "where a served certificate was loaded from; at most 64"),
    ("code", "a code of the protocol, by its name; a closed list, those that have occurred"),
    ("durability", "`disk`, `memory`"),
    ("epoch", "a hash; one at a time"),
    ("file", "`segments`, `journal`, `metadata`"),
    ("group", "a consumer group; the first 1,000 by name, all others are not shown"),
    (
        "kind",
        "of a session: `admin`, `produce`, `consume`, `group`; of a handshake: `full`, `resumed`, `failed`",
    ),
    ("outcome", "`accepted`, `refused`"),
    (
        "reason",
        "`starting`, `draining`, `disk_full`, `disk_failing`, `certificate_ending`, `certificate_expired`",
    ),
    ("resource", "`produced`, `consumed` (bytes), `requests`"),
    ("result", "what became of a ticket; a closed list"),
    ("serial", "of a served certificate; one for each"),
    ("side", "`server`, `client`"),
    ("topic", "the first 1,000 that are used since the start, all others together are `(other)`"),
    ("transport", "`tls`, `quic`"),
    ("version", "the broker's; one"),
];

/// What the topics beyond the bound are called: no topic can be.
pub(super) const OTHER_TOPICS: &str = "(other)";
