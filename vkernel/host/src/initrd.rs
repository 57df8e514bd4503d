//! Packs a directory as an initrd: an uncompressed cpio archive in the `newc` format
//! (Documentation/driver-api/early-userspace/buffer-format.rst), as `--initrd DIR` needs it.
//!
//! Two trees with the same names, contents and modes give the same bytes: entries are sorted, inode numbers
//! count up, times are 0 and everything belongs to root. Hard links become copies. `/dev/console` is added if
//! the tree has none, because without it init has no output and an ordinary user cannot make the node. Left
//! out: compression, extended attributes, and the mode of the directory itself, which is the root's mode and
//! is seldom meant.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

const FILE_TYPE: u32 = 0o170_000;
const DIRECTORY: u32 = 0o040_000;
const CHARACTER_DEVICE: u32 = 0o020_000;
const REGULAR: u32 = 0o100_000;
/// Device numbers of /dev/console.
const CONSOLE: (u32, u32) = (5, 1);

/// Why a directory could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum InitrdError {
    /// A file or directory could not be read.
    #[error("cannot pack {} into an initrd: {source}; make it readable or remove it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The format has 32-bit lengths.
    #[error("cannot pack {} into an initrd: {length_bytes} bytes are more than the format's 4 GiB; put it on a disk (-r)", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length.
        length_bytes: u64,
    },
}

/// Packs a directory tree; `directory` itself becomes `/`.
pub fn pack_directory(directory: &Path) -> Result<Vec<u8>, InitrdError> {
    let mut archive = Archive { bytes: Vec::new(), next_inode: 1 };
    let mut has_dev = false;
    let mut has_console = false;
    // A stack of what is still to be packed, the next on top: parents come before their children.
    let mut pending = children(directory, &[])?;
    while let Some((name, path)) = pending.pop() {
        has_dev |= name == b"dev";
        has_console |= name == b"dev/console";
        let metadata = fs::symlink_metadata(&path).map_err(|source| unreadable(&path, source))?;
        let contents = contents(&path, &metadata)?;
        let device = if metadata.file_type().is_char_device() || metadata.file_type().is_block_device() {
            (libc::major(metadata.rdev()), libc::minor(metadata.rdev()))
        } else {
            (0, 0)
        };
        archive.add(&name, metadata.mode(), device, &contents);
        if metadata.is_dir() {
            pending.extend(children(&path, &name)?);
        }
    }
    if !has_dev {
        archive.add(b"dev", DIRECTORY | 0o755, (0, 0), &[]);
    }
    if !has_console {
        archive.add(b"dev/console", CHARACTER_DEVICE | 0o600, CONSOLE, &[]);
    }
    Ok(archive.finish())
}

/// Packs one program as `/init`, with the directories that an init mounts on.
#[must_use]
pub fn pack_init(program: &[u8]) -> Vec<u8> {
    let mut archive = Archive { bytes: Vec::new(), next_inode: 1 };
    for directory in [&b"dev"[..], b"mnt", b"proc", b"sys", b"tmp"] {
        archive.add(directory, DIRECTORY | 0o755, (0, 0), &[]);
    }
    archive.add(b"dev/console", CHARACTER_DEVICE | 0o600, CONSOLE, &[]);
    archive.add(b"init", REGULAR | 0o755, (0, 0), program);
    archive.finish()
}

/// The children of a directory with their names in the archive, in descending order.
fn children(directory: &Path, name: &[u8]) -> Result<Vec<(Vec<u8>, PathBuf)>, InitrdError> {
    let entries = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<OsString>, _>>())
        .map_err(|source| unreadable(directory, source))?;
    let mut children: Vec<(Vec<u8>, PathBuf)> = entries
        .into_iter()
        .map(|child| {
            let prefix: &[u8] = if name.is_empty() { b"" } else { b"/" };
            ([name, prefix, child.as_bytes()].concat(), directory.join(&child))
        })
        .collect();
    children.sort_by(|left, right| right.0.cmp(&left.0));
    Ok(children)
}

/// What the archive holds for an entry: a file's bytes, a symbolic link's target, else nothing.
fn contents(path: &Path, metadata: &fs::Metadata) -> Result<Vec<u8>, InitrdError> {
    if metadata.is_symlink() {
        let target = fs::read_link(path).map_err(|source| unreadable(path, source))?;
        return Ok(target.into_os_string().into_vec());
    }
    if !metadata.is_file() {
        return Ok(Vec::new());
    }
    check_length(path, metadata.len())?;
    let bytes = fs::read(path).map_err(|source| unreadable(path, source))?;
    check_length(path, bytes.len() as u64)?;
    Ok(bytes)
}

fn check_length(path: &Path, length_bytes: u64) -> Result<(), InitrdError> {
    if length_bytes > u64::from(u32::MAX) {
        return Err(InitrdError::TooLarge { path: path.to_owned(), length_bytes });
    }
    Ok(())
}

fn unreadable(path: &Path, source: std::io::Error) -> InitrdError {
    InitrdError::Unreadable { path: path.to_owned(), source }
}

/// An archive being written.
struct Archive {
    bytes: Vec<u8>,
    next_inode: u32,
}

impl Archive {
    /// Appends an entry. The contents are at most 4 GiB - 1 long.
    fn add(&mut self, name: &[u8], mode: u32, device: (u32, u32), contents: &[u8]) {
        let inode = self.next_inode;
        self.next_inode += 1;
        let links = if mode & FILE_TYPE == DIRECTORY { 2 } else { 1 };
        self.entry(inode, name, mode, links, device, contents);
    }

    fn entry(&mut self, inode: u32, name: &[u8], mode: u32, links: u32, device: (u32, u32), contents: &[u8]) {
        let (user, group, time) = (0, 0, 0);
        let (device_major, device_minor) = (0, 0);
        let checksum = 0;
        let fields = [
            inode,
            mode,
            user,
            group,
            links,
            time,
            contents.len() as u32,
            device_major,
            device_minor,
            device.0,
            device.1,
            name.len() as u32 + 1,
            checksum,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        self.bytes.extend_from_slice(name);
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(contents);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry(0, b"TRAILER!!!", 0, 1, (0, 0), &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    /// A directory under the system's temporary one, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let path = std::env::temp_dir().join(format!("vkernel-initrd-{name}-{}", std::process::id()));
            // A directory left behind by a run that was killed may be there.
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(&path).unwrap();
            Tree(path)
        }

        fn file(&self, name: &str, contents: &[u8], mode: u32) {
            let path = self.0.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }

        fn pack(&self) -> Vec<u8> {
            pack_directory(&self.0).unwrap()
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            fs::remove_dir_all(&self.0).unwrap();
        }
    }

    #[derive(Debug)]
    struct Entry {
        name: String,
        inode: u32,
        mode: u32,
        owner_and_time: [u32; 3],
        device: (u32, u32),
        contents: Vec<u8>,
    }

    /// Reads an archive as Linux's init/initramfs.c does.
    fn unpack(archive: &[u8]) -> Vec<Entry> {
        let mut entries = Vec::new();
        let mut at = 0;
        loop {
            assert_eq!(&archive[at..at + 6], b"070701", "at {at}");
            let field = |index: usize| {
                let start = at + 6 + index * 8;
                u32::from_str_radix(std::str::from_utf8(&archive[start..start + 8]).unwrap(), 16).unwrap()
            };
            let name_end = at + 110 + field(11) as usize;
            let name = String::from_utf8(archive[at + 110..name_end - 1].to_vec()).unwrap();
            assert_eq!(archive[name_end - 1], 0);
            let contents_at = name_end.next_multiple_of(4);
            let contents_end = contents_at + field(6) as usize;
            if name == "TRAILER!!!" {
                assert_eq!(contents_end.next_multiple_of(4), archive.len());
                return entries;
            }
            entries.push(Entry {
                name,
                inode: field(0),
                mode: field(1),
                owner_and_time: [field(2), field(3), field(5)],
                device: (field(9), field(10)),
                contents: archive[contents_at..contents_end].to_vec(),
            });
            at = contents_end.next_multiple_of(4);
        }
    }

    #[test]
    fn a_tree_is_packed_sorted_with_modes_and_links() {
        let tree = Tree::new("sorted");
        tree.file("init", b"#!/bin/sh\n", 0o755);
        tree.file("bin/busybox", &[0x7f; 4099], 0o4711);
        tree.file("bin.txt", b"", 0o600);
        symlink("busybox", tree.0.join("bin/sh")).unwrap();
        fs::hard_link(tree.0.join("init"), tree.0.join("linuxrc")).unwrap();
        let entries = unpack(&tree.pack());
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(
            names,
            ["bin", "bin/busybox", "bin/sh", "bin.txt", "init", "linuxrc", "dev", "dev/console"]
        );
        let modes: Vec<u32> = entries.iter().map(|entry| entry.mode).collect();
        assert_eq!(modes[1..6], [0o104_711, 0o120_777, 0o100_600, 0o100_755, 0o100_755]);
        assert_eq!(modes[0] & FILE_TYPE, DIRECTORY);
        assert_eq!(entries[1].contents, [0x7f; 4099]);
        assert_eq!(entries[2].contents, b"busybox");
        assert_eq!(entries[5].contents, b"#!/bin/sh\n", "a hard link is a copy");
        assert!(entries.iter().all(|entry| entry.owner_and_time == [0; 3]));
        assert!(entries.iter().zip(1..).all(|(entry, inode)| entry.inode == inode));
    }

    #[test]
    fn a_console_node_is_added_only_where_there_is_none() {
        let tree = Tree::new("console");
        let entries = unpack(&tree.pack());
        let console = &entries[1];
        assert_eq!((console.name.as_str(), console.mode, console.device), ("dev/console", 0o020_600, (5, 1)));
        tree.file("dev/console", b"", 0o644);
        let names: Vec<String> = unpack(&tree.pack()).into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, ["dev", "dev/console"]);
    }

    #[test]
    fn a_single_program_becomes_init_beside_the_directories_it_mounts_on() {
        let entries = unpack(&pack_init(b"program"));
        let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["dev", "mnt", "proc", "sys", "tmp", "dev/console", "init"]);
        assert_eq!((entries[6].mode, entries[6].contents.as_slice()), (0o100_755, &b"program"[..]));
    }

    #[test]
    fn equal_trees_give_equal_bytes() {
        let (one, two) = (Tree::new("equal-one"), Tree::new("equal-two"));
        for name in ["a", "b/c", "b/d"] {
            one.file(name, name.as_bytes(), 0o644);
        }
        for name in ["b/d", "a", "b/c"] {
            two.file(name, name.as_bytes(), 0o644);
        }
        assert_eq!(one.pack(), two.pack());
        two.file("a", b"A", 0o644);
        assert_ne!(one.pack(), two.pack());
    }

    #[test]
    fn an_error_names_the_path() {
        let tree = Tree::new("missing");
        let missing = tree.0.join("no-such-directory");
        let error = pack_directory(&missing).unwrap_err().to_string();
        assert!(error.contains("no-such-directory"), "{error}");
    }
}
