//! Expressions of C over the guest: what braces hold.

use super::Debugger;
use super::stops::Holds;

impl Debugger<'_> {
    /// The value of an expression, as a number.
    ///
    /// # Errors
    /// It cannot be read, or has no value here.
    pub fn c_value(&self, text: &str) -> Result<u64, String> {
        Err(format!("{{{text}}}: this guest's types are not known"))
    }

    /// Where the object lies that an expression names, and its length in bytes.
    ///
    /// # Errors
    /// As [`Debugger::c_value`], or it names no object.
    pub fn c_object(&self, text: &str) -> Result<(u64, u64), String> {
        Err(format!("{{{text}}}: this guest's types are not known"))
    }

    /// An expression as a condition that several searchers can ask.
    ///
    /// # Errors
    /// As [`Debugger::c_value`].
    pub fn c_condition(&self, text: &str) -> Result<Holds, String> {
        Err(format!("{{{text}}}: this guest's types are not known"))
    }

    /// What must be watched to notice that an expression becomes true.
    ///
    /// # Errors
    /// As [`Debugger::c_value`].
    pub fn c_watched(&self, text: &str) -> Result<(u64, u64), String> {
        Err(format!("{{{text}}}: this guest's types are not known"))
    }

    /// The value of an expression, by its type.
    ///
    /// # Errors
    /// As [`Debugger::c_value`].
    pub fn c_print(&self, text: &str) -> Result<String, String> {
        Err(format!("{{{text}}}: this guest's types are not known"))
    }

    /// A call that is about to be executed, with its arguments.
    #[must_use]
    pub fn call_text(&self, vcpu: usize, vaddr: u64) -> String {
        let cpu = &self.machine().cpus()[vcpu];
        format!("{vaddr:#x}({:#x})", cpu.gpr[7])
    }
}
