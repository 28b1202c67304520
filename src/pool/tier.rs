//! One tier: blocks that wait for their next use, in classes by size, on a shelf for each thread. It hands them out,
//! takes them back and lets go of those that nobody needs; what is written into them is not its business.

use std::cell::Cell;
use std::iter::Sum;
use std::ops::Add;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pool::block::{Block, Home, Kind};

/// What makes a tier differ from another.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Bytes of the smallest block; a power of two. What needs no more than half of it is allocated plainly.
    pub class_least: usize,
    /// Bytes of the largest block; a power of two, at most eleven doublings above. What needs more is allocated
    /// plainly.
    pub class_greatest: usize,
    /// Most bytes that are kept free, over all shelves. What comes back beyond that goes to the allocator.
    pub free_bytes_max: usize,
    /// A free block that nobody needed for so many ticks goes to the allocator. `None`: it stays.
    pub release_ticks: Option<u32>,
    /// Whether what is allocated plainly counts among the bytes used. It costs about 20 ns a buffer
    /// that is shared, and is worth it where an operator wants to know.
    pub counts_plain: bool,
}

/// A tier. It lives as long as the process, so that its blocks can find back from anywhere.
pub struct Pool {
    plan: Plan,
    shelves: [Shelf; SHELVES],
}

/// What a tier holds, and what it has done since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of blocks that are out.
    pub used_bytes: u64,
    /// Bytes of blocks that wait for their next use.
    pub free_bytes: u64,
    /// Blocks handed out that had been used before.
    pub hits: u64,
    /// Blocks handed out that were allocated for it.
    pub misses: u64,
    /// Bytes of free blocks that went to the allocator because nobody needed them.
    pub trimmed_bytes: u64,
}

impl Pool {
    /// A tier without any blocks.
    ///
    /// # Panics
    /// When a class is not a power of two or there are too many: plans are constants.
    #[must_use]
    pub const fn new(plan: Plan) -> Self {
        assert!(plan.class_least.is_power_of_two() && plan.class_greatest.is_power_of_two());
        assert!(plan.class_least <= plan.class_greatest);
        assert!(plan.class_greatest.ilog2() - plan.class_least.ilog2() < CLASSES_MAX as u32);
        Self {
            plan,
            shelves: [const { Shelf { stock: Mutex::new(Stock::NEW), plain_bytes: AtomicU64::new(0) } }; SHELVES],
        }
    }

    /// An empty block with room for `bytes`, or more.
    #[must_use]
    #[inline]
    pub fn take(&'static self, bytes: usize) -> Block {
        let shelf = shelf_of_this_thread();
        let Some(class) = self.class_for(bytes) else {
            let bytes = Vec::with_capacity(bytes);
            let home = self.plan.counts_plain.then(|| {
                self.shelves[usize::from(shelf)].plain_bytes.fetch_add(bytes.capacity() as u64, Ordering::Relaxed);
                Home { shelf, kind: Kind::Plain(bytes.capacity()) }
            });
            return Block::new(self, bytes, home);
        };
        Block::new(self, self.take_class(shelf, class), Some(Home { shelf, kind: Kind::Class(class) }))
    }

    /// What it holds and has done.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let plain = |shelf: &Shelf| shelf.plain_bytes.load(Ordering::Relaxed);
        let usage = |shelf: &Shelf| shelf.lock().usage + Usage { used_bytes: plain(shelf), ..Usage::default() };
        self.shelves.iter().map(usage).sum()
    }

    /// Lets go of what was not needed for the time of its rule.
    pub fn tick(&self) {
        let Some(ticks) = self.plan.release_ticks else { return };
        for shelf in &self.shelves {
            // Freed when the lock is free again: the allocator may take its time.
            let unneeded = shelf.lock().tick(ticks, self.plan.class_least);
            drop(unneeded);
        }
    }

    /// The class of blocks that hold so many bytes.
    #[inline]
    pub(super) fn class_for(&self, bytes: usize) -> Option<u8> {
        if bytes <= self.plan.class_least / 2 || bytes > self.plan.class_greatest {
            return None;
        }
        let size = bytes.next_power_of_two();
        Some((size.trailing_zeros() - self.plan.class_least.trailing_zeros()) as u8)
    }

    #[inline]
    fn take_class(&self, shelf: u8, class: u8) -> Vec<u8> {
        let size = self.size(class);
        let found = self.shelf(shelf).take(class, size);
        found.unwrap_or_else(|| Vec::with_capacity(size))
    }

    /// Takes a block back to where it came from, whichever thread does it. One that grew by itself to another size is
    /// no block any more.
    #[inline]
    pub(super) fn put(&self, bytes: Vec<u8>, home: Home) {
        let refused = match home.kind {
            Kind::Class(class) => {
                let free_bytes_max = self.plan.free_bytes_max / SHELVES;
                self.shelf(home.shelf).put(bytes, class, self.size(class), free_bytes_max)
            }
            Kind::Plain(counted) => {
                self.shelves[usize::from(home.shelf)].plain_bytes.fetch_sub(counted as u64, Ordering::Relaxed);
                Some(bytes)
            }
        };
        // Freed when the lock is free again.
        drop(refused);
    }

    const fn size(&self, class: u8) -> usize {
        self.plan.class_least << class
    }

    #[inline]
    fn shelf(&self, shelf: u8) -> MutexGuard<'_, Stock> {
        self.shelves[usize::from(shelf)].lock()
    }
}

/// The free blocks of some threads, usually of one. A line of its own, so that threads do not slow each other.
#[repr(align(128))]
struct Shelf {
    stock: Mutex<Stock>,
    /// Bytes out that were allocated plainly and are counted.
    plain_bytes: AtomicU64,
}

impl Shelf {
    #[inline]
    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What lies on a shelf.
struct Stock {
    piles: [Pile; CLASSES_MAX],
    usage: Usage,
    /// Ticks since the shelf was last trimmed.
    ticks: u32,
}

/// The free blocks of one class. The one that came last goes first: it is warm.
struct Pile {
    blocks: Vec<Vec<u8>>,
    /// Fewest blocks that lay here since the shelf was last trimmed: so many were not needed.
    unneeded: usize,
}

impl Stock {
    const NEW: Self = Self {
        piles: [const { Pile { blocks: Vec::new(), unneeded: 0 } }; CLASSES_MAX],
        usage: Usage { used_bytes: 0, free_bytes: 0, hits: 0, misses: 0, trimmed_bytes: 0 },
        ticks: 0,
    };

    #[inline]
    fn take(&mut self, class: u8, size: usize) -> Option<Vec<u8>> {
        self.usage.used_bytes += size as u64;
        let pile = &mut self.piles[usize::from(class)];
        let found = pile.blocks.pop();
        if found.is_some() {
            pile.unneeded = pile.unneeded.min(pile.blocks.len());
            self.usage.hits += 1;
            self.usage.free_bytes -= size as u64;
        } else {
            self.usage.misses += 1;
        }
        found
    }

    /// Gives back what it does not keep.
    #[inline]
    fn put(&mut self, bytes: Vec<u8>, class: u8, size: usize, free_bytes_max: usize) -> Option<Vec<u8>> {
        self.usage.used_bytes -= size as u64;
        let free = self.usage.free_bytes + size as u64;
        if bytes.capacity() != size || free > free_bytes_max as u64 {
            return Some(bytes);
        }
        self.usage.free_bytes = free;
        self.piles[usize::from(class)].blocks.push(bytes);
        None
    }

    fn tick(&mut self, ticks: u32, class_least: usize) -> Vec<Vec<u8>> {
        self.ticks += 1;
        if self.ticks < ticks {
            return Vec::new();
        }
        self.ticks = 0;
        let mut unneeded = Vec::new();
        for (class, pile) in self.piles.iter_mut().enumerate() {
            let size = (class_least << class) as u64;
            // The oldest lie at the bottom.
            unneeded.extend(pile.blocks.drain(..pile.unneeded));
            self.usage.free_bytes -= size * pile.unneeded as u64;
            self.usage.trimmed_bytes += size * pile.unneeded as u64;
            pile.unneeded = pile.blocks.len();
            if pile.blocks.is_empty() {
                pile.blocks = Vec::new();
            }
        }
        unneeded
    }
}

impl Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            used_bytes: self.used_bytes + other.used_bytes,
            free_bytes: self.free_bytes + other.free_bytes,
            hits: self.hits + other.hits,
            misses: self.misses + other.misses,
            trimmed_bytes: self.trimmed_bytes + other.trimmed_bytes,
        }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Self::add)
    }
}

/// Threads are numbered as they come; those with the same number modulo [`SHELVES`] share.
#[inline]
fn shelf_of_this_thread() -> u8 {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHELF: Cell<u8> = Cell::new((NEXT.fetch_add(1, Ordering::Relaxed) % SHELVES) as u8);
    }
    SHELF.with(Cell::get)
}

/// A lock that nobody else wants costs about 4 ns; one that eight threads want costs hundreds. More shelves would cut
/// the budget into smaller parts. Eight is a guess for machines of up to some dozen cores.
const SHELVES: usize = 8;

/// Classes a tier may have: from 1 KiB to 2 MiB there are twelve.
const CLASSES_MAX: usize = 12;
