//! Images of equal inputs on a real engine, of either builder: the second is the first with labels
//! of its own, at the price of labels.

use std::time::Duration;

use berth::engine::docker::Builder;
use berth::engine::{Applied, BuildExtras, Wants};
use berth::plan::{Call, Recipe, Twin};
use bollard::models::ImageInspect;
use bytes::Bytes;
use futures_util::StreamExt as _;
use tokio::time::Instant;

use super::bench::{Bench, tar_of};

/// How many apps may get the image until one did so in time: slow moments of the machine are not
/// what is measured.
const APPS: usize = 10;
const IN_TIME: Duration = Duration::from_secs(3);

async fn look(bench: &Bench, image: &str) -> ImageInspect {
    let client = bollard::Docker::connect_with_host(&bench.host().unwrap()).unwrap();
    client.inspect_image(image).await.unwrap()
}

/// Fault B02.
#[tokio::test]
async fn an_image_of_equal_inputs_costs_labels_and_nothing_else() {
    for builder in [Builder::Classic, Builder::Buildkit] {
        let bench = Bench::docker_with(|settings| settings.builder = builder).await;
        let lines =
            format!("ENV A=1\nWORKDIR /w\nRUN : {} && date >when\nCMD [\"cat\"]", bench.instance);
        let first = bench.recipe("first", &lines);
        let id = bench.build(&first).await.0.unwrap();
        let mut fastest = Duration::MAX;
        for nth in 0..APPS {
            let twin = Twin { id: id.clone(), app: first.app.clone() };
            let app = bench.app(&format!("second-{nth}"));
            let args = [("UNUSED".to_owned(), "1".to_owned())].into();
            let target = Some("stage".to_owned());
            let second = Recipe { app, args, target, twin: Some(twin), ..first.clone() };
            let tar = Bytes::from(tar_of(&format!("FROM {id}\n")));
            let context = futures_util::stream::iter([Ok(tar)]).boxed();
            let wants = Wants { buildkit: None, classic: false };
            let extras = BuildExtras { wants, ..BuildExtras::default() };
            let start = Instant::now();
            let (made, log) = bench.build_with(&second, context, extras).await;
            fastest = fastest.min(start.elapsed());
            let made = made.unwrap_or_else(|error| panic!("{builder:?}: {error}: {log:?}"));
            assert!(!log.iter().any(|line| line.contains("RUN")), "{log:?}");
            let (one, two) = (look(&bench, &id).await, look(&bench, &made).await);
            assert_ne!(one.id, two.id);
            assert_eq!(one.root_fs, two.root_fs, "{builder:?}: the layers are the same");
            let (one, two) = (one.config.unwrap(), two.config.unwrap());
            assert_eq!(
                (one.env, one.cmd, one.working_dir, one.entrypoint),
                (two.env, two.cmd, two.working_dir, two.entrypoint)
            );
            let (one, two) = (one.labels.unwrap(), two.labels.unwrap());
            let differs = |key: &&String| one[*key] != two[*key];
            let changed: Vec<_> = two.keys().filter(differs).map(String::as_str).collect();
            let mut wanted = ["dev.berth.image.app", "dev.berth.image.build"].to_vec();
            // The stage and the argument are inputs as well; here they show that neither is sent.
            wanted.push("dev.berth.image.inputs");
            let mut changed = changed;
            changed.sort_unstable();
            assert_eq!(changed, wanted, "{builder:?}");
            if fastest < IN_TIME {
                break;
            }
        }
        println!("{builder:?}: {fastest:?}");
        assert!(fastest < IN_TIME, "{builder:?}: {fastest:?}");
    }
}

/// What the first app's image leaves behind when it goes is what the second one stands on.
#[tokio::test]
async fn the_second_image_outlives_the_first() {
    for builder in [Builder::Classic, Builder::Buildkit] {
        let bench = Bench::docker_with(|settings| settings.builder = builder).await;
        let first = bench.recipe("first", &format!("RUN : {} && date >when", bench.instance));
        let id = bench.build(&first).await.0.unwrap();
        let twin = Some(Twin { id: id.clone(), app: first.app.clone() });
        let second = Recipe { app: bench.app("second"), twin, ..first.clone() };
        let tar = Bytes::from(tar_of(&format!("FROM {id}\n")));
        let context = futures_util::stream::iter([Ok(tar)]).boxed();
        let made = bench.build_from(&second, context).await.0.unwrap();
        let remove = async |id: &str, recipe: &Recipe| {
            let call = Call::RemoveImage { id: id.to_owned(), tag: recipe.tag() };
            bench.apply(&call, None).await.unwrap()
        };
        assert_eq!(remove(&id, &first).await, Applied::Changed);
        let world = bench.engine.observe().await.unwrap();
        assert_eq!(world.image_id(&first.tag()), None);
        assert_eq!(world.image_id(&second.tag()), Some(made.as_str()));
        let own: Vec<_> = world.own_images.iter().map(|image| image.app.as_str()).collect();
        assert_eq!(own, ["second"], "{builder:?}");
        assert_eq!(world.leftovers, Vec::new(), "{builder:?}");
        let mut spec = bench.spec("second");
        spec.shape.image = second.tag();
        let container = bench.run(&spec).await.unwrap();
        bench.remove(&container).await.unwrap();
        assert_eq!(remove(&made, &second).await, Applied::Changed);
        // Nothing of either is left, not even without a name.
        assert!(!is_there(&bench, &id).await && !is_there(&bench, &made).await, "{builder:?}");
    }
}

async fn is_there(bench: &Bench, image: &str) -> bool {
    let client = bollard::Docker::connect_with_host(&bench.host().unwrap()).unwrap();
    client.inspect_image(image).await.is_ok()
}
