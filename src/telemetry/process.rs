//! What this process itself takes of the machine, under the names that Prometheus' libraries use.

use std::{fs, path::Path};

use super::exposed::Exposed;
use super::text::{Family, whole};

/// This process.
pub struct Process;

/// What is known of a process; none is what the kernel did not tell.
#[derive(Debug, Default, PartialEq)]
struct Figures {
    cpu_seconds: Option<f64>,
    started_at: Option<f64>,
    virtual_bytes: Option<f64>,
    resident_bytes: Option<f64>,
    open_files: Option<f64>,
    open_files_max: Option<f64>,
    threads: Option<f64>,
}

impl Exposed for Process {
    fn write(&self, out: &mut String) {
        let seen = look(Path::new("/proc"));
        let gauges = [
            ("process_start_time_seconds", "When Berth started.", seen.started_at),
            ("process_resident_memory_bytes", "Memory that Berth uses.", seen.resident_bytes),
            ("process_virtual_memory_bytes", "Addresses that Berth uses.", seen.virtual_bytes),
            ("process_open_fds", "Files that Berth has open.", seen.open_files),
            ("process_max_fds", "Files that Berth may have open.", seen.open_files_max),
            ("process_threads", "Threads of Berth.", seen.threads),
        ];
        if let Some(seconds) = seen.cpu_seconds {
            let help = "Processor time that Berth used.";
            Family::counter(out, "process_cpu_seconds_total", help).sample(&[], seconds);
        }
        for (name, help, value) in gauges {
            if let Some(value) = value {
                Family::gauge(out, name, help).sample(&[], value);
            }
        }
    }
}

/// The name of this machine, as the kernel says it.
pub fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}

fn look(proc_root: &Path) -> Figures {
    let own = proc_root.join("self");
    let stat = fs::read_to_string(own.join("stat")).unwrap_or_default();
    // The name before this may hold spaces and parentheses (proc(5)).
    let fields: Vec<&str> =
        stat.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').collect();
    let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok().map(whole);
    let ticks = whole(rustix::param::clock_ticks_per_second());
    let page = whole(rustix::param::page_size() as u64);
    let kernel = fs::read_to_string(proc_root.join("stat")).unwrap_or_default();
    let boot = kernel.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let limits = fs::read_to_string(own.join("limits")).unwrap_or_default();
    let max = limits.lines().find_map(|line| {
        line.strip_prefix("Max open files")?.split_ascii_whitespace().next()?.parse().ok()
    });
    Figures {
        cpu_seconds: field(14).zip(field(15)).map(|(user, system)| (user + system) / ticks),
        started_at: field(22)
            .zip(boot)
            .map(|(since, boot): (f64, u64)| whole(boot) + since / ticks),
        virtual_bytes: field(23),
        resident_bytes: field(24).map(|pages| pages * page),
        open_files: open_files(&own.join("fd")).map(whole),
        open_files_max: max.map(|max: u64| whole(max)),
        threads: field(20),
    }
}

/// How many files a folder of descriptors names. Newer kernels say it as the folder's size (6.2;
/// `proc_pid_fd(5)`); counting thousands takes its time.
fn open_files(folder: &Path) -> Option<u64> {
    let is_kernels =
        rustix::fs::statfs(folder).is_ok_and(|fs| fs.f_type == rustix::fs::PROC_SUPER_MAGIC);
    let told = fs::metadata(folder).map_or(0, |folder| folder.len());
    if is_kernels && told != 0 {
        return Some(told);
    }
    fs::read_dir(folder).ok().map(|files| files.count() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("self");
        fs::create_dir_all(own.join("fd")).unwrap();
        fs::write(own.join("fd/0"), "").unwrap();
        let stat = "7 (a ) b) S 1 7 7 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 4 0 1000 8192 3 18";
        fs::write(own.join("stat"), stat).unwrap();
        fs::write(own.join("limits"), "Max open files  1024  4096  files\n").unwrap();
        fs::write(folder.path().join("stat"), "cpu 1 2\nbtime 1700000000\n").unwrap();
        let seen = look(folder.path());
        let ticks = whole(rustix::param::clock_ticks_per_second());
        assert_eq!(seen.cpu_seconds, Some(200.0 / ticks));
        assert_eq!(seen.started_at, Some(1_700_000_000.0 + 1000.0 / ticks));
        assert_eq!(seen.resident_bytes, Some(3.0 * whole(rustix::param::page_size() as u64)));
        assert_eq!((seen.virtual_bytes, seen.threads), (Some(8192.0), Some(4.0)));
        assert_eq!((seen.open_files, seen.open_files_max), (Some(1.0), Some(1024.0)));
    }

    #[test]
    fn what_the_kernel_does_not_tell_is_no_series() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(look(folder.path()), Figures::default());
        let mut own = String::new();
        Process.write(&mut own);
        assert!(own.contains("\nprocess_resident_memory_bytes "), "{own}");
    }
}
