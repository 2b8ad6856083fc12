//! The bound on snapshots.

use crate::Lsn;
use crate::prims::SLOTS;
use crate::registry::Registry;

#[test]
fn counts_are_exact_beyond_the_slots_and_end_at_the_bound() {
    for most in [1, 3, SLOTS, 1000] {
        let registry = Registry::new(most);
        assert_eq!(registry.live(), (0, None));
        let register = |lsn| registry.register(lsn as Lsn + 5);
        let mut held: Vec<_> = (0..most).map(|lsn| register(lsn).unwrap()).collect();
        assert_eq!(registry.live(), (most, Some(5)));
        // One too many, but a writer's.
        assert!(register(0).is_none());
        let writer = registry.register_writer(1);
        assert_eq!(registry.live(), (most + 1, Some(1)));
        drop(writer);
        // Whichever is given up makes room for one.
        let last = held.swap_remove(most / 2);
        assert!(register(0).is_none());
        drop(last);
        held.push(register(0).unwrap());
        assert!(register(0).is_none());
        drop(held);
        assert_eq!(registry.live(), (0, None));
    }
}
