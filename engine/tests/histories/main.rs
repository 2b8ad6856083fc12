//! Transactions of several clients at once, judged by what they saw alone: interleaved by a
//! seed with flushes, crashes and operations by themselves between them, and on threads.
//!
//! `HISTORIES=10000 cargo test -p engine --test histories` for more of them.

#![allow(clippy::unwrap_used)] // a test that cannot go on fails

mod check;
mod registers;
mod world;

use check::{Fate, Transaction, check};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use world::{Client, Clock, Dice, World};

/// How many; by that name from who asks for the run.
#[allow(clippy::disallowed_methods)] // not of the engine
fn histories(default: u64) -> u64 {
    std::env::var("HISTORIES").ok().and_then(|n| n.parse().ok()).unwrap_or(default)
}

#[test]
fn interleaved_clients_see_one_order_over_crashes() {
    let (mut committed, mut dropped, mut unknown, mut crashes) = (0, 0, 0, 0);
    for seed in 0..histories(300) {
        let mut dice = Dice::new(seed);
        let mut world = World::new(seed);
        let clock = Clock::default();
        let mut history: Vec<Transaction> = Vec::new();
        let mut clients: Vec<Client> = (0..dice.upto(4) + 2).map(Client::new).collect();
        if dice.one_in(2) {
            world.disk.crash_after(5 + dice.upto(100));
        }
        for _ in 0..120 {
            let at = dice.upto(clients.len() as u64) as usize;
            history.extend(clients[at].step(&world, &clock, &mut dice));
            if dice.one_in(25) && !world.disk.is_crashed() {
                // It may be the place of the crash.
                let _flushed = world.engine.flush();
            }
            if world.disk.is_crashed() {
                for client in &mut clients {
                    history.extend(client.give_up(&clock, Fate::Dropped));
                }
                world = world.after_the_crash(dice.one_in(2));
                crashes += 1;
                if dice.one_in(2) {
                    world.disk.crash_after(5 + dice.upto(100));
                }
            }
        }
        world.disk.disarm();
        for client in &mut clients {
            history.extend(client.give_up(&clock, Fate::Dropped));
        }
        history.push(world.all(&clock));
        if let Err(why) = check(&history) {
            panic!("seed {seed}: {why}");
        }
        let of = |fate| history.iter().filter(|one| one.fate == fate).count();
        committed += of(Fate::Committed);
        dropped += of(Fate::Dropped);
        unknown += of(Fate::Unknown);
    }
    println!("{committed} committed, {dropped} dropped, {unknown} unknown, {crashes} crashes");
    assert!(committed > 0 && dropped > 0 && unknown > 0 && crashes > 0);
}

#[test]
fn threads_see_one_order() {
    const THREADS: u64 = 6;
    let (committed, dropped) = (AtomicU64::new(0), AtomicU64::new(0));
    for seed in 0..histories(300) / 15 + 1 {
        let (world, clock) = (World::new(seed), Clock::default());
        let all = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for number in 0..THREADS {
                let (world, clock, all) = (&world, &clock, &all);
                scope.spawn(move || {
                    let mut dice = Dice::new(seed * THREADS + number);
                    let mut client = Client::new(number);
                    let mut own = Vec::new();
                    for _ in 0..100 {
                        own.extend(client.step(world, clock, &mut dice));
                    }
                    own.extend(client.give_up(clock, Fate::Dropped));
                    all.lock().unwrap().extend(own);
                });
            }
        });
        let mut history = all.into_inner().unwrap();
        history.push(world.all(&clock));
        if let Err(why) = check(&history) {
            panic!("seed {seed}: {why}");
        }
        for one in &history {
            let count = if one.fate == Fate::Committed { &committed } else { &dropped };
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
    println!("{} committed, {} dropped", committed.into_inner(), dropped.into_inner());
}
