//! Where distributions put separate debug information, in the order in which it is looked for:
//!
//! | place | whose convention |
//! |---|---|
//! | `/usr/lib/debug/.build-id/xx/yyyy.debug` | gdb's, by the identity that the linker gave the kernel |
//! | `/usr/lib/debug/boot/vmlinux-RELEASE`, `/usr/lib/debug/lib/modules/RELEASE/vmlinux`, `/boot/vmlinux-RELEASE` | Debian, Fedora, everybody's own builds |
//! | below `/usr/lib/debug/lib/modules/RELEASE`, `/lib/modules/RELEASE` | modules of Debian and Fedora, and those that were built here |
//! | a debuginfod server, if `DEBUGINFOD_URLS` is set and the program `debuginfod-find` is installed | elfutils' |
//!
//! Whether a file is the right one is for its reader to say. A file that names its debug information by `.gnu_debuglink` has it
//! where gdb looks for that; a kernel that was booted has only its bytes, and not the folder that it lay in. Servers are asked for
//! the kernel only: a Linux loads a hundred modules, and each answer may be a long download.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What debug information is wanted of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The identity that the linker gave the image.
    pub build_id: Option<&'a [u8]>,
    /// The release of a Linux.
    pub release: Option<&'a str>,
}

/// The files that may have it and are there, the best first. `root` is `/`, but for tests.
#[must_use]
pub fn candidates(root: &Path, wanted: &Wanted<'_>) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some([first, rest @ ..]) = wanted.build_id {
        let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
        paths.push(root.join(format!("usr/lib/debug/.build-id/{first:02x}/{rest}.debug")));
    }
    // A release is the guest's word: as a part of a path it must not lead elsewhere.
    if let Some(release) = wanted.release.filter(|release| !release.contains('/')) {
        paths.push(root.join(format!("usr/lib/debug/boot/vmlinux-{release}")));
        paths.push(root.join(format!("usr/lib/debug/lib/modules/{release}/vmlinux")));
        paths.push(root.join(format!("boot/vmlinux-{release}")));
    }
    paths.retain(|path| path.is_file());
    paths
}

/// How deep folders lie in each other that modules are looked for in.
const DEPTH_MAX: usize = 24;

/// The files of modules (`*.ko`, `*.ko.debug`) below a folder, sorted. Links to folders are not followed.
#[must_use]
pub fn modules_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    list_modules(folder, DEPTH_MAX, &mut found);
    found.sort();
    found
}

fn list_modules(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    // What cannot be read has nothing for us.
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let is_module = [".ko", ".ko.debug"].iter().any(|end| name.to_string_lossy().ends_with(end));
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 0 => list_modules(&path, depth - 1, found),
            Ok(_) if is_module && path.is_file() => found.push(path),
            _ => {}
        }
    }
}

/// The files of modules that this host has of a release of Linux, those with debug information first. `root` is `/`, but for
/// tests.
#[must_use]
pub fn module_candidates(root: &Path, release: &str) -> Vec<PathBuf> {
    if release.contains('/') || release.starts_with('.') {
        return Vec::new();
    }
    let folders = ["usr/lib/debug/lib/modules", "lib/modules"];
    folders.iter().flat_map(|folder| modules_below(&root.join(folder).join(release))).collect()
}

/// The files that may be what `file` calls `name` in its `.gnu_debuglink` and are there, in gdb's order. `root` is `/`, but
/// for tests.
#[must_use]
pub fn linked(root: &Path, file: &Path, name: &str) -> Vec<PathBuf> {
    let Ok(file) = file.canonicalize() else { return Vec::new() };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let global = root.join("usr/lib/debug").join(folder.strip_prefix("/").unwrap_or(folder));
    let mut paths = vec![folder.join(name), folder.join(".debug").join(name), global.join(name)];
    paths.retain(|path| path.is_file() && *path != file);
    paths
}

/// Asks the servers of `DEBUGINFOD_URLS` for the debug information of a build, which may take as long as a download of
/// hundreds of megabytes. `None` if there are no servers, no program to ask with, or no such information.
#[must_use]
pub fn from_debuginfod(build_id: &[u8]) -> Option<PathBuf> {
    std::env::var_os("DEBUGINFOD_URLS").filter(|urls| !urls.is_empty())?;
    let id: String = build_id.iter().map(|byte| format!("{byte:02x}")).collect();
    let mut command = Command::new("debuginfod-find");
    command.args(["debuginfo", &id]).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok().filter(|output| output.status.success())?;
    let path = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim_end());
    path.is_file().then_some(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn files_are_looked_for_where_distributions_put_them_the_surest_first() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        let put = |name: &str| {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(&path, "").expect("written");
            path
        };
        let expected = [
            put("usr/lib/debug/.build-id/ab/cdef.debug"),
            put("usr/lib/debug/boot/vmlinux-6.1.0-56-cloud-amd64"),
            put("boot/vmlinux-6.1.0-56-cloud-amd64"),
        ];
        let wanted = Wanted { build_id: Some(&[0xab, 0xcd, 0xef]), release: Some("6.1.0-56-cloud-amd64") };
        assert_eq!(candidates(root, &wanted), expected);
        let file = put("kernels/vmlinux");
        assert!(linked(root, &file, "vmlinux.debug").is_empty());
        let resolved = file.canonicalize().expect("a file");
        let below = format!("usr/lib/debug{}", resolved.with_file_name("vmlinux.debug").display());
        let expected = [put("kernels/vmlinux.debug"), put("kernels/.debug/vmlinux.debug"), put(&below)];
        let found = linked(root, &file, "vmlinux.debug");
        assert!(
            found
                .iter()
                .zip(&expected)
                .all(|(found, path)| found.ends_with(path.strip_prefix(root).expect("below it")))
        );
        assert_eq!(found.len(), 3);
        let installed = [
            put("usr/lib/debug/lib/modules/6.1.0/kernel/net/dummy.ko.debug"),
            put("lib/modules/6.1.0/updates/dummy.ko"),
        ];
        put("lib/modules/6.1.0/modules.dep");
        assert_eq!(module_candidates(root, "6.1.0"), installed);
        assert!(module_candidates(root, "../modules/6.1.0").is_empty());
        let other = Wanted { build_id: Some(&[1]), release: Some("../boot/vmlinux-6.1.0") };
        assert!(candidates(root, &other).is_empty());
        assert!(candidates(root, &Wanted::default()).is_empty());
    }
}
