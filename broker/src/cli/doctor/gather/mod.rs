//! Looks at the machine, the files and the network, and thinks nothing of what it finds. What cannot be found out is left out.

pub(super) mod disk;
pub(super) mod files;
pub(super) mod machine;
pub(super) mod ports;
pub(super) mod reach;
