//! What is shown of a container, under cAdvisor's names.

use super::{
    parse::Pressure,
    sample::Sample,
    text::{self, Figure},
};

/// A family with one figure for each container.
struct Family {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// Labels that its series have beside the container's.
    labels: &'static str,
    of: fn(&Sample) -> Option<Figure>,
}

/// A container as it is shown: its labels, ready to be written, and what it uses.
pub(super) struct Shown<'a> {
    pub(super) labels: &'a str,
    pub(super) sample: &'a Sample,
    /// Milliseconds since 1970.
    pub(super) started: Option<u64>,
}

const fn counter(
    name: &'static str,
    help: &'static str,
    of: fn(&Sample) -> Option<Figure>,
) -> Family {
    Family { name, kind: "counter", help, labels: "", of }
}

const fn gauge(
    name: &'static str,
    help: &'static str,
    of: fn(&Sample) -> Option<Figure>,
) -> Family {
    Family { name, kind: "gauge", help, labels: "", of }
}

fn whole(number: Option<u64>) -> Option<Figure> {
    number.map(Figure::Whole)
}

fn nanos(number: Option<u64>) -> Option<Figure> {
    number.map(Figure::Nanos)
}

fn some(pressure: Option<Pressure>) -> Option<Figure> {
    pressure?.some.map(Figure::Micros)
}

fn full(pressure: Option<Pressure>) -> Option<Figure> {
    pressure?.full.map(Figure::Micros)
}

const FAMILIES: &[Family] = &[
    Family {
        name: "container_cpu_usage_seconds_total",
        kind: "counter",
        help: "Processor time that was used.",
        labels: ",cpu=\"total\"",
        of: |s| nanos(s.cpu_ns),
    },
    counter("container_cpu_user_seconds_total", "Processor time in programs.", |s| {
        nanos(s.cpu_user_ns)
    }),
    counter("container_cpu_system_seconds_total", "Processor time in the kernel.", |s| {
        nanos(s.cpu_system_ns)
    }),
    counter("container_cpu_cfs_periods_total", "Periods in which its quota was counted.", |s| {
        whole(s.periods.filter(|_| s.quota_us.is_some()))
    }),
    counter("container_cpu_cfs_throttled_periods_total", "Periods in which it was held.", |s| {
        whole(s.throttled_periods.filter(|_| s.quota_us.is_some()))
    }),
    counter("container_cpu_cfs_throttled_seconds_total", "How long it was held.", |s| {
        nanos(s.throttled_ns.filter(|_| s.quota_us.is_some()))
    }),
    gauge("container_spec_cpu_quota", "Microseconds a period that it may use.", |s| {
        whole(s.quota_us)
    }),
    gauge("container_spec_cpu_period", "The period of its quota, in microseconds.", |s| {
        whole(s.period_us)
    }),
    gauge("container_spec_cpu_shares", "Its share of processors that are short.", |s| {
        whole(s.shares)
    }),
    gauge("container_memory_usage_bytes", "Memory in use, cache included.", |s| whole(s.memory)),
    gauge(
        "container_memory_working_set_bytes",
        "Memory in use without cache that was not used lately.",
        |s| whole(s.working_set()),
    ),
    gauge("container_memory_rss", "Memory of programs, in bytes.", |s| whole(s.rss)),
    gauge("container_memory_cache", "Memory that holds files, in bytes.", |s| whole(s.cache)),
    gauge("container_memory_mapped_file", "Mapped files in memory, in bytes.", |s| whole(s.mapped)),
    gauge("container_memory_swap", "Memory in swap, in bytes.", |s| whole(s.swap)),
    gauge("container_memory_max_usage_bytes", "The most memory that was ever in use.", |s| {
        whole(s.memory_max)
    }),
    counter("container_memory_failcnt", "How often memory met its limit.", |s| whole(s.failcnt)),
    gauge("container_spec_memory_limit_bytes", "The memory that it may use; 0 is any.", |s| {
        whole(s.memory_limit)
    }),
    gauge(
        "container_spec_memory_reservation_limit_bytes",
        "The memory that it keeps when memory is short; 0 is none.",
        |s| whole(s.memory_reservation),
    ),
    gauge(
        "container_spec_memory_swap_limit_bytes",
        "The memory and swap that it may use; 0 is any.",
        |s| whole(s.swap_limit),
    ),
    counter("container_oom_events_total", "Programs killed for want of memory.", |s| {
        whole(s.oom_kills)
    }),
    gauge("container_processes", "Processes.", |s| whole(s.processes)),
    gauge("container_threads", "Threads.", |s| whole(s.threads)),
    gauge("container_threads_max", "How many threads it may have; 0 is any number.", |s| {
        whole(s.threads_max)
    }),
    counter("container_pressure_cpu_waiting_seconds_total", "Some task waited to run.", |s| {
        some(s.cpu_pressure)
    }),
    counter("container_pressure_cpu_stalled_seconds_total", "Every task waited to run.", |s| {
        full(s.cpu_pressure)
    }),
    counter(
        "container_pressure_memory_waiting_seconds_total",
        "Some task waited for memory.",
        |s| some(s.memory_pressure),
    ),
    counter(
        "container_pressure_memory_stalled_seconds_total",
        "Every task waited for memory.",
        |s| full(s.memory_pressure),
    ),
    counter("container_pressure_io_waiting_seconds_total", "Some task waited for disks.", |s| {
        some(s.io_pressure)
    }),
    counter("container_pressure_io_stalled_seconds_total", "Every task waited for disks.", |s| {
        full(s.io_pressure)
    }),
];

/// The network's families: what, and where in [`super::parse::Interface`].
const NETWORK: &[(&str, &str, bool, usize)] = &[
    ("container_network_receive_bytes_total", "Bytes received.", true, 0),
    ("container_network_receive_packets_total", "Packets received.", true, 1),
    ("container_network_receive_errors_total", "Errors while receiving.", true, 2),
    ("container_network_receive_packets_dropped_total", "Received packets dropped.", true, 3),
    ("container_network_transmit_bytes_total", "Bytes sent.", false, 0),
    ("container_network_transmit_packets_total", "Packets sent.", false, 1),
    ("container_network_transmit_errors_total", "Errors while sending.", false, 2),
    ("container_network_transmit_packets_dropped_total", "Packets to send dropped.", false, 3),
];

type DiskFamily = (&'static str, &'static str, fn(&super::parse::Disk) -> Option<u64>);

const DISKS: &[DiskFamily] = &[
    ("container_fs_reads_bytes_total", "Bytes read from disks.", |d| d.read_bytes),
    ("container_fs_writes_bytes_total", "Bytes written to disks.", |d| d.written_bytes),
    ("container_fs_reads_total", "Reads from disks.", |d| d.reads),
    ("container_fs_writes_total", "Writes to disks.", |d| d.writes),
];

/// The most devices, and the most interfaces, that are shown of one container.
const PARTS_MAX: usize = 16;

/// What was left out because there is too much of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LeftOut {
    pub(super) devices: usize,
    pub(super) interfaces: usize,
}

/// Writes every family of containers.
pub(super) fn write(
    out: &mut String,
    shown: &[Shown<'_>],
    now_ms: u64,
    device: impl Fn(u32, u32) -> String,
) -> LeftOut {
    if shown.is_empty() {
        return LeftOut::default();
    }
    let (name, help) = ("container_last_seen", "When it was last seen.");
    each(out, (name, "gauge", help), shown, "", |_| Some(Figure::Millis(now_ms)));
    let (name, help) = ("container_start_time_seconds", "When its first process was started.");
    each(out, (name, "gauge", help), shown, "", |s| s.started.map(Figure::Millis));
    for family in FAMILIES {
        let head = (family.name, family.kind, family.help);
        each(out, head, shown, family.labels, |s| (family.of)(s.sample));
    }
    write_faults(out, shown);
    let interfaces = write_network(out, shown);
    let devices = write_disks(out, shown, device);
    LeftOut { devices, interfaces }
}

/// Writes a family, unless nobody has it.
fn each(
    out: &mut String,
    (name, kind, help): (&str, &str, &str),
    shown: &[Shown<'_>],
    labels: &str,
    of: impl Fn(&Shown<'_>) -> Option<Figure>,
) {
    let before = out.len();
    text::head(out, name, kind, help);
    let headed = out.len();
    for container in shown {
        if let Some(figure) = of(container) {
            text::line(out, name, &[container.labels, labels], figure);
        }
    }
    if out.len() == headed {
        out.truncate(before);
    }
}

fn write_faults(out: &mut String, shown: &[Shown<'_>]) {
    let (name, before) = ("container_memory_failures_total", out.len());
    text::head(out, name, "counter", "Page faults.");
    let headed = out.len();
    for container in shown {
        let sample = container.sample;
        for (kind, figure) in [("pgfault", sample.page_faults), ("pgmajfault", sample.major_faults)]
        {
            let Some(figure) = figure else { continue };
            let labels = [container.labels, ",failure_type=\"", kind, "\",scope=\"hierarchy\""];
            text::line(out, name, &labels, Figure::Whole(figure));
        }
    }
    if out.len() == headed {
        out.truncate(before);
    }
}

fn write_network(out: &mut String, shown: &[Shown<'_>]) -> usize {
    let more = |s: &Shown<'_>| s.sample.interfaces.len().saturating_sub(PARTS_MAX);
    if shown.iter().all(|container| container.sample.interfaces.is_empty()) {
        return 0;
    }
    for (name, help, is_received, at) in NETWORK {
        text::head(out, name, "counter", help);
        for container in shown {
            for interface in container.sample.interfaces.iter().take(PARTS_MAX) {
                let counts = if *is_received { &interface.received } else { &interface.sent };
                let Some(count) = counts.get(*at) else { continue };
                let labels = [container.labels, ",interface=", &interface.quoted];
                text::line(out, name, &labels, Figure::Whole(*count));
            }
        }
    }
    shown.iter().map(more).sum()
}

fn write_disks(
    out: &mut String,
    shown: &[Shown<'_>],
    device: impl Fn(u32, u32) -> String,
) -> usize {
    let mut all = Vec::new();
    for container in shown {
        for disk in container.sample.disks.iter().take(PARTS_MAX) {
            let mut labels = format!("{},device=\"", container.labels);
            super::parse::push_escaped(&mut labels, &device(disk.major, disk.minor));
            labels.push('"');
            all.push((labels, disk));
        }
    }
    for (name, help, of) in DISKS {
        let before = out.len();
        text::head(out, name, "counter", help);
        let headed = out.len();
        for (labels, disk) in &all {
            if let Some(count) = of(disk) {
                text::line(out, name, &[labels], Figure::Whole(count));
            }
        }
        if out.len() == headed {
            out.truncate(before);
        }
    }
    let name = "container_blkio_device_usage_total";
    if !all.is_empty() {
        text::head(out, name, "counter", "Bytes moved from and to disks.");
    }
    for (labels, disk) in &all {
        let numbers = format!(",major=\"{}\",minor=\"{}\"", disk.major, disk.minor);
        for (word, count) in [("Read", disk.read_bytes), ("Write", disk.written_bytes)] {
            let Some(count) = count else { continue };
            let labels = [labels, numbers.as_str(), ",operation=\"", word, "\""];
            text::line(out, name, &labels, Figure::Whole(count));
        }
    }
    shown.iter().map(|s| s.sample.disks.len().saturating_sub(PARTS_MAX)).sum()
}
