//! Which task serves a partition: one task a broker, and a way to move a partition from one to another.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sealstream_protocol::limits::MAX_PARTITIONS;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::connection::Place;

/// The tasks of one producer or consumer, by where their session is. `T` is what they keep of a partition.
#[derive(Debug)]
pub(crate) struct Routes<T> {
    tracker: TaskTracker,
    inboxes: Mutex<HashMap<Place, mpsc::Sender<T>>>,
    /// How many partitions there can be: a topic may get more. Each is in one place at a time, so that an inbox has room for all of
    /// them, which takes no memory before they are there.
    partitions: usize,
}

impl<T> Routes<T> {
    pub(crate) fn new(partitions: u32) -> Self {
        Self {
            tracker: TaskTracker::new(),
            inboxes: Mutex::default(),
            partitions: partitions.max(MAX_PARTITIONS) as usize,
        }
    }

    /// Starts the task of `place`, which `task` makes of its inbox.
    pub(crate) fn start<F>(&self, place: Place, task: impl FnOnce(mpsc::Receiver<T>) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.spawn(&mut self.inboxes(), place, task);
    }

    /// Gives a partition to the task of `place`; if there is none, `task` makes one.
    pub(crate) fn hand_over<F>(
        &self,
        place: Place,
        partition: T,
        task: impl FnOnce(mpsc::Receiver<T>, T) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut inboxes = self.inboxes();
        let partition = match inboxes.get(&place) {
            Some(inbox) => match inbox.try_send(partition) {
                Ok(()) => return,
                Err(refused) => refused.into_inner(),
            },
            None => partition,
        };
        self.spawn(&mut inboxes, place, |inbox| task(inbox, partition));
    }

    /// Ends the task of `place`, unless it was given something meanwhile.
    pub(crate) fn retire(&self, place: &Place, inbox: &mut mpsc::Receiver<T>) -> Option<T> {
        let mut inboxes = self.inboxes();
        let given = inbox.try_recv().ok();
        if given.is_none() {
            inboxes.remove(place);
        }
        given
    }

    /// Waits for every task, once they were told to stop.
    pub(crate) async fn join(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    fn spawn<F>(
        &self,
        inboxes: &mut HashMap<Place, mpsc::Sender<T>>,
        place: Place,
        task: impl FnOnce(mpsc::Receiver<T>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sender, inbox) = mpsc::channel(self.partitions);
        inboxes.insert(place, sender);
        self.tracker.spawn(task(inbox));
    }

    fn inboxes(&self) -> MutexGuard<'_, HashMap<Place, mpsc::Sender<T>>> {
        self.inboxes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
