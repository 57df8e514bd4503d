//! Small tables made the way scripts/kallsyms.c lays them out, found again.

use super::*;
use crate::symbols::Symbols;
use crate::testing::Pieces;

/// RAM with a hole of `hole_bytes` before it, of which nothing is known.
struct Ram<'a> {
    bytes: &'a [u8],
    hole_bytes: u64,
}

impl GuestRam for Ram<'_> {
    fn bytes(&self) -> &[u8] {
        self.bytes
    }

    fn is_blank(&self, _: usize) -> bool {
        false
    }

    fn page_paddr(&self, page: usize) -> u64 {
        (page * PAGE_BYTES) as u64 + self.hole_bytes
    }
}

fn flat(bytes: &[u8]) -> Ram<'_> {
    Ram { bytes, hole_bytes: 0 }
}

/// The order of the tables.
#[derive(Clone, Copy, PartialEq)]
enum Layout {
    From510,
    From62,
    From64,
    From7,
}

impl Layout {
    fn alignment(self) -> usize {
        if self == Layout::From7 { 4 } else { 8 }
    }
}

const ALL: [Layout; 4] = [Layout::From510, Layout::From62, Layout::From64, Layout::From7];
/// Where [`BASE`] lies in RAM, under the layout whose offsets are from their own places.
const BASE_PLACE: u64 = 1 << 20;
const BASE: u64 = 0xffff_ffff_9280_0000;

/// Tokens above the plain characters, as the compression would make them.
const PAIRS: [(u8, &str); 4] = [(0x01, "do_"), (0x80, "sys_"), (0xfe, "Tfunction_"), (0xff, "read")];

fn token_text(token: u8) -> String {
    let pair = PAIRS.iter().find(|(pair, _)| *pair == token).map(|(_, text)| (*text).to_owned());
    let is_plain = token.is_ascii_alphanumeric() || token == b'_' || token == b'.';
    pair.unwrap_or_else(|| if is_plain { char::from(token).to_string() } else { String::new() })
}

fn compress(name: &str) -> Vec<u8> {
    let mut tokens = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.bytes().next() {
        let pair = PAIRS.iter().find(|(_, text)| rest.starts_with(text));
        let (token, length) = pair.map_or((first, 1), |(token, text)| (*token, text.len()));
        tokens.push(token);
        rest = &rest[length..];
    }
    tokens
}

struct Image {
    bytes: Vec<u8>,
    alignment: usize,
}

impl Image {
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(self.alignment), 0);
    }

    fn part(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.align();
        self.bytes.extend(bytes);
    }
}

/// The tables of `symbols` (type letter and name, address), sorted by address.
fn encode(symbols: &[(String, u64)], layout: Layout, absolute_percpu: bool) -> Vec<u8> {
    let mut names = Vec::new();
    let mut markers: Vec<u32> = Vec::new();
    for (index, (name, _)) in symbols.iter().enumerate() {
        if index % MARKER_SPACING == 0 {
            markers.push(names.len() as u32);
        }
        let tokens = compress(name);
        match tokens.len() {
            length @ 0..128 => names.push(length as u8),
            length => names.extend([length as u8 & 0x7f | 0x80, (length >> 7) as u8]),
        }
        names.extend(tokens);
    }
    let offset = |address: u64| match address {
        _ if !absolute_percpu => address.wrapping_sub(BASE) as u32,
        0..KERNEL_SPACE => address as u32,
        _ => !(address.wrapping_sub(BASE) as u32),
    };
    let texts: Vec<String> = (0..=255).map(token_text).collect();
    let index = texts.iter().scan(0_u16, |at, text| {
        let start = *at;
        *at += text.len() as u16 + 1;
        Some(start)
    });
    let index: Vec<u8> = index.flat_map(u16::to_le_bytes).collect();
    let offsets: Vec<u8> = symbols.iter().flat_map(|(_, address)| offset(*address).to_le_bytes()).collect();
    let seqs = vec![0x5a; 3 * symbols.len()];

    // Other read-only data before, so that the tables do not start at 0.
    let mut image = Image { bytes: vec![0xc5; 4096 + 20], alignment: layout.alignment() };
    if matches!(layout, Layout::From510 | Layout::From62) {
        image.part(offsets.clone());
        image.part(BASE.to_le_bytes());
    }
    image.part((symbols.len() as u32).to_le_bytes());
    image.part(names);
    image.part(markers.into_iter().flat_map(u32::to_le_bytes));
    if layout == Layout::From62 {
        image.part(seqs.clone());
    }
    image.part(texts.into_iter().flat_map(|text| (text + "\0").into_bytes()));
    image.part(index);
    if layout == Layout::From64 {
        image.part(offsets);
        image.part(BASE.to_le_bytes());
        image.part(seqs.clone());
    }
    if layout == Layout::From7 {
        image.align();
        let place = |address: u64| (address - BASE + BASE_PLACE) as u32;
        let own = (image.bytes.len() as u32..).step_by(4);
        let offsets = symbols.iter().zip(own).map(|((_, address), own)| place(*address).wrapping_sub(own));
        let offsets: Vec<u8> = offsets.flat_map(u32::to_le_bytes).collect();
        image.part(offsets);
        image.part(seqs);
    }
    image.part([0xc5; 100]);
    if layout == Layout::From7 {
        put_variables(&mut image.bytes, symbols);
    }
    image.bytes
}

/// The variable that says how far the kernel was moved, and a task that is its own parent and leader.
fn put_variables(bytes: &mut Vec<u8>, symbols: &[(String, u64)]) {
    let place = |name: &str| {
        let (_, address) = symbols.iter().find(|(own, _)| own[1..] == *name).expect("one of them");
        (address - BASE + BASE_PLACE) as usize
    };
    bytes.resize(place("init_task") + 4096, 0);
    let moved = BASE_PLACE.wrapping_sub(BASE).wrapping_add(0xffff_ffff_8000_0000);
    let mut put = |at: usize, value: u64| bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
    put(place("phys_base"), moved);
    put(place("init_task") + 1000, BASE + 0x20_0000);
    put(place("init_task") + 1016, BASE + 0x20_0000);
}

/// 700 functions of 32 bytes, data behind them, and a name that needs a length of two bytes.
fn symbols(percpu: bool) -> Vec<(String, u64)> {
    let mut symbols = Vec::new();
    if percpu {
        symbols.push(("Afixed_percpu_data".to_owned(), 0));
        symbols.push(("Dcurrent_task".to_owned(), 0x1_9280));
    }
    symbols.push(("T_text".to_owned(), BASE));
    symbols.push(("Tstartup_64".to_owned(), BASE));
    for number in 0..700 {
        symbols.push((format!("Tfunction_{number}"), BASE + 0x1000 + number * 32));
    }
    symbols.push((format!("t{}", "x".repeat(300)), BASE + 0x8000));
    symbols.push(("t__x64_sys_read.constprop.0".to_owned(), BASE + 0x8100));
    symbols.push(("Dphys_base".to_owned(), BASE + 0x1f_f000));
    symbols.push(("Dinit_task".to_owned(), BASE + 0x20_0000));
    symbols
}

/// The same as Linux 7 lists them: all as code, and where that ends.
fn without_letters() -> Vec<(String, u64)> {
    let bounds =
        [("_etext", 0x1f_0000), ("_sinittext", 0x1f_1000), ("_einittext", 0x1f_2000), ("_sdata", 0x1f_3000)];
    let bounds = bounds.map(|(name, offset)| (format!("T{name}"), BASE + offset));
    let mut all = symbols(false);
    all.iter_mut().for_each(|(name, _)| name.replace_range(..1, "T"));
    all.extend(bounds);
    all.push(("Tset_up".to_owned(), BASE + 0x1f_1800));
    all.sort_by_key(|(_, address)| *address);
    all
}

fn found(layout: Layout, percpu: bool) -> SymbolTable {
    find_kallsyms(&flat(&encode(&symbols(percpu), layout, percpu))).expect("the tables are found")
}

#[test]
fn names_and_running_addresses_are_found_in_every_layout() {
    for layout in ALL {
        // From 6.15 on per-CPU variables lie where the others do.
        for percpu in [false, true].into_iter().take(if layout == Layout::From7 { 1 } else { 2 }) {
            let table = found(layout, percpu);
            assert_eq!(table.address_of("function_0"), Some(BASE + 0x1000));
            assert_eq!(table.address_of("function_699"), Some(BASE + 0x1000 + 699 * 32));
            assert_eq!(table.address_of(&"x".repeat(300)), Some(BASE + 0x8000));
            assert_eq!(table.address_of("init_task"), Some(BASE + 0x20_0000));
            assert_eq!(table.address_of("current_task"), percpu.then_some(0x1_9280));
            let name = |vaddr| table.function_at(vaddr).map(|function| function.to_string());
            assert_eq!(name(BASE + 0x1000 + 50 * 32 + 7).as_deref(), Some("function_50+0x7/0x20"));
            assert_eq!(name(BASE + 0x8108).as_deref(), Some("__x64_sys_read.constprop.0+0x8/0x1f6f00"));
            assert_eq!(name(BASE).as_deref(), Some("_text+0x0/0x1000"), "the first of two names");
            assert_eq!(name(BASE + 0x20_0000), None, "data is no function");
        }
    }
}

#[test]
fn what_lies_outside_of_the_sections_of_code_is_data_whatever_its_letter() {
    let table = find_kallsyms(&flat(&encode(&without_letters(), Layout::From7, false))).expect("found");
    let is_code = |name: &str| table.is_code(table.address_of(name).expect("a symbol"));
    assert!(is_code("function_699") && is_code("set_up"));
    assert!(!is_code("init_task") && !is_code("phys_base"));
}

/// Linux 7 says only where everything is in RAM, so that the hole for devices, below 4 GiB, counts.
#[test]
fn a_kernel_above_the_hole_in_ram_is_found_where_it_runs() {
    let hole_bytes = 1 << 30;
    let mut bytes = encode(&symbols(false), Layout::From7, false);
    let moved = &mut bytes[BASE_PLACE as usize + 0x1f_f000..][..8];
    let above = u64::from_le_bytes(moved.try_into().expect("eight")).wrapping_add(hole_bytes);
    moved.copy_from_slice(&above.to_le_bytes());
    let table = find_kallsyms(&Ram { bytes: &bytes, hole_bytes }).expect("the tables are found");
    assert_eq!(table.address_of("function_0"), Some(BASE + 0x1000));
    assert!(find_kallsyms(&flat(&bytes)).is_none(), "the first task does not prove it");
}

#[test]
fn a_vmlinux_is_moved_to_where_the_running_kernel_is_and_without_one_its_own_names_serve() {
    let ram = encode(&symbols(true), Layout::From64, true);
    let linked = 0xffff_ffff_8100_0000;
    let vmlinux = || Symbols::of_functions(&[("_text", linked, 0), ("linux_banner", linked + 0x500, 0)]);
    let of_guest = |elf, ram: &[u8]| {
        let (symbols, refused) = Symbols::of_guest(elf, &flat(ram), &Pieces::default());
        assert_eq!(refused, None, "neither has a build id");
        symbols
    };
    assert_eq!(of_guest(Some(vmlinux()), &ram).slide(), (BASE - linked) as i64);
    assert_eq!(of_guest(Some(vmlinux()), &[]).slide(), 0);
    assert_eq!(of_guest(None, &ram).address_of("_text"), Some(BASE));
    assert!(of_guest(None, &[]).is_empty());
    let other = Symbols::of_functions(&[("_text", linked, 0)]);
    assert_eq!(of_guest(Some(other), &ram).slide(), 0, "not Linux");
}

#[test]
fn digits_elsewhere_in_ram_do_not_mislead() {
    let mut ram = DIGITS.repeat(40);
    ram.resize(8192 + 3, 0x31);
    ram.extend_from_slice(DIGITS);
    ram.resize(3 * 4096, 0);
    assert!(find_kallsyms(&flat(&ram)).is_none());
    ram.extend(encode(&symbols(true), Layout::From510, true));
    assert!(find_kallsyms(&flat(&ram)).is_some());
}

#[test]
fn a_damaged_or_cut_table_is_not_believed() {
    for layout in ALL {
        let percpu = layout != Layout::From7;
        let image = encode(&symbols(percpu), layout, percpu);
        let tokens = find_digits(&flat(&image), 0)
            .and_then(|digits| Tokens::around(&image, digits, layout.alignment()))
            .expect("tokens");
        let mut bad_marker = image.clone();
        let names = Names::before(&image, &tokens, &mut NAMES_BUDGET.clone()).expect("names");
        bad_marker[names.first] ^= 1;
        assert!(find_kallsyms(&flat(&bad_marker)).is_none(), "a name of another length");
        let mut bad_index = image.clone();
        bad_index[tokens.index_end - 2] ^= 1;
        assert!(find_kallsyms(&flat(&bad_index)).is_none(), "an index that does not point at its token");
        for length in (0..tokens.index_end).step_by(61) {
            assert!(find_kallsyms(&flat(&image[..length])).is_none());
        }
        for start in (8..tokens.start).step_by(8).filter(|start| *start > names.head) {
            assert!(find_kallsyms(&flat(&image[start..])).is_none());
        }
    }
}

/// A guest could fill the space before a token table with counts whose names all have to be walked.
#[test]
fn the_search_has_a_budget() {
    let image = encode(&symbols(false), Layout::From510, false);
    let tokens =
        find_digits(&flat(&image), 0).and_then(|digits| Tokens::around(&image, digits, 8)).expect("tokens");
    let mut budget = 100;
    assert!(Names::before(&image, &tokens, &mut budget).is_none());
    assert!(budget <= 100);
    let mut enough = 10_000;
    assert!(Names::before(&image, &tokens, &mut enough).is_some());
}
