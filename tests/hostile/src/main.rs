//! `cargo run --release -p hostile -- --guests N`: so many guests from a number on; `--guest NUMBER`: one again. Exits 1
//! when anything went wrong.

use hostile::guest::Guest;
use hostile::run::{Ending, Trouble, first_difference, run};
use hostile::snippets::Class;
use hostile::survey::Survey;
use std::process::ExitCode;
use std::time::Instant;

const USAGE: &str = "usage: hostile [--guests N] [--from NUMBER] | --guest NUMBER";

#[derive(Debug)]
struct Options {
    guests: u64,
    from: u64,
    one: Option<u64>,
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { guests: 10_000, from: 0, one: None };
    while let Some(name) = arguments.next() {
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
        let number =
            value.replace('_', "").parse().map_err(|error| format!("{value:?}: {error}\n{USAGE}"))?;
        match name.as_str() {
            "--guests" => options.guests = number,
            "--from" => options.from = number,
            "--guest" => options.one = Some(number),
            _ => return Err(format!("unknown option {name}\n{USAGE}")),
        }
    }
    Ok(options)
}

fn main() -> ExitCode {
    match options(std::env::args().skip(1)) {
        Ok(Options { one: Some(number), .. }) => again(number),
        Ok(options) => survey(&options),
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// One guest, with all that helps to understand it.
fn again(number: u64) -> ExitCode {
    let guest = Guest::new(number);
    let vcpus = guest.power_on.topology.vcpus;
    println!("guest {number}: {:?}, {vcpus} vCPUs, {:?}", guest.mode, guest.classes);
    match run(&guest) {
        Ok((ending, counts)) => {
            println!("{ending:?} at @{counts}");
            ExitCode::SUCCESS
        }
        Err(trouble) => {
            println!("{trouble}");
            match &trouble {
                Trouble::Mismatch(mismatch) => {
                    println!("found {:#x?}\nexpected {:#x?}", mismatch.found, mismatch.expected);
                }
                Trouble::Differs { .. } => println!("{}", first_difference(&guest)),
                Trouble::Replay(_) => {}
            }
            ExitCode::FAILURE
        }
    }
}

fn survey(options: &Options) -> ExitCode {
    let start = Instant::now();
    let survey = Survey::of(options.from..options.from + options.guests);
    print!("{:14}", "");
    Ending::ALL.iter().for_each(|ending| print!("{:>13}", format!("{ending:?}")));
    println!();
    for class in Class::ALL {
        print!("{class:14}");
        for ending in Ending::ALL {
            print!("{:>13}", survey.endings.get(&(class, ending)).copied().unwrap_or(0));
        }
        println!();
    }
    println!(
        "{} guests, {} counts, {} recorded and replayed, {} troubles, {:.0} s",
        options.guests,
        survey.counts,
        survey.recorded,
        survey.troubles.len(),
        start.elapsed().as_secs_f64()
    );
    for (number, what) in &survey.troubles {
        println!("--guest {number}: {what}");
    }
    ExitCode::from(u8::from(!survey.troubles.is_empty()))
}
