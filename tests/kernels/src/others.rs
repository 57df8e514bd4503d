//! Kernels that are no Linux, and the repository's own by every protocol: each recorded and replayed on every engine.

use crate::boots::expect;
use crate::sources::{entry, package};
use crate::table::Row;
use harness::{Run, Vkernel, guests, must, once, reported, reported_digest, reported_icount, root};
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The reference in lockstep, on a busy host.
const PATIENCE: Duration = Duration::from_secs(1800);

const ENGINES: [&str; 3] = ["interp", "reference", "lockstep"];

/// Where a kernel comes from.
#[derive(Clone, Copy, Debug)]
enum Source {
    /// The file of /boot, packed by gzip, of this Debian package.
    Debian(&'static str, &'static str),
    /// A kernel of tests/guests.
    Guest,
    /// The kernel built into the program.
    Demo,
}

/// A kernel of the table.
#[derive(Clone, Copy, Debug)]
pub struct Other {
    /// What it is called in the table and on the command line.
    pub name: &'static str,
    source: Source,
    /// How it is entered.
    protocol: &'static str,
    options: &'static [&'static str],
    /// The exit status of its boot.
    status: i32,
    /// Text on its console; for a kernel of tests/guests the whole console is known instead.
    shows: &'static str,
}

const XEN: Source = Source::Debian("xen-hypervisor-4.17-amd64", "xen-4.17-amd64.gz");
const XEN_ENDS: &str = "Panic on CPU 0:";
const GUEST: Other =
    Other { name: "", source: Source::Guest, protocol: "", options: &[], status: 0, shows: "" };

/// Every kernel of the table.
pub const OTHERS: [Other; 8] = [
    Other {
        name: "xen-multiboot1",
        source: XEN,
        protocol: "Multiboot 1",
        options: &["--protocol", "multiboot1", "--append", "console=com1"],
        status: 1,
        shows: XEN_ENDS,
    },
    Other {
        name: "xen-multiboot2",
        source: XEN,
        protocol: "Multiboot 2",
        options: &["--protocol", "multiboot2", "--append", "xen console=com1"],
        status: 1,
        shows: XEN_ENDS,
    },
    Other {
        name: "gnumach",
        source: Source::Debian("gnumach-image-1.8-amd64-up", "gnumach-1.8-amd64-up.gz"),
        protocol: "Multiboot 1 in an ELF64",
        options: &["--append", "console=com0", "--fail", "bootstrap_create: No bootstrap code loaded"],
        status: 1,
        shows: "No bootstrap code loaded with the kernel!",
    },
    Other {
        name: "multiboot2",
        protocol: "Multiboot 2",
        options: &["-m", "64m", "--append", "one two", "--module", "MODULE:words", "--ok-exit", "0"],
        ..GUEST
    },
    Other {
        name: "limine",
        protocol: "Limine",
        options: &[
            "-m",
            "64m",
            "-n",
            "4",
            "--append",
            "one two",
            "--module",
            "MODULE:words",
            "--ok-exit",
            "0",
        ],
        ..GUEST
    },
    Other {
        name: "pmode32",
        protocol: "Multiboot 1, 32-bit protected mode",
        options: &["-m", "64m", "--ok-exit", "0"],
        ..GUEST
    },
    Other {
        name: "elf64",
        protocol: "none: ELF64",
        options: &["-m", "64m", "--append", "hello elf64", "--module", "MODULE:words", "--ok-exit", "0"],
        ..GUEST
    },
    Other {
        name: "demo",
        source: Source::Demo,
        protocol: "Multiboot 1",
        options: &["-m", "128m", "-n", "4", "--seed", "1"],
        status: 0,
        shows: "demo: booted by Multiboot",
    },
];

impl Other {
    /// Guests print the name of their file, which is not to hold the date of their sources as that in target/ does.
    fn image(&self, vkernel: &Vkernel) -> OsString {
        match self.source {
            Source::Demo => "demo:".into(),
            Source::Guest => {
                let image = vkernel.file(&format!("{}.elf", self.name));
                fs::copy(guests::built(self.name), &image).expect("a kernel copied");
                image.into()
            }
            Source::Debian(name, file) => once(file.trim_end_matches(".gz"), |scratch| {
                let packed = scratch.join(file);
                let found =
                    entry(&package(name, "").folder.join("boot"), file).expect("a kernel in the package");
                fs::copy(found, &packed).expect("a kernel copied");
                must(Command::new("gzip").arg("-d").arg(&packed));
                packed.with_extension("")
            })
            .into(),
        }
    }

    fn from(&self) -> String {
        match self.source {
            Source::Demo => "tests/guests/demo".to_owned(),
            Source::Guest => format!("tests/guests/{}", self.name),
            Source::Debian(name, _) => format!("Debian's {name}"),
        }
    }

    /// The options as a shell takes them.
    fn printed_options(&self) -> String {
        let quoted = |word: &&str| if word.contains(' ') { format!("'{word}'") } else { (*word).to_owned() };
        self.options.iter().map(quoted).collect::<Vec<_>>().join(" ")
    }

    /// What the page says of its console.
    fn console(&self) -> String {
        match self.source {
            Source::Guest => format!("as {0}/{0}.expected", self.name),
            Source::Demo | Source::Debian(..) => format!("shows \"{}\"", self.shows),
        }
    }

    /// Whether the console is as it should be.
    fn is_expected(&self, run: &Run) -> bool {
        match self.source {
            Source::Guest => {
                let expected = root().join(format!("tests/guests/{0}/{0}.expected", self.name));
                run.stdout == fs::read(expected).expect("what the guest prints")
            }
            Source::Demo | Source::Debian(..) => run.console().contains(self.shows),
        }
    }

    /// The arguments that boot it on `engine`. Modules are the file of 5 bytes that the guests' pages describe.
    fn boot(&self, vkernel: &Vkernel, engine: &str, trace: &str) -> Vec<OsString> {
        let module = vkernel.file("module");
        fs::write(&module, "hello").expect("a module written");
        let options = self.options.iter().map(|word| word.replace("MODULE", &module.display().to_string()));
        let common = ["boot", "--limit", "60s", "--engine", engine, "--trace", trace];
        common
            .iter()
            .map(OsString::from)
            .chain(options.map(OsString::from))
            .chain([self.image(vkernel)])
            .collect()
    }
}

/// Records `other` on every engine, and replays each recording on every engine.
///
/// # Errors
/// What differs, with the command that showed it. The recordings are kept then.
pub fn boot(program: &Path, other: &Other) -> Result<Row, String> {
    let vkernel = Vkernel::new(program).patient(PATIENCE);
    record_and_replay(&vkernel, other).inspect_err(|_| vkernel.keep_recordings())
}

fn record_and_replay(vkernel: &Vkernel, other: &Other) -> Result<Row, String> {
    let mut recorded: Vec<(Run, Run)> = Vec::new();
    for engine in ENGINES {
        let trace = vkernel.file(&format!("{engine}.vkt")).display().to_string();
        let live = vkernel.run(&other.boot(vkernel, engine, &trace));
        expect(&live, live.status == other.status && other.is_expected(&live), "not what it should show")?;
        let info = vkernel.run(&["trace", "info", &trace]);
        for again in ENGINES {
            let replay = vkernel.run(&["replay", "--engine", again, &trace]);
            let is_same = replay.status == live.status && replay.stdout == live.stdout;
            expect(&replay, is_same && replay.stderr.contains("as recorded"), "the replay differs")?;
        }
        if let Some((first, first_info)) = recorded.first() {
            let is_same =
                live.stdout == first.stdout && reported_digest(&info) == reported_digest(first_info);
            expect(&live, is_same, "the engines differ")?;
        }
        recorded.push((live, info));
    }
    let (_, info) = &recorded[0];
    let trace = vkernel.file(&format!("{}.vkt", ENGINES[0]));
    Ok(Row(vec![
        other.name.to_owned(),
        other.from(),
        other.protocol.to_owned(),
        format!("`{}`", other.printed_options()),
        reported(info, "outcome"),
        reported_icount(info).to_string(),
        fs::metadata(&trace).map_err(|error| error.to_string())?.len().to_string(),
        other.console(),
    ]))
}
