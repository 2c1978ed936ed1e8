//! How one tells that an app works.

use std::time::Duration;

use crate::model::{Health, HealthCheck, PortSpec, Protocol};

use super::{
    super::{
        problem::{Broken, Trail},
        v1::{self, Short},
        validate::{self, bounds},
    },
    Lower,
};

const START_PERIOD: Duration = Duration::from_mins(10);
const INTERVAL: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
const RETRIES_MAX: u32 = 100;

impl Lower<'_> {
    pub(super) fn health(&mut self, spec: &Trail<'_>, ports: &[PortSpec]) -> Health {
        let first = ports.iter().find(|port| port.protocol == Protocol::Tcp);
        let first = first.map(|port| port.container_port);
        let by_default = first.map(|port| HealthCheck::Tcp { port });
        let none = v1::Health::default();
        let (wire, is_none) = match &self.spec.health {
            Some(Short::Short(v1::NoCheck::None)) => (&none, true),
            Some(Short::Long(wire)) => (wire, false),
            None => (&none, false),
        };
        let trail = spec.key("health");
        let check = self.check(wire, spec, first);
        let retries = self.keep(&trail.key("retries"), wire.retries.as_ref(), |retries| {
            validate::count(*retries, RETRIES_MAX)
        });
        let mut period = |field, value: &Option<v1::Period>, bounds, default| {
            self.period(&trail.key(field), value.as_ref(), bounds, default)
        };
        Health {
            check: if is_none { None } else { check.or(by_default) },
            start_period: period("startPeriod", &wire.start_period, bounds::START, START_PERIOD),
            interval: period("interval", &wire.interval, bounds::INTERVAL, INTERVAL),
            timeout: period("timeout", &wire.timeout, bounds::TIMEOUT, TIMEOUT),
            retries: retries.unwrap_or(RETRIES),
        }
    }

    fn check(
        &mut self,
        wire: &v1::Health,
        spec: &Trail<'_>,
        first: Option<u16>,
    ) -> Option<HealthCheck> {
        let health = spec.key("health");
        let v1::Health { http, tcp, exec, .. } = wire;
        let named = [http.is_some(), tcp.is_some(), exec.is_some()];
        if 1 < named.iter().filter(|is_there| **is_there).count() {
            let message = "a health check is only one of `http`, `tcp` and `exec`";
            self.problems.error("manifest.conflict", &health, message).at_key();
            return None;
        }
        if let Some(http) = http {
            let trail = health.key("http");
            let path =
                self.keep(&trail.key("path"), http.path.as_ref(), |path| validate::http_path(path));
            let port = self.check_port_of(http.port, first, &trail, spec)?;
            return Some(HealthCheck::Http { path: path.unwrap_or_else(|| "/".to_owned()), port });
        }
        if let Some(tcp) = tcp {
            let trail = health.key("tcp");
            let port = match tcp {
                Short::Short(port) => self.problems.keep(&trail, validate::port(*port))?,
                Short::Long(tcp) => self.check_port_of(tcp.port, first, &trail, spec)?,
            };
            return Some(HealthCheck::Tcp { port });
        }
        let trail = health.key("exec");
        let (command, at) = match exec.as_ref()? {
            Short::Short(command) => (Some(command), trail),
            Short::Long(exec) => (exec.command.as_ref(), trail.key("command")),
        };
        let Some(command) = command else {
            self.problems.missing(&at);
            return None;
        };
        if command.is_empty() {
            self.problems.refuse(&at, Broken::new("the command is empty"));
        }
        Some(HealthCheck::Exec(command.clone()))
    }

    /// The port of a check: its own, or the app's first.
    fn check_port_of(
        &mut self,
        own: Option<i64>,
        first: Option<u16>,
        trail: &Trail<'_>,
        spec: &Trail<'_>,
    ) -> Option<u16> {
        let at = trail.key("port");
        match own {
            Some(port) => self.problems.keep(&at, validate::port(port)),
            None if first.is_some() => first,
            None => {
                let problem = self.problems.missing(&at);
                problem.unless(spec.key("port").path()).unless(spec.key("ports").path());
                problem.help("the app has no TCP port that could be meant");
                None
            }
        }
    }
}
