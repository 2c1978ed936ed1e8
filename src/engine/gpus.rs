//! What engines and their hooks say when they can't give GPUs, and what helps.

use super::Error;

/// What each text means: how to know it, whether another way may work, and what to do.
struct Saying {
    sign: &'static str,
    /// Whether the way is at fault, and not the card.
    is_way: bool,
    help: &'static str,
}

const fn way(sign: &'static str, help: &'static str) -> Saying {
    Saying { sign, is_way: true, help }
}

const fn card(sign: &'static str, help: &'static str) -> Saying {
    Saying { sign, is_way: false, help }
}

/// The first that fits counts. The signs are in small letters.
const SAYINGS: &[Saying] = &[
    way(
        "could not select device driver",
        "install the NVIDIA Container Toolkit on the host and restart the engine, which looks for it only then",
    ),
    way(
        "unresolvable cdi devices",
        "its CDI description lacks them: `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` makes it anew",
    ),
    way("cdi device injection failed", "its CDI description is not right: make it anew"),
    way("unknown or invalid runtime name: nvidia", "run `nvidia-ctk runtime configure`"),
    way(
        "invoking the nvidia container runtime hook directly",
        "the toolkit is set up for CDI only: `nvidia-ctk cdi generate` describes the cards",
    ),
    way(
        "nvidia-container-runtime-hook\": executable file not found",
        "the NVIDIA Container Toolkit was removed: install it again",
    ),
    card(
        "driver/library version mismatch",
        "the driver was upgraded and its kernel module was not: restart the host, or reload the module",
    ),
    card(
        "driver not loaded",
        "load the kernel module: `nvidia-smi` on the host says what is wrong",
    ),
    card("error gathering device information while adding custom device \"/dev/nvidia", NODES),
    card("error gathering device information while adding custom device \"/dev/dri", NODES),
    card("error gathering device information while adding custom device \"/dev/kfd", NODES),
    card("nvidia-container-cli", CARD),
    card("nvml error", CARD),
];

const NODES: &str =
    "a device node of the card is gone: `berth gpu ls` shows the cards that are there";
const CARD: &str = "`berth gpu ls` shows the cards that are there";

/// What a hook complains of that is not known.
const HOOK: Saying = card("", CARD);

fn found(message: &str) -> Option<&'static Saying> {
    let lower = message.to_lowercase();
    let known = SAYINGS.iter().find(|saying| lower.contains(saying.sign));
    // What a hook complains of is quoted. Whose hook it was can be told only by what it speaks of.
    let is_hook = lower.contains("error running") && lower.contains("hook");
    let is_gpu = ["nvidia", "gpu"].iter().any(|word| lower.contains(word));
    known.or((is_hook && is_gpu).then_some(&HOOK))
}

/// The error, when it is about GPUs.
pub(super) fn error_of(message: &str) -> Option<Error> {
    found(message).map(|_| Error::Gpu(message.to_owned()))
}

/// What helps.
pub(super) fn help(message: &str) -> &'static str {
    found(message).map_or(CARD, |saying| saying.help)
}

/// Whether it is the way at fault in which the GPUs were asked for: another one may work.
pub fn is_way_refused(message: &str) -> bool {
    found(message).is_some_and(|saying| saying.is_way)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Docker Engine 20.10, 26.1 and 28.5 said it, with a hook of the tests.
    #[test]
    fn the_engines_words_about_gpus_are_understood() {
        let said = [
            (true, "could not select device driver \"nvidia\" with capabilities: [[gpu]]"),
            (true, "could not select device driver \"cdi\" with capabilities: []"),
            (true, "CDI device injection failed: unresolvable CDI devices nvidia.com/gpu=9"),
            (true, "unknown or invalid runtime name: nvidia"),
            (
                true,
                "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"nvidia-container-runtime-hook\": executable file not found in $PATH: unknown",
            ),
            (
                false,
                "OCI runtime create failed: runc create failed: unable to start container process: error during container init: error running hook #0: error running hook: exit status 1, stdout: , stderr: fake-nvidia: unknown device id: GPU-zzzz: unknown",
            ),
            (false, "nvidia-container-cli: device error: GPU-x: unknown device: unknown"),
            (
                false,
                "nvidia-container-cli: initialization error: nvml error: driver/library version mismatch",
            ),
            (
                false,
                "error gathering device information while adding custom device \"/dev/nvidia3\": no such file or directory",
            ),
        ];
        for (is_way, message) in said {
            assert!(matches!(error_of(message), Some(Error::Gpu(_))), "{message}");
            assert_eq!(is_way_refused(message), is_way, "{message}");
            assert!(!help(message).is_empty());
        }
        for other in [
            "OCI runtime create failed: exec: \"nope\": executable file not found in $PATH",
            "error running hook: exit status 1, stdout: , stderr: network is down",
            "error gathering device information while adding custom device \"/dev/fuse\": no such file or directory",
        ] {
            assert!(error_of(other).is_none() && !is_way_refused(other), "{other}");
        }
    }
}
