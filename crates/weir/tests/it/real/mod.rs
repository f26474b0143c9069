//! Tests with real vLLM, each of which waits for boots of it. `scripts/test` runs them one after
//! the other, beside all other tests.
//!
//! A boot is an arm of a local target, or a server of a test's own. The gate has nine in all:
//! five arms in `local.rs`, two engines behind a router in `routing.rs`, a killed Weir in
//! `deaths.rs`, and the endpoint in `vllm.rs`. The rest
//! are long tests, see [`crate::long`].
//!
//! What is tried on real software, where, and which recording of `validation/verdicts/` has it:
//!
//! | what is true | tests | recordings |
//! |---|---|---|
//! | a store or a disk takes nothing, and host memory serves | `placebos::stores_that_take_nothing_..`, `placebos::a_disk_that_is_memory_..` | `redis-read-only`, `redis-full` |
//! | a store is warm of an earlier run, or of an interrupted cell | `endpoints::what_an_earlier_run_left_..` | `endpoint-warm-store`, `endpoint-warm-store-same-prompts` |
//! | a store has keys of others | `local::other_peoples_keys_..` | |
//! | somebody empties the store in the window | `tiers::a_store_that_somebody_empties_..` (emulated) | |
//! | two runs use one store | `tiers::a_store_that_cannot_be_used_..` (emulated) | |
//! | the control has no cache, the pool is larger, the precision another | `local::arms_that_differ_..` | `control-without-cache`, `native-larger-pool`, `native-other-dtype` |
//! | others use the endpoint | `endpoints::endpoints_are_what_..` | `endpoint-few-prompts-of-others`, `endpoint-prompts-of-others` |
//! | the store is another product | `placebos::a_store_of_another_product_..` | |
//! | the disk is memory, and too small | `placebos::a_disk_that_is_memory_..` | `disk-is-memory` |
//! | an endpoint has another mechanism, or none; a control has one | `endpoints::endpoints_are_what_..`, `vllm::placebo` | `endpoint-other-mechanism`, `endpoint-without-connector`, `endpoint-control-with-connector` |
//! | chunks are longer than prompts | `placebos::prompts_that_fill_no_chunk_..` | `native-chunk-too-long`, `lmcache-chunk-too-long` |
//! | chunks are longer than what prompts share | `placebos::prompts_that_fill_no_chunk_..` | `native-chunk-beyond-prefix` |
//! | a store of others stands for the arm's | | `endpoint-store-of-others` |
//! | nothing is asked twice in the window | `placebos::prompts_that_fill_no_chunk_..` | `native-no-reuse` |
//! | every request of a load is refused | `endpoints::endpoints_are_what_..`; all fail later: `failing.rs` | |
//! | a part stands still | `endpoints::parts_that_stand_still_..`, `deaths::a_part_that_dies_..` | `engine-stopped`, `lmcache-stopped`, `lmcache-paused` |
//! | answers are drawn by chance | `endpoints::endpoints_are_what_..` | |
//! | what is loaded is corrupt | `local::real_arms_act_..` | `native-corrupt` |
//! | a connector was told another size than the plan has | `local::real_arms_act_..` | `native-told-less` |
//! | a connector that cannot act on the CPU | `local::further_tiers_act_..` | `lmcache-in-process-without-gpu` |
//! | the GPU holds all; the tier is too small, evicts some, evicts all | `local::what_only_costs_..`, `local::further_tiers_act_..` | `native-fits-gpu`, `native-too-small`, `native-evicts-some`, `native-evicts-all` |
//! | host memory before a store holds all | `placebos::a_store_of_another_product_..` | `redis-behind-enough-host-memory` |
//! | mechanisms act | `local::real_arms_act_..`, `local::further_tiers_act_..`, `endpoints::endpoints_are_what_..` | `native-acts`, `disk-acts`, `lmcache-disk-acts`, `redis-acts`, `endpoint-native-acts` |
//! | a run is killed or interrupted; a store refuses INFO | `deaths.rs`, `tiers::a_store_that_cannot_be_used_..` (emulated) | |

mod deaths;
mod endpoints;
mod local;
mod placebos;
mod routing;
mod vllm;
