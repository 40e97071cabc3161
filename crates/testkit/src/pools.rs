//! The same work in rayon pools of 1, 2 and 5 threads.

/// The numbers of threads that every law of determinism is tried with.
pub const THREADS: [usize; 3] = [1, 2, 5];

/// Runs `work` in a pool of `threads` threads.
///
/// # Panics
/// Where the pool cannot be made.
pub fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    pool.expect("a pool of a few threads").install(work)
}

/// Runs `work` in pools of 1, 2 and 5 threads; every number must have the same bits in all.
///
/// # Panics
/// Where a number differs, naming its place and both values.
pub fn assert_same_bits(what: &str, work: impl Fn() -> Vec<f64> + Sync + Send) {
    let first = in_pool(THREADS[0], &work);
    for threads in &THREADS[1..] {
        let other = in_pool(*threads, &work);
        assert_bits(
            &format!("{what}, {threads} threads against 1"),
            &other,
            &first,
        );
    }
}

/// Bit for bit.
///
/// # Panics
/// Where a number differs, naming its place and both values.
pub fn assert_bits(what: &str, got: &[f64], want: &[f64]) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (index, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(
            got.to_bits() == want.to_bits(),
            "{what}: index {index}: got {got:e}, want {want:e}, bit for bit"
        );
    }
}
