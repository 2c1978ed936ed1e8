//! From a repository to a Dockerfile: which files decide, and what is written.

use std::sync::Arc;

use berth::{
    model::{App, Reason},
    plan::{Dockerfile, Plan, Recipe, Step, Work, is_telling, read_facts},
    state::{Checkout, DetectedFile, Policy},
};

use crate::sim::{Sim, app};

mod bases;
mod refused;
mod rules;
mod shapes;

const URL: &str = "https://git.example.com/acme/chat.git";

/// A repository: paths and texts.
type Files<'a> = &'a [(&'a str, &'a str)];

/// An app of that repository, with these lines in its spec.
fn app_with(rest: &str) -> Arc<App> {
    let mut text = format!(
        "apiVersion: berth/v1\nkind: App\nmetadata: {{name: chat}}\nspec:\n  source: {{git: '{URL}'}}\n"
    );
    for line in rest.lines() {
        text.push_str(&format!("  {line}\n"));
    }
    app(&text)
}

/// What the git worker would tell of the repository.
fn checkout(files: Files<'_>, looked_for: &[String]) -> Checkout {
    let text: Vec<_> = files.iter().map(|(path, text)| format!("{path}\0{text}\0")).collect();
    let is_read = |path: &str| is_telling(path) || looked_for.iter().any(|named| named == path);
    let facts = files.iter().filter(|(path, _)| is_read(path));
    Checkout {
        url: URL.to_owned(),
        reference: None,
        resolved: None,
        path: String::new(),
        submodules: false,
        commit: "c0ffee00".repeat(5),
        tree: berth::model::Digest::of_bytes(text.concat().as_bytes()).short(40).to_owned(),
        files: files.iter().map(|(path, _)| DetectedFile { path: (*path).to_owned() }).collect(),
        facts: facts.map(|(path, text)| ((*path).to_owned(), read_facts(path, text))).collect(),
        ahead: std::collections::BTreeMap::new(),
        looked_for: Some(looked_for.to_vec()),
    }
}

/// A sim whose engine has every base that is asked for, and whose checkout is in place.
fn sim(app: &Arc<App>, files: Files<'_>, policy: Policy) -> Sim {
    let build = &app.spec.build;
    let looked_for = [&build.dockerfile, &build.requirements];
    let looked_for: Vec<_> = looked_for.into_iter().flatten().cloned().collect();
    let mut sim = Sim::new(app);
    sim.policy = policy;
    sim.state.checkout = Some(checkout(files, &looked_for));
    sim.state.checked_at = Some(sim.now);
    sim
}

/// Plans until a build is wanted; what is pulled on the way is there.
fn planned(sim: &mut Sim) -> Plan {
    for _ in 0..3 {
        let plan = sim.plan();
        let pulled = plan.steps.iter().find_map(|planned| match &planned.step {
            Step::Work(Work::Pull { reference }) => Some(reference.to_string()),
            _ => None,
        });
        match pulled {
            Some(reference) => sim.add_image(&reference),
            None => return plan,
        }
    }
    panic!("it pulls and pulls")
}

fn build_of(plan: &Plan) -> Option<&Recipe> {
    plan.steps.iter().find_map(|planned| match &planned.step {
        Step::Work(Work::Build(recipe)) => Some(recipe.as_ref()),
        _ => None,
    })
}

fn recipe(rest: &str, files: Files<'_>, policy: Policy) -> Recipe {
    recipe_of(sim(&app_with(rest), files, policy))
}

/// The same on an engine that builds with `BuildKit`.
fn with_buildkit(rest: &str, files: Files<'_>, policy: Policy) -> Recipe {
    let mut sim = sim(&app_with(rest), files, policy);
    sim.world.has_buildkit = true;
    recipe_of(sim)
}

fn recipe_of(mut sim: Sim) -> Recipe {
    let plan = planned(&mut sim);
    build_of(&plan).unwrap_or_else(|| panic!("{}", berth::plan::render(&plan))).clone()
}

/// Why nothing is built.
fn refusal(rest: &str, files: Files<'_>, policy: Policy) -> (Reason, String) {
    let mut sim = sim(&app_with(rest), files, policy);
    let plan = planned(&mut sim);
    let Some(refusal) = plan.refusals.first() else { panic!("{}", berth::plan::render(&plan)) };
    (refusal.reason, refusal.message.clone())
}

fn text_of(recipe: &Recipe) -> &str {
    match &recipe.dockerfile {
        Dockerfile::Generated(text) => text,
        Dockerfile::InSource(path) => path,
    }
}
