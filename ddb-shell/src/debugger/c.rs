//! Expressions of C over the guest: what braces hold, in the scope of the frame that was chosen.

use super::Debugger;
use super::stepping::linear_rip;
use super::stops::Holds;
use crate::backtrace::Frame;
use crate::expression::{ExprError, NameScope, PrintStyle, Program, Value, compile, print, print_type};
use crate::kernel::{TaskInfo, call_frame_information, find_types, kernel_memory, waiting_registers};
use crate::memory::VcpuMemory;
use crate::registers::Registers;
use crate::symbols::types::Shape;
use crate::symbols::{Scope, ScopeKind};
use machine::Machine;
use std::sync::Arc;

/// Arguments of a call in registers, in the order of the System V ABI: RDI, RSI, RDX, RCX, R8, R9.
pub(super) const ARGUMENTS: [usize; 6] = [7, 6, 2, 1, 8, 9];

impl Debugger<'_> {
    /// The frames of the vCPU that the session is about, the innermost first.
    #[must_use]
    pub fn frames(&self) -> Vec<Frame> {
        crate::backtrace(self.machine(), self.vcpu, self.symbols())
    }

    /// The frames of a task: of its vCPU, or of its stack where it waits.
    #[must_use]
    pub fn task_frames(&self, task: &TaskInfo) -> Vec<Frame> {
        let (machine, symbols) = (self.machine(), self.symbols());
        match task.vcpu {
            Some(vcpu) => crate::backtrace(machine, vcpu, symbols),
            None => match waiting_registers(machine, symbols, task) {
                Some(registers) => crate::backtrace_from(&registers, &self.memory(), symbols),
                None => Vec::new(),
            },
        }
    }

    /// The frame that was chosen: an address within its instruction, and its registers.
    fn scene(&self) -> (u64, Registers) {
        if self.frame > 0
            && let Some(frame) = self.frames().get(self.frame)
        {
            return (frame.place(), frame.registers.clone());
        }
        let cpu = &self.machine().cpus()[self.vcpu];
        (linear_rip(cpu), Registers::of(cpu))
    }

    fn memory(&self) -> VcpuMemory<'_> {
        VcpuMemory { machine: self.machine(), vcpu: self.vcpu }
    }

    /// What is known of the kernel without a file, as one: its symbols, and how to unwind.
    #[must_use]
    pub fn elf_file(&self) -> Vec<u8> {
        let memory = kernel_memory(self.machine(), self.symbols());
        let frames = memory.and_then(|memory| call_frame_information(self.symbols(), &memory));
        self.symbols().elf_file(&frames.unwrap_or_default())
    }

    /// The kernel's own description of its types, if it has one and has not been looked at yet.
    fn learn_types(&self) {
        find_types(self.symbols(), &self.memory());
    }

    fn compiled(&self, text: &str) -> Result<(Program, Registers), ExprError> {
        self.learn_types();
        let (vaddr, registers) = self.scene();
        let scope = NameScope::at(self.symbols(), vaddr);
        Ok((compile(text, &scope, self.symbols())?, registers))
    }

    /// Whether a text is an expression of C here.
    #[must_use]
    pub fn is_c(&self, text: &str) -> bool {
        self.compiled(text).is_ok()
    }

    fn evaluated(&self, text: &str) -> Result<Value, String> {
        let (program, registers) = self.compiled(text).map_err(|error| error.to_string())?;
        program.evaluate(&self.memory(), &registers).map_err(|error| error.to_string())
    }

    /// The value of an expression, as a number.
    ///
    /// # Errors
    /// It cannot be read, or has no value here.
    pub fn c_value(&self, text: &str) -> Result<u64, String> {
        let value = self.evaluated(text)?;
        value.as_u64(self.symbols()).ok_or_else(|| match value.place {
            Some(_) => format!("`{text}` is no number, but a whole object, which lies at `&({text})`"),
            None => format!("`{text}` is no number, but a whole object"),
        })
    }

    /// Where the object lies that an expression names, and its length in bytes.
    ///
    /// # Errors
    /// As [`Debugger::c_value`], or it names no object.
    pub fn c_object(&self, text: &str) -> Result<(u64, u64), String> {
        let (program, registers) = self.compiled(text).map_err(|error| error.to_string())?;
        let place = program.place(&self.memory(), &registers).map_err(|error| error.to_string())?;
        place.ok_or_else(|| format!("`{text}` lies nowhere in memory"))
    }

    /// An expression as a condition that several searchers can ask: it is read in the scope of `vaddr`, else of the frame
    /// that was chosen. What cannot be read does not hold.
    ///
    /// # Errors
    /// As [`Debugger::c_value`].
    pub fn c_condition(&self, text: &str, vaddr: Option<u64>) -> Result<Holds, String> {
        self.learn_types();
        let vaddr = vaddr.unwrap_or_else(|| self.scene().0);
        let scope = NameScope::at(self.symbols(), vaddr);
        let program = compile(text, &scope, self.symbols()).map_err(|error| error.to_string())?;
        Ok(Arc::new(move |machine: &Machine, vcpu: usize| {
            let registers = Registers::of(&machine.cpus()[vcpu]);
            let value = program.evaluate(&VcpuMemory { machine, vcpu }, &registers);
            value.is_ok_and(|value| value.is_true())
        }))
    }

    /// What must be watched to notice that an expression becomes true: all memory that it reads here.
    ///
    /// # Errors
    /// As [`Debugger::c_value`], or it reads none.
    pub fn c_watched(&self, text: &str) -> Result<Vec<(u64, u64)>, String> {
        let (program, registers) = self.compiled(text).map_err(|error| error.to_string())?;
        let reads = program.reads(&self.memory(), &registers).map_err(|error| error.to_string())?;
        if reads.is_empty() {
            return Err(format!("`{text}` reads no memory, so that nothing can be watched for it"));
        }
        Ok(reads)
    }

    /// The value of an expression, by its type.
    ///
    /// # Errors
    /// As [`Debugger::c_value`].
    pub fn c_print(&self, text: &str, style: PrintStyle) -> Result<String, String> {
        let value = self.evaluated(text)?;
        Ok(print(&value, self.symbols(), &self.memory(), style))
    }

    /// The type of an expression, or of this name, as C declares it, with the offsets of its members.
    ///
    /// # Errors
    /// As [`Debugger::c_value`].
    pub fn c_type(&self, text: &str) -> Result<String, String> {
        let named = |name: &str| self.compiled(&format!("*({name} *)0"));
        // `task_struct` for `struct task_struct`: there is nothing else that it could be.
        let tagged =
            || ["struct", "union", "enum"].iter().find_map(|tag| named(&format!("{tag} {text}")).ok());
        let (program, _) = self.compiled(text).or_else(|error| {
            named(text).or_else(|of_name| match of_name {
                // It reads as a type, but as one that nobody describes.
                ExprError::UnknownType(_) => Err(of_name.to_string()),
                _ => tagged().ok_or_else(|| error.to_string()),
            })
        })?;
        Ok(print_type(program.type_ref(), self.symbols()))
    }

    /// The members of what an expression names, or points to; none if it names nothing of the kind.
    #[must_use]
    pub fn c_members(&self, text: &str) -> Vec<String> {
        let types = self.symbols().types();
        let mut names = Vec::new();
        if let Ok((program, _)) = self.compiled(text)
            && let Ok((_, mut found)) = types.resolve(program.type_ref())
        {
            if let Shape::Pointer(to) = &found.shape
                && let Ok((_, target)) = types.resolve(to)
            {
                found = target;
            }
            types.list_members(&found, &mut names);
        }
        names
    }

    /// The names of the variables and arguments of the frame that was chosen.
    #[must_use]
    pub fn c_locals(&self) -> Vec<String> {
        let scope = NameScope::at(self.symbols(), self.scene().0);
        let variables = scope.scopes().iter().flat_map(|scope| &scope.variables);
        variables.map(|variable| variable.name.clone()).collect()
    }

    /// Variables and arguments of the frame that was chosen, as `name = value`.
    #[must_use]
    pub fn locals(&self) -> Vec<String> {
        let (vaddr, registers) = self.scene();
        let scope = NameScope::at(self.symbols(), vaddr);
        let mut seen: Vec<&str> = Vec::new();
        let mut lines = Vec::new();
        for variable in scope.scopes().iter().flat_map(|scope| &scope.variables) {
            // One that an inner block hides has no name here.
            if !seen.contains(&variable.name.as_str()) {
                seen.push(&variable.name);
                lines.push(format!(
                    "{} = {}",
                    variable.name,
                    self.variable(&variable.name, &scope, &registers)
                ));
            }
        }
        lines
    }

    fn variable(&self, name: &str, scope: &NameScope, registers: &Registers) -> String {
        let value = compile(name, scope, self.symbols())
            .and_then(|program| program.evaluate(&self.memory(), registers));
        match value {
            Ok(value) => print(&value, self.symbols(), &self.memory(), short()),
            Err(ExprError::Unavailable { reason, .. }) => format!("<{reason}>"),
            Err(error) => format!("<{error}>"),
        }
    }

    /// A call that a vCPU is about to execute at the start of a function, with its arguments: by name where debug
    /// information has them, else as the function's type counts them, else the first ones that can be. `wanted` is the
    /// function's name, which was perhaps inlined into the one that is there.
    #[must_use]
    pub fn call_text(&self, vcpu: usize, wanted: &str) -> String {
        self.learn_types();
        let (symbols, cpu) = (self.symbols(), &self.machine().cpus()[vcpu]);
        let vaddr = linear_rip(cpu);
        let around = symbols.nearest(vaddr).map_or_else(|| format!("{vaddr:#x}"), |(name, _)| name);
        let scope = NameScope::at(symbols, vaddr);
        let is_wanted = |of: &&Scope| of.kind == ScopeKind::Inlined && of.function.as_deref() == Some(wanted);
        let inlined = scope.scopes().iter().find(is_wanted);
        let (name, inlined_in) = match inlined {
            Some(_) => (wanted.to_owned(), format!(" inlined in {around}")),
            None => (around, String::new()),
        };
        let arguments = inlined.or(scope.scopes().last()).into_iter().flat_map(|scope| &scope.variables);
        let named: Vec<String> = arguments
            .filter(|variable| variable.is_argument)
            .map(|argument| {
                format!("{}={}", argument.name, self.variable(&argument.name, &scope, &Registers::of(cpu)))
            })
            .collect();
        if !named.is_empty() || !scope.scopes().is_empty() {
            return format!("{name}({}){inlined_in}", named.join(", "));
        }
        let count = self.parameters(&name).unwrap_or(ARGUMENTS.len()).min(ARGUMENTS.len());
        let values: Vec<String> =
            ARGUMENTS[..count].iter().map(|&register| format!("{:#x}", cpu.gpr[register])).collect();
        format!("{name}({})", values.join(", "))
    }

    /// How many parameters a function has, if its type is known.
    fn parameters(&self, name: &str) -> Option<usize> {
        let type_ref = self.symbols().global(name, None)?.type_ref?;
        match &self.symbols().types().resolve(&type_ref).ok()?.1.shape {
            Shape::Function { parameters, .. } => Some(parameters.len()),
            _ => None,
        }
    }
}

/// How variables are printed in a list.
fn short() -> PrintStyle {
    PrintStyle { depth_max: 1, elements_max: 16, ..PrintStyle::default() }
}
