//! Data of Linux in the shapes that it comes in: lists, and variables with a copy for each processor.

use super::super::lexer::Token;
use super::super::{CommandError, Ddb, INTERRUPTED};
use super::{Command, Group, Repeats};
use crate::expression::PrintStyle;
use std::fmt::Write as _;

/// How many entries of a list are shown: one that is broken may never end.
const ENTRIES_MAX: usize = 10_000;

/// `show list`
pub const LIST: Command = Command {
    names: &["show list"],
    usage: "{HEAD} {TYPE} MEMBER [{EXPRESSION}]",
    help: "Walks a list of Linux: HEAD is the address of a struct list_head or hlist_head, TYPE that of its entries, MEMBER the one by which they hang in it. Prints the address of each entry, or an expression in which $it is a pointer to it, as in show list {&init_task.tasks} {struct task_struct} tasks {$it->comm}.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let usage = || CommandError::said(format!("show list {}", LIST.usage));
        let (Token::Braces(head), Token::Braces(type_name), Token::Name(member)) =
            (arguments.lexer.next()?, arguments.lexer.next()?, arguments.lexer.next()?)
        else {
            return Err(usage());
        };
        let shown = match arguments.lexer.next()? {
            Token::Braces(text) => Some(text),
            Token::End => None,
            _ => return Err(usage()),
        };
        ddb.end(&mut arguments.lexer)?;
        for entry in ddb.entries(&head, &type_name, &member)? {
            let entry = entry?;
            let text = match &shown {
                Some(text) => ddb.print_c(&text.replace("$it", &format!("(({type_name} *){entry:#x})"))),
                None => String::new(),
            };
            let _ = writeln!(ddb.out, "{entry:#x} {text}");
            if ddb.debugger.interrupt.is_raised() {
                return Err(CommandError::said(INTERRUPTED));
            }
        }
        Ok(())
    },
};

/// `show percpu`
pub const PERCPU: Command = Command {
    names: &["show percpu"],
    usage: "{VARIABLE[.MEMBER ...]}",
    help: "Prints the copy of a per-CPU variable of Linux, or of a member of it, that each vCPU has.",
    group: Group::Show,
    repeats: Repeats::Never,
    run: |ddb, mut arguments| {
        let Token::Braces(text) = arguments.lexer.next()? else {
            return Err(CommandError::said(format!("show percpu {}", PERCPU.usage)));
        };
        ddb.end(&mut arguments.lexer)?;
        let text = text.trim();
        let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(text.len());
        let (variable, members) = text.split_at(end);
        for vcpu in 0..ddb.debugger.machine().cpus().len() {
            let value = ddb.print_c(&format!("per_cpu({variable}, {vcpu}){members}"));
            let _ = writeln!(ddb.out, "vCPU {vcpu}: {value}");
        }
        Ok(())
    },
};

impl Ddb<'_> {
    /// An expression of C by its type; what is wrong with it, if it has no value.
    fn print_c(&self, text: &str) -> String {
        self.debugger.c_print(text, PrintStyle::default()).unwrap_or_else(|error| format!("<{error}>"))
    }

    /// The addresses of the entries of a list, in its order; what is wrong with it comes last.
    fn entries(
        &self,
        head: &str,
        type_name: &str,
        member: &str,
    ) -> Result<Vec<Result<u64, CommandError>>, CommandError> {
        let value = |text: &str| self.debugger.c_value(text).map_err(CommandError::Said);
        let head = value(head)?;
        let offset = value(&format!("(unsigned long)&(({type_name} *)0)->{member}"))?;
        // The first word of either kind of head is its first entry, and that of an entry the next one.
        let mut node = self.word(head)?;
        let mut nodes = Vec::new();
        while node != head && node != 0 {
            nodes.push(Ok(node.wrapping_sub(offset)));
            if nodes.len() == ENTRIES_MAX {
                let text = format!("The list goes on behind {ENTRIES_MAX} entries: it may be broken");
                nodes.push(Err(CommandError::Said(text)));
                break;
            }
            match self.word(node) {
                Ok(next) => node = next,
                Err(error) => {
                    nodes.push(Err(error));
                    break;
                }
            }
        }
        Ok(nodes)
    }

    fn word(&self, address: u64) -> Result<u64, CommandError> {
        let mut bytes = [0; 8];
        let read = self.debugger.machine().peek_virtual(self.debugger.vcpu, address, &mut bytes);
        read.map_err(|error| CommandError::said(format!("The list is broken at {address:#x}: {error}")))?;
        Ok(u64::from_le_bytes(bytes))
    }
}
