//! The threads of the crowd, here or in child processes, behind one way to give orders and one to hear notes.

use std::io::{self, BufRead, BufReader, Write};
use std::ops::Range;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use mio::{Poll, Waker};
use serde::{Deserialize, Serialize};

use super::order::{Note, Order, Setup};
use super::tokens;
use super::worker::{Notes, Worker, waker};

/// The hidden argument with which a child process is started.
pub(super) const CHILD_ARGUMENT: &str = "load-crew";

/// All threads of the crowd.
pub(super) struct Crew {
    hands: Vec<Hand>,
    /// Child processes with the way to them.
    children: Vec<(Child, ChildStdin)>,
    notes: Receiver<(u32, Note)>,
    threads: Vec<JoinHandle<()>>,
}

/// How to reach one thread.
enum Hand {
    /// In this process.
    Here(SyncSender<Order>, Arc<Waker>),
    /// In the child with this index.
    There(usize),
}

/// The first line that a child process reads.
#[derive(Serialize, Deserialize)]
struct Shift {
    setup: Setup,
    seats: Range<u32>,
}

impl Crew {
    /// Starts the threads: in this process when there is one, else spread over child processes.
    pub(super) fn start(setup: Setup, processes: u32) -> io::Result<Self> {
        let (sender, notes) = sync_channel(NOTES_MAX);
        let seats = setup.seats;
        let mut crew = Self { hands: Vec::new(), children: Vec::new(), notes, threads: Vec::new() };
        if processes <= 1 {
            for (order, waker, thread) in start(&Arc::new(setup), 0..seats, &sender)? {
                crew.hands.push(Hand::Here(order, waker));
                crew.threads.push(thread);
            }
            return Ok(crew);
        }
        let each = seats / processes;
        for index in 0..processes {
            let from = index * each;
            let shift = Shift { setup: setup.clone(), seats: from..from + each };
            crew.hands.extend((0..each).map(|_| Hand::There(index as usize)));
            crew.fork(&shift, &sender)?;
        }
        Ok(crew)
    }

    fn fork(&mut self, shift: &Shift, notes: &Notes) -> io::Result<()> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(CHILD_ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let (Some(mut stdin), Some(stdout)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::ErrorKind::BrokenPipe.into());
        };
        write_line(&mut stdin, shift)?;
        self.children.push((child, stdin));
        let (notes, seat) = (notes.clone(), shift.seats.start);
        self.threads.push(std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Some(note) = line.ok().and_then(|line| serde_json::from_str::<(u32, Note)>(&line).ok()) else {
                    break;
                };
                if notes.send(note).is_err() {
                    return;
                }
            }
            let _ = notes.send((seat, Note::Died("a process of the crowd ended".to_owned())));
        }));
        Ok(())
    }

    /// Threads in all.
    pub(super) fn len(&self) -> u32 {
        self.hands.len() as u32
    }

    /// The processes that the crowd runs in.
    pub(super) fn pids(&self) -> Vec<u32> {
        let children = self.children.iter().map(|(child, _)| child.id());
        std::iter::once(std::process::id()).chain(children).collect()
    }

    /// Tells one thread.
    pub(super) fn tell(&mut self, seat: u32, order: Order) -> io::Result<()> {
        match &self.hands[seat as usize] {
            Hand::Here(orders, waker) => {
                orders.send(order).map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))?;
                waker.wake()
            }
            Hand::There(child) => {
                let (_, stdin) = &mut self.children[*child];
                write_line(stdin, &(seat, order))
            }
        }
    }

    /// Tells all.
    pub(super) fn tell_all(&mut self, order: &Order) -> io::Result<()> {
        (0..self.len()).try_for_each(|seat| self.tell(seat, order.clone()))
    }

    /// What they tell.
    pub(super) const fn notes(&self) -> &Receiver<(u32, Note)> {
        &self.notes
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for hand in self.hands.drain(..) {
            if let Hand::Here(orders, waker) = hand {
                drop(orders);
                let _ = waker.wake();
            }
        }
        // Nobody may wait for room in a queue that nobody empties.
        let (_, closed) = sync_channel(1);
        self.notes = closed;
        for (mut child, stdin) in self.children.drain(..) {
            // A child whose input ended ends too.
            drop(stdin);
            let _ = child.wait();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

type Started = (SyncSender<Order>, Arc<Waker>, JoinHandle<()>);

/// Starts the threads with these seats in this process.
fn start(setup: &Arc<Setup>, seats: Range<u32>, notes: &Notes) -> io::Result<Vec<Started>> {
    let mut started = Vec::new();
    for seat in seats {
        let (orders, inbox) = sync_channel(ORDERS_MAX);
        let poll = Poll::new()?;
        let waker = waker(&poll)?;
        let numbers = (seat..setup.connections).step_by(setup.seats as usize);
        let tokens = tokens::of(setup, numbers)?;
        let worker = Worker::new(Arc::clone(setup), seat, tokens, (poll, Arc::clone(&waker)), inbox, notes.clone())?;
        let notes = notes.clone();
        let thread = std::thread::Builder::new().name(format!("crowd-{seat}")).spawn(move || {
            if let Err(error) = worker.run() {
                let _ = notes.send((seat, Note::Died(error.to_string())));
            }
        })?;
        started.push((orders, waker, thread));
    }
    Ok(started)
}

/// The life of a child process: it reads what to do, does it, and ends when its input does.
pub(crate) fn serve_child() -> io::Result<()> {
    let mut lines = io::stdin().lock().lines();
    let first = lines.next().ok_or(io::ErrorKind::UnexpectedEof)??;
    let shift: Shift = serde_json::from_str(&first)?;
    let (sender, notes) = sync_channel::<(u32, Note)>(NOTES_MAX);
    let started = start(&Arc::new(shift.setup), shift.seats.clone(), &sender);
    let writer = std::thread::spawn(move || {
        let mut out = io::stdout().lock();
        while let Ok(note) = notes.recv() {
            if write_line(&mut out, &note).is_err() {
                return;
            }
        }
    });
    let hands = match started {
        Ok(hands) => hands,
        Err(error) => {
            let _ = sender.send((shift.seats.start, Note::Died(error.to_string())));
            Vec::new()
        }
    };
    for line in lines {
        let (seat, order): (u32, Order) = serde_json::from_str(&line?)?;
        let hand = seat.checked_sub(shift.seats.start).and_then(|at| hands.get(at as usize));
        if let Some((orders, waker, _)) = hand
            && orders.send(order).is_ok()
        {
            waker.wake()?;
        }
    }
    for (orders, waker, thread) in hands {
        drop(orders);
        let _ = waker.wake();
        let _ = thread.join();
    }
    drop(sender);
    let _ = writer.join();
    Ok(())
}

fn write_line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    out.write_all(&line)?;
    out.flush()
}

/// Orders that may wait for a thread. Full: the leader waits.
const ORDERS_MAX: usize = 1024;
/// Notes that may wait for the leader. Full: the threads wait.
const NOTES_MAX: usize = 4096;
