//! ABI v1 in code: names, signatures, hard bounds. In prose: `docs/abi.md`.
//!
//! The two lists here, and that of [`crate::wasi`], are the only places that name an
//! export or an import; the vetting of modules, the backends' linking and the calls
//! all read them. Something less in either list, another meaning, or an export more that
//! a guest must have is a new [`VERSION`]; an import more is none, since no module of
//! before has it.

/// What `planck_abi()` must return.
pub const VERSION: i32 = 1;
/// The module every import comes from.
pub const IMPORT_MODULE: &str = "planck";
/// Beginning of the export names the host adds itself; a guest may not use it.
pub const RESERVED: &str = "planck:";
/// Name of the memory export.
pub const MEMORY: &str = "memory";
/// Bytes of a WebAssembly page.
pub const PAGE_BYTES: u64 = 65_536;
/// No instance may have more memory: `process` packs a pointer into 31 bits.
pub const MAX_MEMORY_BYTES: u64 = 1 << 31;
/// No table may be larger.
pub const MAX_TABLE_ELEMENTS: u32 = 1_000_000;
/// Tables per module.
pub const MAX_TABLES: usize = 8;
/// Bytes of a module.
pub const MAX_MODULE_BYTES: usize = 64 << 20;
/// Bytes of a request, a reply or a response.
pub const MAX_PACKET_BYTES: u32 = 1 << 30;
/// Bytes of one line given to `host_log`; the rest of it is cut.
pub const MAX_LOG_LINE_BYTES: u32 = 8 << 10;
/// Bytes of one `host_random`.
pub const MAX_RANDOM_BYTES: u32 = 64 << 10;
/// Smallest buffer asked of `alloc` for requests.
pub const MIN_REQUEST_BUFFER: u32 = 4 << 10;

/// The two value types the ABI uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ty {
    /// `i32`: a pointer, a length or a small number.
    I32,
    /// `i64`.
    I64,
}

use Ty::{I32, I64};

/// A function's parameters and result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature {
    /// Parameters in order.
    pub params: &'static [Ty],
    /// The result, if there is one.
    pub result: Option<Ty>,
}

impl std::fmt::Display for Signature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = |ty: &Ty| if *ty == I32 { "i32" } else { "i64" };
        let params: Vec<_> = self.params.iter().map(name).collect();
        write!(f, "({})", params.join(", "))?;
        match &self.result {
            Some(ty) => write!(f, " -> {}", name(ty)),
            None => Ok(()),
        }
    }
}

const fn sig(params: &'static [Ty], result: Option<Ty>) -> Signature {
    Signature { params, result }
}

/// A function a guest exports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Export {
    /// The module's start section, which [`crate::inspect`] turns into an export
    /// so that it runs under fuel and deadline like any other call.
    Start,
    /// `_initialize`: what a toolchain's reactor wants called once, first.
    Initialize,
    /// `planck_abi`: the version the guest was built for.
    Abi,
    /// `init`: the guest's own preparation, once per instance.
    Init,
    /// `alloc`: room for a request.
    Alloc,
    /// `process`: one request.
    Process,
    /// `free`: gives back a response or an outgrown request buffer.
    Free,
}

impl Export {
    /// All, in the order an instance calls them.
    pub const ALL: [Self; 7] = [
        Self::Start,
        Self::Initialize,
        Self::Abi,
        Self::Init,
        Self::Alloc,
        Self::Process,
        Self::Free,
    ];

    /// The name in the module.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "planck:start",
            Self::Initialize => "_initialize",
            Self::Abi => "planck_abi",
            Self::Init => "init",
            Self::Alloc => "alloc",
            Self::Process => "process",
            Self::Free => "free",
        }
    }

    /// What it must look like.
    pub const fn signature(self) -> Signature {
        match self {
            Self::Start | Self::Initialize | Self::Init => sig(&[], None),
            Self::Abi => sig(&[], Some(I32)),
            Self::Alloc => sig(&[I32], Some(I32)),
            Self::Process => sig(&[I32, I32], Some(I64)),
            Self::Free => sig(&[I32, I32], None),
        }
    }

    /// Whether a module without it is refused.
    pub const fn required(self) -> bool {
        matches!(self, Self::Abi | Self::Alloc | Self::Process)
    }
}

/// A function a guest may import from module `planck`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Import {
    /// `host_request(ptr, len, out, cap) -> i64`.
    Request,
    /// `host_read(offset, ptr, len) -> i64`.
    Read,
    /// `host_call_service(name_ptr, name_len, ptr, len, out, cap) -> i64`.
    CallService,
    /// `host_log(level, ptr, len)`.
    Log,
    /// `host_now() -> i64`.
    Now,
    /// `host_random(ptr, len)`.
    Random,
    /// `host_write(ptr, len) -> i64`.
    Write,
}

impl Import {
    /// All of ABI v1.
    pub const ALL: [Self; 7] = [
        Self::Request,
        Self::Read,
        Self::CallService,
        Self::Log,
        Self::Now,
        Self::Random,
        Self::Write,
    ];

    /// The name in module `planck`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Request => "host_request",
            Self::Read => "host_read",
            Self::CallService => "host_call_service",
            Self::Log => "host_log",
            Self::Now => "host_now",
            Self::Random => "host_random",
            Self::Write => "host_write",
        }
    }

    /// What the guest must declare it as.
    pub const fn signature(self) -> Signature {
        match self {
            Self::Request => sig(&[I32, I32, I32, I32], Some(I64)),
            Self::Read => sig(&[I32, I32, I32], Some(I64)),
            Self::CallService => sig(&[I32, I32, I32, I32, I32, I32], Some(I64)),
            Self::Log => sig(&[I32, I32, I32], None),
            Self::Now => sig(&[], Some(I64)),
            Self::Random => sig(&[I32, I32], None),
            Self::Write => sig(&[I32, I32], Some(I64)),
        }
    }

    /// The import of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|import| import.name() == name)
    }
}
