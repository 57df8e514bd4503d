//! Values and types as text, in gdb's forms: `{counter = 5, next = 0xffff888003c8e000}`, `"swapper/0"`,
//! `(struct task_struct *) 0xffffffff82a16980 <init_task>`.

use super::Value;
use super::arithmetic::Scalar;
use super::program::Bits;
use crate::memory::GuestMemory;
use crate::symbols::Symbols;
use crate::symbols::types::{Keyword, Member, Shape, Type, TypeRef, Types};
use std::fmt::Write as _;

/// How much is printed, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrintStyle {
    /// A member a line, indented.
    pub is_pretty: bool,
    /// Numbers in hexadecimal.
    pub is_hexadecimal: bool,
    /// Structures within structures; deeper ones are `{...}`.
    pub depth_max: usize,
    /// Elements of an array, or bytes of a string; then `...`.
    pub elements_max: usize,
}

impl Default for PrintStyle {
    fn default() -> PrintStyle {
        PrintStyle { is_pretty: false, is_hexadecimal: false, depth_max: 20, elements_max: 200 }
    }
}

/// So many equal elements in a row are printed as one with a count.
const REPEATS_MIN: usize = 10;
/// How deep anonymous members are spelt out in a type.
const TYPE_DEPTH_MAX: usize = 8;

/// A value as text. Memory is read for the strings that pointers point to.
#[must_use]
pub fn print(value: &Value, symbols: &Symbols<'_>, memory: &dyn GuestMemory, style: PrintStyle) -> String {
    let printer = Printer { symbols, memory, style };
    let mut text = printer.prefix(&value.type_ref);
    printer.value(&mut text, &value.type_ref, &value.bytes, 0);
    text
}

struct Printer<'a, 'data> {
    symbols: &'a Symbols<'data>,
    memory: &'a dyn GuestMemory,
    style: PrintStyle,
}

impl<'a, 'data> Printer<'a, 'data> {
    fn types(&self) -> &'a Types<'data> {
        self.symbols.types()
    }

    /// The type that gdb puts before a pointer that is printed alone.
    fn prefix(&self, type_ref: &TypeRef) -> String {
        match self.types().resolve(type_ref).map(|(_, found)| found.shape.clone()) {
            Ok(Shape::Pointer(target)) if !self.is_text(&target) => {
                format!("({}) ", self.types().name(type_ref))
            }
            Ok(Shape::Function { .. }) => format!("{{{}}} ", self.types().name(type_ref)),
            _ => String::new(),
        }
    }

    fn is_text(&self, type_ref: &TypeRef) -> bool {
        let found = self.types().resolve(type_ref);
        matches!(found, Ok((_, found)) if matches!(found.shape, Shape::Integer { is_char: true, .. }))
    }

    fn value(&self, text: &mut String, type_ref: &TypeRef, bytes: &[u8], depth: usize) {
        let (resolved, found) = match self.types().resolve(type_ref) {
            Ok(found) => found,
            Err(error) => {
                let _ = write!(text, "<{error}>");
                return;
            }
        };
        match &found.shape {
            Shape::Compound { members, is_complete, .. } => {
                if *is_complete {
                    self.compound(text, members, bytes, depth);
                } else {
                    text.push_str("<incomplete type>");
                }
            }
            Shape::Array { element, .. } => self.array(text, element, bytes, depth),
            Shape::Float => text.push_str(&float(bytes)),
            Shape::Void => text.push_str("void"),
            _ => match Scalar::of(self.types(), &resolved) {
                Ok(Some(kind)) => self.scalar(text, &found, kind.number_in(bytes), kind),
                _ if matches!(found.shape, Shape::Function { .. }) => {
                    let kind = Scalar::integer(self.types().model().pointer_bytes, false);
                    self.address(text, kind.number_in(bytes));
                }
                _ => text.push_str(&hexadecimal(bytes)),
            },
        }
    }

    fn scalar(&self, text: &mut String, found: &Type, number: u64, kind: Scalar) {
        match &found.shape {
            Shape::Pointer(target) => {
                self.address(text, number);
                if number != 0 && self.is_text(target) {
                    self.pointed_text(text, number);
                }
            }
            Shape::Boolean if number <= 1 && !self.style.is_hexadecimal => {
                text.push_str(if number == 1 { "true" } else { "false" });
            }
            Shape::Enumeration { enumerators, .. } => enumeration(text, enumerators, number, kind),
            _ if self.style.is_hexadecimal => {
                let unsigned = Scalar { is_signed: false, ..kind };
                let _ = write!(text, "{:#x}", unsigned.fit(number));
            }
            shape => {
                match kind.is_signed {
                    true => _ = write!(text, "{}", number as i64),
                    false => _ = write!(text, "{number}"),
                }
                if matches!(shape, Shape::Integer { is_char: true, .. }) {
                    let _ = write!(text, " '{}'", escaped(number as u8, '\''));
                }
            }
        }
    }

    fn address(&self, text: &mut String, vaddr: u64) {
        let _ = write!(text, "{vaddr:#x}");
        if vaddr != 0
            && let Some(name) = self.symbols.name_of(vaddr)
        {
            let _ = write!(text, " <{name}>");
        }
    }

    fn pointed_text(&self, text: &mut String, vaddr: u64) {
        match self.memory.read_text(vaddr, self.style.elements_max) {
            Ok((bytes, is_whole)) => {
                let _ = write!(text, " {}", quoted(&bytes));
                if !is_whole {
                    text.push_str("...");
                }
            }
            Err(_) => _ = write!(text, " <unreadable>"),
        }
    }

    fn compound(&self, text: &mut String, members: &[Member], bytes: &[u8], depth: usize) {
        if depth >= self.style.depth_max {
            text.push_str("{...}");
            return;
        }
        text.push('{');
        for (ordinal, member) in members.iter().enumerate() {
            if ordinal > 0 {
                text.push(',');
            }
            self.separate(text, depth + 1, ordinal > 0);
            if let Some(name) = &member.name {
                let _ = write!(text, "{name} = ");
            }
            self.member(text, member, bytes, depth + 1);
        }
        self.separate(text, depth, false);
        text.push('}');
    }

    /// A line of its own, or a blank.
    fn separate(&self, text: &mut String, depth: usize, needs_blank: bool) {
        if self.style.is_pretty {
            text.push('\n');
            text.extend(std::iter::repeat_n("  ", depth));
        } else if needs_blank {
            text.push(' ');
        }
    }

    fn member(&self, text: &mut String, member: &Member, bytes: &[u8], depth: usize) {
        let start = usize::try_from(member.offset_bits / 8).unwrap_or(usize::MAX);
        let rest = bytes.get(start..).unwrap_or_default();
        let Some(width) = member.width_bits else {
            let size = self.types().size_bytes(&member.type_ref).unwrap_or(0) as usize;
            match rest.get(..size) {
                Some(own) => self.value(text, &member.type_ref, own, depth),
                None => text.push_str("<outside>"),
            }
            return;
        };
        let bits = Bits { shift: (member.offset_bits % 8) as u32, width: width.min(64) as u32 };
        match (Scalar::of(self.types(), &member.type_ref), self.types().resolve(&member.type_ref)) {
            (Ok(Some(kind)), Ok((_, found))) => self.scalar(text, &found, bits.extract(rest, kind), kind),
            _ => text.push_str("<unreadable type>"),
        }
    }

    fn array(&self, text: &mut String, element: &TypeRef, bytes: &[u8], depth: usize) {
        if self.is_text(element) {
            text.push_str(&self.text_array(bytes));
            return;
        }
        let size = self.types().size_bytes(element).unwrap_or(0) as usize;
        if size == 0 {
            text.push_str("{}");
            return;
        }
        text.push('{');
        let mut elements = bytes.chunks_exact(size).peekable();
        let mut printed = 0;
        while let Some(first) = elements.next() {
            if printed > 0 {
                text.push_str(", ");
            }
            if printed == self.style.elements_max {
                text.push_str("...");
                break;
            }
            let mut repeats = 1;
            let upcoming = elements.clone().take_while(|next| *next == first).count();
            if upcoming + 1 >= REPEATS_MIN {
                repeats += upcoming;
                elements.by_ref().take(upcoming).for_each(drop);
            }
            self.value(text, element, first, depth);
            if repeats > 1 {
                let _ = write!(text, " <repeats {repeats} times>");
            }
            printed += 1;
        }
        text.push('}');
    }

    /// Characters up to the zeros that fill the array.
    fn text_array(&self, bytes: &[u8]) -> String {
        let length = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        let shown = &bytes[..length.min(self.style.elements_max)];
        let rest = if shown.len() < length { "..." } else { "" };
        format!("{}{rest}", quoted(shown))
    }
}

/// An enumerator's name; of a value that none has, those of its bits.
fn enumeration(text: &mut String, enumerators: &[(String, i128)], number: u64, kind: Scalar) {
    let value = if kind.is_signed { i128::from(number as i64) } else { i128::from(number) };
    if let Some((name, _)) = enumerators.iter().find(|(_, known)| *known == value) {
        text.push_str(name);
        return;
    }
    let are_flags = enumerators.iter().all(|(_, known)| *known == 0 || known.count_ones() == 1);
    let mut rest = value;
    let mut names = Vec::new();
    for (name, bit) in enumerators.iter().filter(|(_, bit)| *bit > 0) {
        if are_flags && rest & bit != 0 {
            names.push(name.as_str());
            rest &= !bit;
        }
    }
    match (names.is_empty(), rest) {
        (true, _) => _ = write!(text, "{value}"),
        (false, 0) => _ = write!(text, "({})", names.join(" | ")),
        (false, rest) => _ = write!(text, "({} | unknown: {rest:#x})", names.join(" | ")),
    }
}

fn float(bytes: &[u8]) -> String {
    match *bytes {
        [a, b, c, d] => f32::from_le_bytes([a, b, c, d]).to_string(),
        [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]).to_string(),
        _ => hexadecimal(bytes),
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    let digits: String = bytes.iter().rev().map(|byte| format!("{byte:02x}")).collect();
    format!("0x{digits}")
}

fn quoted(bytes: &[u8]) -> String {
    let inner: String = bytes.iter().map(|byte| escaped(*byte, '"')).collect();
    format!("\"{inner}\"")
}

fn escaped(byte: u8, quote: char) -> String {
    match byte {
        b'\n' => "\\n".to_owned(),
        b'\t' => "\\t".to_owned(),
        b'\r' => "\\r".to_owned(),
        b'\\' => "\\\\".to_owned(),
        _ if char::from(byte) == quote => format!("\\{quote}"),
        0x20..0x7f => char::from(byte).to_string(),
        _ => format!("\\{byte:03o}"),
    }
}

/// A type as C declares it, with the offset of every member in decimal: gdb's `ptype/o`.
#[must_use]
pub fn print_type(type_ref: &TypeRef, symbols: &Symbols<'_>) -> String {
    let types = symbols.types();
    let Ok((resolved, found)) = types.resolve(type_ref) else { return types.name(type_ref) };
    let mut text = String::new();
    match &found.shape {
        Shape::Compound { .. } => {
            definition(types, &resolved, 0, 0, &mut text);
            if let Ok(size) = types.size_bytes(&resolved) {
                let _ = write!(text, " /* {size} bytes */");
            }
        }
        Shape::Enumeration { enumerators, .. } => {
            let _ = writeln!(text, "{} {{", types.name(&resolved).trim_end_matches(" {...}"));
            for (name, value) in enumerators {
                let _ = writeln!(text, "    {name} = {value},");
            }
            text.push('}');
        }
        _ => text.push_str(&types.name(&resolved)),
    }
    text
}

fn definition(types: &Types<'_>, of: &TypeRef, start_bits: u64, depth: usize, text: &mut String) {
    let Ok((_, found)) = types.resolve(of) else { return };
    let Shape::Compound { keyword, members, .. } = &found.shape else { return };
    let indent = "    ".repeat(depth);
    let name = found.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
    let _ = writeln!(text, "{}{name} {{", keyword.text());
    for member in members {
        let offset_bits = start_bits + member.offset_bits;
        let bit = if member.width_bits.is_some() { format!(":{}", offset_bits % 8) } else { String::new() };
        let place = format!("{}{bit}", offset_bits / 8);
        let _ = write!(text, "/* {place:>6} */ {indent}    ");
        let width = member.width_bits.map(|width| format!(" : {width}")).unwrap_or_default();
        if depth < TYPE_DEPTH_MAX && is_nameless(types, &member.type_ref) {
            definition(types, &member.type_ref, offset_bits, depth + 1, text);
            let name = member.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let _ = writeln!(text, "{name};");
        } else {
            let name = member.name.clone().unwrap_or_default();
            let _ = writeln!(text, "{}{width};", types.declare(&member.type_ref, &name));
        }
    }
    let blank = if depth > 0 { " ".repeat(13) } else { String::new() };
    let _ = write!(text, "{blank}{indent}}}");
}

/// Whether a type is a structure without a name, which can be told only by what is in it.
fn is_nameless(types: &Types<'_>, type_ref: &TypeRef) -> bool {
    let found = types.get(type_ref);
    matches!(found, Ok(found) if found.name.is_none()
        && matches!(found.shape, Shape::Compound { keyword: Keyword::Struct | Keyword::Union, .. }))
}
