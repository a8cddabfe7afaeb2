//! Consumer groups over real sessions: members, their partitions, commits, restarts, and what operators do.

mod assignment;
mod commits;
mod fencing;
mod life;
mod member;
mod operators;
