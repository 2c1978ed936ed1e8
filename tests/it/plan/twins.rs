//! Equal inputs of another app: its image is taken, and the plan says so.

use std::{collections::BTreeMap, sync::Arc};

use berth::{
    model::{App, BuildSecret},
    plan::{Recipe, Step, Work, render},
    state::{Checkout, DetectedFile, OwnImage},
};

use crate::sim::{Sim, app};

const BASE: &str = "python:3.12-slim";
const URL: &str = "https://git.example.com/acme/chat.git";

fn git_app(name: &str) -> Arc<App> {
    app(&format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: {name}}}\nspec:\n  \
         run: python app.py\n  source: {{git: '{URL}'}}\n"
    ))
}

/// A sim in which the source is there and the image is not.
fn fetched(app: &Arc<App>) -> Sim {
    let mut sim = Sim::new(app).has_image(BASE);
    sim.state.checkout = Some(Checkout {
        url: URL.to_owned(),
        reference: None,
        path: String::new(),
        resolved: None,
        submodules: false,
        commit: "c0ffee00".repeat(5),
        tree: "0badcafe".repeat(5),
        files: vec![DetectedFile { path: "requirements.txt".to_owned() }],
        facts: BTreeMap::new(),
        ahead: BTreeMap::new(),
        looked_for: None,
    });
    sim.state.checked_at = Some(sim.now);
    sim
}

fn recipe(sim: &mut Sim) -> Recipe {
    let plan = sim.plan();
    let built = plan.steps.iter().find_map(|planned| match &planned.step {
        Step::Work(Work::Build(recipe)) => Some((**recipe).clone()),
        _ => None,
    });
    built.unwrap_or_else(|| panic!("{}", render(&plan)))
}

/// The images that an app's build has left.
fn images_of(name: &str) -> Vec<OwnImage> {
    let mut sim = fetched(&git_app(name));
    sim.settle();
    assert_eq!(sim.world.own_images.len(), 1);
    sim.world.own_images
}

fn with_images(name: &str, images: Vec<OwnImage>) -> Sim {
    let mut sim = fetched(&git_app(name));
    for image in &images {
        sim.world.images.insert(image.tags[0].clone(), image.id.clone());
    }
    sim.world.own_images = images;
    sim
}

#[test]
fn an_image_of_the_same_inputs_is_taken_and_the_plan_says_whose() {
    let mut sim = with_images("second", images_of("first"));
    let plan = render(&sim.plan());
    let recipe = recipe(&mut sim);
    let tag = recipe.tag();
    assert!(plan.contains(&format!("1. build {tag} from the image of app/first    # ")), "{plan}");
    assert!(
        plan.contains("; app/first has an image of the same inputs, which is taken: no step runs"),
        "{plan}"
    );
    assert_eq!(recipe.twin.unwrap().id, sim.world.own_images[0].id);
    // It comes to rest on an image of its own.
    sim.settle();
    assert_eq!(sim.running().len(), 1);
    assert!(sim.plan().is_empty());
}

#[test]
fn whose_image_it_is_is_no_part_of_what_it_is() {
    let alone = recipe(&mut fetched(&git_app("second")));
    let beside = recipe(&mut with_images("second", images_of("first")));
    assert_eq!((&alone.twin, alone.digest()), (&None, beside.digest()));
    let first = recipe(&mut fetched(&git_app("first")));
    assert_eq!(first.inputs(), alone.inputs());
    assert_ne!(first.digest(), alone.digest());
    // All else is: what differs in any of it is another image.
    let changes: [fn(&mut Recipe); 6] = [
        |recipe| recipe.tree.push('0'),
        |recipe| recipe.instance.push('0'),
        |recipe| recipe.target = Some("x".to_owned()),
        |recipe| drop(recipe.args.insert("A".to_owned(), "1".to_owned())),
        |recipe| recipe.base = None,
        |recipe| recipe.from = None,
    ];
    for (nth, change) in changes.into_iter().enumerate() {
        let mut other = first.clone();
        change(&mut other);
        assert_ne!(other.inputs(), first.inputs(), "{nth}");
    }
    assert_eq!(Recipe { rebuilds: 7, ..first.clone() }.inputs(), first.inputs());
}

#[test]
fn nothing_is_taken_for_a_build_from_scratch_nor_for_one_that_sees_secrets() {
    let mut sim = with_images("second", images_of("first"));
    sim.state.rebuilds = 1;
    assert_eq!(recipe(&mut sim).twin, None);
    // Once that was done, what is missing again may come from others.
    sim.state.rebuilt = 1;
    assert!(recipe(&mut sim).twin.is_some());
    let secret = BuildSecret { id: "token".to_owned(), secret: "s".to_owned(), key: None };
    assert!(!Recipe { secrets: vec![secret], ..recipe(&mut sim) }.may_be_shared());
    // An image of the app itself is no twin, nor one of an older Berth, which says nothing.
    assert_eq!(recipe(&mut with_images("first", Vec::new())).twin, None);
    let mut older = images_of("first");
    older[0].inputs = None;
    assert_eq!(recipe(&mut with_images("second", older)).twin, None);
}

#[test]
fn the_newest_of_several_is_taken() {
    let (mut images, mut sim) = (images_of("first"), with_images("third", images_of("second")));
    images[0].created = images[0].created + std::time::Duration::from_secs(60);
    let newest = images[0].id.clone();
    sim.world.own_images.append(&mut images);
    assert_eq!(recipe(&mut sim).twin.unwrap().id, newest);
}
