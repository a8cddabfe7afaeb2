//! Random operations, and what the engine must answer as long as nothing has failed.

use rand::RngExt as _;

use super::super::life::soon;
use super::state::Fate;
use super::{Driver, open};
use crate::log::engine::ReadError;

impl Driver<'_> {
    pub(super) async fn step(&mut self) {
        let millis = self.random.random_range(-3..10);
        self.clock.advance(millis);
        match self.random.random_range(0..100_u32) {
            0..60 => {
                let ops = [1, 1, 1, 2, 4][self.random.random_range(0..5)];
                self.commit(ops).await;
            }
            60..64 => self.burst().await,
            64..72 => self.await_some().await,
            72..86 => self.read().await,
            86..90 => self.trim().await,
            90..92 => self.delete().await,
            92..94 => {
                self.say(|| "drop caches".into());
                self.machine.drop_caches();
            }
            94..97 => self.seek().await,
            _ => tokio::task::yield_now().await,
        }
    }

    async fn await_some(&mut self) {
        while !self.waiting.is_empty() && self.random.random_ratio(4, 5) {
            let index = self.random.random_range(0..self.waiting.len());
            let waiting = self.waiting.swap_remove(index);
            self.await_one(waiting).await;
        }
    }

    /// A read anywhere: what it shows was sent, is where it should be, and must stay.
    async fn read(&mut self) {
        let partition = self.random.random_range(0..self.model.partitions.len());
        let id = self.model.partitions[partition].id;
        let shard = self.shard();
        let Some(info) = shard.partition(id) else {
            assert!(!self.steady() || self.machine.is_down(), "the partition is open");
            return;
        };
        let from = self.random.random_range(info.start..=info.durable_end);
        let max = self.random.random_range(0..20_000);
        self.say(|| format!("read {partition} from {from}"));
        let result = soon(shard.read(id, from, max)).await;
        if !self.steady() {
            return;
        }
        let outcome = result.expect("the offset is in range");
        let entries = super::super::entries(&outcome.entries);
        let model = &mut self.model.partitions[partition];
        assert!(outcome.next <= outcome.durable_end && outcome.durable_end <= model.end());
        assert_eq!(
            entries.is_empty(),
            from == outcome.durable_end,
            "a read shows something unless at the end"
        );
        let promise = model.promise();
        for entry in entries {
            let known = model.at(entry.header.base_offset).expect("it was appended");
            assert_eq!(known.batch, *entry.batch.bytes());
            assert_eq!(known.epoch, entry.header.log_epoch);
            known.promise = known.promise.max(promise);
        }
        if let Some(below) = info.start.checked_sub(1) {
            let error = soon(shard.read(id, below, 1)).await.expect_err("below the start");
            assert!(matches!(error, ReadError::OutOfRange { .. }), "{error}");
        }
    }

    async fn trim(&mut self) {
        let partition = self.random.random_range(0..self.model.partitions.len());
        let end = self.model.partitions[partition].end();
        let before = self.random.random_range(0..=end);
        let id = self.model.partitions[partition].id;
        let result = soon(self.shard().trim(id, before, None)).await;
        self.say(|| format!("trim {partition} below {before}: {result:?}"));
        let model = &mut self.model.partitions[partition];
        match result {
            Ok(start) => {
                assert!(
                    start >= model.start && start <= before.max(model.start),
                    "asked for {before}, got {start}"
                );
                model.perhaps_forgetful |= start > model.start && self.machine.struck() > self.struck_before;
                (model.start, model.start_below) = (start, start.max(model.start_below));
            }
            Err(error) => {
                model.start_below = model.start_below.max(before);
                self.excuse("trim", &error);
            }
        }
    }

    async fn delete(&mut self) {
        self.await_all().await;
        if self.machine.is_down() || !self.steady() {
            return;
        }
        let partition = self.random.random_range(0..self.model.partitions.len());
        let (id, durability) =
            (self.model.partitions[partition].id, self.model.partitions[partition].durability);
        self.say(|| format!("delete {partition}"));
        let shard = self.shard();
        if let Err(error) = soon(shard.delete(id)).await {
            self.model.partitions[partition].perhaps_deleted = true;
            self.model.progress[partition].write(self.model.commits, None);
            self.limbo = true;
            return self.excuse("delete", &error);
        }
        for attempt in self.model.attempts.values_mut().filter(|attempt| attempt.partition == partition) {
            attempt.fate = Fate::Refused;
        }
        self.model.partitions[partition].reset(0);
        // Progress in it may be kept or forgotten: nobody can go on there.
        self.model.progress[partition].write(self.model.commits, None);
        match open(&*shard, id, durability).await {
            Ok(()) => {
                let info = shard.partition(id).expect("it was opened");
                assert_eq!((info.start, info.durable_end), (0, 0));
                self.model.partitions[partition].epoch = info.epoch;
            }
            Err(error) => {
                self.limbo = true;
                self.excuse("open", &error);
            }
        }
    }

    /// Asks where a time is, and checks the answer against the entries.
    async fn seek(&mut self) {
        let partition = self.random.random_range(0..self.model.partitions.len());
        let id = self.model.partitions[partition].id;
        let time = 1_000_000 + self.random.random_range(-5..2_000);
        let shard = self.shard();
        let end_before = shard.partition(id).map(|partition| partition.durable_end);
        let result = soon(shard.offset_at(id, time)).await;
        let Some(info) = shard.partition(id) else { return };
        if !self.steady() {
            return;
        }
        let offset = result.expect("the partition is open");
        assert!(offset >= info.start && offset <= info.durable_end);
        // The end is what is answered if there is none; something may have become durable there since.
        let exact = end_before.is_some_and(|end| offset < end);
        let found = soon(shard.read(id, offset, 1)).await;
        if self.steady()
            && exact
            && let Some(entry) = super::super::entries(&found.expect("in range").entries).first()
        {
            let exact = entry.header.base_offset == offset && entry.header.append_time >= time;
            assert!(exact, "asked for {time}, found {:?}", entry.header);
        }
    }
}
