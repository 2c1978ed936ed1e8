//! Requirements, as pip reads them.

use super::{is_short, kept};
use crate::state::{FileFacts, Framework};

/// The packages that care about GPUs, and what each stands for.
const FRAMEWORKS: &[(&str, &str)] = &[
    ("torch", "torch"),
    ("torchvision", "torch"),
    ("torchaudio", "torch"),
    ("tensorflow", "tensorflow"),
    ("tensorflow-gpu", "tensorflow"),
    ("tensorflow-cpu", "tensorflow-cpu"),
    ("jax", "jax"),
    ("jaxlib", "jax"),
    ("onnxruntime-gpu", "onnxruntime-gpu"),
];

/// Packages that can't be without `PyTorch`: who asks for one of them asks for it too.
const BRING_TORCH: &[&str] = &[
    "accelerate",
    "bitsandbytes",
    "coqui-tts",
    "demucs",
    "easyocr",
    "facenet-pytorch",
    "fastai",
    "kornia",
    "lightning",
    "open-clip-torch",
    "openai-whisper",
    "peft",
    "pytorch-lightning",
    "sentence-transformers",
    "stable-baselines3",
    "timm",
    "torchmetrics",
    "trl",
    "ultralytics",
    "whisperx",
    "xformers",
];

/// What a requirements file says.
pub(super) fn file(text: &str) -> FileFacts {
    let joined = text.replace("\\\r\n", " ").replace("\\\n", " ");
    let mut facts = FileFacts::default();
    let mut index_cuda = None;
    let mut is_cpu_index = false;
    let mut entries = Vec::new();
    for line in joined.lines() {
        let line = line.split(" #").next().unwrap_or_default().trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        facts.needs_source |= is_of_source(line);
        if line.starts_with('-') {
            if is_index(line) {
                facts.has_index = true;
                index_cuda = index_cuda.or_else(|| cuda_of_index(line));
                is_cpu_index |= line.contains("/whl/cpu");
            }
            continue;
        }
        entries.push(line.to_owned());
    }
    facts.frameworks = frameworks(entries.iter().map(String::as_str));
    for framework in facts.frameworks.iter_mut().filter(|found| found.name == "torch") {
        framework.cuda = framework.cuda.or(index_cuda);
        framework.is_cpu |= is_cpu_index;
    }
    facts
}

/// Whether a line names a folder or file of the source that is not beside the requirements.
fn is_of_source(line: &str) -> bool {
    let after = |options: &[&str]| {
        options
            .iter()
            .find_map(|option| line.strip_prefix(option))
            .map(|rest| rest.trim_start_matches(['=', ' ']))
    };
    let is_path = |text: &str| text.starts_with(['.', '/']) || text.starts_with("file:");
    if let Some(file) = after(&["--requirement", "--constraint", "-r", "-c"]) {
        return file.trim_start_matches("./").contains('/') && !file.contains("://");
    }
    after(&["--editable", "-e"]).is_some_and(is_path) || is_path(line)
}

fn is_index(line: &str) -> bool {
    ["-i ", "--index-url", "--extra-index-url", "-f ", "--find-links"]
        .iter()
        .any(|option| line.starts_with(option))
}

/// `https://download.pytorch.org/whl/cu121` says 12.1.
fn cuda_of_index(line: &str) -> Option<(u16, u16)> {
    let (_, rest) = line.rsplit_once("/cu")?;
    cuda_of_digits(rest)
}

/// `121` is 12.1, `92` is 9.2.
fn cuda_of_digits(text: &str) -> Option<(u16, u16)> {
    let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
    if !(2..=4).contains(&digits.len()) {
        return None;
    }
    let (major, minor) = digits.split_at(digits.len() - 1);
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The frameworks among some requirements, each once.
pub(super) fn frameworks<'a>(entries: impl Iterator<Item = &'a str>) -> Vec<Framework> {
    let mut found: Vec<Framework> = Vec::new();
    for framework in entries.filter_map(framework) {
        match found.iter_mut().find(|known| known.name == framework.name) {
            // A sister package says more than nothing: `torchvision==0.16+cu121`.
            Some(known) => {
                known.cuda = known.cuda.or(framework.cuda);
                known.is_cpu |= framework.is_cpu;
                known.version = known.version.take().or(framework.version);
            }
            None => found.push(framework),
        }
    }
    found.sort();
    found
}

/// The framework that one requirement asks for.
fn framework(entry: &str) -> Option<Framework> {
    let entry = entry.split(';').next().unwrap_or_default().trim();
    let package = name_of(entry)?;
    let known = FRAMEWORKS.iter().find(|(known, _)| *known == package).map(|(_, name)| name);
    let brings_torch = || BRING_TORCH.contains(&package.as_str());
    let name = known.or_else(|| brings_torch().then_some(&"torch"))?;
    let version = entry.split_once("==").map(|(_, rest)| rest.trim());
    let version = version.map(|rest| rest.split([',', ' ', '*']).next().unwrap_or_default());
    let (version, local) = match version.and_then(|version| version.split_once('+')) {
        Some((version, local)) => (Some(version), Some(local)),
        None => (version, None),
    };
    let extra = entry.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(e, _)| e);
    let by_extra = extra.and_then(|extra| match extra {
        _ if *name != "jax" => None,
        extra if extra.contains("cuda13") => Some((13, 0)),
        extra if extra.contains("cuda11") => Some((11, 8)),
        extra if extra.contains("cuda") => Some((12, 1)),
        _ => None,
    });
    let by_local = local.and_then(|local| cuda_of_digits(local.strip_prefix("cu")?));
    // The version of a sister package is not that of the framework.
    let is_itself = package.trim_end_matches("-gpu") == name.trim_end_matches("-gpu");
    Some(Framework {
        name: if *name == "jax" && by_extra.is_none() { "jax-cpu" } else { name }.to_owned(),
        version: version
            .filter(|version| is_itself && !version.is_empty() && is_short(version))
            .map(|version| version.trim_end_matches('.').to_owned()),
        cuda: by_local.or(by_extra),
        is_cpu: local == Some("cpu"),
    })
}

/// The package that a requirement names, in its plain form.
pub(super) fn name_of(entry: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let name: String = entry.trim_start().chars().take_while(|c| legal(*c)).collect();
    (!name.is_empty()).then(|| name.to_ascii_lowercase().replace(['_', '.'], "-"))
}

/// A list of requirements that can be given to pip one by one.
pub(super) fn plain_list(entries: Vec<String>) -> Option<Vec<String>> {
    let is_plain = |entry: &String| {
        entry.starts_with(|c: char| c.is_ascii_alphanumeric()) && name_of(entry).is_some()
    };
    kept(entries).filter(|entries| entries.iter().all(is_plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Framework {
        let mut found = file(text).frameworks;
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        found.remove(0)
    }

    #[test]
    fn what_cares_about_gpus_is_found() {
        for (text, name, version, cuda) in [
            ("torch", "torch", None, None),
            ("Torch>=2.0 # the newest", "torch", None, None),
            ("torch==2.3.0", "torch", Some("2.3.0"), None),
            ("torch==2.1.2+cu121", "torch", Some("2.1.2"), Some((12, 1))),
            ("torchvision==0.16.2+cu118", "torch", None, Some((11, 8))),
            (
                "--extra-index-url https://download.pytorch.org/whl/cu128\ntorch",
                "torch",
                None,
                Some((12, 8)),
            ),
            ("tensorflow[and-cuda]==2.15.*", "tensorflow", Some("2.15"), None),
            ("jax[cuda12]", "jax", None, Some((12, 1))),
            ("jax[cuda13]==0.7.0; python_version>'3'", "jax", Some("0.7.0"), Some((13, 0))),
            ("jax", "jax-cpu", None, None),
            // These ask for it without naming it; their versions are not its.
            ("accelerate==1.2.0", "torch", None, None),
            ("sentence_transformers>=3", "torch", None, None),
            ("torchmetrics", "torch", None, None),
            ("ultralytics\ntorch==2.3.0", "torch", Some("2.3.0"), None),
            ("timm\n--index-url https://h.example/whl/cu126", "torch", None, Some((12, 6))),
            ("onnxruntime_gpu==1.18.0", "onnxruntime-gpu", Some("1.18.0"), None),
        ] {
            let seen = one(text);
            let found = (seen.name.as_str(), seen.version.as_deref(), seen.cuda);
            assert_eq!(found, (name, version, cuda), "{text}");
        }
        assert!(file("torchx\n# torch\nonnxruntime\nsix\n").frameworks.is_empty());
    }

    #[test]
    fn an_index_of_its_own_is_seen() {
        assert!(file("--index-url https://h.example/simple\nsix").has_index);
        assert!(!file("-r more.txt\nsix").has_index);
        assert!(one("--extra-index-url https://h.example/whl/cpu\ntorch").is_cpu);
        assert!(one("torch==2.3.0+cpu").is_cpu);
    }

    #[test]
    fn what_needs_the_source_is_seen() {
        for line in
            ["-e .", "--editable=./x", ".", "./pkg", "-r requirements/base.txt", "-c a/b.txt"]
        {
            assert!(file(&format!("six\n{line}\n")).needs_source, "{line}");
        }
        for line in ["-r base.txt", "-r ./base.txt", "-e git+https://h.example/a", "six"] {
            assert!(!file(line).needs_source, "{line}");
        }
    }

    #[test]
    fn only_plain_requirements_are_handed_on() {
        let list = |entries: &[&str]| plain_list(entries.iter().map(ToString::to_string).collect());
        assert!(list(&["six==1.16.0", "x[a]>=1; python_version<'4'"]).is_some());
        assert_eq!(list(&["--index-url x"]), None);
        assert_eq!(list(&["six\nRUN evil"]), None);
    }
}
