//! What it costs to hold something against a rate: a call that is let in, one that is refused, a key that is new; alone, and
//! with all processors at the same bucket.
//!
//! `refused` must cost no more than `taken`: whoever comes too fast must not cost more than whoever does not.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use pushline::model::clock::{Clock, Moment};
use pushline::model::tenant::Rate;
use pushline::rate::{Bucket, Buckets};

/// Keys that come in turn: their buckets do not all fit a processor's first cache.
const KEYS: u32 = 10_000;

fn rate(text: &str) -> Rate {
    Rate::parse(text).expect("a rate")
}

fn alone(criterion: &mut Criterion) {
    let (clock, endless, scarce) = (Clock::new(), rate("1000000000/s"), rate("1/day"));
    let mut group = criterion.benchmark_group("rate/alone");
    group.bench_function("clock", |bencher| bencher.iter(|| black_box(clock.now())));
    let now = clock.now().moment;
    group.bench_function("bucket_taken", |bencher| {
        let (bucket, mut now) = (Bucket::default(), now);
        bencher.iter(|| {
            now = now + Duration::from_micros(1);
            black_box(bucket.take(endless, now))
        });
    });
    group.bench_function("bucket_refused", |bencher| {
        let bucket = Bucket::default();
        bencher.iter(|| black_box(bucket.take(scarce, now)));
    });
    for (name, rate) in [("keyed_taken", endless), ("keyed_refused", scarce)] {
        group.bench_function(name, |bencher| {
            let (buckets, mut now, mut key) = (Buckets::new(131_072), now, 0);
            bencher.iter(|| {
                key = (key + 1) % KEYS;
                now = now + Duration::from_nanos(1_000);
                black_box(buckets.take(("shop", "user", key), rate, now))
            });
        });
    }
    group.bench_function("keyed_new", |bencher| {
        let (buckets, mut key) = (Buckets::new(131_072), 0_u64);
        bencher.iter(|| {
            key += 1;
            black_box(buckets.take(("shop", "user", key), scarce, now))
        });
    });
    group.finish();
}

/// All processors take from one key: time of one, as each of them sees it.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn together(criterion: &mut Criterion) {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut group = criterion.benchmark_group(format!("rate/{threads}_threads"));
    for (name, rate) in [("keyed_taken", rate("1000000000/s")), ("keyed_refused", rate("1/day"))] {
        group.bench_function(name, |bencher| {
            bencher.iter_custom(|times| {
                let buckets = Buckets::new(131_072);
                let began = Instant::now();
                thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| {
                            for turn in 0..times {
                                black_box(buckets.take("shop", rate, Moment::from_micros(turn + 1)).is_ok());
                            }
                        });
                    }
                });
                began.elapsed()
            });
        });
    }
    group.finish();
}

criterion_group!(benches, alone, together);
criterion_main!(benches);
