//! The histories of the tester.
//!
//! What must stay true: the questions of a history are asked again of the same
//! documents before and after a flush, a restart and a collection.

use std::collections::BTreeSet;

use crate::dice::Dice;
use crate::indexes::INDEXES;
use crate::query::Query;
use crate::value::V;
use crate::world::{Breadth, Op, Setup};
use crate::{flat, make, skew};

/// Few documents of every kind, under every index alone and under all.
pub fn small(seed: u64) -> (Setup, Vec<Op>) {
    let mut dice = Dice::new(seed);
    let mut stores = vec![vec![]];
    stores.extend((0..INDEXES.len()).map(|number| vec![number]));
    stores.push((0..INDEXES.len()).collect());
    let setup = Setup { seed, memory: (seed % 4 == 3).then_some(5_000), stores, sqlite: false };
    let mut plan = Plan::default();
    // Some of the indexes are kept from the first document on, others are built.
    let (first, later): (Vec<usize>, Vec<usize>) = (0..INDEXES.len()).partition(|_| dice.one_in(2));
    plan.indexes(&first);
    let mut keys = BTreeSet::new();
    for _ in 0..30 {
        plan.insert(&mut keys, make::key(&mut dice), make::document(&mut dice));
    }
    let mut others = BTreeSet::new();
    for _ in 0..10 {
        let (key, document) = (make::key(&mut dice), make::document(&mut dice));
        if others.insert(key) {
            plan.ops.push(Op::InsertOther(key, document));
        }
    }
    plan.indexes(&later);
    let questions: Vec<Query> = (0..24).map(|_| make::question(&mut dice)).collect();
    let change = |dice: &mut Dice| Op::Change(make::change(dice));
    // In memory, and the same in the tree.
    plan.ask(&questions, Breadth::Few);
    plan.ops.push(Op::Flush);
    plan.ask(&questions, Breadth::All);
    // Some of it in memory over that, and the same after a restart.
    plan.ops.extend((0..16).map(|_| change(&mut dice)));
    plan.ops.push(Op::Clash(dice.any()));
    plan.ask(&questions, Breadth::All);
    for _ in 0..100 {
        plan.ops.push(Op::Ask(make::question(&mut dice), Breadth::Few));
    }
    plan.ops.extend([Op::Check, Op::Reopen]);
    plan.ask(&questions, Breadth::Few);
    // Much of it dead, and the same after a collection, and a restart after that.
    plan.ops.push(Op::Change(make::churn(&mut dice)));
    plan.ops.extend((0..16).map(|_| change(&mut dice)));
    plan.ops.extend([Op::Flush, Op::Clash(dice.any()), Op::Change(make::churn(&mut dice))]);
    plan.ops.extend((0..8).map(|_| change(&mut dice)));
    plan.ask(&questions, Breadth::Few);
    plan.ops.push(Op::Collect);
    plan.ask(&questions, Breadth::All);
    plan.ops.extend([Op::Check, Op::Reopen]);
    plan.ask(&questions, Breadth::Few);
    (setup, plan.ops)
}

/// Some thousand documents, most of a few values, under some indexes.
pub fn large(seed: u64) -> (Setup, Vec<Op>) {
    let mut dice = Dice::new(seed ^ 0x5CE4);
    let all: Vec<usize> = (0..INDEXES.len()).collect();
    let alone = [0, 1, 2, 6, 9, 10];
    let stores = vec![vec![], vec![alone[seed as usize % alone.len()]], all.clone()];
    let setup =
        Setup { seed, memory: seed.is_multiple_of(2).then_some(30_000), stores, sqlite: false };
    let mut plan = Plan::default();
    let (first, later): (Vec<usize>, Vec<usize>) = all.iter().partition(|_| dice.one_in(2));
    plan.indexes(&first);
    let mut keys = BTreeSet::new();
    for number in 0..skew::DOCUMENTS {
        plan.insert(&mut keys, skew::key(&mut dice), skew::document(&mut dice, number));
        if number == skew::DOCUMENTS / 2 {
            plan.ops.push(Op::Flush);
        }
    }
    for number in 0..60 {
        let document = skew::document(&mut dice, number);
        plan.ops.push(Op::InsertOther(u128::from(number), document));
    }
    plan.indexes(&later);
    let mut questions = skew::certain(&mut dice);
    questions.extend((0..20).map(|_| skew::question(&mut dice)));
    let change = |dice: &mut Dice| Op::Change(skew::change(dice));
    plan.ops.extend((0..4).map(|_| change(&mut dice)));
    plan.ask(&questions, Breadth::All);
    plan.ops.push(Op::Flush);
    plan.ask(&questions, Breadth::Last);
    plan.ops.extend((0..4).map(|_| change(&mut dice)));
    plan.ops.push(Op::Change(Query { limit: Some(150), ..make::churn(&mut dice) }));
    plan.ops.push(Op::Flush);
    plan.ops.extend((0..3).map(|_| change(&mut dice)));
    plan.ask(&questions, Breadth::Last);
    plan.ops.extend([Op::Clash(dice.any()), Op::Collect, Op::Check, Op::Reopen]);
    plan.ask(&questions, Breadth::Last);
    (setup, plan.ops)
}

/// What SQLite answers too.
pub fn flat(seed: u64) -> (Setup, Vec<Op>) {
    let mut dice = Dice::new(seed ^ 0xF1A7);
    let all: Vec<usize> = (0..INDEXES.len()).collect();
    let setup = Setup { seed, memory: None, stores: vec![vec![], all.clone()], sqlite: true };
    let mut plan = Plan::default();
    plan.indexes(&all);
    let mut keys = BTreeSet::new();
    for _ in 0..60 {
        plan.insert(&mut keys, make::key(&mut dice), flat::document(&mut dice));
    }
    let mut others = BTreeSet::new();
    for _ in 0..20 {
        let (key, document) = (make::key(&mut dice), flat::document(&mut dice));
        if others.insert(key) {
            plan.ops.push(Op::InsertOther(key, document));
        }
    }
    for round in 0..3 {
        let questions: Vec<Query> = (0..60).map(|_| flat::question(&mut dice)).collect();
        plan.ask(&questions, Breadth::All);
        plan.ops.push([Op::Flush, Op::Reopen, Op::Collect][round].clone());
        plan.ask(&questions, Breadth::All);
        plan.ops.extend((0..8).map(|_| Op::Change(flat::change(&mut dice))));
    }
    plan.ops.push(Op::Check);
    (setup, plan.ops)
}

#[derive(Default)]
struct Plan {
    ops: Vec<Op>,
}

impl Plan {
    fn indexes(&mut self, numbers: &[usize]) {
        self.ops.extend(numbers.iter().map(|number| Op::Index(*number)));
    }

    fn insert(&mut self, keys: &mut BTreeSet<u128>, key: u128, document: V) {
        if keys.insert(key) {
            self.ops.push(Op::Insert(key, document));
        }
    }

    fn ask(&mut self, questions: &[Query], breadth: Breadth) {
        self.ops.extend(questions.iter().map(|query| Op::Ask(query.clone(), breadth)));
    }
}
