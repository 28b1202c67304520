//! P1.15: the server keeps several memory pools with different lifetimes and manages each by its lifetime. What the
//! tiers promise, one by one and in any order of use; what they gain is for `benches/pool.rs`.

use std::collections::VecDeque;
use std::thread;

use bytes::{BufMut, Bytes};
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use pushline::pool::{Block, Plan, Pool, SCRATCH_BYTES, Scratch, Tier, Usage};

const KIB: usize = 1024;

const PLAN: Plan = Plan {
    class_least: 4 * KIB,
    class_greatest: 64 * KIB,
    free_bytes_max: 8 * 128 * KIB,
    release_ticks: Some(1),
    counts_plain: false,
};

/// A tier of the test's own, so that tests do not see each other's blocks.
fn pool(plan: Plan) -> &'static Pool {
    Box::leak(Box::new(Pool::new(plan)))
}

fn used(pool: &Pool) -> u64 {
    pool.usage().used_bytes
}

fn free(pool: &Pool) -> u64 {
    pool.usage().free_bytes
}

#[test]
fn a_block_comes_back_and_is_handed_out_again_with_nothing_in_it() {
    let pool = pool(PLAN);
    let mut block = pool.take(5 * KIB);
    assert!(block.is_empty() && block.capacity() == 8 * KIB);
    block.put_slice(b"what nobody else may read");
    assert_eq!(pool.usage(), Usage { used_bytes: 8 * 1024, misses: 1, ..Usage::default() });
    let place = block.as_ptr();
    drop(block);
    assert_eq!((used(pool), free(pool)), (0, 8 * 1024));
    let again = pool.take(8 * KIB);
    assert_eq!((again.as_ptr(), again.len(), pool.usage().hits), (place, 0, 1));
    assert_eq!(pool.take(4 * KIB).capacity(), 4 * KIB, "another class has other blocks");
}

#[test]
fn what_is_smaller_or_larger_than_its_classes_is_allocated_plainly() {
    let pool = pool(PLAN);
    for bytes in [0, 1, 2 * KIB, 64 * KIB + 1, 1024 * KIB] {
        let mut block = pool.take(bytes);
        assert!(block.capacity() >= bytes);
        block.put_bytes(1, bytes);
        assert_eq!(block.into_bytes(), vec![1; bytes]);
    }
    assert_eq!(pool.usage(), Usage::default());
}

#[test]
fn a_tier_may_count_what_it_does_not_keep() {
    let pool = pool(Plan { counts_plain: true, ..PLAN });
    let mut block = pool.take(300);
    block.put_bytes(1, 300);
    let bytes = block.into_bytes();
    assert_eq!((used(pool), pool.usage().misses), (300, 0));
    let clone = bytes.clone();
    drop(bytes);
    assert_eq!((used(pool), &clone[..]), (300, &[1; 300][..]));
    thread::spawn(move || drop(clone)).join().expect("no panic there");
    let mut grown = pool.take(1_000);
    grown.put_bytes(1, 1_000);
    grown.reserve(1);
    assert_eq!(used(pool), 2_000);
    drop(grown);
    assert_eq!(pool.usage(), Usage::default());
}

#[test]
fn no_tier_keeps_more_than_its_budget_and_none_refuses() {
    let pool = pool(PLAN);
    let blocks: Vec<Block> = (0..100).map(|_| pool.take(64 * KIB)).collect();
    assert_eq!(used(pool), 100 * 64 * 1024);
    drop(blocks);
    // An eighth of the budget, because one thread has one shelf of eight.
    assert_eq!((used(pool), free(pool)), (0, 128 * 1024));
}

#[test]
fn blocks_that_nobody_needed_between_two_ticks_go_back_to_the_allocator() {
    let pool = pool(Plan { free_bytes_max: 8 * 1024 * KIB, ..PLAN });
    let burst: Vec<Block> = (0..10).map(|_| pool.take(16 * KIB)).collect();
    drop(burst);
    pool.tick();
    assert_eq!(free(pool), 160 * 1024, "all ten were needed since the last tick");
    let quiet: Vec<Block> = (0..3).map(|_| pool.take(16 * KIB)).collect();
    drop(quiet);
    pool.tick();
    assert_eq!((free(pool), pool.usage().trimmed_bytes), (3 * 16 * 1024, 7 * 16 * 1024), "three were needed");
    pool.tick();
    assert_eq!((free(pool), pool.usage().trimmed_bytes), (0, 160 * 1024), "none was needed");
}

#[test]
fn each_tier_releases_by_its_own_rule() {
    let rules = [(Some(1), 1), (Some(3), 3), (None, u32::MAX)];
    for (release_ticks, expected) in rules {
        let pool = pool(Plan { release_ticks, ..PLAN });
        drop(pool.take(4 * KIB));
        // Its first look only begins the time in which the block is not needed.
        (0..release_ticks.unwrap_or(1)).for_each(|_| pool.tick());
        let ticks = (1..=20).find(|_| {
            pool.tick();
            free(pool) == 0
        });
        assert_eq!(ticks.unwrap_or(u32::MAX), expected);
    }
}

#[test]
fn a_block_dropped_by_another_thread_finds_back() {
    let pool = pool(PLAN);
    let blocks: Vec<Block> = (0..4).map(|_| pool.take(4 * KIB)).collect();
    thread::spawn(move || drop(blocks)).join().expect("no panic there");
    assert_eq!((used(pool), free(pool)), (0, 4 * 4 * 1024));
    let again: Vec<Block> = (0..4).map(|_| pool.take(4 * KIB)).collect();
    assert_eq!(pool.usage().hits, 4, "they lie where they were taken");
    drop(again);
}

#[test]
fn a_shared_block_comes_back_with_its_last_clone() {
    let pool = pool(PLAN);
    let mut block = pool.take(4 * KIB);
    block.put_bytes(9, 3 * KIB);
    let place = block.as_ptr();
    let whole = block.into_bytes();
    assert_eq!(whole.as_ptr(), place, "sharing copies nothing");
    let (piece, clone) = (whole.slice(10..20), whole.clone());
    drop(whole);
    thread::spawn(move || drop(clone)).join().expect("no panic there");
    assert_eq!((used(pool), free(pool)), (4 * 1024, 0), "a piece still needs it");
    drop(piece);
    assert_eq!((used(pool), free(pool)), (0, 4 * 1024));
}

#[test]
fn a_block_that_was_not_written_shares_nothing() {
    let pool = pool(PLAN);
    let empty = pool.take(4 * KIB).into_bytes();
    assert_eq!((empty.len(), used(pool), free(pool)), (0, 0, 4 * 1024));
}

#[test]
fn a_block_that_outgrows_its_room_moves_to_a_larger_one_of_its_tier() {
    let pool = pool(PLAN);
    let mut block = pool.take(100);
    let mut expected = Vec::new();
    for number in 0..=255_u8 {
        block.reserve(100);
        block.put_bytes(number, 100);
        expected.extend_from_slice(&[number; 100]);
    }
    assert_eq!(*block, expected);
    assert_eq!((block.capacity(), used(pool)), (32 * KIB, 32 * 1024));
    assert_eq!(free(pool), (4 + 8 + 16) * 1024, "the smaller ones came back");
    block.reserve(100 * KIB);
    assert_eq!((*block == expected, used(pool)), (true, 0), "beyond the largest class it is plain");
}

#[test]
fn a_block_that_grew_by_itself_goes_to_the_allocator() {
    let pool = pool(PLAN);
    let mut block = pool.take(4 * KIB);
    block.resize(5 * KIB, 0);
    drop(block);
    let mut emptied = pool.take(4 * KIB);
    drop(std::mem::take(&mut *emptied));
    drop(emptied);
    assert_eq!((used(pool), free(pool)), (0, 0));
}

#[test]
fn the_tiers_are_apart() {
    let all = || Tier::ALL.map(Tier::usage);
    let before = all();
    let block = Tier::Connection.take(16 * KIB);
    let after = all();
    assert_eq!(after[0].used_bytes, before[0].used_bytes + 16 * 1024);
    assert_eq!(after[1..], before[1..], "the others know nothing of it");
    drop(block);
    assert_eq!(Tier::Connection.usage().used_bytes, before[0].used_bytes);
}

#[test]
fn each_thread_works_in_scratch_of_its_own() {
    let mut here = Scratch::take();
    here[..4].copy_from_slice(b"here");
    let place = here.as_ptr() as usize;
    drop(here);
    let there = thread::spawn(|| {
        let scratch = Scratch::take();
        (scratch.as_ptr() as usize, scratch.iter().all(|byte| *byte == 0))
    });
    let (other, untouched) = there.join().expect("no panic there");
    assert!(other != place && untouched, "what one thread writes no other reads");
    let again = Scratch::take();
    assert_eq!((again.as_ptr() as usize, again.len()), (place, SCRATCH_BYTES));
}

/// What a user of a tier may do.
#[derive(Clone, Debug)]
enum Step {
    Take(usize),
    Write(u8, usize),
    Share,
    Split(usize),
    Clone,
    Drop,
    DropElsewhere,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..200 * KIB).prop_map(Step::Take),
        4 => (any::<u8>(), 0..40 * KIB).prop_map(|(byte, count)| Step::Write(byte, count)),
        2 => Just(Step::Share),
        2 => any::<usize>().prop_map(Step::Split),
        2 => Just(Step::Clone),
        4 => Just(Step::Drop),
        1 => Just(Step::DropElsewhere),
        2 => Just(Step::Tick),
    ]
}

/// Whatever is done, in whatever order: everybody reads what was written, the books are right, and the budget holds.
fn run(pool: &'static Pool, steps: Vec<Step>) {
    let (mut blocks, mut shared) = (VecDeque::<(Block, Vec<u8>)>::new(), VecDeque::<(Bytes, Vec<u8>)>::new());
    for step in steps {
        match step {
            Step::Take(bytes) => {
                let block = pool.take(bytes);
                assert!(block.is_empty() && block.capacity() >= bytes);
                blocks.push_back((block, Vec::new()));
            }
            Step::Write(byte, count) => {
                if let Some((block, expected)) = blocks.back_mut() {
                    block.reserve(count);
                    block.put_bytes(byte, count);
                    expected.resize(expected.len() + count, byte);
                }
            }
            Step::Share => shared.extend(blocks.pop_front().map(|(block, expected)| (block.into_bytes(), expected))),
            Step::Split(at) => {
                if let Some((bytes, expected)) = shared.back_mut() {
                    let at = at % (bytes.len() + 1);
                    let rest = (bytes.split_off(at), expected.split_off(at));
                    shared.push_back(rest);
                }
            }
            Step::Clone => shared.extend(shared.front().cloned()),
            Step::Drop => drop((blocks.pop_front(), shared.pop_front())),
            Step::DropElsewhere => {
                let gone = (blocks.pop_back(), shared.pop_back());
                thread::spawn(move || drop(gone)).join().expect("no panic there");
            }
            Step::Tick => pool.tick(),
        }
        assert!(blocks.iter().all(|(block, expected)| **block == *expected));
        assert!(shared.iter().all(|(bytes, expected)| bytes == expected));
        let out = blocks.iter().map(|(block, _)| block.capacity()).filter(|room| (4 * KIB..=64 * KIB).contains(room));
        let (least, usage) = (out.sum::<usize>() as u64, pool.usage());
        assert!(usage.used_bytes >= least && usage.free_bytes <= PLAN.free_bytes_max as u64, "{usage:?}");
        assert!(!shared.is_empty() || usage.used_bytes == least, "{usage:?}, {least} out");
    }
    drop((blocks, shared));
    assert_eq!(used(pool), 0, "all came back");
    (0..2).for_each(|_| pool.tick());
    assert_eq!(free(pool), 0, "an idle tier keeps nothing");
}

proptest! {
    #[test]
    fn any_use_of_a_tier_leaves_its_books_right(steps in proptest::collection::vec(step(), 0..60)) {
        run(pool(PLAN), steps);
    }
}
