//! Which CUDA a build gets: the table of drivers, images and frameworks.
//!
//! A driver runs what was made for its own CUDA version or an older one, and, within one major
//! version, most of what was made for a newer one. The images check the driver themselves when
//! they start, so an image is never newer than the driver's CUDA version.

use crate::state::Framework;

/// A version of CUDA.
type Cuda = (u16, u16);

/// The lowest driver for each version of CUDA, newest first.
const DRIVERS: &[((u16, u16), Cuda)] = &[
    ((580, 65), (13, 0)),
    ((575, 51), (12, 9)),
    ((570, 26), (12, 8)),
    ((560, 28), (12, 6)),
    ((555, 42), (12, 5)),
    ((550, 54), (12, 4)),
    ((545, 23), (12, 3)),
    ((535, 54), (12, 2)),
    ((530, 30), (12, 1)),
    ((525, 60), (12, 0)),
    ((520, 61), (11, 8)),
    ((515, 43), (11, 7)),
    ((510, 39), (11, 6)),
    ((470, 42), (11, 4)),
    ((460, 27), (11, 2)),
    ((450, 36), (11, 0)),
];

/// An image of `nvidia/cuda`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CudaImage {
    cuda: Cuda,
    /// The major version of its cuDNN.
    cudnn: u16,
    tag: &'static str,
    /// The second number of its system's Python 3.
    pub(super) python: u16,
}

const fn image(cuda: Cuda, cudnn: u16, python: u16, tag: &'static str) -> CudaImage {
    CudaImage { cuda, cudnn, tag, python }
}

/// The images, newest first; of each CUDA version the usual system first.
const IMAGES: &[CudaImage] = &[
    image((13, 0), 9, 12, "13.0.2-cudnn-runtime-ubuntu24.04"),
    image((12, 9), 9, 10, "12.9.1-cudnn-runtime-ubuntu22.04"),
    image((12, 9), 9, 12, "12.9.1-cudnn-runtime-ubuntu24.04"),
    image((12, 8), 9, 10, "12.8.1-cudnn-runtime-ubuntu22.04"),
    image((12, 8), 9, 12, "12.8.1-cudnn-runtime-ubuntu24.04"),
    image((12, 6), 9, 10, "12.6.3-cudnn-runtime-ubuntu22.04"),
    image((12, 6), 9, 12, "12.6.3-cudnn-runtime-ubuntu24.04"),
    image((12, 5), 9, 10, "12.5.1-cudnn-runtime-ubuntu22.04"),
    image((12, 4), 9, 10, "12.4.1-cudnn-runtime-ubuntu22.04"),
    image((12, 3), 9, 10, "12.3.2-cudnn9-runtime-ubuntu22.04"),
    image((12, 2), 8, 10, "12.2.2-cudnn8-runtime-ubuntu22.04"),
    image((12, 1), 8, 10, "12.1.1-cudnn8-runtime-ubuntu22.04"),
    image((12, 0), 8, 10, "12.0.1-cudnn8-runtime-ubuntu22.04"),
    image((11, 8), 8, 10, "11.8.0-cudnn8-runtime-ubuntu22.04"),
    image((11, 7), 8, 10, "11.7.1-cudnn8-runtime-ubuntu22.04"),
    image((11, 4), 8, 8, "11.4.3-cudnn8-runtime-ubuntu20.04"),
    image((11, 2), 8, 8, "11.2.2-cudnn8-runtime-ubuntu20.04"),
];

/// What is taken when neither the driver nor the project says anything.
const UNKNOWN: Cuda = (12, 1);

/// What the packages of a framework are made for, from this version on, newest first.
struct Row {
    name: &'static str,
    from: (u16, u16),
    cuda: Cuda,
    cudnn: Option<u16>,
}

const fn row(name: &'static str, from: (u16, u16), cuda: Cuda, cudnn: Option<u16>) -> Row {
    Row { name, from, cuda, cudnn }
}

/// The frameworks that bring their own CUDA: the base has to have none.
const COMPLETE: [&str; 2] = ["torch", "jax"];

/// The frameworks. `PyTorch` brings its own cuDNN. `make cuda-table` compares the rows with what
/// the newest packages say.
const FRAMEWORKS: &[Row] = &[
    row("torch", (2, 15), (13, 2), None),
    row("torch", (2, 11), (13, 0), None),
    row("torch", (2, 8), (12, 8), None),
    row("torch", (2, 7), (12, 6), None),
    row("torch", (2, 5), (12, 4), None),
    row("torch", (2, 1), (12, 1), None),
    row("torch", (1, 13), (11, 7), None),
    row("tensorflow", (2, 18), (12, 5), Some(9)),
    row("tensorflow", (2, 16), (12, 3), Some(8)),
    row("tensorflow", (2, 15), (12, 2), Some(8)),
    row("tensorflow", (2, 12), (11, 8), Some(8)),
    row("tensorflow", (2, 5), (11, 2), Some(8)),
    row("onnxruntime-gpu", (1, 27), (13, 0), Some(9)),
    row("onnxruntime-gpu", (1, 19), (12, 6), Some(9)),
    row("onnxruntime-gpu", (1, 15), (11, 8), Some(8)),
    row("jax", (0, 4), (12, 1), Some(9)),
];

/// The highest version of CUDA that a driver has. None of a text that is not a version.
pub fn of_driver(driver: &str) -> Option<(u16, u16)> {
    let version = two_numbers(driver.trim())?;
    let known = DRIVERS.iter().find(|(lowest, _)| *lowest <= version);
    known.map(|(_, cuda)| *cuda)
}

/// Whether a framework runs on a base without CUDA.
pub(super) fn is_complete(framework: &Framework) -> bool {
    COMPLETE.contains(&framework.name.as_str())
}

/// The newest row of a framework that a driver can run, and the one after it, which it can't.
fn newest_for(name: &str, highest: Option<Cuda>) -> (Option<&'static Row>, Option<&'static Row>) {
    let can = |row: &&Row| highest.is_none_or(|highest| row.cuda.0 <= highest.0);
    let rows = || FRAMEWORKS.iter().filter(|row| row.name == name);
    (rows().find(can), rows().take_while(|row| !can(row)).last())
}

/// What pip has to be told so that a framework without a version is one that the driver can run:
/// `torch<2.11`. The newest may ask for a newer major version of CUDA.
pub(super) fn bounds(driver: &str, frameworks: &[Framework]) -> Vec<String> {
    let Some(highest) = of_driver(driver) else { return Vec::new() };
    let bound = |framework: &Framework| {
        let is_open = framework.version.is_none() && framework.cuda.is_none() && !framework.is_cpu;
        let (_, next) = newest_for(&framework.name, Some(highest));
        let (major, minor) = next.filter(|_| is_open)?.from;
        Some(format!("{}<{major}.{minor}", framework.name))
    };
    frameworks.iter().filter_map(bound).collect()
}

/// Which CUDA and cuDNN a framework asks for, when that is known.
fn of_framework(framework: &Framework, highest: Option<Cuda>) -> (Option<Cuda>, Option<u16>) {
    let version = framework.version.as_deref().and_then(two_numbers);
    let mut rows = FRAMEWORKS.iter().filter(|row| row.name == framework.name);
    let row = match version {
        Some(version) => rows.find(|row| row.from <= version),
        // Without a version the newest that the driver can run is installed.
        None => newest_for(&framework.name, highest).0,
    };
    let cudnn = row.and_then(|row| row.cudnn);
    // What brings its own CUDA runs on whatever the driver has.
    let counts = version.is_some() || !is_complete(framework);
    (framework.cuda.or_else(|| row.filter(|_| counts).map(|row| row.cuda)), cudnn)
}

fn two_numbers(text: &str) -> Option<(u16, u16)> {
    let mut numbers = text.split('.');
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().map_or(Some(0), |minor| minor.parse().ok())?;
    Some((major, minor))
}

/// Why there is no image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NoImage {
    /// The project asks for a newer major version than the driver has; what to say about it.
    DriverTooOld(String),
    /// No image has a Python that the project can use; what the images have.
    Python(String),
}

/// The image for a driver and what a project asks for, with the reason. `allows` tells which
/// Pythons are good for the project; `usual` is the one that is best.
pub(super) fn choose(
    driver: &str,
    frameworks: &[Framework],
    allows: &dyn Fn(u16) -> bool,
    usual: u16,
) -> Result<(String, CudaImage, String), NoImage> {
    let highest = of_driver(driver);
    if highest.is_none() && two_numbers(driver.trim()).is_some() {
        let why = format!("the GPUs' driver {driver} is older than every CUDA image: update it");
        return Err(NoImage::DriverTooOld(why));
    }
    let asked = frameworks.iter().map(|framework| (framework, of_framework(framework, highest)));
    let asked: Vec<_> = asked.collect();
    let newest = asked.iter().filter_map(|(framework, (cuda, _))| Some(((*cuda)?, *framework)));
    let newest = newest.max_by_key(|(cuda, _)| *cuda);
    if let (Some((cuda, framework)), Some(highest)) = (newest, highest)
        && highest.0 < cuda.0
    {
        return Err(NoImage::DriverTooOld(format!(
            "{} asks for CUDA {}, the GPUs' driver {driver} goes up to {}: \
             update the driver, or ask for an older version",
            framework.name,
            show(cuda),
            show(highest)
        )));
    }
    let wanted = newest.map(|(cuda, _)| cuda);
    let limit = match (wanted, highest) {
        (Some(wanted), Some(highest)) => wanted.min(highest),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => UNKNOWN,
    };
    let major = wanted.unwrap_or(limit).0;
    let fit = IMAGES.iter().filter(|image| image.cuda <= limit && image.cuda.0 == major);
    let fit: Vec<_> = fit.collect();
    let mut usable: Vec<_> = fit.iter().filter(|image| allows(image.python)).collect();
    usable.sort_by_key(|image| (std::cmp::Reverse(image.cuda), image.python != usual));
    let cudnn = asked.iter().filter_map(|(_, (_, cudnn))| *cudnn).max();
    let has_cudnn = |image: &&&&CudaImage| cudnn.is_none_or(|cudnn| image.cudnn == cudnn);
    let Some(image) = usable.iter().find(has_cudnn).or(usable.first()) else {
        let have: std::collections::BTreeSet<_> = fit.iter().map(|image| image.python).collect();
        let have: Vec<_> = have.iter().map(|minor| format!("3.{minor}")).collect();
        return Err(NoImage::Python(have.join(" and ")));
    };
    let by = match (newest, highest) {
        (Some((cuda, framework)), _) => format!("{} asks for CUDA {}", framework.name, show(cuda)),
        (None, Some(highest)) => format!("the driver {driver} goes up to CUDA {}", show(highest)),
        (None, None) => "neither the driver nor the project names a CUDA version".to_owned(),
    };
    let lacks = cudnn.filter(|cudnn| image.cudnn != *cudnn).map_or_else(String::new, |cudnn| {
        format!("; cuDNN {cudnn} is asked for, which has no image for this driver")
    });
    Ok((format!("nvidia/cuda:{}", image.tag), ***image, format!("{by}{lacks}")))
}

fn show((major, minor): Cuda) -> String {
    format!("{major}.{minor}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framework(text: &str) -> Framework {
        // `name version cuda`, `-` for what is not said.
        let mut words = text.split(' ');
        let name = words.next().unwrap_or_default().to_owned();
        let said = |word: Option<&str>| word.filter(|word| *word != "-").map(ToOwned::to_owned);
        let version = said(words.next());
        let cuda = said(words.next()).and_then(|cuda| two_numbers(&cuda));
        Framework { name, version, cuda, is_cpu: false }
    }

    fn chosen(driver: &str, asked: &[&str]) -> Result<String, NoImage> {
        let asked: Vec<_> = asked.iter().map(|text| framework(text)).collect();
        choose(driver, &asked, &|_| true, 10)
            .map(|(name, ..)| name.trim_start_matches("nvidia/cuda:").to_owned())
    }

    #[test]
    fn a_driver_has_a_highest_cuda() {
        for (driver, expected) in [
            ("580.95.05", Some((13, 0))),
            ("570.124.06", Some((12, 8))),
            ("535.129.03", Some((12, 2))),
            ("530.30.02", Some((12, 1))),
            ("525.60.13", Some((12, 0))),
            ("470.256", Some((11, 4))),
            ("999.1", Some((13, 0))),
            ("390.157", None),
            ("unknown", None),
        ] {
            assert_eq!(of_driver(driver), expected, "{driver}");
        }
    }

    #[test]
    fn the_image_follows_the_project_and_never_passes_the_driver() {
        for (driver, asked, expected) in [
            ("535.129.03", &[][..], "12.2.2-cudnn8-runtime-ubuntu22.04"),
            ("unknown", &[], "12.1.1-cudnn8-runtime-ubuntu22.04"),
            ("550.54", &["torch -"], "12.4.1-cudnn-runtime-ubuntu22.04"),
            ("550.54", &["torch 2.1.2 12.1"], "12.1.1-cudnn8-runtime-ubuntu22.04"),
            ("550.54", &["torch 2.0.1 11.8"], "11.8.0-cudnn8-runtime-ubuntu22.04"),
            // Newer than the driver within one major version: the wheel runs, the image does not.
            ("535.129", &["torch 2.8.0"], "12.2.2-cudnn8-runtime-ubuntu22.04"),
            ("580.65", &["tensorflow 2.15.0"], "12.2.2-cudnn8-runtime-ubuntu22.04"),
            ("580.65", &["tensorflow 2.18.0"], "12.5.1-cudnn-runtime-ubuntu22.04"),
            ("580.65", &["onnxruntime-gpu 1.17.0"], "11.8.0-cudnn8-runtime-ubuntu22.04"),
            ("580.65", &["onnxruntime-gpu 1.26.0"], "12.6.3-cudnn-runtime-ubuntu22.04"),
            ("580.65", &["onnxruntime-gpu 1.27.0"], "13.0.2-cudnn-runtime-ubuntu24.04"),
            ("580.65", &["torch 2.10.0"], "12.8.1-cudnn-runtime-ubuntu22.04"),
            ("580.65", &["torch 2.11.0"], "13.0.2-cudnn-runtime-ubuntu24.04"),
            // Newer than every image: the wheel brings its own.
            ("580.65", &["torch 2.15.0"], "13.0.2-cudnn-runtime-ubuntu24.04"),
            ("580.65", &["jax - 13.0"], "13.0.2-cudnn-runtime-ubuntu24.04"),
            // The newest that the driver can run would be installed.
            ("580.65", &["torch -"], "13.0.2-cudnn-runtime-ubuntu24.04"),
            ("580.65", &["tensorflow -"], "12.5.1-cudnn-runtime-ubuntu22.04"),
            ("580.65", &["onnxruntime-gpu -"], "13.0.2-cudnn-runtime-ubuntu24.04"),
            ("560.28", &["onnxruntime-gpu -"], "12.6.3-cudnn-runtime-ubuntu22.04"),
            ("unknown", &["torch 2.3 12.8"], "12.8.1-cudnn-runtime-ubuntu22.04"),
            ("580.65", &["torch 2.1", "tensorflow 2.18"], "12.5.1-cudnn-runtime-ubuntu22.04"),
        ] {
            assert_eq!(chosen(driver, asked).as_deref(), Ok(expected), "{driver} {asked:?}");
        }
    }

    #[test]
    fn a_driver_that_is_too_old_is_said() {
        let Err(NoImage::DriverTooOld(why)) = chosen("535.129", &["jax - 13.0"]) else {
            unreachable!("CUDA 13 on an old driver")
        };
        assert!(why.starts_with("jax asks for CUDA 13.0, the GPUs' driver 535.129"), "{why}");
        for (driver, asked) in [
            ("470.42", &["torch 2.1"][..]),
            ("390.157", &[]),
            ("535.54", &["torch 2.11.0"]),
            ("575.51", &["torch 2.12.1"]),
            ("575.51", &["onnxruntime-gpu 1.28"]),
        ] {
            let said = chosen(driver, asked);
            assert!(matches!(said, Err(NoImage::DriverTooOld(_))), "{driver}: {said:?}");
        }
    }

    #[test]
    fn the_systems_python_counts() {
        let with = |minor: u16| choose("570.26", &[], &|python| python == minor, 10);
        assert!(
            with(12).is_ok_and(|(name, ..)| name.ends_with("12.8.1-cudnn-runtime-ubuntu24.04"))
        );
        assert!(with(10).is_ok_and(|(name, ..)| name.ends_with("ubuntu22.04")));
        assert_eq!(with(11), Err(NoImage::Python("3.10 and 3.12".to_owned())));
    }

    /// The operator's usual Python is taken where an image has it, of the same CUDA version.
    #[test]
    fn the_usual_python_comes_first() {
        for (driver, usual, expected) in [
            ("570.26", 12, "12.8.1-cudnn-runtime-ubuntu24.04"),
            ("570.26", 11, "12.8.1-cudnn-runtime-ubuntu22.04"),
            ("550.54", 12, "12.4.1-cudnn-runtime-ubuntu22.04"),
        ] {
            let (name, ..) =
                choose(driver, &[], &|_| true, usual).unwrap_or_else(|_| unreachable!());
            assert_eq!(name, format!("nvidia/cuda:{expected}"), "{driver} {usual}");
        }
    }

    #[test]
    fn what_has_no_version_is_bounded_by_the_driver() {
        for (driver, asked, expected) in [
            ("535.129", &["torch -"][..], &["torch<2.11"][..]),
            ("580.65", &["torch -", "onnxruntime-gpu -"], &[]),
            ("575.51", &["onnxruntime-gpu -", "tensorflow -"], &["onnxruntime-gpu<1.27"]),
            ("470.42", &["torch -"], &["torch<2.1"]),
            ("535.129", &["torch 2.12.1"], &[]),
            ("535.129", &["torch - 12.6"], &[]),
            ("unknown", &["torch -"], &[]),
        ] {
            let asked: Vec<_> = asked.iter().map(|text| framework(text)).collect();
            assert_eq!(bounds(driver, &asked), expected, "{driver} {asked:?}");
        }
    }

    #[test]
    fn a_missing_cudnn_is_said() {
        let asked = [framework("onnxruntime-gpu 1.20")];
        let why =
            choose("535.54", &asked, &|_| true, 10).map(|(_, _, why)| why).unwrap_or_default();
        assert!(why.ends_with("cuDNN 9 is asked for, which has no image for this driver"), "{why}");
    }

    #[test]
    fn the_tables_are_sorted_newest_first() {
        assert!(DRIVERS.is_sorted_by(|a, b| b.0 < a.0 && b.1 < a.1));
        assert!(IMAGES.is_sorted_by(|a, b| b.cuda <= a.cuda));
        assert!(
            FRAMEWORKS
                .is_sorted_by(|a, b| a.name != b.name || (b.from < a.from && b.cuda <= a.cuda))
        );
    }
}
