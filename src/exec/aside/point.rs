//! Places at which a run may be killed, so that tests can kill it at each of them.

/// One such place. In a build for tests the process dies at the one that `REDISCUE_DIE_AT_POINT` counts to.
#[cfg(debug_assertions)]
pub(super) fn point() {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU64, Ordering},
    };
    static PASSED: AtomicU64 = AtomicU64::new(0);
    static DIE_AT: LazyLock<Option<u64>> =
        LazyLock::new(|| std::env::var("REDISCUE_DIE_AT_POINT").ok().and_then(|text| text.parse().ok()));
    if let Some(at) = *DIE_AT
        && PASSED.fetch_add(1, Ordering::SeqCst) + 1 == at
    {
        // As with `kill -9`, nothing is tidied up and nobody is told.
        std::process::abort();
    }
}

#[cfg(not(debug_assertions))]
pub(super) fn point() {}
