//! A process without a file descriptor left. These members need a process of their own.

use std::fs::File;

use super::fixture::{SecurityFixture, Sockets};
use super::hall::{Guest, Hall, Rebuff, serving, trusting};
use crate::testing::pki::Authority;
use crate::testing::process::limit_descriptors;

/// Enough for the test itself, and quick to use up.
const DESCRIPTORS: u64 = 200;

/// Visits attempted while nothing is left.
const ATTEMPTS: usize = 50;

/// Twice, so that coming back is no accident: while nothing is left, whoever needs a descriptor is told so, and a client
/// who waits to be accepted is served once there is one.
pub async fn running_out_of_descriptors_is_survived(fixture: &dyn SecurityFixture) {
    let authority = Authority::new("Test CA");
    let mut hall = Hall::new(fixture, &serving(&authority)).await;
    let guest = Guest::new(fixture, &trusting(&authority));
    hall.serves(&guest).await;
    limit_descriptors(DESCRIPTORS);
    for _ in 0..2 {
        let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(!hoard.is_empty(), "nothing to give back");
        // One is left for a client's side of a connection: accepting it, the server finds none.
        hoard.pop();
        let waiting = match fixture.sockets() {
            Sockets::OneEach => Some(fixture.silent_peer(hall.addr).await),
            Sockets::None | Sockets::Shared => None,
        };
        for _ in 0..ATTEMPTS {
            match guest.visit(hall.addr).await {
                Ok(_) => {
                    assert_ne!(fixture.sockets(), Sockets::OneEach, "a connection out of nothing");
                    hall.visitor().await;
                }
                Err(Rebuff::Connect(error)) => {
                    assert!(!error.is_permanent(), "it passes: {error}");
                    assert!(error.to_string().contains(&hall.addr.to_string()), "{error}");
                }
                Err(other) => panic!("not about connecting: {other:?}"),
            }
        }
        drop(hoard);
        // Whoever waited leaves now, accepted: the server knows that there was somebody.
        drop(waiting.map(|waiting| (waiting, fixture.sockets())));
        guest.visit(hall.addr).await.expect("the next one is served");
        while hall.outcome().await.is_err() {}
    }
}
