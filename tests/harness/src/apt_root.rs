//! Packages of other suites than the host's: a private apt root in target/, on the host's own Debian mirror. Needs no root, and
//! changes nothing on the host.

use crate::shared::{must, once};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Debian's keys, as its own package installs them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt that knows of nothing but some suites, and believes that nothing is installed.
#[derive(Clone, Debug)]
pub struct AptRoot {
    folder: PathBuf,
}

impl AptRoot {
    /// The one of this name, with these suites' main sections; the security suites of those without `-backports` come with
    /// them. Its lists are fetched once.
    ///
    /// # Panics
    /// If the mirror cannot be reached.
    #[must_use]
    pub fn of(name: &str, suites: &[&str]) -> AptRoot {
        AptRoot { folder: once(name, |scratch| make(scratch, suites)) }
    }

    /// `apt-get` or another program of apt's.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        apt_command(program, &self.folder)
    }
}

fn make(scratch: &Path, suites: &[&str]) -> PathBuf {
    let root = scratch.join("root");
    for folder in ["lists/partial", "cache/archives/partial"] {
        fs::create_dir_all(root.join(folder)).expect("a folder in target/");
    }
    let mirror = mirror("debian").expect("a Debian mirror among the host's apt sources");
    let security = mirror_of_security(&mirror);
    let mut sources = String::new();
    for suite in suites {
        writeln!(sources, "deb [arch=amd64 signed-by={KEYS}] {mirror} {suite} main").expect("a String");
        if let Some(security) = security.as_ref().filter(|_| !suite.ends_with("-backports")) {
            writeln!(sources, "deb [arch=amd64 signed-by={KEYS}] {security} {suite}-security main")
                .expect("a String");
        }
    }
    fs::write(root.join("sources.list"), sources).expect("sources written");
    fs::write(root.join("status"), "").expect("an empty status");
    must(apt_command("apt-get", &root).arg("update"));
    root
}

fn mirror_of_security(mirror: &str) -> Option<String> {
    self::mirror("debian-security").or_else(|| Some(format!("{}-security", mirror.trim_end_matches('/'))))
}

/// The address among the host's apt sources, in either of their formats, that ends in `/{archive}`.
fn mirror(archive: &str) -> Option<String> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    files.extend(crate::files_below(Path::new("/etc/apt/sources.list.d"), "sources"));
    files.extend(crate::files_below(Path::new("/etc/apt/sources.list.d"), "list"));
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
    let mut words = lines.flat_map(str::split_whitespace);
    let end = format!("/{archive}");
    words.find(|word| word.contains("://") && word.trim_end_matches('/').ends_with(&end)).map(str::to_owned)
}

fn apt_command(program: &str, root: &Path) -> Command {
    let mut command = Command::new(program);
    let options = [
        format!("Dir::State={}", root.display()),
        format!("Dir::State::Lists={}/lists", root.display()),
        format!("Dir::State::status={}/status", root.display()),
        format!("Dir::Cache={}/cache", root.display()),
        format!("Dir::Etc::sourcelist={}/sources.list", root.display()),
        "Dir::Etc::sourceparts=-".to_owned(),
        "Acquire::Languages=none".to_owned(),
        // What describes programs for shops of them.
        "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ];
    options.iter().for_each(|option| {
        command.arg("-o").arg(option);
    });
    command.env("LC_ALL", "C");
    command
}
