//! Every tier of the pools against plain allocation by the allocator that the gateway has, each in its pattern of use:
//!
//! - `alone`: one buffer is taken, written to and dropped, over and over, by one thread (stream).
//! - `held`: 64 at once, then all are dropped (connection: what a turn of the loop queues).
//! - `crossing`: taken by one thread, dropped by another; time of both together (message).
//! - `shared`: a body is written, cloned ten times, and the clones are dropped (message).
//! - `grown`: pieces of 256 bytes up to 16 KiB (connection: a push stream's buffer).
//! - `scratch`: room for a TLS record, initialised; 200 bytes are written (process).
//!
//! Compare `tier` with `plain` at each size: the time of one buffer (`held`: of 64; `shared`: of the body and all its
//! clones). A tier begins at the size from which it wins. At the end it prints what is resident after a burst: that must
//! come down to where it was within seconds, tier or plain.

use std::hint::black_box;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion};
use pushline::pool::{self, Plan, Pool, SCRATCH_BYTES, Scratch, Tier, resident_bytes};

/// As `src/main.rs` has it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SIZES: [usize; 6] = [1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20];

/// A tier with classes where no tier of the gateway has any: it shows where they begin to pay.
static ANY: Pool = Pool::new(Plan {
    class_least: 1 << 10,
    class_greatest: 2 << 20,
    free_bytes_max: 1 << 30,
    release_ticks: None,
    counts_plain: false,
});

/// Sessions that share a body: few, so that the body's own cost is seen.
const CLONES: usize = 10;

/// Something to write: a short push with its header.
const PIECE: [u8; 256] = [7; 256];

fn plain(bytes: usize) -> Vec<u8> {
    let mut buffer = Vec::with_capacity(black_box(bytes));
    buffer.extend_from_slice(&PIECE);
    buffer
}

fn tier(bytes: usize) -> pool::Block {
    let mut block = ANY.take(black_box(bytes));
    block.extend_from_slice(&PIECE);
    block
}

fn alone(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool/alone");
    for bytes in SIZES {
        group.bench_function(BenchmarkId::new("plain", bytes), |bencher| bencher.iter(|| plain(bytes)));
        group.bench_function(BenchmarkId::new("tier", bytes), |bencher| bencher.iter(|| tier(bytes)));
    }
    group.finish();
}

fn held(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool/held");
    for bytes in SIZES.into_iter().filter(|bytes| *bytes <= 64 << 10) {
        group.bench_function(BenchmarkId::new("plain", bytes), |bencher| {
            let mut all = Vec::with_capacity(64);
            bencher.iter(|| {
                all.extend((0..64).map(|_| plain(bytes)));
                black_box(&mut all).clear();
            });
        });
        group.bench_function(BenchmarkId::new("tier", bytes), |bencher| {
            let mut all = Vec::with_capacity(64);
            bencher.iter(|| {
                all.extend((0..64).map(|_| tier(bytes)));
                black_box(&mut all).clear();
            });
        });
    }
    group.finish();
}

fn crossing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool/crossing");
    for bytes in [1 << 10, 4 << 10, 16 << 10, 256 << 10] {
        group.bench_function(BenchmarkId::new("plain", bytes), |bencher| {
            bencher.iter_custom(|iterations| cross(iterations, || plain(bytes)));
        });
        group.bench_function(BenchmarkId::new("tier", bytes), |bencher| {
            bencher.iter_custom(|iterations| cross(iterations, || tier(bytes)));
        });
    }
    group.finish();
}

/// Makes buffers here and drops them there, in batches as a group commit would; the time of both sides without the
/// channel's.
fn cross<T: Send + 'static>(iterations: u64, make: impl Fn() -> T) -> Duration {
    const BATCH: u64 = 64;
    let (batches, arriving) = mpsc::sync_channel::<Vec<T>>(4);
    let dropping = thread::spawn(move || {
        let timed = |batch: Vec<T>| {
            let began = now();
            drop(batch);
            began.elapsed()
        };
        arriving.into_iter().map(timed).sum::<Duration>()
    });
    let mut making = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let count = left.min(BATCH);
        let began = now();
        let batch = (0..count).map(|_| make()).collect();
        making += began.elapsed();
        batches.send(batch).expect("the other thread takes all");
        left -= count;
    }
    drop(batches);
    making + dropping.join().expect("no panic there")
}

fn shared(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool/shared");
    let mut clones = Vec::with_capacity(CLONES);
    let mut share = |body: Bytes| {
        clones.extend((0..CLONES).map(|_| body.clone()));
        drop(body);
        black_box(&mut clones).clear();
    };
    for bytes in [300, 4 << 10, 64 << 10, 256 << 10] {
        let body = vec![7; bytes];
        group.bench_function(BenchmarkId::new("plain", bytes), |bencher| {
            bencher.iter(|| share(black_box(&body).clone().into()));
        });
        group.bench_function(BenchmarkId::new("tier", bytes), |bencher| {
            bencher.iter(|| {
                let mut block = Tier::Message.take(body.len());
                block.extend_from_slice(black_box(&body));
                share(block.into_bytes());
            });
        });
        group.bench_function(BenchmarkId::new("any_size", bytes), |bencher| {
            bencher.iter(|| {
                let mut block = ANY.take(body.len());
                block.extend_from_slice(black_box(&body));
                share(block.into_bytes());
            });
        });
    }
    group.finish();
}

fn grown(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool/grown");
    group.bench_function("plain", |bencher| {
        bencher.iter(|| {
            let mut buffer = BytesMut::new();
            (0..64).for_each(|_| buffer.put_slice(black_box(&PIECE)));
            buffer.freeze()
        });
    });
    group.bench_function("plain_with_capacity", |bencher| {
        bencher.iter(|| {
            let mut buffer = BytesMut::with_capacity(black_box(16 << 10));
            (0..64).for_each(|_| buffer.put_slice(black_box(&PIECE)));
            buffer.freeze()
        });
    });
    group.bench_function("tier", |bencher| {
        bencher.iter(|| {
            let mut block = Tier::Connection.take(256);
            (0..64).for_each(|_| {
                block.reserve(PIECE.len());
                block.put_slice(black_box(&PIECE));
            });
            block.into_bytes()
        });
    });
    group.bench_function("tier_with_capacity", |bencher| {
        bencher.iter(|| {
            let mut block = Tier::Connection.take(black_box(16 << 10));
            (0..64).for_each(|_| block.put_slice(black_box(&PIECE)));
            block.into_bytes()
        });
    });
    group.finish();
}

fn scratch(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("pool/scratch");
    group.bench_function("plain", |bencher| {
        bencher.iter(|| {
            let mut space = vec![0; black_box(SCRATCH_BYTES)];
            space[..200].copy_from_slice(&PIECE[..200]);
            black_box(&mut space)[0]
        });
    });
    group.bench_function("tier", |bencher| {
        bencher.iter(|| {
            let mut space = Scratch::take();
            space[..200].copy_from_slice(black_box(&PIECE[..200]));
            black_box(&mut space)[0]
        });
    });
    group.finish();
}

/// What is resident before, in and after a burst in which so many buffers are held at once.
fn burst<T>(name: &str, make: impl Fn() -> T) {
    const BUFFERS: usize = 10_000;
    let mebibytes = || resident_bytes().unwrap_or_default() >> 20;
    let before = mebibytes();
    let all: Vec<T> = (0..BUFFERS).map(|_| make()).collect();
    let during = mebibytes();
    drop(all);
    let mut after = vec![mebibytes()];
    for _ in 0..6 {
        thread::sleep(pool::TICK);
        pool::tick();
        // The allocator gives memory back when it is used, not by a clock.
        drop(black_box(plain(100)));
        after.push(mebibytes());
    }
    println!("resident MiB, {BUFFERS} x 16 KiB {name}: {before} before, {during} during, {after:?} after, 1 s apart");
}

fn full(buffer: &mut Vec<u8>) {
    buffer.resize(16 << 10, 7);
}

/// The clock of this bench; the product takes its own.
#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    alone(&mut criterion);
    held(&mut criterion);
    crossing(&mut criterion);
    shared(&mut criterion);
    grown(&mut criterion);
    scratch(&mut criterion);
    criterion.final_summary();
    burst("plain", || {
        let mut buffer = plain(16 << 10);
        full(&mut buffer);
        buffer
    });
    burst("tier connection", || {
        let mut block = Tier::Connection.take(16 << 10);
        full(&mut block);
        block
    });
}
