//! One instance: a store of its own, its exports typed once, its meter.

use std::sync::Arc;

use platform::Clock;
use runtime_api::abi::{self, Export};
use runtime_api::{
    AbiInstance, Facts, Guest, GuestMemory, Host, HostState, Instance, Limits, Trap, TrapKind,
};
use wasmer::sys::vm::TrapCode;
use wasmer::{
    AsStoreMut, FunctionEnv, Global, InstantiationError, LinkError, Memory, RuntimeError, Store,
    TypedFunction, Value,
};

use crate::link::{self, Data, View, fuel_in};
use crate::meter;

type Plain = TypedFunction<(), ()>;

struct WasmerGuest {
    store: Store,
    env: FunctionEnv<Data>,
    memory: Memory,
    fuel: Global,
    denied: Global,
    start: Option<Plain>,
    initialize: Option<Plain>,
    abi: TypedFunction<(), i32>,
    init: Option<Plain>,
    alloc: TypedFunction<i32, i32>,
    process: TypedFunction<(i32, i32), i64>,
    free: Option<TypedFunction<(i32, i32), ()>>,
}

/// Makes an instance and starts it.
pub(crate) fn start(
    engine: &wasmer::Engine,
    module: &wasmer::Module,
    facts: &Facts,
    host: Arc<dyn Host>,
    clock: Arc<dyn Clock>,
    limits: &Limits,
) -> Result<Box<dyn Instance>, Trap> {
    let mut store = Store::new(engine.clone());
    let state = HostState::new(host, clock, *limits);
    let env = FunctionEnv::new(&mut store, Data { state, memory: None, fuel: None });
    let imports = link::imports(&mut store, &env, &facts.wasi);
    let instance =
        wasmer::Instance::new(&mut store, module, &imports).map_err(|error| match error {
            // Data or elements that do not fit.
            InstantiationError::Start(trap) | InstantiationError::Link(LinkError::Trap(trap)) => {
                trap_of(trap)
            }
            InstantiationError::Link(LinkError::Resource(what)) => Trap::new(
                TrapKind::Host,
                format!("no instance can be made: {what}; lower wasm.max_instances"),
            ),
            other => Trap::new(TrapKind::Host, format!("the module cannot be linked: {other}")),
        })?;

    let exports = &instance.exports;
    let memory = exports.get_memory(abi::MEMORY).map_err(lost)?.clone();
    let global = |name| exports.get_global(name).map_err(lost).cloned();
    let (fuel, pages, denied) =
        (global(meter::FUEL)?, global(meter::PAGES)?, global(meter::DENIED)?);
    let tick = link::tick_function(&mut store, &env);
    let allowed = (limits.memory_bytes / abi::PAGE_BYTES).cast_signed();
    pages.set(&mut store, Value::I64(allowed)).map_err(lost)?;
    let table = exports.get_table(meter::TICK).map_err(lost)?;
    table.set(&mut store, 0, Value::FuncRef(Some(tick))).map_err(lost)?;
    let data = env.as_mut(&mut store);
    data.memory = Some(memory.clone());
    data.fuel = Some(fuel.clone());

    macro_rules! typed {
        ($export:expr) => {
            exports.get_typed_function(&store, $export.name()).map_err(lost)?
        };
    }
    macro_rules! maybe {
        ($export:expr) => {
            if facts.has($export) { Some(typed!($export)) } else { None }
        };
    }
    let guest = WasmerGuest {
        start: maybe!(Export::Start),
        initialize: maybe!(Export::Initialize),
        abi: typed!(Export::Abi),
        init: maybe!(Export::Init),
        alloc: typed!(Export::Alloc),
        process: typed!(Export::Process),
        free: maybe!(Export::Free),
        store,
        env,
        memory,
        fuel,
        denied,
    };
    Ok(Box::new(AbiInstance::start(guest)?))
}

/// What vetting and the meter guarantee is not there.
fn lost(error: impl std::fmt::Display) -> Trap {
    Trap::new(
        TrapKind::Host,
        format!(
            "a vetted module lost a part of itself: {error}; please report this with the module"
        ),
    )
}

impl WasmerGuest {
    /// After a call: what is left of the slice goes back, a refused growth is told.
    fn settle(&mut self) {
        let mut store = self.store.as_store_mut();
        let unused = fuel_in(&self.fuel, &mut store);
        // The next call begins with `tick`.
        let emptied = self.fuel.set(&mut store, Value::I64(0));
        debug_assert!(emptied.is_ok(), "the meter's global is a mutable i64");
        let denied = matches!(self.denied.get(&mut store), Value::I32(1));
        let state = &mut self.env.as_mut(&mut store).state;
        state.settle(unused);
        if denied {
            state.allow_memory(u64::MAX);
        }
    }
}

impl Guest for WasmerGuest {
    fn has(&self, export: Export) -> bool {
        match export {
            Export::Start => self.start.is_some(),
            Export::Initialize => self.initialize.is_some(),
            Export::Init => self.init.is_some(),
            Export::Free => self.free.is_some(),
            Export::Abi | Export::Alloc | Export::Process => true,
        }
    }

    fn call(&mut self, export: Export, args: &[i32]) -> Result<i64, Trap> {
        let store = &mut self.store;
        let plain = match export {
            Export::Start => self.start.as_ref(),
            Export::Initialize => self.initialize.as_ref(),
            Export::Init => self.init.as_ref(),
            _ => None,
        };
        let outcome = match (export, args) {
            (Export::Abi, []) => self.abi.call(store).map(i64::from),
            (Export::Alloc, [len]) => self.alloc.call(store, *len).map(i64::from),
            (Export::Process, [ptr, len]) => self.process.call(store, *ptr, *len),
            (Export::Free, [ptr, len]) if let Some(free) = &self.free => {
                free.call(store, *ptr, *len).map(|()| 0)
            }
            (_, []) if let Some(plain) = plain => plain.call(store).map(|()| 0),
            _ => {
                return Err(Trap::new(
                    TrapKind::Host,
                    format!("{} was called wrongly", export.name()),
                ));
            }
        };
        self.settle();
        outcome.map_err(trap_of)
    }

    fn parts<R>(&mut self, use_it: impl FnOnce(&mut dyn GuestMemory, &mut HostState) -> R) -> R {
        let mut env = self.env.clone().into_mut(&mut self.store);
        let (data, store) = env.data_and_store_mut();
        use_it(&mut View(self.memory.view(&store)), &mut data.state)
    }

    fn state(&self) -> &HostState {
        &self.env.as_ref(&self.store).state
    }

    fn memory_bytes(&self) -> u64 {
        self.memory.view(&self.store).data_size()
    }
}

/// Names the cause in our words.
fn trap_of(error: RuntimeError) -> Trap {
    let error = match error.downcast::<Trap>() {
        Ok(ours) => return ours,
        Err(error) => error,
    };
    let words = error.message();
    Trap::of(match error.to_trap() {
        Some(TrapCode::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(TrapCode::HeapAccessOutOfBounds) => TrapKind::OutOfBounds,
        Some(
            TrapCode::TableAccessOutOfBounds
            | TrapCode::IndirectCallToNull
            | TrapCode::BadSignature,
        ) => TrapKind::BadTable,
        Some(TrapCode::IntegerDivisionByZero) => TrapKind::DivisionByZero,
        Some(TrapCode::IntegerOverflow) => TrapKind::IntegerOverflow,
        Some(TrapCode::BadConversionToInteger) => TrapKind::BadConversion,
        Some(TrapCode::StackOverflow) => TrapKind::StackOverflow,
        _ => return Trap::new(TrapKind::Host, format!("the machine code stopped: {words}")),
    })
}
