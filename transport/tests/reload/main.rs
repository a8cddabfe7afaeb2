//! Material that changes under live connections: what must live lives, what must die dies, what must resume resumes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod matrix;
#[cfg(target_os = "linux")]
mod watch;
mod world;
