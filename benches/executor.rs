//! Work items that each commit a real one-row shard, durably: temporary file, fsync, rename, fsync of the folder, and a
//! transaction under `synchronous=FULL`. Measured as items per second; figures are in BENCHMARKS.md.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run has no figure")]

#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/integration/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use support::lab::{Lab, options};

const N_SHARDS: u32 = 2_000;

/// Rows that are shards of their own.
fn manifest() -> String {
    format!("version = 1\n[[stage]]\nkind = \"count\"\nname = \"count\"\nn = {N_SHARDS}\nshard_rows = 1\n")
}

fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("executor");
    group.throughput(Throughput::Elements(N_SHARDS.into())).sample_size(10).measurement_time(Duration::from_secs(30));
    for workers in [1, 4] {
        group.bench_function(format!("one-row shards, {workers} workers"), |bencher| {
            bencher.iter_custom(|n_times| {
                let mut took = Duration::ZERO;
                for _ in 0..n_times {
                    let lab = Lab::new(manifest());
                    let began = Instant::now();
                    let report = runtime.block_on(lab.run(options(workers)));
                    took += began.elapsed();
                    assert_eq!(report.nodes[0].n_committed, u64::from(N_SHARDS));
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
