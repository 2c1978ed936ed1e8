//! The table of options: what each is called, everywhere, and what it is when nobody says.

use super::option::{Kind, OptionRow, flag, list, row};

mod builds;
mod models;

/// Every option of `berth run`.
pub const OPTIONS: &[OptionRow] = &joined::<COUNT>([FIRST, models::MODELS, SECOND, builds::BUILDS]);

const COUNT: usize = FIRST.len() + models::MODELS.len() + SECOND.len() + builds::BUILDS.len();

/// Several tables as one.
const fn joined<const N: usize>(parts: [&[OptionRow]; 4]) -> [OptionRow; N] {
    let mut all = [FIRST[0]; N];
    let (mut at, mut part) = (0, 0);
    while part < parts.len() {
        let mut row = 0;
        while row < parts[part].len() {
            all[at] = parts[part][row];
            (at, row) = (at + 1, row + 1);
        }
        part += 1;
    }
    all
}

const FIRST: &[OptionRow] = &[
    row("manifests", "DIR", &["BERTH_MANIFESTS"], "./manifests", "The watched folder of manifests"),
    OptionRow {
        name: "source",
        value: "URL",
        kind: Kind::List,
        env: &["BERTH_SOURCE"],
        default: "",
        help: "A repository of manifests: git+https://host/repository.git#branch:folder; may be repeated. Without --manifests no folder is watched then",
    },
    row(
        "source-interval",
        "DURATION",
        &["BERTH_SOURCE_INTERVAL"],
        "1m",
        "How often repositories of manifests are looked at",
    ),
    row("state-dir", "DIR", &["BERTH_STATE_DIR"], "/var/lib/berth", "Where Berth keeps its state"),
    row(
        "workspaces",
        "DIR",
        &["BERTH_WORKSPACES"],
        "/opt/dockerstore",
        "The folder that holds each app's code and data",
    ),
    row(
        "compose-dir",
        "DIR",
        &["BERTH_COMPOSE_DIR"],
        "",
        "Where compose files of what runs are written; `compose` in the state folder by default",
    ),
];

const SECOND: &[OptionRow] = &[
    row(
        "listen",
        "ADDR:PORT",
        &["BERTH_LISTEN"],
        "127.0.0.1:8000",
        "Where the interface listens; SERVER_HOST and SERVER_PORT are honoured too",
    ),
    flag(
        "allow-unauthenticated",
        &["BERTH_ALLOW_UNAUTHENTICATED"],
        "Let whoever reaches the interface do everything, also from elsewhere, until a token is made",
    ),
    list(
        "host-names",
        "HOST",
        &["BERTH_HOST_NAMES"],
        "A name by which people reach this Berth, beside that of base-url; may be repeated",
    ),
    row(
        "api-socket",
        "PATH",
        &["BERTH_API_SOCKET"],
        "",
        "The socket for users of this machine, or `off`; not set: `berth.sock` in the state folder",
    ),
    row(
        "api-socket-group",
        "GROUP",
        &["BERTH_API_SOCKET_GROUP"],
        "",
        "The group whose members are operators by the socket; not set: only root and Berth's own user",
    ),
    list(
        "auth-proxy-from",
        "ADDRESS",
        &["BERTH_AUTH_PROXY_FROM"],
        "The address, or range, of a proxy that says who asks; may be repeated",
    ),
    row(
        "auth-proxy-user-header",
        "HEADER",
        &["BERTH_AUTH_PROXY_USER_HEADER"],
        "X-Forwarded-User",
        "The header in which such a proxy names the user",
    ),
    row(
        "auth-proxy-groups-header",
        "HEADER",
        &["BERTH_AUTH_PROXY_GROUPS_HEADER"],
        "X-Forwarded-Groups",
        "The header in which such a proxy names the user's groups",
    ),
    list(
        "auth-proxy-role",
        "GROUP=ROLE",
        &["BERTH_AUTH_PROXY_ROLE"],
        "The role of a group's members: viewer, operator or admin; `*` is everybody; may be repeated",
    ),
    list(
        "model-anonymous-read",
        "PROJECT",
        &["BERTH_MODEL_ANONYMOUS_READ"],
        "A project of the model store that everybody may read without signing in, or `*` for all; may be repeated",
    ),
    flag(
        "metrics-public",
        &["BERTH_METRICS_PUBLIC"],
        "Show figures to everybody, also where people sign in",
    ),
    row(
        "tls-cert",
        "FILE",
        &["BERTH_TLS_CERT"],
        "",
        "The certificate of the interface and those that lead to its root, in PEM form",
    ),
    row("tls-key", "FILE", &["BERTH_TLS_KEY"], "", "The certificate's key, in PEM form"),
    flag(
        "tls-self-signed",
        &["BERTH_TLS_SELF_SIGNED"],
        "Speak TLS with a certificate that Berth signs itself, once: for a first try",
    ),
    row(
        "hsts",
        "DURATION",
        &["BERTH_HSTS"],
        "0s",
        "For how long browsers are told to come by https only; 0s tells them nothing",
    ),
    row(
        "base-image",
        "REF",
        &["BERTH_BASE_IMAGE"],
        "python:3.12-slim",
        "The base of the Dockerfiles that Berth writes",
    ),
    OptionRow {
        name: "base-images",
        value: "PATTERN",
        kind: Kind::List,
        env: &["BERTH_BASE_IMAGES"],
        default: "",
        help: "The base images that manifests may choose, such as nvcr.io/nvidia/*; may be repeated",
    },
    row("engine", "ENGINE", &["BERTH_ENGINE"], "docker", "What runs containers: docker or fake"),
    row(
        "docker-host",
        "URL",
        &["BERTH_DOCKER_HOST", "DOCKER_HOST"],
        "unix:///var/run/docker.sock",
        "Where the engine listens",
    ),
    row("ports", "RANGE", &["BERTH_PORTS"], "8001-8999", "The host ports that apps are given"),
    row(
        "port-quarantine",
        "DURATION",
        &["BERTH_PORT_QUARANTINE"],
        "1m",
        "How long a host port that an app does not have any more is given to nobody else",
    ),
    row("resync", "DURATION", &["BERTH_RESYNC"], "30s", "How often everything is looked at"),
    OptionRow {
        name: "allow-local-git",
        value: "",
        kind: Kind::Flag,
        env: &["BERTH_ALLOW_LOCAL_GIT"],
        default: "false",
        help: "Let manifests name repositories of this machine: folders, and servers on loopback",
    },
    row(
        "secrets-dir",
        "DIR",
        &["BERTH_SECRETS_DIR"],
        "",
        "The folder of secrets, for Berth's user alone; not set: `secrets` in the state folder",
    ),
    row(
        "secret-files",
        "DIR",
        &["BERTH_SECRET_FILES"],
        "",
        "The folder in memory for secrets that apps get as files; not set: /run/berth-INSTANCE, or that of Berth's user",
    ),
    row(
        "age-identity",
        "FILE",
        &["BERTH_AGE_IDENTITY"],
        "",
        "The keys that secrets in manifests are decrypted with; not set: `age.key` in the state folder",
    ),
    row(
        "age-program",
        "FILE",
        &["BERTH_AGE_PROGRAM"],
        "age",
        "The program that decrypts what age has encrypted",
    ),
    row(
        "sops-program",
        "FILE",
        &["BERTH_SOPS_PROGRAM"],
        "sops",
        "The program that decrypts what SOPS has encrypted",
    ),
    row(
        "security-profile",
        "PROFILE",
        &["BERTH_SECURITY_PROFILE"],
        "baseline",
        "How tightly apps are held at least: baseline, or restricted (not root, no capability, an image that can't be written)",
    ),
    list(
        "git-credentials",
        "HOST=SECRET",
        &["BERTH_GIT_CREDENTIALS"],
        "The secret to log in with at a host such as `git.example.com` or `*.example.com`; may be repeated",
    ),
    row(
        "known-hosts",
        "FILE",
        &["BERTH_KNOWN_HOSTS"],
        "",
        "The keys of ssh hosts; not set: `known_hosts` in the state folder",
    ),
    row(
        "git-ca-bundle",
        "FILE",
        &["BERTH_GIT_CA_BUNDLE"],
        "",
        "Certificate authorities that git servers may have, beside those of this machine",
    ),
    list(
        "git-hosts",
        "HOST",
        &["BERTH_GIT_HOSTS"],
        "A host that repositories may be on, or `*.` and the end of one; not set: every host",
    ),
    list(
        "git-schemes",
        "SCHEME",
        &["BERTH_GIT_SCHEMES"],
        "How repositories may be spoken to; not set: https, ssh, and http within private networks",
    ),
    OptionRow {
        name: "git-private-addresses",
        value: "",
        kind: Kind::Flag,
        env: &["BERTH_GIT_PRIVATE_ADDRESSES"],
        default: "false",
        help: "Let repositories be on hosts of private networks; hosts named by git-hosts always may",
    },
    row(
        "git-max-transfer",
        "SIZE",
        &["BERTH_GIT_MAX_TRANSFER"],
        "4Gi",
        "How much one fetch may transfer",
    ),
    row(
        "git-max-checkout",
        "SIZE",
        &["BERTH_GIT_MAX_CHECKOUT"],
        "8Gi",
        "How much one checkout may hold",
    ),
    row(
        "git-max-file",
        "SIZE",
        &["BERTH_GIT_MAX_FILE"],
        "512Mi",
        "How much one file of a repository may hold, Git LFS left out",
    ),
    row(
        "git-max-files",
        "NUMBER",
        &["BERTH_GIT_MAX_FILES"],
        "200000",
        "How many files and folders a checkout may have",
    ),
    row("git-timeout", "DURATION", &["BERTH_GIT_TIMEOUT"], "15m", "How long a fetch may take"),
    row(
        "git-idle-timeout",
        "DURATION",
        &["BERTH_GIT_IDLE_TIMEOUT"],
        "1m",
        "How long a fetch may make no progress",
    ),
    row(
        "publish",
        "WHERE",
        &["BERTH_PUBLISH"],
        "loopback",
        "Who reaches the apps' ports when a manifest does not say: loopback or lan",
    ),
    row(
        "instance",
        "NAME",
        &["BERTH_INSTANCE"],
        "default",
        "Which Berth this is, when several share an engine",
    ),
    OptionRow {
        name: "allow-host-mount",
        value: "PATH",
        kind: Kind::List,
        env: &["BERTH_ALLOW_HOST_MOUNT"],
        default: "",
        help: "A host path below which manifests may mount; may be repeated",
    },
    OptionRow {
        name: "allow-fuse",
        value: "APP",
        kind: Kind::List,
        env: &["BERTH_ALLOW_FUSE"],
        default: "",
        help: "An app that may mount remotes: /dev/fuse and SYS_ADMIN for it; may be repeated",
    },
    OptionRow {
        name: "hook-secret",
        value: "NAME",
        kind: Kind::List,
        env: &["BERTH_HOOK_SECRET"],
        default: "",
        help: "The secret that webhooks of git servers are signed with; may be repeated",
    },
    OptionRow {
        name: "commit-status",
        value: "HOST=SECRET",
        kind: Kind::List,
        env: &["BERTH_COMMIT_STATUS"],
        default: "",
        help: "Report how commits fare to this git server, with the token in this secret: HOST=[github:|gitea:]SECRET[@API-URL]; may be repeated",
    },
    row(
        "base-url",
        "URL",
        &["BERTH_BASE_URL"],
        "",
        "Where people reach this Berth; commit statuses link to it",
    ),
    row(
        "proc-root",
        "DIR",
        &["BERTH_PROC_ROOT"],
        "/proc",
        "Where the host's /proc is, for a Berth in a container: such as /host/proc",
    ),
    row(
        "cgroup-root",
        "DIR",
        &["BERTH_CGROUP_ROOT"],
        "/sys/fs/cgroup",
        "Where the host's /sys/fs/cgroup is, for a Berth in a container",
    ),
    list(
        "metrics-label",
        "KEY",
        &["BERTH_METRICS_LABEL"],
        "A label of containers that their figures carry, beside those of compose; may be repeated",
    ),
    row(
        "nvml-library",
        "FILE",
        &["BERTH_NVML_LIBRARY"],
        "",
        "The library by which NVIDIA's driver tells of its GPUs; not set: libnvidia-ml.so.1, where the machine keeps it",
    ),
    row("ca-bundle", "FILE", &["BERTH_CA_BUNDLE"], "", "A CA bundle that builds may ask for"),
    row("log-format", "FORMAT", &["BERTH_LOG_FORMAT"], "text", "How log lines look: text or json"),
    row("log", "FILTER", &["BERTH_LOG"], "info", "What is logged, such as berth=debug"),
    row(
        "gpu-metric-names",
        "NAMES",
        &["BERTH_GPU_METRIC_NAMES"],
        "classic",
        "What the metrics of GPUs are called: classic (dcgm-exporter up to 4.8), new (since 4.9) or both",
    ),
    row(
        "terminals-max",
        "N",
        &["BERTH_TERMINALS_MAX"],
        "16",
        "How many terminals in containers may be open, by the page and `berth exec`; 0: none at all",
    ),
    row(
        "terminal-idle-timeout",
        "DURATION",
        &["BERTH_TERMINAL_IDLE_TIMEOUT"],
        "15m",
        "How long a terminal may be open with nothing typed or written",
    ),
    row("workers", "N", &["BERTH_WORKERS"], "8", "How many short engine calls are made at once"),
    row(
        "max-builds",
        "N",
        &["BERTH_MAX_BUILDS"],
        "",
        "How many images are built at once; half as many as there are processors when not set",
    ),
    row(
        "builder",
        "BUILDER",
        &["BERTH_BUILDER"],
        "auto",
        "Which builder builds: auto (BuildKit where it can be), classic or buildkit",
    ),
];
