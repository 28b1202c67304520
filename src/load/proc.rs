//! What Linux tells of processes: their CPU, their memory, who listens on a port, how many files may be open. Elsewhere
//! it tells nothing, and the figures are absent.

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

/// CPU (user and system, all threads) that a process has used.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name of the program may hold blanks and parentheses; nothing after it does.
    let fields: Vec<_> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<u64>().ok());
    Some(Duration::from_micros((ticks(11)? + ticks(12)?) * TICK_MICROS))
}

/// Resident bytes of a process.
pub(super) fn resident_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes * 1024)
}

/// The process that listens at an address of this machine, if we may know.
pub(super) fn listener(address: SocketAddr) -> Option<u32> {
    if !address.ip().is_loopback() && !address.ip().is_unspecified() {
        return None;
    }
    let port = format!(":{:04X}", address.port());
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines());
    let inode = lines.map(|line| line.split_whitespace().collect::<Vec<_>>()).find_map(|fields| {
        let listens = fields.get(3) == Some(&"0A") && fields.get(1)?.ends_with(&port);
        listens.then(|| format!("socket:[{}]", fields.get(9).copied().unwrap_or_default()))
    })?;
    let pids = fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.into_iter().find(|pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).ok();
        let links = files.into_iter().flatten().filter_map(|file| fs::read_link(file.ok()?.path()).ok());
        links.into_iter().any(|link| link.as_os_str() == &*inode)
    })
}

/// Files that this process may have open.
pub(super) fn open_files_max() -> Option<u64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Cores and kernel of this machine, in words.
pub(super) fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system = format!("{} {}", std::env::consts::OS, kernel.trim());
    format!("pushline {}, {cores} cores, {}", env!("CARGO_PKG_VERSION"), system.trim())
}

/// A tick of `/proc/PID/stat`: Linux shows hundredths of a second to programs, whatever it counts in itself.
const TICK_MICROS: u64 = 10_000;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::{cpu, listener, machine, open_files_max, resident_bytes};

    #[test]
    #[cfg_attr(not(target_os = "linux"), ignore = "only Linux tells")]
    fn it_knows_this_process() {
        let own = std::process::id();
        assert!(cpu(own).is_some());
        assert!(resident_bytes(own).unwrap() > 1 << 20);
        assert!(open_files_max().unwrap() > 10);
        assert!(machine().contains("linux"));
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert_eq!(listener(address), Some(own));
        drop(socket);
        assert_eq!(listener(address), None);
        assert_eq!(listener("192.0.2.1:7443".parse().unwrap()), None);
        assert_eq!((cpu(u32::MAX), resident_bytes(u32::MAX)), (None, None));
    }
}
