//! The rules for single values. Each says what is wrong and, where it can, what to write.

use std::time::Duration;

use crate::model::{
    AppName, GitUrl, ImageRef, NameError, QuantityError, ReferenceError, check_git_ref,
    check_repository_path, check_secret_name, format_bytes, format_duration, label, parse_bytes,
    parse_duration, parse_millicpus,
};

use super::{
    problem::Broken,
    v1::{Amount, Period},
};

type Rule<T> = Result<T, Broken>;

/// The code of values that are refused whoever writes them.
const RESERVED: &str = "manifest.reserved";
/// The lowest host port that needs no privilege.
const HOST_PORT_MIN: u16 = 1024;
/// The least memory that the engine accepts.
const MEMORY_MIN: u64 = 6 << 20;
const HOUR: u64 = 3600;

impl From<ReferenceError> for Broken {
    fn from(error: ReferenceError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<QuantityError> for Broken {
    fn from(error: QuantityError) -> Self {
        Self::new(error.to_string())
    }
}

impl From<NameError> for Broken {
    fn from(error: NameError) -> Self {
        Self::new(error.to_string())
    }
}

/// An app's name.
pub(super) fn app_name(text: &str) -> Rule<AppName> {
    Ok(AppName::new(text)?)
}

/// A git repository's address.
pub(super) fn git_url(text: &str) -> Rule<GitUrl> {
    Ok(GitUrl::parse(text)?)
}

/// A branch, tag or commit.
pub(super) fn git_ref(text: &str) -> Rule<String> {
    check_git_ref(text)?;
    Ok(text.to_owned())
}

/// The name of a secret.
pub(super) fn secret_name(text: &str) -> Rule<String> {
    check_secret_name(text)?;
    Ok(text.to_owned())
}

/// A folder inside the repository; empty is all of it.
pub(super) fn repository_folder(text: &str) -> Rule<String> {
    Ok(check_repository_path(text)?)
}

/// A file inside the repository.
pub(super) fn repository_file(text: &str) -> Rule<String> {
    let path = check_repository_path(text)?;
    if path.is_empty() { Err(Broken::new("a file is expected, not a folder")) } else { Ok(path) }
}

/// An image.
pub(super) fn image(text: &str) -> Rule<ImageRef> {
    Ok(ImageRef::parse(text)?)
}

/// A number of commits, processes and so on: at least 1, at most `max`.
pub(super) fn count(value: i64, max: u32) -> Rule<u32> {
    u32::try_from(value)
        .ok()
        .filter(|count| (1..=max).contains(count))
        .ok_or_else(|| Broken::new(format!("{value} is not a number from 1 to {max}")))
}

/// A user id.
pub(super) fn uid(value: i64) -> Rule<u32> {
    u32::try_from(value)
        .ok()
        .filter(|uid| *uid != u32::MAX)
        .ok_or_else(|| Broken::new(format!("{value} is not a user id")))
}

/// A port (fault Y08).
pub(super) fn port(value: i64) -> Rule<u16> {
    u16::try_from(value)
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| Broken::new(format!("{value} is not a port: ports are 1 to 65535")))
}

/// A port of the host.
pub(super) fn host_port(value: i64) -> Rule<u16> {
    let port = port(value)?;
    if port < HOST_PORT_MIN {
        return Err(Broken::new(format!("the host port {port} is privileged"))
            .code(RESERVED)
            .help(format!(
                "choose one from {HOST_PORT_MIN} up, or leave it out for an automatic one"
            )));
    }
    Ok(port)
}

/// A name of a port, a volume or a build stage: letters, digits and some marks.
pub(super) fn plain_name(text: &str, what: &str) -> Rule<String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && text.len() <= 63 && text.chars().all(legal) {
        Ok(text.to_owned())
    } else {
        Err(Broken::new(format!("this is not a name for {what}"))
            .help("use at most 63 lower-case letters, digits, `.`, `_` and `-`"))
    }
}

/// A build stage: a name, or a number.
pub(super) fn build_target(text: &str) -> Rule<String> {
    plain_name(&text.to_ascii_lowercase(), "a build stage").map(|_| text.to_owned())
}

/// A version of Python, or a specifier.
pub(super) fn python_version(text: &str) -> Rule<String> {
    let legal = |c: char| c.is_ascii_digit() || ".,<>=!~^*| ".contains(c);
    let has_number = text.contains(|c: char| c.is_ascii_digit());
    if has_number && text.len() <= 100 && text.chars().all(legal) {
        Ok(text.trim().to_owned())
    } else {
        Err(Broken::new("this is not a version of Python").help("write `3.11`, or `>=3.10,<3.13`"))
    }
}

/// A key of a secret, or what a build calls it.
pub(super) fn secret_key(text: &str) -> Rule<String> {
    plain_name(text, "a secret")
}

/// A Debian package.
pub(super) fn package(text: &str) -> Rule<String> {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+.-".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if starts_well && (2..=100).contains(&text.len()) && text.chars().all(legal) {
        Ok(text.to_owned())
    } else {
        Err(Broken::new("this is not the name of a Debian package")
            .help("use lower-case letters, digits, `+`, `.` and `-`, without a version"))
    }
}

/// A name in the environment.
pub(super) fn env_name(text: &str) -> Rule<()> {
    name_of_value(text)?;
    match text {
        "NVIDIA_VISIBLE_DEVICES" => Err(Broken::new(
            "`NVIDIA_VISIBLE_DEVICES` would take GPUs past Berth, also those of other apps",
        )
        .code(RESERVED)
        .help("ask for GPUs with `gpus`")),
        "WORKSPACE" => Err(Broken::new("`WORKSPACE` is set by Berth")
            .code(RESERVED)
            .help("choose its value with `workspace.path`")),
        _ => Ok(()),
    }
}

/// A name of a build argument.
pub(super) fn name_of_value(text: &str) -> Rule<()> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    let starts_well = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if starts_well && text.len() <= 255 && text.chars().all(legal) {
        Ok(())
    } else {
        Err(Broken::new("this is not a name that a value can have here")
            .help("use letters, digits and `_`, starting with a letter or `_`"))
    }
}

/// A key of a label or an annotation. Berth's own are refused (fault D21).
pub(super) fn label_key(text: &str) -> Rule<()> {
    let own = label::INSTANCE.rsplit_once('.').map_or(label::INSTANCE, |(own, _)| own);
    if text.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/'])) {
        return Err(Broken::new(format!("keys that start with `{own}.` are Berth's own"))
            .code(RESERVED)
            .help("choose another prefix"));
    }
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-/".contains(c);
    if text.is_empty() || 253 < text.len() || !text.chars().all(legal) {
        return Err(Broken::new("this is not a key for a label")
            .help("use letters, digits, `.`, `_`, `-` and `/`"));
    }
    Ok(())
}

/// An absolute path without anything superfluous.
pub(super) fn absolute_path(text: &str) -> Rule<String> {
    let is_clean = text.strip_prefix('/').is_some_and(|rest| {
        rest.is_empty() || rest.split('/').all(|part| !matches!(part, "" | "." | ".."))
    });
    if !is_clean {
        return Err(Broken::new("this is not an absolute path without `..`, `//` or a final `/`")
            .help("write it like `/data/files`"));
    }
    if text.chars().any(|c| c.is_control() || c == ':' || c == '\\') || 1000 < text.len() {
        return Err(Broken::new("a path here may not contain `:`, `\\` or control characters"));
    }
    Ok(text.to_owned())
}

/// A place to mount something at, inside a container.
pub(super) fn mount_path(text: &str) -> Rule<String> {
    let path = absolute_path(text)?;
    let is_in = |root: &str| {
        path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    if path == "/" {
        return Err(Broken::new("nothing can be mounted over `/`").code(RESERVED));
    }
    for root in ["/proc", "/sys", "/dev"] {
        if is_in(root) {
            let broken = Broken::new(format!("nothing can be mounted in `{root}`")).code(RESERVED);
            return Err(if path == "/dev/shm" {
                broken.help("set its size with `resources.shmSize`")
            } else {
                broken
            });
        }
    }
    Ok(path)
}

/// A path of a request.
pub(super) fn http_path(text: &str) -> Rule<String> {
    if text.starts_with('/')
        && text.len() <= 1000
        && text.chars().all(|c| c.is_ascii_graphic() && c != '#')
    {
        Ok(text.to_owned())
    } else {
        Err(Broken::new("this is not the path of a request").help("write it like `/healthz`"))
    }
}

/// Where an app's figures are on its port. A query would have to be given apart from it.
pub(super) fn metrics_path(text: &str) -> Rule<String> {
    let path = http_path(text).map_err(|broken| broken.help("write it like `/metrics`"))?;
    if path.contains('?') {
        return Err(Broken::new("this path has a query").help("leave out what begins with `?`"));
    }
    Ok(path)
}

/// A duration between two bounds in seconds.
pub(super) fn period(period: &Period, (min, max): (u64, u64)) -> Rule<Duration> {
    let duration = parse_duration(&period.0)?;
    let (min, max) = (Duration::from_secs(min), Duration::from_secs(max));
    if duration < min || max < duration {
        return Err(Broken::new(format!(
            "`{}` is out of bounds: it may be from {} to {}",
            period.0,
            format_duration(min),
            format_duration(max)
        )));
    }
    Ok(duration)
}

/// The time between two looks for a new commit; none are taken when it is zero.
pub(super) fn poll_interval(text: &Period) -> Rule<Duration> {
    let interval = period(text, bounds::POLL)?;
    if interval != Duration::ZERO && interval < Duration::from_secs(1) {
        return Err(Broken::new(format!("`{}` is too short", text.0))
            .help("write at least `1s`, or `0` to never look"));
    }
    Ok(interval)
}

/// The bounds of durations, in seconds.
pub(super) mod bounds {
    use super::HOUR;

    /// How long an app may take to become healthy.
    pub(in crate::manifest) const START: (u64, u64) = (0, 24 * HOUR);
    /// The time between two health checks.
    pub(in crate::manifest) const INTERVAL: (u64, u64) = (1, HOUR);
    /// The time that a health check may take.
    pub(in crate::manifest) const TIMEOUT: (u64, u64) = (1, 600);
    /// How long a new version may take to become ready.
    pub(in crate::manifest) const DEADLINE: (u64, u64) = (1, 24 * HOUR);
    /// How long a new version must stay healthy before the old one goes.
    pub(in crate::manifest) const MIN_READY: (u64, u64) = (0, HOUR);
    /// How long an app may take to stop.
    pub(in crate::manifest) const STOP: (u64, u64) = (0, 600);
    /// The time between two looks for a new commit, when there are any.
    pub(in crate::manifest) const POLL: (u64, u64) = (0, 30 * 24 * HOUR);
}

/// An amount of CPU in thousandths.
pub(super) fn cpus(amount: &Amount) -> Rule<u64> {
    let millis = parse_millicpus(&amount.0)?;
    if !(10..=1_000_000).contains(&millis) {
        return Err(Broken::new(format!(
            "`{}` is out of bounds: it may be from 0.01 to 1000 cores",
            amount.0
        )));
    }
    Ok(millis)
}

/// An amount of memory for processes.
pub(super) fn memory(amount: &Amount) -> Rule<u64> {
    let bytes = size(amount)?;
    if bytes < MEMORY_MIN {
        return Err(Broken::new(format!(
            "`{}` is too little: the engine needs at least {}",
            amount.0,
            format_bytes(MEMORY_MIN)
        ))
        .help("write a unit, like `512Mi`"));
    }
    Ok(bytes)
}

/// A size in bytes, larger than nothing.
pub(super) fn size(amount: &Amount) -> Rule<u64> {
    let bytes = parse_bytes(&amount.0)?;
    if bytes == 0 || i64::try_from(bytes).is_err() {
        return Err(Broken::new(format!("`{}` is out of bounds", amount.0)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_stay_out_of_what_the_system_needs() {
        for good in ["/data", "/app/outputs", "/devices", "/processed/x"] {
            assert!(mount_path(good).is_ok(), "{good}");
        }
        for bad in [
            "", "data", "/", "/proc", "/sys/fs", "/dev/shm", "/a/../b", "/a//b", "/a/", "/a:b",
            "/./a",
        ] {
            assert!(mount_path(bad).is_err(), "{bad}");
        }
    }

    /// Fault Y08.
    #[test]
    fn ports_are_bounded() {
        assert_eq!(port(65535).ok(), Some(65535));
        for bad in [0, -1, 65536, i64::MAX, i64::MIN] {
            assert!(port(bad).is_err(), "{bad}");
        }
        assert!(host_port(80).is_err());
    }

    /// Fault D21.
    #[test]
    fn labels_of_berth_itself_are_refused() {
        for bad in ["dev.berth.app", "dev.berth", "dev.berth/x", "", "a b", "ä"] {
            assert!(label_key(bad).is_err(), "{bad}");
        }
        assert!(label_key("example.com/team").is_ok());
        assert!(label_key("dev.berthold").is_ok());
    }

    #[test]
    fn names_in_the_environment_are_words() {
        for bad in ["", "1A", "A B", "A=B", "WORKSPACE", "NVIDIA_VISIBLE_DEVICES"] {
            assert!(env_name(bad).is_err(), "{bad}");
        }
        assert!(env_name("spring.datasource_url").is_ok());
    }

    #[test]
    fn packages_are_debian_names() {
        for bad in ["", "a", "-y", "ffmpeg=1", "A", "a b", "$(x)"] {
            assert!(package(bad).is_err(), "{bad}");
        }
        assert!(package("libstdc++6").is_ok());
    }
}
