//! The imports, WASI's, and the meter's `tick`, tied to [`HostState`].

use runtime_api::abi::{IMPORT_MODULE, Import, Ty};
use runtime_api::wasi::{self, Wasi};
use runtime_api::{GuestMemory, HostState, Trap, TrapKind};
use wasmer::{
    Function, FunctionEnv, FunctionEnvMut, FunctionType, Global, Imports, Memory, MemoryView,
    RuntimeError, Store, StoreMut, Type, Value,
};

use crate::SLICE;

/// What a store carries.
pub(crate) struct Data {
    pub(crate) state: HostState,
    /// Both set once the instance exists; no guest code runs before.
    pub(crate) memory: Option<Memory>,
    pub(crate) fuel: Option<Global>,
}

/// A memory as runtime-api wants to see it.
pub(crate) struct View<'a>(pub(crate) MemoryView<'a>);

impl GuestMemory for View<'_> {
    fn size(&self) -> u64 {
        self.0.data_size()
    }

    fn read(&self, at: u32, out: &mut [u8]) -> bool {
        self.0.read(u64::from(at), out).is_ok()
    }

    fn write(&mut self, at: u32, bytes: &[u8]) -> bool {
        self.0.write(u64::from(at), bytes).is_ok()
    }
}

/// Reads a global as the fuel it holds.
pub(crate) fn fuel_in(global: &Global, store: &mut StoreMut<'_>) -> u64 {
    match global.get(store) {
        Value::I64(fuel) => fuel.cast_unsigned(),
        _ => 0,
    }
}

/// Guest memory and host state of the calling instance.
macro_rules! with {
    ($env:ident, |$memory:ident, $state:ident| $body:expr) => {{
        let (data, store) = $env.data_and_store_mut();
        let memory = data.memory.as_ref().ok_or_else(unlinked)?;
        let ($memory, $state) = (&mut View(memory.view(&store)), &mut data.state);
        $body
    }};
}

fn unlinked() -> Trap {
    Trap::new(TrapKind::Host, "guest code ran before its instance was made")
}

type Env<'a> = FunctionEnvMut<'a, Data>;

/// Called by compiled code when its slice holds less than `needed`.
fn tick(mut env: Env<'_>, needed: i64) -> Result<(), Trap> {
    let (data, mut store) = env.data_and_store_mut();
    let fuel = data.fuel.clone().ok_or_else(unlinked)?;
    let have = fuel_in(&fuel, &mut store);
    let more = needed.cast_unsigned().saturating_sub(have);
    let granted = data.state.grant(more, SLICE)?;
    let now = have.saturating_add(granted).cast_signed();
    fuel.set(&mut store, Value::I64(now)).map_err(|error| {
        Trap::new(TrapKind::Host, format!("the fuel of an instance cannot be set: {error}"))
    })
}

/// The function for the meter's table.
pub(crate) fn tick_function(store: &mut Store, env: &FunctionEnv<Data>) -> Function {
    Function::new_typed_with_env(store, env, tick)
}

/// All imports of ABI v1, and the functions of WASI that the module imports.
pub(crate) fn imports(store: &mut Store, env: &FunctionEnv<Data>, wasi: &[Wasi]) -> Imports {
    let mut imports = Imports::new();
    for wasi in wasi {
        imports.define(wasi::MODULE, wasi.name(), wasi_function(store, env, *wasi));
    }
    for import in Import::ALL {
        let function = match import {
            Import::Request => Function::new_typed_with_env(
                store,
                env,
                |mut env: Env<'_>, ptr: i32, len: i32, out: i32, cap: i32| -> Result<i64, Trap> {
                    with!(env, |memory, state| state.host_request(memory, (ptr, len), (out, cap)))
                },
            ),
            Import::Read => Function::new_typed_with_env(
                store,
                env,
                |mut env: Env<'_>, offset: i32, ptr: i32, len: i32| -> Result<i64, Trap> {
                    with!(env, |memory, state| state.host_read(memory, offset, (ptr, len)))
                },
            ),
            Import::CallService => Function::new_typed_with_env(
                store,
                env,
                |mut env: Env<'_>,
                 name: i32,
                 name_len: i32,
                 ptr: i32,
                 len: i32,
                 out: i32,
                 cap: i32|
                 -> Result<i64, Trap> {
                    with!(env, |memory, state| state.host_call_service(
                        memory,
                        (name, name_len),
                        (ptr, len),
                        (out, cap)
                    ))
                },
            ),
            Import::Log => Function::new_typed_with_env(
                store,
                env,
                |mut env: Env<'_>, level: i32, ptr: i32, len: i32| -> Result<(), Trap> {
                    with!(env, |memory, state| state.host_log(&*memory, level, (ptr, len)))
                },
            ),
            Import::Now => {
                Function::new_typed_with_env(store, env, |mut env: Env<'_>| -> Result<i64, Trap> {
                    env.data_mut().state.host_now()
                })
            }
            Import::Random => Function::new_typed_with_env(
                store,
                env,
                |mut env: Env<'_>, ptr: i32, len: i32| -> Result<(), Trap> {
                    with!(env, |memory, state| state.host_random(memory, (ptr, len)))
                },
            ),
            Import::Write => Function::new_typed_with_env(
                store,
                env,
                |mut env: Env<'_>, ptr: i32, len: i32| -> Result<i64, Trap> {
                    with!(env, |memory, state| state.host_write(&*memory, (ptr, len)))
                },
            ),
        };
        imports.define(IMPORT_MODULE, import.name(), function);
    }
    imports
}

/// One function of WASI, by its numbers: they are called seldom, and there are many.
fn wasi_function(store: &mut Store, env: &FunctionEnv<Data>, wasi: Wasi) -> Function {
    let signature = wasi.signature();
    let types = |types: &[Ty]| -> Vec<Type> {
        types.iter().map(|ty| if *ty == Ty::I32 { Type::I32 } else { Type::I64 }).collect()
    };
    let shape = FunctionType::new(types(signature.params), types(signature.result.as_slice()));
    let returns = signature.result.is_some();
    Function::new_with_env(store, env, shape, move |mut env: Env<'_>, params| {
        let mut numbers = [0; wasi::MAX_PARAMS];
        for (number, param) in numbers.iter_mut().zip(params) {
            *number = match param {
                Value::I32(value) => i64::from(*value),
                Value::I64(value) => *value,
                // Its signature has nothing else.
                _ => 0,
            };
        }
        let mut call = || -> Result<i32, Trap> {
            with!(env, |memory, state| state.wasi(memory, wasi, &numbers))
        };
        let errno = call().map_err(|trap| RuntimeError::user(Box::new(trap)))?;
        Ok(if returns { vec![Value::I32(errno)] } else { Vec::new() })
    })
}
