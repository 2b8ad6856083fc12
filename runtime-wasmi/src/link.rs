//! The imports, and WASI's, tied to [`HostState`](runtime_api::HostState).

use runtime_api::Trap;
use runtime_api::abi::{IMPORT_MODULE, Import, Ty};
use runtime_api::wasi::{self, Wasi};
use wasmi::{Caller, Engine, Error, FuncType, Linker, Val, ValType};

use crate::Data;

/// A trap on its way through the interpreter.
#[derive(Debug)]
pub(crate) struct Raised(pub(crate) Trap);

impl std::fmt::Display for Raised {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl wasmi::errors::HostError for Raised {}

fn raise<T>(outcome: Result<T, Trap>) -> Result<T, Error> {
    outcome.map_err(|trap| Error::host(Raised(trap)))
}

/// Guest memory and host state of the calling instance.
macro_rules! with {
    ($caller:ident, |$memory:ident, $state:ident| $body:expr) => {{
        let memory = $caller.data().memory.expect("set before any guest code runs");
        let (mut $memory, data) = memory.data_and_store_mut(&mut $caller);
        let ($memory, $state) = (&mut $memory, &mut data.state);
        raise($body)
    }};
}

/// All imports of ABI v1, and the functions of WASI that the module imports.
pub(crate) fn linker(engine: &Engine, wasi: &[Wasi]) -> Result<Linker<Data>, Error> {
    let mut linker = Linker::new(engine);
    for wasi in wasi {
        link_wasi(&mut linker, *wasi)?;
    }
    for import in Import::ALL {
        let (module, name) = (IMPORT_MODULE, import.name());
        match import {
            Import::Request => linker.func_wrap(
                module,
                name,
                |mut caller: Caller<'_, Data>, ptr: i32, len: i32, out: i32, cap: i32| {
                    with!(caller, |memory, state| state.host_request(
                        memory,
                        (ptr, len),
                        (out, cap)
                    ))
                },
            )?,
            Import::Read => linker.func_wrap(
                module,
                name,
                |mut caller: Caller<'_, Data>, offset: i32, ptr: i32, len: i32| {
                    with!(caller, |memory, state| state.host_read(memory, offset, (ptr, len)))
                },
            )?,
            Import::CallService => linker.func_wrap(
                module,
                name,
                |mut caller: Caller<'_, Data>,
                 name: i32,
                 name_len: i32,
                 ptr: i32,
                 len: i32,
                 out: i32,
                 cap: i32| {
                    with!(caller, |memory, state| state.host_call_service(
                        memory,
                        (name, name_len),
                        (ptr, len),
                        (out, cap)
                    ))
                },
            )?,
            Import::Log => linker.func_wrap(
                module,
                name,
                |mut caller: Caller<'_, Data>, level: i32, ptr: i32, len: i32| {
                    with!(caller, |memory, state| state.host_log(&*memory, level, (ptr, len)))
                },
            )?,
            Import::Now => linker.func_wrap(module, name, |mut caller: Caller<'_, Data>| {
                raise(caller.data_mut().state.host_now())
            })?,
            Import::Random => linker.func_wrap(
                module,
                name,
                |mut caller: Caller<'_, Data>, ptr: i32, len: i32| {
                    with!(caller, |memory, state| state.host_random(memory, (ptr, len)))
                },
            )?,
            Import::Write => linker.func_wrap(
                module,
                name,
                |mut caller: Caller<'_, Data>, ptr: i32, len: i32| {
                    with!(caller, |memory, state| state.host_write(&*memory, (ptr, len)))
                },
            )?,
        };
    }
    Ok(linker)
}

/// One function of WASI, by its numbers: they are called seldom, and there are many.
fn link_wasi(linker: &mut Linker<Data>, wasi: Wasi) -> Result<(), Error> {
    let signature = wasi.signature();
    let ty = |ty: &Ty| if *ty == Ty::I32 { ValType::I32 } else { ValType::I64 };
    let shape = FuncType::new(signature.params.iter().map(ty), signature.result.iter().map(ty));
    let call = move |mut caller: Caller<'_, Data>, params: &[Val], results: &mut [Val]| {
        let mut numbers = [0; wasi::MAX_PARAMS];
        for (number, param) in numbers.iter_mut().zip(params) {
            *number = match param {
                Val::I32(value) => i64::from(*value),
                Val::I64(value) => *value,
                // Its signature has nothing else.
                _ => 0,
            };
        }
        let errno = with!(caller, |memory, state| state.wasi(memory, wasi, &numbers))?;
        if let Some(result) = results.first_mut() {
            *result = Val::I32(errno);
        }
        Ok(())
    };
    linker.func_new(wasi::MODULE, wasi.name(), shape, call)?;
    Ok(())
}
