//! Threads that take turns: one runs at a time, and a seed says which.
//!
//! Invariants:
//! * whoever does not hold the baton sleeps, so that nothing that happens depends on the
//!   machine's scheduler; the world holds it whenever no actor does;
//! * an actor gives it back only where it holds no lock of what is tested: between two
//!   instructions of a guest, around a call of the host, and where the engine says so
//!   (`platform::sharing::others_go_on`);
//! * an actor's thread ends when its baton is dropped, and is joined.

use std::cell::RefCell;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::{Condvar, Mutex};
use platform::sharing;
use simulation::Rng;

/// What an actor is given to do.
pub type Task = Box<dyn FnOnce() + Send>;

struct State {
    /// Who may run; `None`: the world.
    holder: Option<usize>,
    /// By actor.
    tasks: Vec<Option<Task>>,
    busy: Vec<bool>,
    rng: Rng,
    /// One in so many instructions (of those that are asked about) is followed by another
    /// actor's.
    every: u64,
    /// Everybody is to come to an end: nobody is let between.
    ending: bool,
    over: bool,
    panics: Vec<String>,
}

struct Shared {
    state: Mutex<State>,
    world: Condvar,
    actors: Vec<Condvar>,
}

/// See the module.
pub struct Baton {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

thread_local! {
    static ME: RefCell<Option<(Arc<Shared>, usize)>> = const { RefCell::new(None) };
}

impl Baton {
    /// So many actors, all idle. `every`: see [`between_instructions`].
    pub fn new(actors: usize, seed: u64, every: u64) -> Baton {
        let state = State {
            holder: None,
            tasks: (0..actors).map(|_| None).collect(),
            busy: vec![false; actors],
            rng: Rng::new(seed),
            every,
            ending: false,
            over: false,
            panics: Vec::new(),
        };
        let conds = (0..actors).map(|_| Condvar::new()).collect();
        let shared =
            Arc::new(Shared { state: Mutex::new(state), world: Condvar::new(), actors: conds });
        let run = |actor| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("actor {actor}"))
                .spawn(move || act(&shared, actor))
                .expect("a thread can be made")
        };
        Baton { threads: (0..actors).map(run).collect(), shared }
    }

    /// Gives an idle actor something to do; it begins when it is resumed.
    pub fn give(&self, actor: usize, task: Task) {
        let mut state = self.shared.state.lock();
        assert!(!state.busy[actor], "an actor does one thing at a time");
        (state.tasks[actor], state.busy[actor]) = (Some(task), true);
    }

    /// Whether it has something to do.
    pub fn is_busy(&self, actor: usize) -> bool {
        self.shared.state.lock().busy[actor]
    }

    /// Those that have something to do.
    pub fn busy(&self) -> Vec<usize> {
        let state = self.shared.state.lock();
        (0..state.busy.len()).filter(|actor| state.busy[*actor]).collect()
    }

    /// Lets an actor go on, until it gives the baton back or is done.
    pub fn resume(&self, actor: usize) {
        let mut state = self.shared.state.lock();
        state.holder = Some(actor);
        self.shared.actors[actor].notify_one();
        while state.holder.is_some() {
            self.shared.world.wait(&mut state);
        }
    }

    /// From now on guests are told that their time is up, until it is said otherwise.
    pub fn set_ending(&self, ending: bool) {
        self.shared.state.lock().ending = ending;
    }

    /// What actors panicked with since it was last asked.
    pub fn panics(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.state.lock().panics)
    }
}

impl Drop for Baton {
    fn drop(&mut self) {
        self.shared.state.lock().over = true;
        for actor in &self.shared.actors {
            actor.notify_one();
        }
        for thread in self.threads.drain(..) {
            // It has told of a panic before it ended.
            drop(thread.join());
        }
    }
}

/// Wakes the world when an actor's task is over, however it ended.
fn act(shared: &Arc<Shared>, actor: usize) {
    ME.set(Some((Arc::clone(shared), actor)));
    sharing::taking_turns(give_back, || {
        loop {
            let task = {
                let mut state = shared.state.lock();
                while state.holder != Some(actor) && !state.over {
                    shared.actors[actor].wait(&mut state);
                }
                if state.over {
                    break;
                }
                state.tasks[actor].take()
            };
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                task.into_iter().for_each(|task| task());
            }));
            let mut state = shared.state.lock();
            if let Err(panic) = done {
                state.panics.push(simulation::words_of(&*panic));
            }
            (state.busy[actor], state.holder) = (false, None);
            shared.world.notify_one();
        }
    });
    ME.set(None);
}

fn me() -> Option<(Arc<Shared>, usize)> {
    ME.with_borrow(Clone::clone)
}

/// Gives the baton back, and returns when this actor is resumed.
pub fn give_back() {
    let Some((shared, actor)) = me() else { return };
    let mut state = shared.state.lock();
    state.holder = None;
    shared.world.notify_one();
    while state.holder != Some(actor) {
        shared.actors[actor].wait(&mut state);
    }
}

/// A place between two instructions of a guest: now and then others go on. `true`: its time
/// is up.
pub fn between_instructions() -> bool {
    let Some((shared, _)) = me() else { return false };
    let mut state = shared.state.lock();
    let every = state.every;
    if state.ending || !state.rng.one_in(every) {
        return state.ending;
    }
    drop(state);
    give_back();
    shared.state.lock().ending
}

/// A place around a call of the host, or between two requests: others go on every second
/// time.
pub fn between_requests() {
    let Some((shared, _)) = me() else { return };
    if shared.state.lock().rng.one_in(2) {
        give_back();
    }
}
