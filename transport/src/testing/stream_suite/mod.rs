//! The stream suite: what every backend of the transport means by a stream, a connection and a listener.
//!
//! One line runs all of it against a backend, each property as a test of its own:
//!
//! ```
//! # #[cfg(test)]
//! mod memory {
//!     sealstream_transport::stream_suite!(sealstream_transport::testing::backends::MemoryFixture::new());
//! }
//! ```
//!
//! The expression makes a [`StreamFixture`], afresh for each test and inside its runtime. Where backends differ by
//! nature, a fixture's [`Capabilities`] say so, and the member asserts what each promises.

mod bed;
mod cancellation;
mod endings;
mod fixture;
mod leaks;
mod lifetimes;
mod pressure;
mod transfer;

pub use cancellation::*;
pub use endings::*;
pub use fixture::{BreakablePath, Capabilities, StreamFixture};
pub use leaks::*;
pub use lifetimes::*;
pub use pressure::*;
pub use transfer::*;

/// Runs the stream suite against the backend that an expression makes: one test for each property.
#[macro_export]
macro_rules! stream_suite {
    ($fixture:expr) => {
        $crate::stream_suite! { @run $fixture;
            bytes_arrive_whole_and_in_order_with_64_mib_each_way_at_once
            a_request_is_answered_while_both_directions_stay_open
            many_small_writes_arrive_as_one_sequence
            vectored_writes_keep_their_order
            two_hundred_and_fifty_six_streams_at_once_carry_their_own_bytes
            a_reader_that_stops_holds_the_client_within_the_bound
            a_reader_that_stops_holds_the_server_within_the_bound
            a_blocked_writer_learns_that_nobody_reads_any_more
            a_reader_may_give_its_reason_to_stop
            the_server_still_writes_after_the_client_has_ended
            the_client_still_writes_after_the_server_has_ended
            an_empty_stream_ends_cleanly
            after_its_end_a_stream_stays_ended
            an_abort_with_data_in_flight_is_never_a_clean_end
            a_dropped_send_half_aborts_with_data_in_flight
            a_dropped_stream_is_never_a_clean_end
            an_abort_of_one_direction_leaves_the_other_whole
            a_crash_with_data_in_flight_is_never_a_clean_end
            a_crash_reaches_a_writer_and_the_server
            a_megabyte_then_shutdown_and_the_drop_of_all_handles_arrives_whole_from_the_client
            a_megabyte_then_shutdown_and_the_drop_of_all_handles_arrives_whole_from_the_server
            a_last_word_arrives_although_its_writer_left_input_unread
            streams_dropped_by_either_side_hurt_no_other
            every_stream_names_its_peer
            a_slow_handshake_delays_no_other
            a_connection_turned_away_harms_nobody
            streams_live_on_without_the_handle_they_came_from
            closing_a_connection_ends_its_streams_but_harms_no_finished_one
            closing_a_listener_ends_accept_and_leaves_connections_alone
            a_closed_listener_frees_its_address
            an_address_in_use_says_so
            a_cancelled_accept_loses_no_connection
            a_cancelled_accept_loses_no_stream
            a_cancelled_open_costs_nothing
            a_cancelled_connect_leaves_nothing_on_the_server
            a_cancelled_write_or_read_loses_no_byte
        }
        $crate::stream_suite! { @alone $fixture;
            a_thousand_connects_in_a_row_leave_no_socket_behind
            cancelled_connects_and_opens_leave_no_socket_behind
        }
    };
    (@run $fixture:expr; $($property:ident)+) => {$(
        #[test]
        fn $property() {
            $crate::testing::run(stringify!($property), async {
                $crate::testing::stream_suite::$property(&$fixture).await;
            });
        }
    )+};
    (@alone $fixture:expr; $($property:ident)+) => {$(
        #[test]
        fn $property() {
            $crate::testing::alone(concat!(module_path!(), "::", stringify!($property)), async || {
                $crate::testing::stream_suite::$property(&$fixture).await;
            });
        }
    )+};
}
