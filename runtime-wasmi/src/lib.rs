//! The interpreter backend: deterministic, for tests and simulation.
//!
//! What must stay true:
//! * The same call on a fresh instance uses the same fuel and gives the same
//!   bytes: code is translated eagerly (lazily it would charge the first call), NaNs
//!   are canonical, and slicing fuel changes no sum.
//! * Every call is resumable, so running out of a slice stops between two
//!   instructions and goes on once [`HostState::grant`] has looked at the clock.
//!   Everything else here is glue: the checks are runtime-api's.

mod link;

use std::fmt;
use std::sync::Arc;

use platform::Clock;
use runtime_api::abi::{self, Export, Import};
use runtime_api::{
    AbiInstance, CompileError, Facts, Guest, GuestMemory, Host, HostState, Instance, Limits,
    Module, Runtime, Trap, TrapKind, inspect,
};
use wasmi::{
    CompilationMode, Config, Engine, Linker, Memory, ResourceLimiter, Store, TrapCode, TypedFunc,
    TypedResumableCall, WasmParams, WasmResults,
};
use wasmi_core::LimiterError;

/// Fuel between two looks at the clock: a millisecond or less of interpreting.
const SLICE: u64 = 100_000;
/// Depth of guest calls.
const MAX_RECURSION: usize = 4_096;
/// Bytes of an instance's value stack: what the JIT backend gives its guests.
const STACK_BYTES: usize = 1 << 20;

/// Compiles for the interpreter.
pub struct WasmiRuntime {
    clock: Arc<dyn Clock>,
    slice: u64,
}

impl WasmiRuntime {
    /// A runtime that measures deadlines on `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, slice: SLICE }
    }

    /// Changes how much fuel runs between two looks at the clock: smaller for a
    /// simulator that wants finer steps. Changes no result and no sum of fuel.
    #[must_use]
    pub fn with_slice(self, fuel: u64) -> Self {
        Self { slice: fuel.max(1), ..self }
    }
}

impl Runtime for WasmiRuntime {
    fn name(&self) -> &'static str {
        "wasmi"
    }

    fn compile(&self, wasm: &[u8]) -> Result<Arc<dyn Module>, CompileError> {
        let facts = inspect(wasm)?;
        let engine = Engine::new(&config());
        let failed = |error: wasmi::Error| CompileError::Backend {
            runtime: "wasmi",
            message: error.to_string(),
        };
        let module = wasmi::Module::new(&engine, &facts.wasm).map_err(failed)?;
        let linker = link::linker(&engine, &facts.wasi).map_err(failed)?;
        Ok(Arc::new(WasmiModule {
            module,
            linker,
            facts,
            clock: Arc::clone(&self.clock),
            slice: self.slice,
        }))
    }
}

/// Features wider than `inspect` allows do no harm: it stands in front.
fn config() -> Config {
    let mut config = Config::default();
    config
        .compilation_mode(CompilationMode::Eager)
        .consume_fuel(true)
        .ignore_custom_sections(true)
        .wasm_tail_call(false)
        .wasm_multi_memory(false)
        .wasm_relaxed_simd(false)
        .set_max_recursion_depth(MAX_RECURSION)
        .set_max_stack_height(STACK_BYTES);
    config
}

struct WasmiModule {
    module: wasmi::Module,
    linker: Linker<Data>,
    facts: Facts,
    clock: Arc<dyn Clock>,
    slice: u64,
}

impl fmt::Debug for WasmiModule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WasmiModule").field("exports", &self.facts.exports).finish_non_exhaustive()
    }
}

impl Module for WasmiModule {
    fn instantiate(&self, host: Arc<dyn Host>, limits: &Limits) -> Result<Box<dyn Instance>, Trap> {
        self.facts.fits(limits)?;
        let state = HostState::new(host, Arc::clone(&self.clock), *limits);
        let mut store = Store::new(self.module.engine(), Data { state, memory: None });
        store.limiter(|data| data);
        // What instantiation copies is bounded by the size of the module.
        set_fuel(&mut store, u64::MAX);
        let instance = self
            .linker
            .instantiate_and_start(&mut store, &self.module)
            .map_err(|error| trap_of(error, store.data()))?;
        set_fuel(&mut store, 0);
        let memory = instance
            .get_memory(&store, abi::MEMORY)
            .ok_or_else(|| Trap::new(TrapKind::Host, "a vetted module has lost its memory"))?;
        store.data_mut().memory = Some(memory);
        let guest = WasmiGuest {
            exports: Exports::find(&instance, &store, &self.facts)?,
            store,
            memory,
            slice: self.slice,
        };
        Ok(Box::new(AbiInstance::start(guest)?))
    }

    fn writes(&self) -> bool {
        self.facts.uses(Import::Write)
    }
}

/// What a store carries.
struct Data {
    state: HostState,
    /// Set once the instance exists; no guest code runs before.
    memory: Option<Memory>,
}

impl ResourceLimiter for Data {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        // The module's own maximum is compared by wasmi, after this.
        Ok(self.state.allow_memory(desired as u64))
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> Result<bool, LimiterError> {
        // Asked for a table's first size only: `inspect` refuses `table.grow`.
        Ok(desired as u64 <= u64::from(self.state.limits().table_elements))
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        abi::MAX_TABLES
    }

    fn memories(&self) -> usize {
        1
    }
}

/// The exports, typed once.
struct Exports {
    start: Option<TypedFunc<(), ()>>,
    initialize: Option<TypedFunc<(), ()>>,
    abi: TypedFunc<(), i32>,
    init: Option<TypedFunc<(), ()>>,
    alloc: TypedFunc<i32, i32>,
    process: TypedFunc<(i32, i32), i64>,
    free: Option<TypedFunc<(i32, i32), ()>>,
}

impl Exports {
    fn find(instance: &wasmi::Instance, store: &Store<Data>, facts: &Facts) -> Result<Self, Trap> {
        fn typed<P: WasmParams, R: WasmResults>(
            instance: &wasmi::Instance,
            store: &Store<Data>,
            export: Export,
        ) -> Result<TypedFunc<P, R>, Trap> {
            instance.get_typed_func(store, export.name()).map_err(|error| {
                Trap::new(
                    TrapKind::Host,
                    format!("the vetted export {} is unusable: {error}", export.name()),
                )
            })
        }
        macro_rules! maybe {
            ($export:expr) => {
                facts.has($export).then(|| typed(instance, store, $export)).transpose()?
            };
        }
        Ok(Self {
            start: maybe!(Export::Start),
            initialize: maybe!(Export::Initialize),
            abi: typed(instance, store, Export::Abi)?,
            init: maybe!(Export::Init),
            alloc: typed(instance, store, Export::Alloc)?,
            process: typed(instance, store, Export::Process)?,
            free: maybe!(Export::Free),
        })
    }
}

struct WasmiGuest {
    store: Store<Data>,
    memory: Memory,
    exports: Exports,
    slice: u64,
}

impl WasmiGuest {
    /// Runs a function slice by slice.
    fn run<P: WasmParams, R: WasmResults>(
        &mut self,
        function: TypedFunc<P, R>,
        params: P,
    ) -> Result<R, Trap> {
        let outcome = self.run_slices(function, params);
        let unused = fuel(&self.store);
        set_fuel(&mut self.store, 0);
        self.store.data_mut().state.settle(unused);
        outcome
    }

    fn run_slices<P: WasmParams, R: WasmResults>(
        &mut self,
        function: TypedFunc<P, R>,
        params: P,
    ) -> Result<R, Trap> {
        self.refuel(0)?;
        let mut call = function.call_resumable(&mut self.store, params);
        loop {
            match call {
                Ok(TypedResumableCall::Finished(results)) => return Ok(results),
                Ok(TypedResumableCall::OutOfFuel(stopped)) => {
                    self.refuel(stopped.required_fuel())?;
                    call = stopped.resume(&mut self.store);
                }
                Ok(TypedResumableCall::HostTrap(stopped)) => {
                    return Err(match stopped.host_error().downcast_ref::<link::Raised>() {
                        Some(raised) => raised.0.clone(),
                        None => Trap::new(TrapKind::Host, stopped.host_error().to_string()),
                    });
                }
                Err(error) => return Err(trap_of(error, self.store.data())),
            }
        }
    }

    /// Grants the next slice, so that at least `needed` units are in the store.
    fn refuel(&mut self, needed: u64) -> Result<(), Trap> {
        let have = fuel(&self.store);
        let more = needed.saturating_sub(have);
        let granted = self.store.data_mut().state.grant(more, self.slice)?;
        set_fuel(&mut self.store, have.saturating_add(granted));
        Ok(())
    }
}

impl Guest for WasmiGuest {
    fn has(&self, export: Export) -> bool {
        match export {
            Export::Start => self.exports.start.is_some(),
            Export::Initialize => self.exports.initialize.is_some(),
            Export::Init => self.exports.init.is_some(),
            Export::Free => self.exports.free.is_some(),
            Export::Abi | Export::Alloc | Export::Process => true,
        }
    }

    fn call(&mut self, export: Export, args: &[i32]) -> Result<i64, Trap> {
        let plain = match export {
            Export::Start => self.exports.start,
            Export::Initialize => self.exports.initialize,
            Export::Init => self.exports.init,
            _ => None,
        };
        match (export, args) {
            (Export::Abi, []) => self.run(self.exports.abi, ()).map(i64::from),
            (Export::Alloc, [len]) => self.run(self.exports.alloc, *len).map(i64::from),
            (Export::Process, [ptr, len]) => self.run(self.exports.process, (*ptr, *len)),
            (Export::Free, [ptr, len]) if let Some(free) = self.exports.free => {
                self.run(free, (*ptr, *len)).map(|()| 0)
            }
            (_, []) if let Some(plain) = plain => self.run(plain, ()).map(|()| 0),
            _ => Err(Trap::new(TrapKind::Host, format!("{} was called wrongly", export.name()))),
        }
    }

    fn parts<R>(&mut self, use_it: impl FnOnce(&mut dyn GuestMemory, &mut HostState) -> R) -> R {
        let (mut bytes, data) = self.memory.data_and_store_mut(&mut self.store);
        use_it(&mut bytes, &mut data.state)
    }

    fn state(&self) -> &HostState {
        &self.store.data().state
    }

    fn memory_bytes(&self) -> u64 {
        self.memory.data_size(&self.store) as u64
    }
}

fn fuel(store: &Store<Data>) -> u64 {
    store.get_fuel().expect("fuel is on in every engine made here")
}

fn set_fuel(store: &mut Store<Data>, fuel: u64) {
    store.set_fuel(fuel).expect("fuel is on in every engine made here");
}

/// Names the cause in our words.
fn trap_of(error: wasmi::Error, data: &Data) -> Trap {
    if let Some(raised) = error.downcast_ref::<link::Raised>() {
        return raised.0.clone();
    }
    let kind = match error.as_trap_code() {
        Some(TrapCode::UnreachableCodeReached) => TrapKind::Unreachable,
        Some(TrapCode::MemoryOutOfBounds) => TrapKind::OutOfBounds,
        Some(
            TrapCode::TableOutOfBounds | TrapCode::IndirectCallToNull | TrapCode::BadSignature,
        ) => TrapKind::BadTable,
        Some(TrapCode::IntegerDivisionByZero) => TrapKind::DivisionByZero,
        Some(TrapCode::IntegerOverflow) => TrapKind::IntegerOverflow,
        Some(TrapCode::BadConversionToInteger) => TrapKind::BadConversion,
        Some(TrapCode::StackOverflow) => TrapKind::StackOverflow,
        Some(TrapCode::GrowthOperationLimited | TrapCode::OutOfSystemMemory) => {
            return data.state.out_of_memory();
        }
        // Slices end a call in `grant`, with its own sentence.
        Some(TrapCode::OutOfFuel) | None => {
            return Trap::new(TrapKind::Host, format!("the interpreter stopped: {error}"));
        }
    };
    Trap::of(kind)
}
