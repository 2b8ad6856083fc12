//! Paying for work inside compiled code.
//!
//! What must stay true:
//! * No path is ever cheaper than its instructions, and nothing repeats unpaid:
//!   what is owed is paid before a loop is entered, before each branch back to its
//!   head, before each return, and before calls where it is much. An instruction that moves many bytes pays
//!   for them when their number is known.
//! * Code that cannot pay calls `tick` and goes on only if that grants enough, so
//!   the host decides, slice by slice, whether it may.
//! * Memory grows only below the instance's cap, and a refusal leaves a mark.
//!
//! The means are entries appended to the module before it is compiled, all
//! exported under `planck:` names no guest may use and at indices no guest code
//! can name (they are past the ends of its own index spaces, so validation of the
//! guest's code, done before, would have refused them):
//!
//! | entry | type | use |
//! |---|---|---|
//! | `planck:fuel` | `mut i64` | what is left of the slice |
//! | `planck:pages` | `mut i64` | pages memory may have |
//! | `planck:denied` | `mut i32` | 1 once growth was refused |
//! | (none) | `mut i32` | holds a length while its price is computed |
//! | `planck:tick` | table of one function `(needed i64)` | called on an empty slice |
//!
//! A table because an imported function would move the index of every function.
//! wasmer's own metering middleware can only stop a call, not ask whether to go on,
//! and prices `memory.fill` like an addition: hence this one.

use runtime_api::edit::{Edit, Section};
use wasmer::LocalFunctionIndex;
use wasmer::sys::wasmparser::{BlockType, Operator, ValType};
use wasmer::sys::{FunctionMiddleware, MiddlewareError, MiddlewareReaderState, ModuleMiddleware};

/// Export names of the entries.
pub(crate) const FUEL: &str = "planck:fuel";
pub(crate) const PAGES: &str = "planck:pages";
pub(crate) const DENIED: &str = "planck:denied";
pub(crate) const TICK: &str = "planck:tick";

/// Bytes moved for a unit of fuel, as a shift: 64.
const BYTES_SHIFT: i64 = 6;
/// Table elements moved for a unit of fuel, as a shift: 8.
const ELEMENTS_SHIFT: i64 = 3;
/// Units of fuel for a page of new memory: its bytes at the price of copying.
const FUEL_PER_PAGE: i64 = 1 << (16 - BYTES_SHIFT);

/// Where the entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meter {
    fuel: u32,
    pages: u32,
    denied: u32,
    length: u32,
    tick_table: u32,
    tick_type: u32,
}

impl Meter {
    /// Appends the entries to a validated module. `None` if a section is full.
    pub(crate) fn install(wasm: &[u8]) -> Option<(Self, Vec<u8>)> {
        const MUT_I64: [u8; 5] = [0x7e, 1, 0x42, 0, 0x0b];
        const MUT_I32: [u8; 5] = [0x7f, 1, 0x41, 0, 0x0b];
        let mut edit = Edit::new(wasm)?;
        // Imports hold functions only, so an entry's place in its section is its index.
        let meter = Self {
            fuel: edit.append(Section::Global, &MUT_I64)?,
            pages: edit.append(Section::Global, &MUT_I64)?,
            denied: edit.append(Section::Global, &MUT_I32)?,
            length: edit.append(Section::Global, &MUT_I32)?,
            tick_table: edit.append(Section::Table, &[0x70, 0, 1])?,
            tick_type: edit.append(Section::Type, &[0x60, 1, 0x7e, 0])?,
        };
        edit.export(FUEL, 3, meter.fuel)?;
        edit.export(PAGES, 3, meter.pages)?;
        edit.export(DENIED, 3, meter.denied)?;
        edit.export(TICK, 1, meter.tick_table)?;
        Some((meter, edit.to_bytes()))
    }
}

impl ModuleMiddleware for Meter {
    fn generate_function_middleware<'a>(
        &self,
        _: LocalFunctionIndex,
    ) -> Box<dyn FunctionMiddleware<'a> + 'a> {
        Box::new(FunctionMeter { at: *self, debt: 0, blocks: Vec::new() })
    }
}

/// Most that may be owed before it is paid, wherever that happens to be.
const MAX_DEBT: i64 = 4_096;

/// Most that may be owed over a call. What is owed is paid after it at the latest;
/// the bound is for recursion, whose depth, some ten thousand frames, multiplies it.
const MAX_CALL_DEBT: i64 = 64;

/// Meters one function, read once from front to back.
///
/// `debt` is at least the price of the instructions on any path from the last
/// payment to here. Forward branches do not pay: they leave their debt with the
/// block they end, and behind its end the largest debt of all who arrive goes on.
/// So a path may pay for a longer one beside it, never for less than itself. A
/// payment in a loop costs time at every turn, which is why they are few.
#[derive(Debug)]
struct FunctionMeter {
    at: Meter,
    debt: i64,
    /// The blocks around the current instruction, outermost first. The function
    /// itself is not among them.
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    kind: Kind,
    /// The largest debt of the branches to its end.
    joined: i64,
}

#[derive(Debug)]
enum Kind {
    /// A block, or an `if` whose `else` has been read: left at its end.
    Plain,
    /// An `if` before any `else`, with the debt at its head: the path around it.
    If(i64),
    /// Branches lead to its head.
    Loop,
}

impl<'a> FunctionMiddleware<'a> for FunctionMeter {
    fn feed(
        &mut self,
        operator: Operator<'a>,
        state: &mut MiddlewareReaderState<'a>,
    ) -> Result<(), MiddlewareError> {
        self.debt += price(&operator);
        match &operator {
            Operator::Block { .. } => self.enter(Kind::Plain),
            Operator::If { .. } => self.enter(Kind::If(self.debt)),
            Operator::Loop { .. } => {
                self.pay_debt(state);
                self.enter(Kind::Loop);
            }
            Operator::Else => self.take_else()?,
            Operator::End => self.leave(state),
            Operator::Br { relative_depth } => {
                self.branch(state, [*relative_depth].into_iter());
                self.debt = 0; // nobody goes on from here
            }
            Operator::BrIf { relative_depth } => self.branch(state, [*relative_depth].into_iter()),
            Operator::BrTable { targets } => {
                let all: Result<Vec<u32>, _> = targets.targets().collect();
                let mut all = all.map_err(|error| unreadable(&error.to_string()))?;
                all.push(targets.default());
                self.branch(state, all.into_iter());
                self.debt = 0;
            }
            Operator::Return => self.pay_debt(state),
            Operator::Call { .. } | Operator::CallIndirect { .. } if self.debt >= MAX_CALL_DEBT => {
                self.pay_debt(state);
            }
            Operator::Unreachable => self.debt = 0,
            Operator::MemoryFill { .. }
            | Operator::MemoryCopy { .. }
            | Operator::MemoryInit { .. } => self.pay_for_length(state, BYTES_SHIFT),
            Operator::TableFill { .. }
            | Operator::TableCopy { .. }
            | Operator::TableInit { .. } => {
                self.pay_for_length(state, ELEMENTS_SHIFT);
            }
            Operator::MemoryGrow { mem } => {
                self.grow(state, *mem);
                return Ok(());
            }
            _ if self.debt >= MAX_DEBT => self.pay_debt(state),
            _ => {}
        }
        state.push_operator(operator);
        Ok(())
    }
}

fn unreadable(why: &str) -> MiddlewareError {
    MiddlewareError::new("planck meter", why)
}

impl FunctionMeter {
    fn enter(&mut self, kind: Kind) {
        self.blocks.push(Block { kind, joined: 0 });
    }

    /// From the end of the first arm to the head of the second.
    fn take_else(&mut self) -> Result<(), MiddlewareError> {
        let block = self.blocks.last_mut().ok_or_else(|| unreadable("an else outside of an if"))?;
        block.joined = block.joined.max(self.debt);
        if let Kind::If(head) = block.kind {
            self.debt = head;
        }
        block.kind = Kind::Plain;
        Ok(())
    }

    /// Where the ways through a block meet, or the function ends.
    fn leave(&mut self, state: &mut MiddlewareReaderState<'_>) {
        match self.blocks.pop() {
            None => self.pay_debt(state),
            Some(Block { kind: Kind::If(head), joined }) => {
                self.debt = self.debt.max(joined).max(head);
            }
            Some(Block { joined, .. }) => self.debt = self.debt.max(joined),
        }
    }

    /// A branch to one of some blocks: back to a loop's head or out of the function
    /// it pays, else it leaves its debt with the block.
    fn branch(
        &mut self,
        state: &mut MiddlewareReaderState<'_>,
        depths: impl Iterator<Item = u32> + Clone,
    ) {
        let at = |len: usize, depth: u32| len.checked_sub(1 + depth as usize);
        let pays = |depth| match at(self.blocks.len(), depth) {
            Some(at) => matches!(self.blocks[at].kind, Kind::Loop),
            None => true,
        };
        if depths.clone().any(pays) {
            self.pay_debt(state);
        }
        for depth in depths {
            if let Some(at) = at(self.blocks.len(), depth) {
                let block = &mut self.blocks[at];
                block.joined = block.joined.max(self.debt);
            }
        }
    }

    fn pay_debt(&mut self, state: &mut MiddlewareReaderState<'_>) {
        if self.debt > 0 {
            self.pay(state, &[Operator::I64Const { value: self.debt }]);
            self.debt = 0;
        }
    }

    /// Pays the `i64` that `amount` computes (twice or three times: it must have no
    /// effect), calling `tick` first if the slice does not hold it.
    fn pay<'a>(&self, state: &mut MiddlewareReaderState<'a>, amount: &[Operator<'a>]) {
        let fuel = self.at.fuel;
        state.push_operator(Operator::GlobalGet { global_index: fuel });
        state.extend(amount);
        state.extend([Operator::I64LtU, Operator::If { blockty: BlockType::Empty }]);
        state.extend(amount);
        state.extend([
            Operator::I32Const { value: 0 },
            Operator::CallIndirect {
                type_index: self.at.tick_type,
                table_index: self.at.tick_table,
            },
            Operator::End,
            Operator::GlobalGet { global_index: fuel },
        ]);
        state.extend(amount);
        state.extend([Operator::I64Sub, Operator::GlobalSet { global_index: fuel }]);
    }

    /// Pays for the length on top of the stack and leaves it there.
    fn pay_for_length(&self, state: &mut MiddlewareReaderState<'_>, shift: i64) {
        let length = self.at.length;
        state.push_operator(Operator::GlobalSet { global_index: length });
        self.pay(
            state,
            &[
                Operator::GlobalGet { global_index: length },
                Operator::I64ExtendI32U,
                Operator::I64Const { value: shift },
                Operator::I64ShrU,
            ],
        );
        state.push_operator(Operator::GlobalGet { global_index: length });
    }

    /// `memory.grow`: -1 past the cap, else paid for and done.
    fn grow(&self, state: &mut MiddlewareReaderState<'_>, mem: u32) {
        let length = self.at.length;
        state.extend([
            Operator::GlobalSet { global_index: length },
            Operator::GlobalGet { global_index: length },
            Operator::I64ExtendI32U,
            Operator::MemorySize { mem },
            Operator::I64ExtendI32U,
            Operator::I64Add,
            Operator::GlobalGet { global_index: self.at.pages },
            Operator::I64GtU,
            Operator::If { blockty: BlockType::Type(ValType::I32) },
            Operator::I32Const { value: 1 },
            Operator::GlobalSet { global_index: self.at.denied },
            Operator::I32Const { value: -1 },
            Operator::Else,
        ]);
        self.pay(
            state,
            &[
                Operator::GlobalGet { global_index: length },
                Operator::I64ExtendI32U,
                Operator::I64Const { value: FUEL_PER_PAGE },
                Operator::I64Mul,
            ],
        );
        state.extend([
            Operator::GlobalGet { global_index: length },
            Operator::MemoryGrow { mem },
            Operator::End,
        ]);
    }
}

/// What an instruction costs by itself. Those that only mark a place are free;
/// nothing can repeat without a branch or a call, which are not.
fn price(operator: &Operator<'_>) -> i64 {
    match operator {
        Operator::Nop
        | Operator::Block { .. }
        | Operator::Loop { .. }
        | Operator::Else
        | Operator::End
        | Operator::Drop => 0,
        _ => 1,
    }
}
