//! Why a module was refused, why a call ended.
//!
//! Few kinds outside, one full sentence inside: what happened, where, what to do.
//! Both backends must name the same cause by the same kind; the conformance
//! suite compares them.

/// Why a module cannot be compiled. The caller's move is always the same: build
/// the guest differently, as the message says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// The file does not start like a WebAssembly module.
    #[error("this is not a WebAssembly module: {0}")]
    NotAModule(String),
    /// The file ends too soon.
    #[error(
        "the module is cut short: its bytes end at offset {offset} inside a section; copy or build it again"
    )]
    Truncated {
        /// Where the end came.
        offset: usize,
    },
    /// The validator refused it.
    #[error(
        "the module is not valid at offset {offset}: {message}; it may use only WebAssembly 2.0 without threads, exceptions, garbage collection, tail calls, relaxed SIMD, 64-bit or multiple memories"
    )]
    Invalid {
        /// Byte offset in the module.
        offset: usize,
        /// The validator's words.
        message: String,
    },
    /// Exports are absent, or of another kind or signature.
    #[error("the module does not export what ABI v1 asks for: {}; see docs/abi.md", .0.join("; "))]
    Exports(Vec<String>),
    /// Imports the host does not have, or has with another signature.
    #[error("the module imports what no Planck host has: {}; see docs/abi.md", .0.join("; "))]
    Imports(Vec<String>),
    /// Built for another version of the ABI.
    #[error(
        "the module speaks ABI version {found}, this host speaks {}: build it with a matching SDK",
        crate::abi::VERSION
    )]
    AbiVersion {
        /// What `planck_abi` returns.
        found: i32,
    },
    /// Larger than any limit could allow.
    #[error("the module asks for too much: {0}")]
    TooLarge(String),
    /// The backend failed on a module the validator had passed.
    #[error("the {runtime} runtime could not compile the module: {message}; please report it")]
    Backend {
        /// Which one.
        runtime: &'static str,
        /// Its words.
        message: String,
    },
}

/// What ended a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrapKind {
    /// An `unreachable` instruction: a panic or an abort of the guest's code.
    Unreachable,
    /// An access outside linear memory.
    OutOfBounds,
    /// An integer division by zero.
    DivisionByZero,
    /// An integer overflow in a division or a conversion.
    IntegerOverflow,
    /// A conversion of NaN to an integer.
    BadConversion,
    /// A table access or indirect call that fits no function of that type.
    BadTable,
    /// Calls nested too deep.
    StackOverflow,
    /// The metered work of the call is used up.
    OutOfFuel,
    /// The time of the call is used up.
    Deadline,
    /// It needed more memory than its limit.
    Memory,
    /// It gave the host a pointer and length outside its memory.
    BadPointer,
    /// It called the host too often.
    HostCalls,
    /// Its request or packet was larger than the limit.
    RequestTooLarge,
    /// Its response was larger than the limit.
    ResponseTooLarge,
    /// It broke the ABI in another way.
    Protocol,
    /// It ended the call itself with a negative status. The instance lives on.
    Aborted,
    /// The host's side failed, or the instance had died before.
    Host,
}

impl TrapKind {
    /// All kinds, in the order of [`TrapKind::index`].
    pub const ALL: [Self; 17] = [
        Self::Unreachable,
        Self::OutOfBounds,
        Self::DivisionByZero,
        Self::IntegerOverflow,
        Self::BadConversion,
        Self::BadTable,
        Self::StackOverflow,
        Self::OutOfFuel,
        Self::Deadline,
        Self::Memory,
        Self::BadPointer,
        Self::HostCalls,
        Self::RequestTooLarge,
        Self::ResponseTooLarge,
        Self::Protocol,
        Self::Aborted,
        Self::Host,
    ];

    /// Its place in [`TrapKind::ALL`], for arrays of counters.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// A stable word for logs and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::OutOfBounds => "out_of_bounds",
            Self::DivisionByZero => "division_by_zero",
            Self::IntegerOverflow => "integer_overflow",
            Self::BadConversion => "bad_conversion",
            Self::BadTable => "bad_table",
            Self::StackOverflow => "stack_overflow",
            Self::OutOfFuel => "out_of_fuel",
            Self::Deadline => "deadline",
            Self::Memory => "memory",
            Self::BadPointer => "bad_pointer",
            Self::HostCalls => "host_calls",
            Self::RequestTooLarge => "request_too_large",
            Self::ResponseTooLarge => "response_too_large",
            Self::Protocol => "protocol",
            Self::Aborted => "aborted",
            Self::Host => "host",
        }
    }

    /// Whether the instance is unusable afterwards. True for all but
    /// [`TrapKind::Aborted`]: elsewhere code stopped between two instructions and
    /// nothing may be assumed about what lies in its memory.
    pub const fn kills(self) -> bool {
        !matches!(self, Self::Aborted)
    }
}

/// The end of a call that gave no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Trap {
    kind: TrapKind,
    status: i64,
    message: String,
}

impl Trap {
    /// A trap with its sentence.
    pub fn new(kind: TrapKind, message: impl Into<String>) -> Self {
        Self { kind, status: 0, message: message.into() }
    }

    /// A trap of the guest's own code, with the standing sentence of its kind.
    pub fn of(kind: TrapKind) -> Self {
        let message = match kind {
            TrapKind::Unreachable => {
                "the guest stopped itself (panic or abort); its log lines before this say why"
            }
            TrapKind::OutOfBounds => {
                "the guest accessed an address outside its memory; this is a bug in the guest"
            }
            TrapKind::DivisionByZero => {
                "the guest divided an integer by zero; this is a bug in the guest"
            }
            TrapKind::IntegerOverflow => {
                "the guest divided or converted a number past the range of its type; this is a bug in the guest"
            }
            TrapKind::BadConversion => {
                "the guest converted NaN to an integer; this is a bug in the guest"
            }
            TrapKind::BadTable => {
                "the guest made an indirect call or table access that fits no function; this is a bug in the guest"
            }
            TrapKind::StackOverflow => {
                "the guest's calls are nested too deep; look for endless recursion or large values on the stack"
            }
            _ => "the call was stopped",
        };
        Self::new(kind, message)
    }

    /// The guest returned a negative status from `process`.
    pub fn aborted(status: i64) -> Self {
        Self {
            kind: TrapKind::Aborted,
            status,
            message: format!(
                "the guest ended the call with status {status}; its log lines before this say why"
            ),
        }
    }

    /// What kind of end.
    pub fn kind(&self) -> TrapKind {
        self.kind
    }

    /// The guest's negative status if it aborted, else 0.
    pub fn status(&self) -> i64 {
        self.status
    }
}
