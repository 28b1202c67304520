//! Chooses a store. It does not use it.

use std::path::PathBuf;
use std::sync::Arc;

use crate::store::embedded::{Bounds, Embedded};
use crate::store::{Error, Limits, Store};

/// Which store, where, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The store's own folder; made if missing. One gateway at a time.
    pub data: PathBuf,
    /// Bounds of logs, devices and times.
    pub limits: Limits,
    /// Writes that may wait for the disk. More are refused as busy.
    pub queue_max: usize,
    /// Bytes that waiting writes may hold. More are refused as busy.
    pub queue_bytes_max: usize,
    /// Bytes of the table kept in memory for reads.
    pub cache_bytes: u64,
    /// Bytes that the table gathers in memory before they are written out. More mean fewer, larger writes, and a longer
    /// start after a crash. Fixed when the folder is made.
    pub memtable_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            data: PathBuf::from("data"),
            limits: Limits::default(),
            queue_max: 65_536,
            // A guess: when bodies are large, what waits is bounded by memory rather than by number.
            queue_bytes_max: 64 * 1024 * 1024,
            // A guess: reads mostly find what was written lately, and the system caches files too.
            cache_bytes: 32 * 1024 * 1024,
            // Each doubling halves how often what lies on disk is merged anew. Measured roughly, on a busy machine, background
            // work per append and process memory: 14 us and 77 MiB with 4 MiB, 8 and 100 with 8, 5 and 104 with 16, 2 and
            // 142 with 32.
            memtable_bytes: 16 * 1024 * 1024,
        }
    }
}

/// Opens the store that the options name.
///
/// # Errors
/// [`Error::Failed`] when it cannot be opened; its words say why and what to do.
pub fn open(options: &Options) -> Result<Arc<dyn Store>, Error> {
    let bounds = Bounds {
        queue_max: options.queue_max,
        queue_bytes_max: options.queue_bytes_max,
        cache_bytes: options.cache_bytes,
        memtable_bytes: options.memtable_bytes,
    };
    let store = Embedded::open(&options.data, options.limits.clone(), bounds)?;
    Ok(Arc::new(store))
}
