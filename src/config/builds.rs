//! The options of builds, and of the images that they make.

use std::{collections::BTreeMap, time::Duration};

use super::{Reader, Scanning, number};
use crate::engine::docker::Builder;
use crate::model::{parse_bytes, parse_duration, parse_millicpus};

/// The least memory that a step of a build can do anything with.
const MEMORY_MIN: u64 = 16 << 20;
/// The options that name a proxy, with the arguments that builders know.
const PROXIES: [(&str, [&str; 2]); 3] = [
    ("build-http-proxy", ["HTTP_PROXY", "http_proxy"]),
    ("build-https-proxy", ["HTTPS_PROXY", "https_proxy"]),
    ("build-no-proxy", ["NO_PROXY", "no_proxy"]),
];

/// How images are built and kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Builds {
    /// How many images are built at once.
    pub max: usize,
    /// Which builder builds.
    pub builder: Builder,
    /// How long a build may take.
    pub timeout: Duration,
    /// How long a build may be silent.
    pub idle_timeout: Duration,
    /// How much memory a step may take, in bytes.
    pub memory: Option<u64>,
    /// How much of the processors a step may take, in thousandths.
    pub cpus: Option<u64>,
    /// The proxies that builds are told of, as the arguments that every builder knows.
    pub environment: BTreeMap<String, String>,
    /// How many of an app's newest images are kept.
    pub keep_images: usize,
    /// How old further images may become.
    pub images_max_age: Duration,
    /// How much all images together may take before further ones go.
    pub images_max_size: Option<u64>,
    /// How much `BuildKit` may keep of our builds; none leaves that to the engine.
    pub cache_max_size: Option<u64>,
    /// How images are compared with known vulnerabilities; none where there is no database.
    pub scanning: Option<Scanning>,
}

impl Reader {
    pub(super) fn builds(&mut self) -> Option<Builds> {
        // As in the whole: every value is read before the first `?`.
        let max = self.last("max-builds", |text| number(text, 64));
        let builder = self.one("builder", builder);
        let timeout = self.one("build-timeout", limit);
        let idle_timeout = self.one("build-idle-timeout", limit);
        let memory = self.last("build-memory", memory);
        let cpus = self.last("build-cpus", cpus);
        let mut proxies = Vec::new();
        for (name, arguments) in PROXIES {
            proxies.push(self.last(name, proxy).map(|value| (value, arguments)));
        }
        let keep_images = self.one("keep-images", |text| number(text, 1000));
        let age = |text: &str| parse_duration(text).map_err(|error| error.to_string());
        let images_max_age = self.one("images-max-age", age);
        let images_max_size = self.last("images-max-size", bytes);
        let cache_max_size = self.one("build-cache-max-size", cache_size);
        let scanning = self.scanning();
        let mut environment = BTreeMap::new();
        for proxy in proxies {
            let (value, arguments) = proxy?;
            for value in value.iter().filter(|value| !value.is_empty()) {
                environment.extend(arguments.map(|name| (name.to_owned(), value.clone())));
            }
        }
        Some(Builds {
            max: max?.pop().unwrap_or_else(half_the_processors),
            builder: builder?,
            timeout: timeout?,
            idle_timeout: idle_timeout?,
            memory: memory?.pop(),
            cpus: cpus?.pop(),
            environment,
            keep_images: keep_images?,
            images_max_age: images_max_age?,
            images_max_size: images_max_size?.pop(),
            cache_max_size: cache_max_size?,
            scanning: scanning?.pop(),
        })
    }

    /// The value of an option that need not be set; the last one wins.
    pub(super) fn last<T>(
        &mut self,
        name: &'static str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let mut values = self.list(name, read)?;
        values.drain(..values.len().saturating_sub(1));
        Some(values)
    }
}

fn half_the_processors() -> usize {
    std::thread::available_parallelism().map_or(1, |count| (count.get() / 2).max(1))
}

fn builder(text: &str) -> Result<Builder, String> {
    match text {
        "auto" => Ok(Builder::Auto),
        "classic" => Ok(Builder::Classic),
        "buildkit" => Ok(Builder::Buildkit),
        _ => Err("write `auto`, `classic` or `buildkit`".to_owned()),
    }
}

/// How long something may take.
pub(super) fn limit(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error| error.to_string())?;
    if (Duration::from_secs(1)..=Duration::from_hours(24)).contains(&duration) {
        Ok(duration)
    } else {
        Err("write a duration from `1s` to `24h`".to_owned())
    }
}

fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text).map_err(|error| error.to_string())
}

fn cache_size(text: &str) -> Result<Option<u64>, String> {
    if text == "none" {
        return Ok(None);
    }
    let size = parse_bytes(text).map(Some);
    size.map_err(|error| format!("{error}; or `none`, which leaves the cache to the engine"))
}

fn memory(text: &str) -> Result<u64, String> {
    let bytes = bytes(text)?;
    let is_fit = (MEMORY_MIN..=1 << 50).contains(&bytes);
    if is_fit { Ok(bytes) } else { Err("write a size of `16Mi` or more".to_owned()) }
}

fn cpus(text: &str) -> Result<u64, String> {
    let millis = parse_millicpus(text).map_err(|error| error.to_string())?;
    let is_fit = (10..=1_000_000).contains(&millis);
    if is_fit { Ok(millis) } else { Err("write a number from `0.01` to `1000`".to_owned()) }
}

fn proxy(text: &str) -> Result<String, String> {
    let is_fit = !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if is_fit { Ok(text.to_owned()) } else { Err("write it without white space".to_owned()) }
}
