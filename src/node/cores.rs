//! The threads that device connections live on: one runtime each, which no other thread takes work from. A connection
//! stays where it was accepted, so what it touches stays in one processor's cache and needs no waking across threads.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio_util::sync::CancellationToken;

use crate::metrics::{Gauge, Metrics};
use crate::node::core::Core;

/// Most cores: the hub keeps a bit for each of them with every log.
pub const CORES_MAX: usize = 64;

/// How long the threads may take to end. Each of their turns takes milliseconds.
const LAST_TURNS: Duration = Duration::from_secs(2);

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
    connections: Gauge,
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
    pub fn start(count: usize, metrics: &Metrics) -> io::Result<Self> {
        let stop = CancellationToken::new();
        let (mut places, mut threads) = (Vec::new(), Vec::new());
        // Stands before the loop: an error on the way ends the threads that run already.
        let guard = stop.clone().drop_guard();
        for number in 0..count.clamp(1, CORES_MAX) {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let core = Arc::new(Core::new(number));
            let (runtime_handle, connections) = (runtime.handle().clone(), metrics.core_connections(number));
            places.push(Place { runtime: runtime_handle, core: Arc::clone(&core), connections });
            let stop = stop.clone();
            threads.push(thread::Builder::new().name(format!("core-{number}")).spawn(move || {
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

    /// Ends the threads and waits for them, for a bounded time; what still runs on them is dropped.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let threads = std::mem::take(&mut self.threads);
        let (told, joined) = tokio::sync::oneshot::channel();
        // Waiting blocks, and other work of this runtime may be what a core waits for. A thread of its own, because a
        // runtime that ends waits for its own blocking threads without a bound.
        thread::spawn(move || told.send(threads.into_iter().filter_map(|thread| thread.join().err()).count()));
        match tokio::time::timeout(LAST_TURNS, joined).await {
            Ok(Ok(0)) => {}
            Ok(_) => tracing::error!("a core's thread panicked"),
            Err(_) => tracing::error!("a core's thread does not end; going on without it"),
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

    /// Its place among the cores.
    #[must_use]
    pub fn number(&self) -> usize {
        self.core.number
    }

    /// Takes up a connection on the core that has the fewest.
    #[must_use]
    pub fn choose(places: &[Self]) -> Guest {
        let fewest = places.iter().min_by_key(|place| place.connections.value());
        let place = fewest.expect("Cores::start makes at least one").clone();
        place.connections.increment();
        Guest { place }
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
        self.place.connections.decrement();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{CORES_MAX, Cores, Place};
    use crate::metrics::Metrics;

    #[tokio::test]
    async fn connections_spread_over_the_cores_and_fill_what_comes_free() {
        let cores = Cores::start(3, &Metrics::new()).expect("threads");
        let places = Arc::clone(cores.places());
        let count = || places.iter().map(|place| place.connections.value()).collect::<Vec<_>>();
        let mut guests: Vec<_> = (0..7).map(|_| Place::choose(&places)).collect();
        assert_eq!(count(), [3, 2, 2]);
        guests.retain(|guest| guest.place().core.number != 1);
        assert_eq!(count(), [3, 0, 2]);
        guests.extend((0..2).map(|_| Place::choose(&places)));
        assert_eq!(count(), [3, 2, 2]);
        drop(guests);
        assert_eq!(count(), [0, 0, 0]);
        cores.stop().await;
    }

    /// Tells when it is dropped.
    struct Told(Option<tokio::sync::oneshot::Sender<()>>);

    impl Drop for Told {
        fn drop(&mut self) {
            let _ = self.0.take().map(|told| told.send(()));
        }
    }

    #[tokio::test]
    async fn what_runs_on_cores_ends_with_them_stopped_or_not() {
        for stopped in [true, false] {
            let cores = Cores::start(2, &Metrics::new()).expect("threads");
            let (told, ended) = tokio::sync::oneshot::channel();
            let told = Told(Some(told));
            let running = cores.places()[1].runtime().spawn(async move {
                let _told = told;
                std::future::pending::<()>().await;
            });
            if stopped {
                cores.stop().await;
                assert!(running.is_finished(), "the thread was waited for");
            } else {
                drop(cores);
            }
            ended.await.expect("it is dropped");
        }
    }

    #[test]
    fn there_is_at_least_one_core_and_a_bit_for_each() {
        for (wanted, made) in [(0, 1), (1, 1), (CORES_MAX + 1, CORES_MAX)] {
            let cores = Cores::start(wanted, &Metrics::new()).expect("threads");
            assert_eq!(cores.places().len(), made);
            assert_ne!(cores.places()[made - 1].core.bit(), 0);
        }
    }
}
