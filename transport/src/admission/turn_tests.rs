//! Turns pass on, leave room for others, and lose no waking.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;

use super::turn::Turn;
use super::{Admission, AdmissionLimits};

fn one_turn() -> Admission {
    Admission::new(AdmissionLimits { turns: 1, ..AdmissionLimits::default() }).unwrap()
}

/// A task that is polled by hand, and only when it was woken.
#[derive(Default)]
struct Wakings(AtomicUsize);

impl Wake for Wakings {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Wakings {
    fn take(&self) -> bool {
        self.0.swap(0, Ordering::SeqCst) > 0
    }
}

fn poll<F: Future>(future: Pin<&mut F>, wakings: &Arc<Wakings>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(wakings))))
}

/// Polls for as long as the task is woken.
fn run<F: Future>(mut future: Pin<&mut F>, wakings: &Arc<Wakings>) -> Poll<F::Output> {
    loop {
        let polled = poll(future.as_mut(), wakings);
        if polled.is_ready() || !wakings.take() {
            return polled;
        }
    }
}

fn take_turn(admission: &Admission) -> Option<Turn> {
    match run(pin!(admission.turn()), &Arc::default()) {
        Poll::Ready(turn) => Some(turn),
        Poll::Pending => None,
    }
}

/// A handshake of so many steps, which waits for the peer before each and may only compute while nobody else does.
struct Handshake<'a> {
    admission: &'a Admission,
    peer: Arc<Mutex<Peer>>,
    polls: usize,
}

#[derive(Default)]
struct Peer {
    flights: usize,
    waker: Option<Waker>,
}

impl Peer {
    fn speak(peer: &Mutex<Self>) {
        let mut peer = peer.lock().unwrap();
        peer.flights += 1;
        if let Some(waker) = peer.waker.take() {
            waker.wake();
        }
    }
}

const FLIGHTS: usize = 2;

impl Future for Handshake<'_> {
    type Output = usize;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<usize> {
        assert!(take_turn(self.admission).is_none(), "polled without the turn");
        self.polls += 1;
        let polls = self.polls;
        let mut peer = self.peer.lock().unwrap();
        if peer.flights >= FLIGHTS {
            return Poll::Ready(polls);
        }
        peer.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

fn handshake(admission: &Admission) -> (Handshake<'_>, Arc<Mutex<Peer>>) {
    let peer = Arc::default();
    (Handshake { admission, peer: Arc::clone(&peer), polls: 0 }, peer)
}

#[test]
fn a_paced_future_is_polled_once_per_waking_and_holds_no_turn_while_it_waits() {
    let admission = one_turn();
    let (inner, peer) = handshake(&admission);
    let wakings = Arc::default();
    let mut paced = pin!(admission.paced(|| inner));
    assert!(run(paced.as_mut(), &wakings).is_pending());
    assert!(take_turn(&admission).is_some(), "the turn was given back");
    Peer::speak(&peer);
    assert!(wakings.take(), "the peer's bytes wake the task");
    assert!(run(paced.as_mut(), &wakings).is_pending());
    Peer::speak(&peer);
    assert!(wakings.take());
    assert_eq!(run(paced.as_mut(), &wakings), Poll::Ready(3), "one poll to start, one per flight");
    assert!(take_turn(&admission).is_some());
}

#[test]
fn a_waking_that_comes_while_the_task_waits_for_its_turn_is_not_lost() {
    let admission = one_turn();
    let (inner, peer) = handshake(&admission);
    let wakings = Arc::default();
    let mut paced = pin!(admission.paced(|| inner));
    assert!(run(paced.as_mut(), &wakings).is_pending());
    let others = take_turn(&admission).unwrap();
    Peer::speak(&peer);
    assert!(run(paced.as_mut(), &wakings).is_pending(), "it is another's turn");
    // The last flight arrives while the task stands in the queue.
    Peer::speak(&peer);
    assert!(run(paced.as_mut(), &wakings).is_pending(), "it is still another's turn");
    drop(others);
    assert!(wakings.take(), "its turn wakes the task");
    assert!(run(paced.as_mut(), &wakings).is_ready());
}

#[test]
fn a_waking_that_comes_while_the_task_yields_is_not_lost() {
    let admission = one_turn();
    let (inner, peer) = handshake(&admission);
    let wakings = Arc::default();
    let mut paced = pin!(admission.paced(|| inner));
    assert!(poll(paced.as_mut(), &wakings).is_pending(), "it has the turn and yields");
    assert!(take_turn(&admission).is_none());
    Peer::speak(&peer);
    assert!(run(paced.as_mut(), &wakings).is_pending(), "one flight is to come");
    Peer::speak(&peer);
    assert!(wakings.take());
    assert!(poll(paced.as_mut(), &wakings).is_pending(), "it yields again");
    assert!(run(paced.as_mut(), &wakings).is_ready());
}

#[test]
fn a_future_that_wakes_itself_is_polled_again() {
    struct Restless(usize);
    impl Future for Restless {
        type Output = ();
        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            self.0 -= 1;
            if self.0 == 0 {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }
    let admission = one_turn();
    assert!(run(pin!(admission.paced(|| Restless(10))), &Arc::default()).is_ready());
}

#[test]
fn a_task_that_moves_is_woken_where_it_is() {
    let admission = one_turn();
    let (inner, peer) = handshake(&admission);
    let (before, after) = (Arc::default(), Arc::default());
    let mut paced = pin!(admission.paced(|| inner));
    assert!(run(paced.as_mut(), &before).is_pending());
    assert!(run(paced.as_mut(), &after).is_pending(), "polled though nothing came");
    Peer::speak(&peer);
    Peer::speak(&peer);
    assert!(after.take());
    assert!(run(paced.as_mut(), &after).is_ready());
}

#[test]
fn a_turn_comes_back_from_whoever_is_cancelled() {
    let admission = one_turn();
    let wakings = Arc::default();
    // While it yields with the turn.
    let mut paced = Box::pin(admission.paced(|| handshake(&admission).0));
    assert!(poll(paced.as_mut(), &wakings).is_pending());
    drop(paced);
    // While it waits for the peer.
    let mut paced = Box::pin(admission.paced(|| handshake(&admission).0));
    assert!(run(paced.as_mut(), &wakings).is_pending());
    drop(paced);
    // While it stands in the queue, and when its turn has come but it has not looked.
    let others = take_turn(&admission).unwrap();
    let mut first = Box::pin(admission.turn());
    let mut second = Box::pin(admission.turn());
    assert!(poll(first.as_mut(), &wakings).is_pending());
    assert!(poll(second.as_mut(), &wakings).is_pending());
    drop(others);
    drop(first);
    drop(second);
    assert!(take_turn(&admission).is_some());
}

#[test]
fn turns_can_be_more_and_fewer_at_run_time() {
    let admission = one_turn();
    let held = take_turn(&admission).unwrap();
    assert!(take_turn(&admission).is_none());
    admission.set_limits(AdmissionLimits { turns: 2, ..admission.limits() }).unwrap();
    let second = take_turn(&admission).unwrap();
    admission.set_limits(AdmissionLimits { turns: 1, ..admission.limits() }).unwrap();
    drop(held);
    assert!(take_turn(&admission).is_none());
    drop(second);
    assert!(take_turn(&admission).is_some());
}

/// What a step makes ready takes two hops through the run queue, as a packet does from the driver to a stream's reader.
#[tokio::test]
async fn between_two_steps_everything_that_is_ready_goes_first() {
    const STEPS: usize = 20;
    let admission = one_turn();
    let (arrived, readable) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let log = Arc::new(Mutex::new(Vec::new()));
    let mut established = JoinSet::new();
    {
        let (arrived, readable) = (Arc::clone(&arrived), Arc::clone(&readable));
        established.spawn(async move {
            loop {
                arrived.notified().await;
                readable.notify_one();
            }
        });
    }
    {
        let log = Arc::clone(&log);
        established.spawn(async move {
            loop {
                readable.notified().await;
                log.lock().unwrap().push("stream");
            }
        });
    }
    let mut handshakes = JoinSet::new();
    for _ in 0..STEPS {
        let (admission, arrived, log) = (admission.clone(), Arc::clone(&arrived), Arc::clone(&log));
        handshakes.spawn(async move {
            let step = || {
                log.lock().unwrap().push("step");
                arrived.notify_one();
            };
            admission.compute(step).await;
        });
    }
    while let Some(handshake) = handshakes.join_next().await {
        handshake.unwrap();
    }
    // Up to the last step: what follows that one may be on its way still.
    let alternating = ["step", "stream"].repeat(STEPS);
    assert_eq!(log.lock().unwrap()[..2 * STEPS - 1], alternating[..2 * STEPS - 1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_paced_futures_on_many_threads_all_complete_and_never_more_at_once_than_turns() {
    const TURNS: usize = 2;
    let admission = Admission::new(AdmissionLimits { turns: TURNS, ..AdmissionLimits::default() }).unwrap();
    let computing = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..500 {
        let (send, receive) = oneshot::channel();
        let (admission, computing) = (admission.clone(), Arc::clone(&computing));
        let mut receive = Box::pin(receive);
        tasks.spawn(async move {
            let counted = std::future::poll_fn(|cx| {
                assert!(computing.fetch_add(1, Ordering::SeqCst) < TURNS);
                std::thread::yield_now();
                let polled = receive.as_mut().poll(cx);
                computing.fetch_sub(1, Ordering::SeqCst);
                polled
            });
            admission.paced(|| counted).await.unwrap();
        });
        tasks.spawn(async move {
            tokio::task::yield_now().await;
            send.send(()).unwrap();
        });
    }
    while let Some(task) = tasks.join_next().await {
        task.unwrap();
    }
}
