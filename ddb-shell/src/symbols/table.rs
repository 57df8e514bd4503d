//! A table of symbols by address, whatever they came from.

use std::collections::HashMap;
use std::fmt;
use std::hash::{DefaultHasher, Hasher};
use std::sync::OnceLock;

/// What a symbol table knows of an address in code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The function's name.
    pub name: String,
    /// How far into the function the address lies, in bytes.
    pub offset: u64,
    /// The length of the function in bytes.
    pub length_bytes: u64,
    /// The module that has it, if it is not in the kernel itself.
    pub module: Option<String>,
}

/// Prints as Linux does: `do_idle+0x1a/0x90`, `e1000_clean+0x4f/0x7d0 [e1000]`.
impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x}/{:#x}", self.name, self.offset, self.length_bytes)?;
        self.module.as_ref().map_or(Ok(()), |module| write!(f, " [{module}]"))
    }
}

/// How good a name is among several for one address: a linker's label is worse than a function's own symbol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// A function that says its length, visible everywhere.
    Global,
    /// A function that says its length.
    Local,
    /// A label.
    Label,
}

#[derive(Clone, Debug)]
struct Entry {
    address: u64,
    end: u64,
    name_start: u32,
    name_length: u16,
    rank: Rank,
}

/// A symbol as others see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct TableSymbol<'a> {
    pub name: &'a str,
    pub address: u64,
    /// 0 for data: few say how long they are.
    pub length_bytes: u64,
    pub is_code: bool,
}

/// Names and addresses, sorted. All names lie in one string, so that a kernel's 150 000 symbols are a few
/// allocations.
#[derive(Clone, Debug, Default)]
pub(super) struct SymbolTable {
    names: String,
    code: Vec<Entry>,
    data: Vec<Entry>,
    /// The first entry of each name, by the name's hash: code before data, low before high. Made when a name is asked for.
    by_name: OnceLock<HashMap<u64, u32>>,
}

/// Collects symbols in any order.
#[derive(Debug, Default)]
pub(super) struct Builder {
    table: SymbolTable,
    /// Addresses where something else begins or a section ends: the latest ends of symbols without a length.
    limits: Vec<u64>,
}

/// Length of the last symbol of all if it has none: what lies behind it is unknown.
const UNKNOWN_LENGTH: u64 = 4096;
/// How far from its symbol data is still named by it.
const DATA_BYTES_MAX: u64 = 64 << 10;
/// Symbols that lie inside another one: how many of them a search steps over to find the one around.
const NESTED_MAX: usize = 8;

impl Builder {
    /// A function or a label in code. `length_bytes` 0 means that it reaches to what comes next.
    pub fn code(&mut self, name: &str, address: u64, length_bytes: u64, rank: Rank) {
        if let Some(entry) = self.entry(name, address, length_bytes, rank) {
            self.table.code.push(entry);
        }
    }

    /// Anything else that has an address.
    pub fn data(&mut self, name: &str, address: u64) {
        if let Some(entry) = self.entry(name, address, 0, Rank::Label) {
            self.table.data.push(entry);
        }
    }

    /// A place that no symbol without length reaches over.
    pub fn limit(&mut self, address: u64) {
        self.limits.push(address);
    }

    /// `None` when the names no longer fit 4 GiB, which no real file comes near.
    fn entry(&mut self, name: &str, address: u64, length_bytes: u64, rank: Rank) -> Option<Entry> {
        let name_start = u32::try_from(self.table.names.len()).ok()?;
        let name_length = u16::try_from(name.len()).ok()?;
        self.table.names.push_str(name);
        self.limits.push(address);
        Some(Entry { address, end: address.saturating_add(length_bytes), name_start, name_length, rank })
    }

    /// The finished table.
    pub fn finish(mut self) -> SymbolTable {
        self.limits.sort_unstable();
        self.limits.dedup();
        // A stable sort: of equally good names the first one given stays first, as in Linux's own lookup.
        self.table.code.sort_by_key(|entry| (entry.address, entry.rank));
        self.table.data.sort_by_key(|entry| entry.address);
        for entry in self.table.code.iter_mut().filter(|entry| entry.end == entry.address) {
            let next = self.limits.partition_point(|&limit| limit <= entry.address);
            let unknown = entry.address.saturating_add(UNKNOWN_LENGTH);
            entry.end = self.limits.get(next).copied().unwrap_or(unknown);
        }
        self.table
    }
}

/// The symbol at or before `address`: of several in one place the first, as Linux prints it.
fn nearest_below(entries: &[Entry], address: u64) -> Option<&Entry> {
    let after = entries.partition_point(|entry| entry.address <= address);
    let nearest = entries[..after].last()?.address;
    entries.get(entries.partition_point(|entry| entry.address < nearest))
}

impl SymbolTable {
    pub fn is_empty(&self) -> bool {
        self.code.is_empty() && self.data.is_empty()
    }

    pub fn len(&self) -> usize {
        self.code.len() + self.data.len()
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name_start as usize;
        &self.names[start..start + usize::from(entry.name_length)]
    }

    /// The function that holds `address`.
    pub fn function_at(&self, address: u64) -> Option<Function> {
        let after = self.code.partition_point(|entry| entry.address <= address);
        let holder = self.code[..after].iter().rev().take(NESTED_MAX).find(|entry| address < entry.end)?;
        let first = self.code.partition_point(|entry| entry.address < holder.address);
        let best = self.code[first..after].iter().find(|entry| address < entry.end).unwrap_or(holder);
        Some(Function {
            name: self.name(best).to_owned(),
            offset: address - best.address,
            length_bytes: best.end - best.address,
            module: None,
        })
    }

    /// The symbol at or before `address`, of code or data, and how far before.
    pub fn nearest(&self, address: u64) -> Option<(String, u64)> {
        if let Some(function) = self.function_at(address) {
            return Some((function.name, function.offset));
        }
        let below = [nearest_below(&self.data, address), nearest_below(&self.code, address)];
        let nearest = below.into_iter().flatten().max_by_key(|entry| entry.address)?;
        Some((self.name(nearest).to_owned(), address - nearest.address))
    }

    /// Every symbol, code before data.
    pub fn symbols(&self) -> impl Iterator<Item = TableSymbol<'_>> {
        let symbol = |entry: &Entry, is_code| TableSymbol {
            name: self.name(entry),
            address: entry.address,
            length_bytes: entry.end - entry.address,
            is_code,
        };
        let code = self.code.iter().map(move |entry| symbol(entry, true));
        code.chain(self.data.iter().map(move |entry| symbol(entry, false)))
    }

    /// All names, in no order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.code.iter().chain(&self.data).map(|entry| self.name(entry))
    }

    /// Whether `address` lies in a function.
    pub fn is_code(&self, address: u64) -> bool {
        let after = self.code.partition_point(|entry| entry.address <= address);
        self.code[..after].iter().rev().take(NESTED_MAX).any(|entry| address < entry.end)
    }

    /// The name of what is not code and holds `address`, and how far in it lies: the nearest symbol below, for few say
    /// their length.
    pub fn data_at(&self, address: u64) -> Option<(&str, u64)> {
        let nearest = nearest_below(&self.data, address)?;
        let offset = address - nearest.address;
        (offset <= DATA_BYTES_MAX).then(|| (self.name(nearest), offset))
    }

    /// The addresses of all code of a name.
    pub fn code_addresses(&self, name: &str) -> impl Iterator<Item = u64> {
        self.code.iter().filter(move |entry| self.name(entry) == name).map(|entry| entry.address)
    }

    /// The address of a symbol; code before data, low before high, if several have the name.
    pub fn address_of(&self, name: &str) -> Option<u64> {
        let number = *self.by_name.get_or_init(|| self.list_names()).get(&hash(name))? as usize;
        let is_it = |entry: &&Entry| self.name(entry) == name;
        let first = self.code.get(number).or_else(|| self.data.get(number.checked_sub(self.code.len())?));
        // Of two names with the same hash only one is listed.
        let found = first.filter(is_it).or_else(|| self.code.iter().chain(&self.data).find(is_it));
        found.map(|entry| entry.address)
    }

    fn list_names(&self) -> HashMap<u64, u32> {
        let mut by_name = HashMap::with_capacity(self.len());
        for (number, entry) in self.code.iter().chain(&self.data).enumerate() {
            by_name.entry(hash(self.name(entry))).or_insert(number as u32);
        }
        by_name
    }
}

fn hash(name: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> SymbolTable {
        let mut builder = Builder::default();
        builder.code("outer", 0x1000, 0x100, Rank::Global);
        builder.code("inner_label", 0x1040, 0x10, Rank::Label);
        builder.code("label", 0x2000, 0, Rank::Label);
        builder.code("alias_local", 0x3000, 0x20, Rank::Local);
        builder.code("alias_global", 0x3000, 0x20, Rank::Global);
        builder.data("variable", 0x2080);
        builder.data("its_alias", 0x2080);
        builder.limit(0x4000);
        builder.finish()
    }

    #[test]
    fn an_address_is_named_by_the_function_around_it() {
        let table = table();
        let name = |address| table.function_at(address).map(|function| function.to_string());
        assert_eq!(name(0x0fff), None);
        assert_eq!(name(0x1012).as_deref(), Some("outer+0x12/0x100"));
        assert_eq!(name(0x1044).as_deref(), Some("inner_label+0x4/0x10"));
        assert_eq!(name(0x1050).as_deref(), Some("outer+0x50/0x100"), "behind a symbol nested in it");
        assert_eq!(name(0x1100), None, "in the gap behind a function of known length");
        assert!(!table.is_code(0x1100) && table.is_code(0x10ff));
    }

    #[test]
    fn a_label_reaches_to_the_next_symbol_of_any_kind() {
        let table = table();
        assert_eq!(table.function_at(0x207f).map(|function| function.length_bytes), Some(0x80));
        assert_eq!(table.function_at(0x2080), None);
    }

    #[test]
    fn an_address_outside_functions_is_named_by_what_begins_before_it() {
        assert_eq!(table().nearest(0x1012), Some(("outer".to_owned(), 0x12)));
        assert_eq!(table().nearest(0x2090), Some(("variable".to_owned(), 0x10)));
        assert_eq!(table().data_at(0x2090), Some(("variable", 0x10)));
        assert_eq!(table().nearest(0xfff), None);
        assert_eq!(table().names().filter(|name| name.starts_with("alias")).count(), 2);
    }

    #[test]
    fn of_several_names_the_global_one_is_taken() {
        assert_eq!(
            table().function_at(0x3004).map(|function| function.name).as_deref(),
            Some("alias_global")
        );
        assert_eq!(table().address_of("alias_local"), Some(0x3000));
        assert_eq!(table().address_of("variable"), Some(0x2080));
        assert_eq!(table().address_of("missing"), None);
    }
}
