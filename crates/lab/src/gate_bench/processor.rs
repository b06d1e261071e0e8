//! Processors: what a process has used of them, and which one it may use.

use std::fs;
use std::io;

/// Ticks of a second in `/proc`, on every platform that Linux has (`proc_pid_stat(5)`: `USER_HZ`).
const TICKS: u64 = 100;
/// Where `utime` and `stime` are behind the command's name, which ends with the last `)`.
const USER_TIME: usize = 11;

/// What is measured has this one for itself.
pub(super) const MEASURED: u8 = 0;
/// Load and upstream share this one.
pub(super) const BESIDE: u8 = 1;

/// `taskset -c N`, to be put before a command.
pub(super) fn pinned(to: u8) -> [String; 3] {
    ["taskset".to_owned(), "-c".to_owned(), to.to_string()]
}

/// Microseconds of processor time, user and system, that the process and its children have used so far; exact to 10 ms.
pub(super) fn used_us(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    let times: Vec<u64> = fields
        .split_whitespace()
        .skip(USER_TIME)
        .take(2)
        .filter_map(|time| time.parse().ok())
        .collect();
    let [user, system] = times.as_slice() else {
        return Err(io::Error::other(format!("cannot read /proc/{pid}/stat")));
    };
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    children
        .split_whitespace()
        .filter_map(|child| child.parse().ok())
        .try_fold((user + system) * (1_000_000 / TICKS), |sum, child| Ok(sum + used_us(child)?))
}

/// Resident memory of one process, KiB.
pub(crate) fn resident_kib(pid: u32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other(format!("cannot read /proc/{pid}/status")))
}

/// How many files, sockets among them, a process has open.
pub(super) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// What this machine's processors call themselves, and how many there are.
pub(super) fn describe() -> (String, usize) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find(|line| line.starts_with("model name"));
    let name = name.and_then(|line| line.split_once(": ")).map_or("unknown", |(_, name)| name);
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    (name.to_owned(), count)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_used_time_and_memory() {
        let pid = std::process::id();
        let before = used_us(pid).unwrap();
        let mut sum = 0_u64;
        while used_us(pid).unwrap() < before + 30_000 {
            sum = sum.wrapping_add(std::hint::black_box(1));
        }
        assert!(resident_kib(pid).unwrap() > 100);
        assert!(used_us(u32::MAX).is_err());
    }
}
