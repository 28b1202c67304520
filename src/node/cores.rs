//! The threads that device connections live on: one runtime each, which no other thread takes work from. A connection
//! stays where it was accepted, so what it touches stays in one processor's cache and needs no waking across threads.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::node::core::{Core, wake};

/// Most cores: the hub keeps a bit for each of them with every log.
pub const CORES_MAX: usize = 64;

/// The threads. Dropped, they end soon, and what runs on them is dropped there.
pub struct Cores {
    places: Arc<[Place]>,
    threads: Vec<JoinHandle<()>>,
    stop: CancellationToken,
}

/// A core as a place for connections.
#[derive(Clone)]
pub struct Place {
    runtime: Handle,
    pub(crate) core: Arc<Core>,
    /// Connections that live here, see [`Guest`].
    guests: Arc<AtomicUsize>,
}

/// A connection's stay on a core; ended by dropping it.
pub struct Guest {
    place: Place,
}

impl Cores {
    /// Starts so many threads, at least one and at most [`CORES_MAX`].
    ///
    /// # Errors
    /// The system's, when it has no room for a thread or for its poll.
    pub fn start(count: usize) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut places, mut threads) = (Vec::new(), Vec::new());
        // Stands before the loop: an error on the way ends the threads that run already.
        let guard = stop.clone().drop_guard();
        for number in 0..count.clamp(1, CORES_MAX) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let core = Arc::new(Core::new(number));
            places.push(Place { runtime: runtime.handle().clone(), core: Arc::clone(&core), guests: Arc::default() });
            let stop = stop.clone();
            threads.push(thread::Builder::new().name(format!("core-{number}")).spawn(move || {
                wake::enter(&core);
                runtime.spawn(core.attend());
                runtime.block_on(stop.cancelled());
            })?);
        }
        guard.disarm();
        Ok(Self { places: places.into(), threads, stop })
    }

    /// The cores as places for connections.
    #[must_use]
    pub const fn places(&self) -> &Arc<[Place]> {
        &self.places
    }

    /// Ends the threads and waits for them; what still runs on them is dropped.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let threads = std::mem::take(&mut self.threads);
        // Waiting blocks, and other work of this runtime may be what a core waits for.
        let joined =
            tokio::task::spawn_blocking(|| threads.into_iter().filter_map(|thread| thread.join().err()).count());
        if joined.await.is_ok_and(|panicked| panicked > 0) {
            tracing::error!("a core's thread panicked");
        }
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Place {
    /// Where the tasks of a connection are spawned.
    #[must_use]
    pub const fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Takes up a connection on the core that has the fewest.
    #[must_use]
    pub fn choose(places: &[Self]) -> Guest {
        let fewest = places.iter().min_by_key(|place| place.guests.load(Ordering::Relaxed));
        let place = fewest.expect("Cores::start makes at least one").clone();
        place.guests.fetch_add(1, Ordering::Relaxed);
        Guest { place }
    }

    /// Connections that live here.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.guests.load(Ordering::Relaxed)
    }
}

impl Guest {
    /// Where it stays.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.place.guests.fetch_sub(1, Ordering::Relaxed);
    }
}
