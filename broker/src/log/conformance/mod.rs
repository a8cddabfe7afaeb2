//! One suite for every log engine: what [`LogEngine`] and [`Shard`](super::Shard) promise, method by method and error by error.
//!
//! An engine passes it for one line and a [`Fixture`]:
//!
//! ```
//! # mod tests {
//! # use std::sync::Arc;
//! # use sealstream_broker::log::{LogEngine, clock::ManualClock, conformance::Fixture};
//! # use sealstream_broker::log::memory::{MemoryEngine, MemoryStore};
//! # use sealstream_transport::BoxFuture;
//! struct Memory(MemoryStore, Arc<ManualClock>);
//!
//! impl Fixture for Memory {
//!     fn clock(&self) -> Arc<ManualClock> {
//!         self.1.clone()
//!     }
//!     fn start(&self) -> BoxFuture<'_, Arc<dyn LogEngine>> {
//!         Box::pin(async { Arc::new(MemoryEngine::over(&self.0, self.1.clone())) as Arc<dyn LogEngine> })
//!     }
//! }
//!
//! sealstream_broker::log_conformance!(memory, || Memory(MemoryStore::new(2), Arc::default()));
//! # }
//! ```
//!
//! Every case begins with an empty store. Nothing waits for time to pass: [`PATIENCE`] only ends what has failed.

#![expect(clippy::missing_panics_doc, reason = "a case panics where the engine breaks its promise")]
#![expect(missing_docs, reason = "the name of a case is the promise that it checks")]

pub mod appends;
pub mod durability;
pub mod life;
pub mod model;
pub mod ownership;
pub mod producers;
pub mod reads;
pub mod reopening;
pub mod retention;
pub mod tables;

use std::sync::Arc;
use std::time::Duration;

use sealstream_transport::BoxFuture;

use super::clock::ManualClock;
use super::engine::LogEngine;
pub use life::{Life, batch, entries, producer};

/// How long a case waits for what must happen: far longer than it takes, on a machine that has other things to do.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A store for an engine, empty when made, and the engine's lives on it.
pub trait Fixture: Send + Sync {
    /// The clock of every engine on this store.
    fn clock(&self) -> Arc<ManualClock>;

    /// Starts an engine on the store. Not called while another one lives.
    fn start(&self) -> BoxFuture<'_, Arc<dyn LogEngine>>;

    /// Ends an engine as a crash does, the harshest that the fixture can make. No handle of the engine is left but this one. Dropping it
    /// must not seal anything.
    fn crash(&self, engine: Arc<dyn LogEngine>) -> BoxFuture<'_, ()> {
        drop(engine);
        Box::pin(std::future::ready(()))
    }
}

/// Runs the whole suite in a module of this name; the second argument makes a new [`Fixture`] whenever it is called.
#[macro_export]
macro_rules! log_conformance {
    ($engine:ident, $fixture:expr) => {
        mod $engine {
            #[allow(unused_imports, reason = "the fixture may be given by its full path")]
            use super::*;

            $crate::log_conformance! { @run $fixture;
                appends {
                    an_append_comes_back_byte_for_byte_whatever_its_durability
                    calls_from_many_tasks_are_in_the_log_in_their_order
                    a_commit_whose_future_is_dropped_takes_effect
                    an_empty_commit_is_durable_at_once
                    one_commit_reaches_several_partitions
                    a_refused_commit_leaves_nothing_and_names_the_operation
                    an_exact_append_is_refused_anywhere_but_at_the_end
                    appends_of_one_commit_to_one_partition_follow_each_other
                    append_times_never_decrease_though_the_clock_does
                    appends_of_the_broker_itself_have_no_sequence
                    a_partition_never_opened_takes_nothing
                    large_and_small_batches_keep_their_bytes
                }
                producers {
                    a_repeated_batch_is_a_duplicate_with_its_first_offset
                    after_a_gap_everything_is_refused_until_it_is_filled
                    a_producer_in_mid_sequence_that_nobody_knows_is_told_so
                    a_repeat_older_than_what_is_remembered_is_too_old
                    a_producer_id_is_bound_to_the_identity_that_used_it_first
                    sequences_count_for_each_partition_apart
                    several_batches_of_one_commit_are_checked_against_each_other
                    a_producer_is_forgotten_after_seven_idle_days
                    producers_are_known_after_a_clean_reopen
                    producers_are_known_after_a_crash
                    producers_outlive_the_records_that_were_trimmed
                    a_duplicate_is_durable_when_the_original_is
                }
                reads {
                    a_read_gives_at_most_the_bytes_asked_for_but_one_entry_at_least
                    a_read_within_a_bound_leaves_a_larger_entry_alone_and_says_what_it_takes
                    a_read_from_the_middle_of_a_batch_begins_with_that_batch
                    a_read_at_the_end_is_empty
                    a_read_beyond_the_end_is_out_of_range
                    a_partition_never_opened_cannot_be_read
                    reading_in_steps_gives_every_record_once_and_in_order
                    readers_and_writers_at_once_see_one_growing_log
                    the_offset_at_a_time_is_the_first_batch_appended_then_or_later
                    what_is_cached_adds_up_to_no_more_than_its_limit_and_goes_with_its_partition
                }
                durability {
                    what_is_durable_can_be_read_and_watched
                    nothing_is_visible_before_it_is_durable
                    an_entry_was_written_after_the_durable_end_that_it_names
                    a_watch_wakes_its_waiters
                    a_watch_ends_with_its_partition
                    a_watch_ends_with_the_engine
                    a_partition_never_opened_cannot_be_watched
                }
                retention {
                    a_trim_goes_no_further_than_asked_and_leaves_the_rest_readable
                    a_trim_of_everything_stops_at_the_end_and_appends_go_on_there
                    a_trim_by_bytes_spares_the_newest
                    a_trim_never_moves_the_start_back
                    a_start_is_kept_over_a_clean_reopen
                    a_deleted_partition_is_gone_for_everybody
                    a_deleted_partition_comes_back_empty
                    a_deleted_partition_stays_deleted_after_a_crash
                }
                tables {
                    a_value_is_put_only_over_the_version_expected
                    a_version_never_comes_twice_though_its_key_was_removed
                    one_commit_may_put_a_key_twice
                    keys_are_listed_by_prefix_and_in_order
                    an_offset_is_the_last_one_committed
                    the_offsets_of_a_group_are_listed_in_the_order_of_their_partitions
                    what_a_group_forgets_is_gone_and_nothing_else
                    forgetting_and_a_value_go_together_or_not_at_all
                    values_and_offsets_are_kept_over_a_clean_reopen
                    values_and_offsets_are_kept_over_a_crash
                    a_large_value_is_kept_whole
                }
                ownership {
                    the_same_epoch_gives_the_same_shard
                    an_older_owner_cannot_open_the_shard
                    a_newer_owner_fences_the_one_before
                    an_older_owner_is_refused_after_a_reopen_too
                    a_change_of_owner_raises_the_log_epoch
                    there_is_no_shard_beyond_the_last
                    a_closed_engine_takes_nothing
                    the_number_of_shards_is_kept
                }
                reopening {
                    everything_is_there_after_a_clean_reopen
                    a_clean_reopen_keeps_the_log_epoch
                    a_crash_takes_nothing_that_was_durable_and_raises_the_log_epoch
                    a_reader_learns_where_histories_part
                    an_epoch_that_the_log_never_had_diverges
                    appends_go_on_after_many_crashes
                    partitions_never_written_to_survive_a_crash
                }
            }
        }
    };
    (@run $fixture:expr; $( $group:ident { $( $case:ident )+ } )+) => {
        $( $(
            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::log::conformance::$group::$case(&($fixture)()).await;
            }
        )+ )+
    };
}
