//! The suite that every catalog passes, written against the trait only.
//!
//! [`conformance_suite!`](crate::conformance_suite) makes one test of each case. A case is given an empty [`Place`] and
//! opens a catalog there, two of them where two processes are meant. It panics when the catalog does not conform.

pub mod books;
pub mod commits;
pub mod compactions;
pub mod leases;
pub mod openings;
pub mod plans;
mod project;

use async_trait::async_trait;
use cafe_pipeline::catalog::{Result, SharedCatalog};

/// Where a catalog is, or comes to be.
#[async_trait]
pub trait Place: Send + Sync {
    /// Opens the catalog there, with connections of its own, as another process would.
    ///
    /// # Errors
    /// Of the catalog.
    async fn open(&self) -> Result<SharedCatalog>;
}

/// Makes a test of every case. The argument is a function without parameters that returns an empty [`Place`].
#[macro_export]
macro_rules! conformance_suite {
    ($place:ident) => {
        $crate::conformance_suite!(@cases $place;
            plans: counts_and_is_idempotent, the_last_plan_applied_is_current, retired_shards_come_back,
                failed_shards_are_tried_again, committed_shards_are_found_in_the_order_asked, adoptions_are_kept_in_order,
                another_plan_waits_for_live_workers, shards_with_altered_inputs_come_back_pending,
                a_retired_shard_loses_its_lease, reopening_shows_what_was_written;
            openings: an_opening_waits_for_all_and_opens, an_older_batch_retires_nothing_opened,
                a_remade_opening_retires_what_it_did_not_find, an_unused_opening_keeps_its_slices,
                the_shards_of_a_barrier_wait_for_an_input_that_is_made_again;
            leases: two_processes_never_lease_the_same, deeper_nodes_come_first, aligned_shards_wait_for_their_own,
                broadcast_readers_wait_for_all, only_wanted_nodes_are_leased, parts_share_the_shards,
                an_old_token_commits_nothing, a_frozen_worker_changes_nothing, silent_workers_are_reaped,
                gone_workers_are_reaped, departing_counts_no_deaths, back_off_is_kept, shrinking_is_remembered,
                hanging_counts_as_two_deaths, released_shards_count_nothing;
            commits: inputs_are_the_tables_read, a_second_commit_is_lost, a_failing_effect_changes_nothing,
                releases_come_with_their_shard, contradicting_counts_are_refused, a_failure_spoils_no_neighbour,
                lineage_keeps_the_digests_read, damaged_shards_are_made_again, same_bytes_keep_the_readers,
                other_bytes_outdate_the_readers, other_bytes_take_running_readers_back;
            compactions: to_its_readers_a_compacted_shard_is_what_it_was, what_has_changed_is_not_compacted,
                only_the_live_compact, a_compacted_shard_is_made_again_whole, a_compacted_shard_comes_back_compacted;
            books: every_outcome_is_in_the_ledger, the_ledger_tells_when_work_began,
                a_lost_attempt_costs_up_to_its_last_heartbeat, progress_counts_rows_and_costs, rates_sum_committed_attempts, quarantine_is_of_the_current_plan,
                events_are_kept_in_order, retired_files_stay_known, workers_are_listed_while_they_live;
        );
    };
    (@cases $place:ident; $($module:ident: $($case:ident),+;)+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $case() {
                $crate::conformance::$module::$case(&super::$place()).await;
            })+
        })+
    };
}
