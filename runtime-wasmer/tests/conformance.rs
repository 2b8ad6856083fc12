//! The suite of runtime-api on the JIT.

use runtime_wasmer::WasmerRuntime;

runtime_api::conformance_suite!(|clock| Box::new(WasmerRuntime::new(clock)));
