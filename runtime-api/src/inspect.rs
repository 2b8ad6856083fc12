//! Vetting a module before any backend sees it.
//!
//! What must stay true: both backends accept exactly the same modules, because
//! one validator with one feature set stands before both, and both get the same
//! bytes. Nothing of the module runs here.
//!
//! Two things are changed or refused that WebAssembly allows:
//! * a start section is turned into the export `planck:start`, so that its code
//!   runs under fuel and deadline like every other call;
//! * `table.grow` is refused: wasmi 2.0 resumes it at a stale instruction when
//!   fuel runs out in it, and no toolchain we know emits it.

use wasmparser::{
    BinaryReaderError, ExternalKind, FuncType, Operator, Parser, Payload, TypeRef, ValType,
    Validator, WasmFeatures, types::EntityType, types::TypesRef,
};

use crate::CompileError;
use crate::abi::{self, Export, Import, Signature, Ty};
use crate::edit::{Edit, Section};
use crate::wasi::{self, Wasi};

/// What is known of a vetted module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The module to compile: the given bytes, its start section made an export.
    pub wasm: Vec<u8>,
    /// Functions of the ABI it exports.
    pub exports: Vec<Export>,
    /// Functions of the ABI it imports, in the module's order.
    pub imports: Vec<Import>,
    /// Functions of WASI it imports, each once.
    pub wasi: Vec<Wasi>,
    /// Bytes of linear memory it starts with.
    pub memory_bytes: u64,
    /// Elements of its largest table.
    pub table_elements: u64,
}

impl Facts {
    /// Whether it exports the function.
    pub fn has(&self, export: Export) -> bool {
        self.exports.contains(&export)
    }

    /// Whether it imports the function.
    pub fn uses(&self, import: Import) -> bool {
        self.imports.contains(&import)
    }

    /// Whether an instance may be made under `limits`.
    ///
    /// # Errors
    /// It starts with more memory or a larger table than allowed.
    pub fn fits(&self, limits: &crate::Limits) -> Result<(), crate::Trap> {
        let refuse = |what: String| Err(crate::Trap::new(crate::TrapKind::Memory, what));
        if self.memory_bytes > limits.memory_bytes {
            return refuse(format!(
                "the module starts with {} bytes of memory, its limit is {}; raise wasm.memory or link it with less",
                self.memory_bytes, limits.memory_bytes
            ));
        }
        if self.table_elements > u64::from(limits.table_elements) {
            return refuse(format!(
                "the module has a table of {} elements, its limit is {}; raise the limit",
                self.table_elements, limits.table_elements
            ));
        }
        Ok(())
    }
}

/// What a guest may use: WebAssembly 2.0 with extended constants, as far as both
/// backends have it.
fn features() -> WasmFeatures {
    WasmFeatures::MUTABLE_GLOBAL
        | WasmFeatures::SATURATING_FLOAT_TO_INT
        | WasmFeatures::SIGN_EXTENSION
        | WasmFeatures::REFERENCE_TYPES
        | WasmFeatures::GC_TYPES // only what `externref` needs; garbage collection is off
        | WasmFeatures::MULTI_VALUE
        | WasmFeatures::BULK_MEMORY
        | WasmFeatures::SIMD
        | WasmFeatures::FLOATS
        | WasmFeatures::EXTENDED_CONST
}

/// Checks everything about a module that can be known without running it.
///
/// # Errors
/// The first class of fault found, with every fault of that class in it.
pub fn inspect(wasm: &[u8]) -> Result<Facts, CompileError> {
    check_header(wasm)?;
    let types = Validator::new_with_features(features()).validate_all(wasm).map_err(refused)?;
    let types = types.as_ref();
    let mut found = Found::default();
    for payload in Parser::new(0).parse_all(wasm) {
        found.section(&payload.map_err(refused)?, types)?;
    }
    found.finish(wasm)
}

fn check_header(wasm: &[u8]) -> Result<(), CompileError> {
    let not = |why: &str| Err(CompileError::NotAModule(why.to_owned()));
    if wasm.len() > abi::MAX_MODULE_BYTES {
        return Err(CompileError::TooLarge(format!(
            "a file of {} bytes, at most {} are taken; strip its debug information",
            wasm.len(),
            abi::MAX_MODULE_BYTES
        )));
    }
    let (magic, rest) = wasm.split_at(wasm.len().min(4));
    if magic.is_empty() {
        return not("the file is empty");
    }
    if magic != &b"\0asm"[..magic.len()] {
        return not(
            "it does not begin with the bytes 00 61 73 6d; give the .wasm file the build made",
        );
    }
    match rest.get(..4) {
        None => Err(CompileError::Truncated { offset: wasm.len() }),
        Some([1, 0, 0, 0]) => Ok(()),
        Some([_, _, 1, 0]) => not(
            "it is a component; build a core module (target wasm32-unknown-unknown, no component step)",
        ),
        Some(version) => not(&format!("its binary version {version:02x?} is unknown")),
    }
}

fn refused(error: BinaryReaderError) -> CompileError {
    let offset = error.offset();
    // The parser has no kind for this; the conformance suite pins the words.
    if error.message().starts_with("unexpected end") {
        return CompileError::Truncated { offset };
    }
    CompileError::Invalid { offset, message: error.message().to_owned() }
}

#[derive(Default)]
struct Found {
    exports: Vec<Export>,
    export_faults: Vec<String>,
    has_memory: bool,
    imports: Vec<Import>,
    wasi: Vec<Wasi>,
    import_faults: Vec<String>,
    memory_bytes: u64,
    tables: usize,
    table_elements: u64,
    imported_functions: u32,
    bodies: u32,
    abi_function: Option<u32>,
    abi_version: Option<i32>,
    start: Option<u32>,
}

impl Found {
    fn section(&mut self, payload: &Payload<'_>, types: TypesRef<'_>) -> Result<(), CompileError> {
        match payload {
            Payload::ImportSection(section) => {
                for import in section.clone() {
                    let import = import.map_err(refused)?;
                    self.import(import.module, import.name, import.ty, types);
                }
            }
            Payload::MemorySection(section) => {
                for memory in section.clone() {
                    let pages = memory.map_err(refused)?.initial;
                    self.memory_bytes = pages.saturating_mul(abi::PAGE_BYTES);
                }
            }
            Payload::TableSection(section) => {
                for table in section.clone() {
                    self.tables += 1;
                    let initial = table.map_err(refused)?.ty.initial;
                    self.table_elements = self.table_elements.max(initial);
                }
            }
            Payload::ExportSection(section) => {
                for export in section.clone() {
                    let export = export.map_err(refused)?;
                    self.export(export.name, export.kind, export.index, types);
                }
            }
            Payload::StartSection { func, .. } => self.start = Some(*func),
            Payload::CodeSectionEntry(body) => {
                let index = self.imported_functions + self.bodies;
                self.bodies += 1;
                self.body(index, body).map_err(refused)??;
            }
            _ => {}
        }
        Ok(())
    }

    fn import(&mut self, module: &str, name: &str, ty: TypeRef, types: TypesRef<'_>) {
        let TypeRef::Func(index) = ty else {
            self.import_faults.push(format!("{module}.{name} (not a function)"));
            return;
        };
        self.imported_functions += 1;
        let planck = (module == abi::IMPORT_MODULE).then(|| Import::by_name(name)).flatten();
        let wasi = (module == wasi::MODULE).then(|| Wasi::by_name(name)).flatten();
        let signature = planck.map(Import::signature).or(wasi.map(Wasi::signature));
        let Some(signature) = signature else {
            let hint = if module.starts_with("wasi") && module != wasi::MODULE {
                " (of WASI there is preview 1 alone, module wasi_snapshot_preview1)"
            } else {
                ""
            };
            self.import_faults.push(format!("{module}.{name}{hint}"));
            return;
        };
        let declared = types[types.core_type_at_in_module(index)].unwrap_func();
        if !matches(declared, signature) {
            self.import_faults.push(format!(
                "{module}.{name} as ({} parameters, {} results), it is {signature}",
                declared.params().len(),
                declared.results().len(),
            ));
            return;
        }
        self.imports.extend(planck);
        self.wasi.extend(wasi.filter(|wasi| !self.wasi.contains(wasi)));
    }

    fn export(&mut self, name: &str, kind: ExternalKind, index: u32, types: TypesRef<'_>) {
        if name == abi::MEMORY {
            self.has_memory = kind == ExternalKind::Memory;
            if !self.has_memory {
                self.export_faults.push(format!("{name} must be the memory"));
            }
            return;
        }
        if name.starts_with(abi::RESERVED) {
            self.export_faults.push(format!("{name} is a name the host keeps for itself"));
            return;
        }
        let Some(export) = Export::ALL.into_iter().find(|export| export.name() == name) else {
            return;
        };
        let exported = wasmparser::Export { name, kind, index };
        let fits = match types.entity_type_from_export(&exported) {
            Some(EntityType::Func(id)) => matches(types[id].unwrap_func(), export.signature()),
            _ => false,
        };
        if !fits {
            self.export_faults.push(format!("{name} must be a function {}", export.signature()));
            return;
        }
        if export == Export::Abi {
            self.abi_function = Some(index);
        }
        self.exports.push(export);
    }

    /// Looks for `table.grow`, and at `planck_abi` when it is a plain constant, as
    /// every optimising compiler makes it. Any other body is asked at the first start.
    fn body(
        &mut self,
        index: u32,
        body: &wasmparser::FunctionBody<'_>,
    ) -> Result<Result<(), CompileError>, BinaryReaderError> {
        let mut constant = None;
        let mut operators = body.get_operators_reader()?;
        let mut count = 0_usize;
        while !operators.eof() {
            let (operator, offset) = operators.read_with_offset()?;
            match operator {
                Operator::TableGrow { .. } => {
                    return Ok(Err(CompileError::Invalid {
                        offset,
                        message: "table.grow is not allowed: tables have a fixed size".to_owned(),
                    }));
                }
                Operator::I32Const { value } if count == 0 => constant = Some(value),
                Operator::End => {}
                _ => constant = None,
            }
            count += 1;
        }
        if self.abi_function == Some(index) && count == 2 {
            self.abi_version = constant;
        }
        Ok(Ok(()))
    }

    fn finish(mut self, wasm: &[u8]) -> Result<Facts, CompileError> {
        if !self.import_faults.is_empty() {
            return Err(CompileError::Imports(self.import_faults));
        }
        let named = |faults: &[String], name: &str| {
            faults
                .iter()
                .any(|fault| fault.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')))
        };
        if !self.has_memory && !named(&self.export_faults, abi::MEMORY) {
            self.export_faults.push(format!("{} is missing", abi::MEMORY));
        }
        for export in Export::ALL {
            let named = named(&self.export_faults, export.name());
            if export.required() && !named && !self.exports.contains(&export) {
                self.export_faults.push(format!(
                    "{} is missing, a function {}",
                    export.name(),
                    export.signature()
                ));
            }
        }
        if !self.export_faults.is_empty() {
            return Err(CompileError::Exports(self.export_faults));
        }
        if let Some(found) = self.abi_version
            && found != abi::VERSION
        {
            return Err(CompileError::AbiVersion { found });
        }
        if self.memory_bytes > abi::MAX_MEMORY_BYTES {
            return Err(CompileError::TooLarge(format!(
                "{} bytes of memory at start, at most {} are possible",
                self.memory_bytes,
                abi::MAX_MEMORY_BYTES
            )));
        }
        if self.tables > abi::MAX_TABLES || self.table_elements > u64::from(abi::MAX_TABLE_ELEMENTS)
        {
            return Err(CompileError::TooLarge(format!(
                "{} tables, the largest of {} elements; at most {} of {} are possible",
                self.tables,
                self.table_elements,
                abi::MAX_TABLES,
                abi::MAX_TABLE_ELEMENTS
            )));
        }
        let wasm = self.without_start(wasm);
        Ok(Facts {
            wasm,
            exports: self.exports,
            imports: self.imports,
            wasi: self.wasi,
            memory_bytes: self.memory_bytes,
            table_elements: self.table_elements,
        })
    }

    /// The module with its start section made the export `planck:start`.
    fn without_start(&mut self, wasm: &[u8]) -> Vec<u8> {
        let Some(start) = self.start else { return wasm.to_vec() };
        self.exports.push(Export::Start);
        let edited = Edit::new(wasm).and_then(|mut edit| {
            edit.remove(Section::Start);
            edit.export(Export::Start.name(), 0, start)?;
            Some(edit.to_bytes())
        });
        edited.expect("the validator has read the same sections")
    }
}

fn matches(found: &FuncType, wanted: Signature) -> bool {
    let same = |found: &[ValType], wanted: &[Ty]| {
        found.len() == wanted.len()
            && found.iter().zip(wanted).all(|(found, wanted)| {
                *found == if *wanted == Ty::I32 { ValType::I32 } else { ValType::I64 }
            })
    };
    same(found.params(), wanted.params) && same(found.results(), wanted.result.as_slice())
}
