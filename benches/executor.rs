//! Work items that each commit a real one-row shard, durably: temporary file, fsync, rename, fsync of the folder, and a
//! transaction under `synchronous=FULL`. Measured as items per second; figures are in BENCHMARKS.md.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a benchmark that cannot run has no figure")]

#[expect(dead_code, reason = "shared with the tests, which use more of it")]
#[path = "../tests/integration/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use cafe_pipeline::executor::{prepare_sources, slices_of};
use cafe_pipeline::plan::expand;
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

/// From a manifest to a catalog that knows all shards: listing, fingerprints, one bulk insert. Nothing is made.
fn plan(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut group = criterion.benchmark_group("plan");
    group.sample_size(10);
    let manifest = "version = 1\n[[stage]]\nkind = \"count\"\nname = \"count\"\nn = 50_000\nshard_rows = 1\n\
                    [[stage]]\nkind = \"square\"\nname = \"square\"\nneeds = [\"count\"]\n";
    for (name, n_before) in [("100,000 shards", 0), ("100,000 shards, again", 1)] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|n_times| {
                let mut took = Duration::ZERO;
                for _ in 0..n_times {
                    let lab = Lab::new(manifest.to_owned());
                    runtime.block_on(async {
                        let project = lab.local().await;
                        for time in 0..=n_before {
                            let began = Instant::now();
                            let listings = prepare_sources(&project, None).await.unwrap();
                            let sources = slices_of(&project.plan, &listings);
                            let catalog = project.catalog.as_ref();
                            let expansion = expand(&project.plan, &sources, None, catalog).await.unwrap();
                            let record = project.plan.record(&listings);
                            let applied = catalog.apply_plan(&record, &expansion.batch).await.unwrap();
                            assert_eq!(applied.n_pending, 100_000);
                            if time == n_before {
                                took += began.elapsed();
                            }
                        }
                        project.catalog.close().await;
                    });
                }
                took
            });
        });
    }
    group.finish();
}

criterion_group!(benches, commits, plan);
criterion_main!(benches);
