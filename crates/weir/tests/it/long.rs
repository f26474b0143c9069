//! Long tests: real software that takes minutes to start, and whole traces. `make test-full` runs
//! them; `make test` and the gate report them as skipped.

/// A skipped test prints how to run it.
pub(crate) fn is_asked_for(test: &str) -> bool {
    let asked = std::env::var_os("WEIR_TEST_FULL").is_some_and(|value| value == "1");
    if !asked {
        println!("SKIPPED {test}: long; run make test-full");
    }
    asked
}
