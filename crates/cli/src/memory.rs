//! How much memory may be used, and refusals before any is used.
//!
//! ```text
//!   allowed = least of   physical memory that is available
//!                        every control group's limit, less what the group uses and cannot drop
//!                        limits of the process (address space, data), less what it has
//!                        what is left of the system's commit limit, under strict overcommit
//!                        what the user gives by --memory, less what the process has
//! ```
//!
//! A command works out what it needs from the headers of its files, before it reads their numbers.
//! Where the allowed memory is not known (systems other than Linux) nothing but --memory refuses.
//!
//! The process's own limits count addresses, and the allocator reserves more of them than it hands out:
//! a heap of 64 MiB for each thread, and more as heaps fill. Under such a limit the need is therefore
//! counted up to twice, plus a heap for each thread. faer's products are counted too: every thread that
//! runs one reserves room for two operands of the size of the last-level cache and uses little of it.

use std::fmt;
use std::sync::OnceLock;

/// Room for what is not counted: stacks of threads, messages, file buffers.
const SPARE: u64 = 24 << 20;

/// What limits memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bound {
    /// Physical memory.
    Physical,
    /// A control group, such as a container's.
    ControlGroup,
    /// The limit of the process's address space (`ulimit -v`).
    AddressSpace,
    /// The limit of the process's data (`ulimit -d`).
    Data,
    /// The system's commit limit (`vm.overcommit_memory = 2`).
    Commitment,
    /// The user (`--memory`).
    Asked,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Physical => "physical memory that is available",
            Self::ControlGroup => "the memory limit of the control group or container",
            Self::AddressSpace => "the limit of the process's address space, ulimit -v",
            Self::Data => "the limit of the process's data, ulimit -d",
            Self::Commitment => "the system's commit limit",
            Self::Asked => "--memory, less what the program has",
        })
    }
}

/// Bytes that may still be allocated, and what bounds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The bytes.
    pub bytes: u64,
    /// What bounds them.
    pub bound: Bound,
}

/// Too little memory, found before any was used. Exit code 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} needs {needed} bytes of memory, {} are allowed: {}", allowed.bytes, allowed.bound)]
pub struct Shortage {
    /// What needs it.
    pub what: String,
    /// Bytes needed.
    pub needed: u64,
    /// Bytes allowed.
    pub allowed: Allowed,
}

/// Checks that `bytes` more may be used for `what`, and returns the most that this call would have
/// allowed; `u64::MAX` where that is not known.
///
/// # Errors
/// [`Shortage`] with both figures.
pub fn require(what: &str, bytes: u64) -> Result<u64, Shortage> {
    match allowed() {
        Some(allowed) => {
            let threads = rayon::current_num_threads() as u64 + 1;
            let each = HEAP.saturating_add(last_level_cache().saturating_mul(2));
            judge(what, bytes, allowed, threads.saturating_mul(each))
        }
        None => Ok(u64::MAX),
    }
}

/// Bytes of a glibc heap, from which a thread allocates.
const HEAP: u64 = 64 << 20;
/// The most bytes of heaps that further allocations may open: large allocations have pages of their
/// own.
const MOST_HEAPS: u64 = 1 << 30;

/// Bytes of the last-level caches, all together.
#[cfg(target_os = "linux")]
fn last_level_cache() -> u64 {
    let of = |processor: usize| {
        let folder = format!("/sys/devices/system/cpu/cpu{processor}/cache/index3");
        let read = |name: &str| std::fs::read_to_string(format!("{folder}/{name}"));
        match (read("shared_cpu_list"), read("size")) {
            (Ok(shared), Ok(size)) => Some((shared, kibibytes(&size)? << 10)),
            // There is no such processor, or the kernel does not report its caches.
            _ => None,
        }
    };
    let caches: std::collections::BTreeMap<_, _> = (0..).map_while(of).collect();
    caches.values().sum::<u64>().max(LEAST_CACHE)
}

#[cfg(not(target_os = "linux"))]
fn last_level_cache() -> u64 {
    LEAST_CACHE
}

/// A size as Linux writes it, such as `2048K`.
#[cfg(target_os = "linux")]
fn kibibytes(size: &str) -> Option<u64> {
    match size.trim().strip_suffix('K').map(str::parse) {
        Some(Ok(kibibytes)) => Some(kibibytes),
        _ => None,
    }
}

/// The least cache size that the library of products assumes.
const LEAST_CACHE: u64 = 2 << 20;

/// `addresses` is what threads reserve besides, where addresses are counted.
fn judge(what: &str, bytes: u64, allowed: Allowed, addresses: u64) -> Result<u64, Shortage> {
    let heaps = match allowed.bound {
        Bound::AddressSpace | Bound::Data => Some(addresses),
        _ => None,
    };
    let beside = match heaps {
        Some(heaps) => bytes.min(MOST_HEAPS).saturating_add(heaps),
        None => bytes / 8,
    };
    let needed = bytes.saturating_add(beside).saturating_add(SPARE);
    tracing::debug!(what, needed, ?allowed, "memory");
    if needed > allowed.bytes {
        return Err(Shortage {
            what: what.to_owned(),
            needed,
            allowed,
        });
    }
    // The most that would have been allowed.
    let left = allowed.bytes - SPARE;
    Ok(match heaps {
        Some(heaps) => {
            let left = left.saturating_sub(heaps);
            (left / 2).max(left.saturating_sub(MOST_HEAPS))
        }
        None => left - left.div_ceil(9),
    })
}

/// Bytes of an array of FP64 numbers.
pub fn numbers(extents: &[usize]) -> u64 {
    (extents.iter()).fold(8, |product, &length| product.saturating_mul(length as u64))
}

/// What the user gives this process.
static ASKED: OnceLock<u64> = OnceLock::new();

/// Holds the process to `bytes` of resident memory, as a limit of its own would: what [`require`] then refuses is
/// refused before it is allocated. The first call counts.
pub fn hold_to(bytes: u64) {
    ASKED.get_or_init(|| bytes);
}

/// The most bytes that this process has had in physical memory; `None` where that is not known.
pub fn peak() -> Option<u64> {
    peak_resident()
}

/// What may still be allocated; `None` where no limit is known.
pub fn allowed() -> Option<Allowed> {
    let asked = ASKED.get().map(|bytes| Allowed {
        bytes: bytes.saturating_sub(resident()),
        bound: Bound::Asked,
    });
    let both = of_machine().into_iter().chain(asked);
    both.min_by_key(|allowed| allowed.bytes)
}

/// Bytes of a number as `--memory` takes it: a whole number, with K, M or G for powers of 1024.
///
/// # Errors
/// What was expected.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || "expected a whole number of bytes, or of K, M or G (powers of 1024)".to_owned();
    let (digits, shift) = match text.char_indices().last() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong());
    }
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(not(target_os = "linux"))]
fn of_machine() -> Option<Allowed> {
    None
}

#[cfg(not(target_os = "linux"))]
fn resident() -> u64 {
    0
}

#[cfg(not(target_os = "linux"))]
fn peak_resident() -> Option<u64> {
    None
}

#[cfg(target_os = "linux")]
use linux::{of_machine, peak_resident, resident};

#[cfg(target_os = "linux")]
mod linux {
    use super::{Allowed, Bound};
    use procfs::process::{LimitValue, MountInfo, Process};
    use procfs::{Current, Meminfo, ProcResult, ProcessCGroup};
    use std::path::{Path, PathBuf};

    /// The bytes of this process that are in physical memory; 0 where that is not known.
    pub(super) fn resident() -> u64 {
        let status = Process::myself().and_then(|process| process.status());
        match status {
            Ok(status) => status.vmrss.unwrap_or(0) << 10,
            Err(_) => 0,
        }
    }

    /// The most of them so far.
    pub(super) fn peak_resident() -> Option<u64> {
        let status = Process::myself().and_then(|process| process.status());
        match status {
            Ok(status) => status.vmhwm.map(|kib| kib << 10),
            Err(_) => None,
        }
    }

    /// What machine and system still let this process allocate; `None` where no limit is known.
    pub(super) fn of_machine() -> Option<Allowed> {
        let mut bounds = Vec::new();
        let mut note = |found: ProcResult<Vec<Allowed>>| match found {
            Ok(found) => bounds.extend(found),
            Err(error) => tracing::debug!(%error, "a bound of memory is not known"),
        };
        note(of_system());
        note(of_process());
        note(of_groups());
        bounds.into_iter().min_by_key(|allowed| allowed.bytes)
    }

    fn of_system() -> ProcResult<Vec<Allowed>> {
        let memory = Meminfo::current()?;
        let available = (memory.mem_available).unwrap_or(memory.mem_free + memory.cached);
        let mut bounds = vec![Allowed {
            bytes: available,
            bound: Bound::Physical,
        }];
        let mode = std::fs::read_to_string("/proc/sys/vm/overcommit_memory")?;
        if let (Some(limit), "2") = (memory.commit_limit, mode.trim()) {
            bounds.push(Allowed {
                bytes: limit.saturating_sub(memory.committed_as),
                bound: Bound::Commitment,
            });
        }
        Ok(bounds)
    }

    fn of_process() -> ProcResult<Vec<Allowed>> {
        let process = Process::myself()?;
        let (limits, status) = (process.limits()?, process.status()?);
        let left = |limit: LimitValue, kib: Option<u64>, bound| match limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(bytes) => Some(Allowed {
                bytes: bytes.saturating_sub(kib.unwrap_or(0) << 10),
                bound,
            }),
        };
        let addresses = limits.max_address_space.soft_limit;
        let data = limits.max_data_size.soft_limit;
        let bounds = [
            left(addresses, status.vmsize, Bound::AddressSpace),
            left(data, status.vmdata, Bound::Data),
        ];
        Ok(bounds.into_iter().flatten().collect())
    }

    fn of_groups() -> ProcResult<Vec<Allowed>> {
        let process = Process::myself()?;
        let mounts: Vec<MountInfo> = process.mountinfo()?.into_iter().collect();
        let mut bounds = Vec::new();
        for group in process.cgroups()? {
            if let Some((mount, folder)) = place(&group, &mounts) {
                bounds.extend(of_tree(&mount, &folder));
            }
        }
        Ok(bounds)
    }

    /// Where the control group that limits memory is mounted, and its folder there.
    fn place(group: &ProcessCGroup, mounts: &[MountInfo]) -> Option<(PathBuf, PathBuf)> {
        let has_memory = |of: &MountInfo| match group.hierarchy {
            0 => of.fs_type == "cgroup2",
            _ => of.fs_type == "cgroup" && of.super_options.contains_key("memory"),
        };
        if group.hierarchy != 0 && group.controllers.iter().all(|name| name != "memory") {
            return None;
        }
        let mount = mounts.iter().find(|mount| has_memory(mount))?;
        // In a container the mount may begin at the group's own folder, or the group's path may lie
        // outside the mount.
        let inside = Path::new(&group.pathname).strip_prefix(&mount.root);
        let folder = match inside {
            Ok(inside) => mount.mount_point.join(inside),
            Err(_) => mount.mount_point.clone(),
        };
        Some((mount.mount_point.clone(), folder))
    }

    /// The least that the group of `folder` and all groups above it, up to `mount`, allow.
    pub(super) fn of_tree(mount: &Path, folder: &Path) -> Option<Allowed> {
        let within = folder
            .ancestors()
            .take_while(|path| path.starts_with(mount));
        let left = within.filter_map(left).min();
        left.map(|bytes| Allowed {
            bytes,
            bound: Bound::ControlGroup,
        })
    }

    /// What one group allows: its limit less what it uses, without the file cache that it can drop. The
    /// file names of both versions are tried. `None` if it has no limit.
    fn left(group: &Path) -> Option<u64> {
        let text = |name: &str| std::fs::read_to_string(group.join(name));
        // A limit that is not a number is "max", which means none.
        let number = |text: std::io::Result<String>| match text {
            Ok(text) => text.trim().parse::<u64>().ok(),
            // A group without this file has no limit.
            Err(_) => None,
        };
        let first = |names: [&str; 2]| names.into_iter().find_map(|name| number(text(name)));
        let limit = first(["memory.max", "memory.limit_in_bytes"])?;
        let used = first(["memory.current", "memory.usage_in_bytes"]).unwrap_or(0);
        let statistics = text("memory.stat").unwrap_or_default();
        let of_name = |name: &str| {
            let value = |line: &str| line.strip_prefix(name)?.trim().parse::<u64>().ok();
            statistics.lines().find_map(value)
        };
        let cache = of_name("total_inactive_file ").or_else(|| of_name("inactive_file "));
        let held = used.saturating_sub(cache.unwrap_or(0));
        Some(limit.saturating_sub(held))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_figures_are_said() {
        let allowed = Allowed {
            bytes: 100 << 20,
            bound: Bound::ControlGroup,
        };
        let error = judge("the fit of x.npy", 96 << 20, allowed, 3 * HEAP).unwrap_err();
        let text = error.to_string();
        for part in [
            "the fit of x.npy needs 138412032 bytes",
            "104857600 are allowed",
            "container",
        ] {
            assert!(text.contains(part), "no {part:?} in {text}");
        }
        // Asking for the allowed bytes passes; asking for a little more does not.
        for bound in [Bound::ControlGroup, Bound::AddressSpace, Bound::Data] {
            for bytes in [1 << 30, 4 << 30, 40 << 30] {
                let allowed = Allowed { bytes, bound };
                let most = judge("less", 1 << 20, allowed, 3 * HEAP).unwrap();
                judge("the most", most, allowed, 3 * HEAP).unwrap();
                judge("more", most + (most >> 4), allowed, 3 * HEAP).unwrap_err();
            }
        }
        judge("too much", u64::MAX, allowed, 3 * HEAP).unwrap_err();
    }

    #[test]
    fn the_tightest_group_of_the_tree_counts_less_what_it_cannot_drop() {
        let root = tempfile::tempdir().unwrap();
        let write = |folder: &str, name: &str, text: &str| {
            let folder = root.path().join(folder);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), text).unwrap();
        };
        #[cfg(target_os = "linux")]
        let left = |folder: &str| {
            linux::of_tree(root.path(), &root.path().join(folder)).map(|allowed| allowed.bytes)
        };
        // Version 2: the inner group has no limit, the one above has.
        write("", "memory.stat", "anon 5\n");
        write("a", "memory.max", "1000\n");
        write("a", "memory.current", "700\n");
        write("a", "memory.stat", "anon 600\ninactive_file 100\n");
        write("a/b", "memory.max", "max\n");
        #[cfg(target_os = "linux")]
        {
            assert_eq!(left("a/b"), Some(400));
            assert_eq!(left("elsewhere"), None);
        }
        // Version 1, tighter.
        write("a/b", "memory.limit_in_bytes", "800\n");
        write("a/b", "memory.usage_in_bytes", "650\n");
        write(
            "a/b",
            "memory.stat",
            "inactive_file 9\ntotal_inactive_file 150\n",
        );
        #[cfg(target_os = "linux")]
        assert_eq!(left("a/b"), Some(300));
    }

    #[test]
    fn bytes_are_read_with_powers_of_1024() {
        for (text, bytes) in [
            ("0", 0),
            ("1500", 1500),
            ("3K", 3 << 10),
            ("64m", 64 << 20),
            ("16G", 16 << 30),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "G",
            "1.5G",
            "-1",
            "1 G",
            "1GB",
            "1T",
            "99999999999G",
            "é",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_system_says_what_is_allowed() {
        let allowed = allowed().expect("/proc is there");
        assert!(allowed.bytes > 0);
    }
}
