//! Exceptions as values (SDM vol. 3 ch. 6): what an instruction that cannot complete returns.

/// A fault or trap, not yet delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exception {
    /// The vector, 0 to 31.
    pub vector: u8,
    /// The error code, for vectors that push one.
    pub error_code: Option<u32>,
}

/// Result of anything that can raise an exception.
pub type Exec<T = ()> = Result<T, Exception>;

#[allow(missing_docs, reason = "the names are the SDM's")]
impl Exception {
    pub const DE: Exception = Exception { vector: 0, error_code: None };
    pub const DB: Exception = Exception { vector: 1, error_code: None };
    pub const BP: Exception = Exception { vector: 3, error_code: None };
    pub const OF: Exception = Exception { vector: 4, error_code: None };
    pub const BR: Exception = Exception { vector: 5, error_code: None };
    pub const UD: Exception = Exception { vector: 6, error_code: None };
    pub const NM: Exception = Exception { vector: 7, error_code: None };
    pub const DF: Exception = Exception { vector: 8, error_code: Some(0) };
    pub const MF: Exception = Exception { vector: 16, error_code: None };
    pub const AC: Exception = Exception { vector: 17, error_code: Some(0) };
    pub const XM: Exception = Exception { vector: 19, error_code: None };

    pub fn ts(selector: u32) -> Exception {
        Exception { vector: 10, error_code: Some(selector) }
    }
    pub fn np(selector: u32) -> Exception {
        Exception { vector: 11, error_code: Some(selector) }
    }
    pub fn ss(selector: u32) -> Exception {
        Exception { vector: 12, error_code: Some(selector) }
    }
    pub fn gp(selector: u32) -> Exception {
        Exception { vector: 13, error_code: Some(selector) }
    }
    /// A page fault. The raiser has already put the address into [`crate::system::System::fault_vaddr`];
    /// delivery copies it to CR2.
    pub fn pf(error_code: u32) -> Exception {
        Exception { vector: 14, error_code: Some(error_code) }
    }
}
