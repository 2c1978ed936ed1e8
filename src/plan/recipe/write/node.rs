//! The part of a Dockerfile that is about Node.

use super::{super::detect, Part, apt, copy};
use crate::plan::Refusal;

const NPM_CACHE: &str = "/root/.npm";

/// A package manager: what it is recognised by, and how it is used.
struct Manager {
    /// Its lock file.
    lock: &'static str,
    /// How it comes to be, where the base does not have it.
    get: &'static str,
    /// Installs exactly what is locked.
    install: &'static str,
    /// Installs it without what only the build needs.
    install_to_run: &'static str,
    /// Takes away what only the build needs.
    prune: &'static str,
    /// Runs a script.
    run: &'static str,
}

const NPM: Manager = Manager {
    lock: "package-lock.json",
    get: "",
    install: "npm ci",
    install_to_run: "npm ci --omit=dev",
    prune: "npm prune --omit=dev",
    run: "npm run",
};

const UNLOCKED: Manager =
    Manager { lock: "", install: "npm install", install_to_run: "npm install --omit=dev", ..NPM };

const YARN: Manager = Manager {
    lock: "yarn.lock",
    get: "command -v yarn >/dev/null || npm install --global yarn",
    install: "yarn install --frozen-lockfile",
    install_to_run: "yarn install --frozen-lockfile --production",
    prune: "yarn install --frozen-lockfile --production --ignore-scripts --offline",
    run: "yarn run",
};

/// Yarn from its second version on has other options.
const NEW_YARN: Manager = Manager {
    get: "command -v corepack >/dev/null || npm install --global corepack; corepack enable",
    install: "yarn install --immutable",
    install_to_run: "yarn install --immutable",
    prune: "true",
    ..YARN
};

const PNPM: Manager = Manager {
    lock: "pnpm-lock.yaml",
    get: "command -v pnpm >/dev/null || npm install --global pnpm",
    install: "pnpm install --frozen-lockfile",
    install_to_run: "pnpm install --frozen-lockfile --prod",
    prune: "pnpm prune --prod",
    run: "pnpm run",
};

/// From a base to an app, ready to run.
pub(super) fn body(part: &Part<'_>) -> Result<String, Refusal> {
    let has = |name: &str| part.checkout.has(name);
    let manager = match () {
        () if has(PNPM.lock) => PNPM,
        () if has(YARN.lock) && has(".yarnrc.yml") => NEW_YARN,
        () if has(YARN.lock) => YARN,
        () if has(NPM.lock) || has("npm-shrinkwrap.json") => NPM,
        () => UNLOCKED,
    };
    let node = detect::facts(part.checkout, "package.json").and_then(|facts| facts.node.as_ref());
    let has_build = node.is_some_and(|node| node.has_build);
    let mut text = format!(
        "RUN if command -v node >/dev/null && command -v npm >/dev/null; then exit 0; fi; \\\n    \
         command -v apt-get >/dev/null || {{ echo \"ERROR: the base image has neither node with npm nor apt-get\" >&2; exit 1; }}; \\\n    {}",
        apt("nodejs npm")
    );
    text.push_str("ENV NPM_CONFIG_UPDATE_NOTIFIER=false NPM_CONFIG_FUND=false CI=1\n");
    if !manager.get.is_empty() {
        text.push_str(&part.run(&[NPM_CACHE], manager.get));
    }
    text.push_str("WORKDIR /app\n");
    let beside = [manager.lock, "npm-shrinkwrap.json", ".npmrc", ".yarnrc", ".yarnrc.yml"];
    let beside = beside.into_iter().chain(["pnpm-workspace.yaml"]).filter(|name| has(name));
    let files: Vec<_> = std::iter::once("package.json").chain(beside).collect();
    text.push_str(&copy(&files, "/app/")?);
    let install = if has_build { manager.install } else { manager.install_to_run };
    text.push_str(&part.run(&[NPM_CACHE], install));
    text.push_str("COPY . /app\n");
    if has_build {
        let build = format!("{} build && {}", manager.run, manager.prune);
        text.push_str(&part.run(&[NPM_CACHE], &build));
    }
    text.push_str("ENV NODE_ENV=production\n");
    Ok(text)
}
