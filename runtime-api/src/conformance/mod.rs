//! The suite every backend runs.
//!
//! What must stay true: a case knows no backend. Where two backends could differ,
//! the case pins what both must do; [`transcript`] pins one hash over many
//! programs and inputs, so that the same inputs give the same replies on both.
//! What is allowed to differ is only how much fuel a program costs.
//!
//! A backend mounts it with one line:
//!
//! ```ignore
//! runtime_api::conformance_suite!(|clock| Box::new(MyRuntime::new(clock)));
//! ```

pub mod calls;
mod guests;
pub mod limits;
pub mod modules;
pub mod pointers;
mod rig;
pub mod services;
pub mod streams;
pub mod transcript;
pub mod traps;
pub mod wasi;

use std::sync::Arc;

use platform::Clock;

pub use guests::guest;
pub use rig::{Rig, StepClock, TestHost, TestOutlet};

use crate::Runtime;

/// Makes a runtime that measures its deadlines on the given clock.
pub type Make<'a> = &'a dyn Fn(Arc<dyn Clock>) -> Box<dyn Runtime>;

/// Mounts every case as a test. Takes an expression of type `Fn(Arc<dyn Clock>) -> Box<dyn Runtime>`.
#[macro_export]
macro_rules! conformance_suite {
    ($make:expr) => {
        $crate::conformance_tests! { $make;
            calls: echoes_requests_of_any_size
            calls: start_initialize_and_init_run_once_in_order
            calls: a_small_reply_comes_in_one_crossing
            calls: a_large_reply_is_read_in_parts_and_run_once
            calls: a_pending_reply_ends_with_its_call
            calls: the_host_is_told_which_call_asks_and_when_it_ends
            calls: a_call_takes_effect_when_it_has_answered_and_runs_again_if_disturbed
            calls: what_a_call_is_for_is_told_before_it_begins
            calls: no_upstream_is_called_where_nothing_may_leave
            calls: log_now_and_random_reach_the_host
            calls: log_is_bounded
            calls: the_request_buffer_is_kept_and_grows
            calls: responses_are_freed_when_free_is_exported
            calls: statics_persist_and_a_fresh_instance_is_clean
            calls: memory_of_one_that_trapped_is_zero_in_the_next
            calls: a_negative_status_ends_the_call_and_keeps_the_instance
            services: a_service_nobody_allowed_is_refused_in_a_packet
            services: the_head_comes_first_and_the_body_in_parts
            services: a_body_is_read_forwards_and_between_requests
            services: a_body_that_breaks_off_is_no_whole_one
            services: a_body_ends_with_the_next_call_of_a_service_and_with_its_own
            services: a_service_has_no_more_patience_than_its_call
            streams: pieces_leave_while_the_call_runs
            streams: a_large_piece_leaves_in_parts
            streams: what_process_returns_is_the_last_piece
            streams: a_trap_leaves_what_was_written_and_returns_nothing
            streams: a_client_that_has_gone_is_told_of_at_every_piece
            streams: a_client_is_waited_for_until_the_deadline
            streams: first_bytes_that_are_no_response_trap
            streams: a_piece_is_bounded_and_their_sum_is_not
            streams: ranges_are_checked_before_anything_leaves
            streams: nothing_leaves_outside_of_process
            streams: where_nobody_takes_pieces_they_are_put_together
            streams: what_was_done_takes_effect_before_the_head_leaves
            streams: a_disturbed_call_is_told_so_and_writes_nothing
            streams: what_is_done_behind_the_head_takes_effect_or_the_response_breaks_off
            streams: pieces_are_host_calls
            streams: who_imports_it_is_known
            pointers: imports_refuse_ranges_outside_memory
            pointers: nothing_runs_when_the_reply_buffer_is_bad
            pointers: process_refuses_ranges_outside_memory
            pointers: alloc_must_give_room
            pointers: ranges_up_to_the_last_byte_are_fine
            traps: each_trap_has_its_kind_and_kills_only_its_instance
            traps: endless_recursion_is_a_stack_overflow
            traps: a_trap_while_starting_is_reported
            limits: loops_end_by_fuel
            limits: loops_end_by_deadline_with_endless_fuel
            limits: host_calls_end_by_deadline
            limits: bulk_operations_cost_what_they_move
            limits: memory_grows_to_its_cap_and_no_further
            limits: a_guest_that_dies_of_a_refused_growth_is_out_of_memory
            limits: a_module_that_starts_too_large_is_refused
            limits: responses_requests_and_host_calls_are_bounded
            limits: the_same_call_costs_the_same_fuel
            modules: missing_exports_are_named
            modules: exports_of_another_shape_are_named
            modules: unknown_imports_are_named
            modules: every_truncation_is_refused
            modules: other_files_are_refused
            modules: another_abi_version_is_refused
            modules: features_outside_the_set_are_refused
            modules: too_large_modules_are_refused
            wasi: text_is_logged_line_by_line
            wasi: text_is_bounded
            wasi: clocks_randomness_and_nothing_else_are_given
            wasi: a_sleep_moves_the_clock_and_takes_no_time
            wasi: what_is_not_here_is_refused_with_its_name_in_the_log
            wasi: an_exit_is_a_trap
            wasi: ranges_outside_memory_trap_and_nothing_is_done
            wasi: its_calls_are_host_calls
            wasi: every_function_links_as_it_is_and_not_otherwise
            transcript: nans_are_canonical
            transcript: the_same_inputs_give_the_same_replies
        }
    };
}

/// One test per case: the other half of [`conformance_suite!`](crate::conformance_suite).
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr; $($group:ident: $case:ident)*) => {
        $(
            #[test]
            fn $case() {
                $crate::conformance::$group::$case(&$make);
            }
        )*
    };
}
