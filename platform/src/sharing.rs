//! Threads that are shared: who runs something brief on a thread that others need too is
//! told when it turns out not to be brief. And threads that take turns, one of which runs at
//! a time, as those of a simulation do: where one could meet others, it lets them go on.
//!
//! What must stay true: being told, or others going on, changes no result; where nobody
//! shares the thread (tools, threads of one purpose) [`long_ahead`], and where threads do
//! not take turns [`others_go_on`], is one look at a thread's own variable and nothing else.

use std::cell::Cell;

thread_local! {
    static TELL: Cell<Option<fn()>> = const { Cell::new(None) };
    static TOLD: Cell<bool> = const { Cell::new(false) };
    static PASS: Cell<Option<fn()>> = const { Cell::new(None) };
}

/// Restores what was there before, on a panic too.
struct Restore(Option<fn()>, bool);

impl Drop for Restore {
    fn drop(&mut self) {
        TELL.set(self.0);
        TOLD.set(self.1);
    }
}

/// Runs `f` on this thread. While it runs, `tell` is called whenever what `f` does is
/// about to take long, so that whoever needs the thread may go elsewhere. Gives what `f`
/// gives, and whether `tell` was called.
pub fn sharing<R>(tell: fn(), f: impl FnOnce() -> R) -> (R, bool) {
    let _restore = Restore(TELL.replace(Some(tell)), TOLD.replace(false));
    (f(), TOLD.get())
}

/// Whether somebody else needs this thread.
pub fn is_shared() -> bool {
    TELL.get().is_some()
}

/// What comes now takes long, or may: a wait for the disk or for another thread, work
/// without an end in sight. May be called again and again.
#[inline]
pub fn long_ahead() {
    if let Some(tell) = TELL.get() {
        TOLD.set(true);
        tell();
    }
}

/// Runs `f` on a thread that takes turns with others: `pass` lets them go on, and returns
/// when this one goes on.
pub fn taking_turns<R>(pass: fn(), f: impl FnOnce() -> R) -> R {
    struct Before(Option<fn()>);
    impl Drop for Before {
        fn drop(&mut self) {
            PASS.set(self.0);
        }
    }
    let _before = Before(PASS.replace(Some(pass)));
    f()
}

/// Whether threads take turns: who waits for another one lets others go on then, and looks
/// again; asleep nobody would wake it.
#[inline]
pub fn takes_turns() -> bool {
    PASS.get().is_some()
}

/// A place where another thread may come in between, or has to: no lock is held here. Where
/// threads take turns, others go on.
#[inline]
pub fn others_go_on() {
    if let Some(pass) = PASS.get() {
        pass();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    thread_local! {
        static TIMES: Cell<u32> = const { Cell::new(0) };
    }

    fn tell() {
        TIMES.set(TIMES.get() + 1);
    }

    #[test]
    fn who_shares_is_told_and_nobody_else() {
        long_ahead();
        assert_eq!((TIMES.get(), is_shared()), (0, false));
        let result = sharing(tell, || {
            long_ahead();
            assert!(!sharing(|| {}, || {}).1 && sharing(|| {}, long_ahead).1);
            long_ahead();
            is_shared()
        });
        long_ahead();
        assert_eq!((TIMES.get(), result, is_shared()), (2, (true, true), false));
        assert_eq!(sharing(tell, || 1), (1, false));
    }

    #[test]
    fn a_panic_ends_the_sharing() {
        let panicked = std::panic::catch_unwind(|| sharing(tell, || panic!("on purpose")));
        assert!(panicked.is_err() && !is_shared());
        let panicked = std::panic::catch_unwind(|| taking_turns(tell, || panic!("on purpose")));
        assert!(panicked.is_err() && !takes_turns());
    }

    #[test]
    fn others_go_on_where_threads_take_turns_and_nowhere_else() {
        TIMES.set(0);
        others_go_on();
        let inside = taking_turns(tell, || {
            others_go_on();
            taking_turns(|| {}, others_go_on);
            takes_turns()
        });
        others_go_on();
        assert_eq!((TIMES.get(), inside, takes_turns()), (1, true, false));
    }
}
