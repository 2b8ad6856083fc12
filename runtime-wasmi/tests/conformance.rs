//! The suite of runtime-api on the interpreter.

use runtime_wasmi::WasmiRuntime;

runtime_api::conformance_suite!(|clock| Box::new(WasmiRuntime::new(clock)));
