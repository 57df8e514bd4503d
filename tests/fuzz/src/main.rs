//! The soak: `cargo run --release -p fuzz -- --cases N`. Exits 1 when anything differs.

use fuzz::classify::Family;
use fuzz::random::Random;
use fuzz::soak::Bench;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: fuzz [--cases N] [--seed N] [--family F]... [--batch SEED] [--keep-going]";

#[derive(Debug, Default)]
struct Options {
    cases: Option<u64>,
    seed: u64,
    families: Vec<Family>,
    batch: Option<u64>,
    keep_going: bool,
}

fn number(text: &str) -> Result<u64, String> {
    let plain = text.replace('_', "");
    match plain.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => plain.parse(),
    }
    .map_err(|error| format!("{text:?} is not a number: {error}"))
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options::default();
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"));
        match name.as_str() {
            "--cases" => options.cases = Some(number(&value()?)?),
            "--seed" => options.seed = number(&value()?)?,
            "--family" => options.families.push(value()?.parse()?),
            "--batch" => options.batch = Some(number(&value()?)?),
            "--keep-going" => options.keep_going = true,
            _ => return Err(format!("unknown option {name}\n{USAGE}")),
        }
    }
    if options.families.is_empty() {
        options.families = Family::ALL.to_vec();
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(options) => soak(&options),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

fn soak(options: &Options) -> ExitCode {
    let mut bench = Bench::default();
    let mut mismatches = 0;
    if let Some(seed) = options.batch {
        for &family in &options.families {
            if let Some(mismatch) = bench.batch(family, seed) {
                mismatches += 1;
                println!("{mismatch}\nbefore: {:#x?}", mismatch.before.gpr);
                println!(
                    "rflags {:#x} fsw {:#x} fcw {:#x} ftw {:#x} mxcsr {:#x}",
                    mismatch.before.rflags,
                    mismatch.before.fx.status(),
                    mismatch.before.fx.control(),
                    mismatch.before.fx.valid(),
                    mismatch.before.fx.mxcsr()
                );
                for index in 0..8 {
                    println!("st{index} {:#022x}", mismatch.before.fx.st(index));
                }
                for index in 0..16 {
                    println!("xmm{index} {:#034x}", mismatch.before.fx.xmm(index));
                }
            }
        }
        return ExitCode::from(u8::from(mismatches != 0));
    }
    let each = options.cases.unwrap_or(1_000_000) / options.families.len() as u64;
    let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
    for &family in &options.families {
        let (start, cases_before) = (Instant::now(), bench.cases);
        let mut random = Random::new(options.seed);
        let mut differing = 0;
        while bench.cases - cases_before < each {
            let Some(mismatch) = bench.batch(family, random.next()) else { continue };
            differing += 1;
            let kind = format!("{:?} {}", mismatch.encoding.instruction.code(), mismatch.between);
            let seen = kinds.entry(kind).or_default();
            *seen += 1;
            if *seen <= 2 {
                println!("{mismatch}");
            }
            if differing >= 100 && !options.keep_going {
                break;
            }
        }
        let cases = bench.cases - cases_before;
        let rate = cases as f64 / start.elapsed().as_secs_f64();
        println!("{family:>8}: {cases} cases, {differing} mismatches, {rate:.0} cases/s");
        mismatches += differing;
    }
    for (name, cases) in &bench.explained {
        println!("{cases:>8} cases as a rule allows: {name}");
    }
    ExitCode::from(u8::from(mismatches != 0))
}
