//! Expressions of C that are made by its grammar, and mean nothing.

use super::EDGES;
use crate::Dice;

/// Names, of the demonstration kernel, of Linux, and of nobody.
const NAMES: [&str; 12] = [
    "shelves",
    "workers",
    "cache",
    "panic",
    "format",
    "worker",
    "current",
    "jiffies",
    "init_task",
    "nobody",
    "$rsp",
    "$rip",
];
const MEMBERS: [&str; 10] =
    ["books", "next", "lock", "number", "weight", "count", "comm", "mm", "tasks", "nothing"];
const TYPES: [&str; 14] = [
    "int",
    "unsigned long",
    "char *",
    "struct shelf",
    "struct shelf *",
    "struct list",
    "void",
    "void *",
    "char [4294967296]",
    "long [7fff]",
    "struct task_struct *",
    "__int128",
    "double",
    "struct nobody **",
];
const BINARY: [&str; 21] = [
    "+", "-", "*", "/", "%", "<<", ">>", "<", "<=", "==", "!=", "&", "|", "^", "&&", "||", ",", "@", "=",
    "?", "->",
];
const UNARY: [&str; 7] = ["*", "&", "-", "~", "!", "+", "sizeof "];

/// An expression whose parts are nested so deep at most.
pub(super) fn expression(depth: u32, dice: &mut Dice) -> String {
    if depth == 0 {
        return leaf(dice);
    }
    let mut inner = || expression(depth - 1, dice);
    let (a, b) = (inner(), inner());
    match dice.below(12) {
        0 | 1 => format!("{a} {} {b}", dice.pick(&BINARY)),
        2 => format!("{}{a}", dice.pick(&UNARY)),
        3 => format!("({})({a})", dice.pick(&TYPES)),
        4 => format!("*({} *)({a})", dice.pick(&TYPES)),
        5 => format!("({a})[{b}]"),
        6 => format!("({a})->{}", dice.pick(&MEMBERS)),
        7 => format!("({a}).{}", dice.pick(&MEMBERS)),
        8 => format!("({a}) ? {b} : ({a})"),
        9 => format!("container_of({a}, {}, {}[{b}])", dice.pick(&TYPES), dice.pick(&MEMBERS)),
        10 => format!(
            "offsetof({}, {}) + sizeof({})",
            dice.pick(&TYPES),
            dice.pick(&MEMBERS),
            dice.pick(&TYPES)
        ),
        _ => format!("per_cpu({}, {a}) + *per_cpu_ptr({b}, {a})", dice.pick(&NAMES)),
    }
}

fn leaf(dice: &mut Dice) -> String {
    match dice.below(6) {
        0 => format!("0x{}", dice.pick(&EDGES)),
        1 => format!("{}ull", dice.below(u64::MAX)),
        2 => dice.below(70).to_string(),
        3 => format!("{}.{}", dice.pick(&NAMES), dice.pick(&MEMBERS)),
        4 => format!("{}[{}]", dice.pick(&NAMES), dice.below(5)),
        _ => dice.pick(&NAMES).to_owned(),
    }
}
