//! Hands for tests: what people, programs and the kernel do to an engine behind Berth's back.
//!
//! What names an app acts on that app's newest live container, and answers whether there was one.

use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::broadcast;

use super::super::{Error, Hint};
use super::Fake;
use super::state::{Image, Script, State, Told};
use super::thing::{Behaviour, Thing};
use crate::model::{AppName, GpuGrant, ImageRef, PortBinding, Timestamp, label};
use crate::state::{ContainerId, ContainerState, HostPort, World, owner_of};

impl Fake {
    /// An image that is there already. Answers its id.
    pub fn add_image(&self, reference: &str, behaviour: Behaviour) -> String {
        self.with(|state, now| {
            let id = format!("sha256:{}", state.next_id("image"));
            let image =
                Image { tags: BTreeSet::new(), labels: BTreeMap::new(), created: now, behaviour };
            state.put_image(&id, reference, image);
            id
        })
    }

    /// An image that can be pulled.
    pub fn add_remote(&self, reference: &ImageRef, script: Script, behaviour: Behaviour) {
        let key = reference.as_str().to_owned();
        self.with(|state, _| state.remote.insert(key, (script, behaviour)));
    }

    /// Whatever is asked for can be pulled from now on: for who only wants to see Berth at work.
    #[must_use]
    pub fn with_everything(self) -> Self {
        self.with(|state, _| state.has_everything = true);
        self
    }

    /// How the app's next build goes; more than one are taken in order.
    pub fn script_build(&self, app: &AppName, script: Script) {
        self.with(|state, _| state.builds.entry(app.clone()).or_default().push_back(script));
    }

    /// What the app's images do that are built from now on.
    pub fn built_behaves(&self, app: &AppName, behaviour: Behaviour) {
        self.with(|state, _| state.built.insert(app.clone(), behaviour));
    }

    /// Changes what the app's containers do from now on, without a restart.
    pub fn behaves(&self, app: &AppName, behaviour: &Behaviour) {
        let instance = self.instance.clone();
        self.with(|state, _| {
            for thing in state.things.values_mut() {
                if owner_of(&instance, &thing.name, &thing.labels).app() == Some(app) {
                    thing.behaviour = behaviour.clone();
                }
            }
        });
    }

    /// Takes an image away, as `docker rmi -f` does.
    pub fn drop_image(&self, reference: &str) {
        self.with(|state, _| {
            let id = state.image_id(reference).cloned();
            id.and_then(|id| state.images.remove(&id))
        });
    }

    /// Somebody else's running container.
    pub fn add_foreign(&self, name: &str, ports: Vec<PortBinding>) -> ContainerId {
        self.with(|state, now| {
            let id = ContainerId::new(state.next_id("container"));
            let image = ("foreign:1".to_owned(), "sha256:foreign".to_owned());
            let mut thing = Thing { ports, ..Thing::new(name.to_owned(), image, now) };
            thing.run("172.17.0.2".to_owned(), now);
            state.things.insert(id.clone(), thing);
            state.tell(&self.instance, &id, "start", now);
            id
        })
    }

    /// A running container of another Berth, with these GPUs.
    pub fn add_foreign_with_gpus(&self, name: &str, gpus: &GpuGrant) {
        let id = self.add_foreign(name, Vec::new());
        self.with(|state, _| {
            let Some(thing) = state.things.get_mut(&id) else { return };
            thing.labels.insert(label::INSTANCE.to_owned(), "another".to_owned());
            thing.labels.insert(label::GPUS.to_owned(), gpus.to_string());
        });
    }

    /// Where a container was started on a GPU that another one had at that moment, one of them alone.
    pub fn gpu_clashes(&self) -> Vec<String> {
        self.with(|state, _| state.clashes.clone())
    }

    /// A program of the host takes a port.
    pub fn take_port(&self, port: HostPort) {
        self.with(|state, _| state.taken_ports.insert(port));
    }

    /// A program of the host gives a port back.
    pub fn free_port(&self, port: HostPort) {
        self.with(|state, _| state.taken_ports.remove(&port));
    }

    /// `docker kill`: it stays down.
    pub fn kill(&self, app: &AppName) -> bool {
        self.act(app, |state, instance, id, now| state.end(instance, id, 137, now))
    }

    /// `docker stop`: it stays down.
    pub fn stop_by_hand(&self, app: &AppName) -> bool {
        self.act(app, |state, instance, id, now| {
            state.end(instance, id, 143, now);
            state.tell(instance, id, "stop", now);
        })
    }

    /// Its main process ends by itself; the restart policy applies.
    pub fn crash(&self, app: &AppName, code: i64) -> bool {
        self.act(app, |state, instance, id, now| {
            if let Some(thing) = state.things.get_mut(id) {
                thing.crash(code, now);
            }
            state.tell(instance, id, "die", now);
        })
    }

    /// The kernel kills it for want of memory; the restart policy applies.
    pub fn run_out_of_memory(&self, app: &AppName) -> bool {
        self.act(app, |state, instance, id, now| {
            state.tell(instance, id, "oom", now);
            if let Some(thing) = state.things.get_mut(id) {
                thing.crash(137, now);
                thing.is_oom_killed = true;
            }
            state.tell(instance, id, "die", now);
        })
    }

    /// `docker rm -f`.
    pub fn remove_by_hand(&self, app: &AppName) -> bool {
        self.act(app, State::destroy)
    }

    /// `docker pause`.
    pub fn pause_by_hand(&self, app: &AppName) -> bool {
        self.set_paused(app, ContainerState::Paused, "pause")
    }

    /// `docker unpause`.
    pub fn unpause_by_hand(&self, app: &AppName) -> bool {
        self.set_paused(app, ContainerState::Running, "unpause")
    }

    /// Removes somebody else's container.
    pub fn remove_foreign(&self, name: &str) -> bool {
        self.with(|state, now| {
            let mut found = state.things.iter().filter(|(_, thing)| thing.name == name);
            let Some(id) = found.next().map(|(id, _)| id.clone()) else { return false };
            state.destroy(&self.instance, &id, now);
            true
        })
    }

    /// A container writes a line.
    pub fn say(&self, app: &AppName, line: &str) -> bool {
        self.act(app, |state, _, id, now| {
            if let Some(thing) = state.things.get_mut(id) {
                thing.log.push((now, line.to_owned()));
            }
        })
    }

    /// The engine goes away, or comes back as it was. Containers go on meanwhile, as with
    /// `live-restore`.
    pub fn set_down(&self, is_down: bool) {
        self.with(|state, _| state.is_down = is_down);
        if is_down {
            self.break_events();
        }
    }

    /// The engine restarts: every container dies, and restart policies apply (fault D14).
    pub fn restart_engine(&self) {
        self.break_events();
        self.with(|state, now| {
            let live = state.things.values_mut().filter(|thing| thing.is_live());
            live.for_each(|thing| thing.crash(137, now));
        });
    }

    /// Another engine, with nothing in it, behind the same address (fault D48).
    pub fn replace_engine(&self) {
        self.break_events();
        self.with(|state, _| {
            state.id = format!("FAKE:{}", state.next_id("engine"));
            state.things.clear();
            state.images.clear();
            state.networks.clear();
        });
    }

    /// Every stream of events ends with an error.
    pub fn break_events(&self) {
        let message = "the stream broke".to_owned();
        self.with(|state, _| {
            // Nobody listens: nothing breaks.
            let _ = state.events.send(Err(Error::Broken { call: "events", message }));
            let _ = state.told.send(None);
        });
    }

    /// Events are lost from now on, or told again (fault D12).
    pub fn lose_events(&self, are_lost: bool) {
        self.with(|state, _| state.loses_events = are_lost);
    }

    /// A hint that says nothing, such as a flood is made of.
    pub fn send_hint(&self, hint: Hint) {
        self.with(|state, _| {
            let _ = state.events.send(Ok(hint));
        });
    }

    /// What is told from now on, in full; none when the stream breaks.
    pub fn told(&self) -> broadcast::Receiver<Option<Told>> {
        self.with(|state, _| state.told.subscribe())
    }

    /// A container's labels.
    pub fn labels_of(&self, id: &ContainerId) -> Option<BTreeMap<String, String>> {
        self.with(|state, _| state.things.get(id).map(|thing| thing.labels.clone()))
    }

    /// The id and the labels of the image that a reference names.
    pub fn image(&self, reference: &str) -> Option<(String, BTreeMap<String, String>)> {
        self.with(|state, _| {
            let id = state.image_id(reference)?.clone();
            let labels = state.images.get(&id)?.labels.clone();
            Some((id, labels))
        })
    }

    /// Whether there is a network of this name.
    pub fn has_network(&self, name: &str) -> bool {
        self.with(|state, _| state.networks.contains_key(name))
    }

    /// Whether it is away.
    pub fn is_down(&self) -> bool {
        self.with(|state, _| state.is_down)
    }

    /// What is there, without a call.
    pub fn world(&self) -> World {
        self.with(|state, _| state.world(&self.instance))
    }

    /// Whether a health check of the container with this address passes.
    pub fn answers_at(&self, ip: &str) -> bool {
        self.with(|state, now| {
            let mut things = state.things.values();
            let found = things.find(|thing| thing.ip.as_deref() == Some(ip));
            found.is_some_and(|thing| {
                let up = thing.started_at.map(|start| now.since(start));
                thing.state == ContainerState::Running
                    && thing.behaviour.is_healthy
                    && up.is_some_and(|up| thing.behaviour.warm_up <= up)
            })
        })
    }

    /// The newest live container of the app, or else its newest.
    pub fn container_of(&self, app: &AppName) -> Option<ContainerId> {
        let instance = &self.instance;
        self.with(|state, _| {
            let ours =
                |thing: &Thing| owner_of(instance, &thing.name, &thing.labels).app() == Some(app);
            let mine = state.things.iter().filter(|(_, thing)| ours(thing));
            let newest = mine.max_by_key(|(id, thing)| (thing.is_live(), thing.created, *id));
            newest.map(|(id, _)| id.clone())
        })
    }

    pub(super) fn act(
        &self,
        app: &AppName,
        work: impl FnOnce(&mut State, &str, &ContainerId, Timestamp),
    ) -> bool {
        let Some(id) = self.container_of(app) else { return false };
        self.with(|state, now| work(state, &self.instance, &id, now));
        true
    }

    fn set_paused(&self, app: &AppName, to: ContainerState, action: &str) -> bool {
        self.act(app, |state, instance, id, now| {
            if let Some(thing) = state.things.get_mut(id).filter(|thing| thing.runs()) {
                thing.state = to;
                state.tell(instance, id, action, now);
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::engine::{Engine as _, ResolvedCall};
    use crate::model::{Command, Resources, RestartPolicy, SpecHash};
    use crate::plan::{Call, ContainerSpec, Shape, Target};
    use crate::state::container_name;

    fn app() -> AppName {
        AppName::new("chat").unwrap()
    }

    async fn running(restart: RestartPolicy, behaviour: Behaviour) -> Fake {
        let fake = Fake::new("home", Clock::runtime(Timestamp::from_millis(1_000)));
        fake.add_image("x:1", behaviour);
        let shape = Shape {
            image: "x:1".to_owned(),
            command: Command::Image,
            env: BTreeMap::new(),
            ports: Vec::new(),
            mounts: Vec::new(),
            resources: Resources::default(),
            restart,
            network: "n".to_owned(),
            gpus: None,
            secrets: BTreeMap::new(),
            restricted: None,
            services: None,
            models: BTreeMap::new(),
        };
        let spec_hash = SpecHash::of(&shape);
        let spec = ContainerSpec {
            name: container_name(&app(), &spec_hash),
            instance: "home".to_owned(),
            app: app(),
            generation: 1,
            spec_hash,
            build: None,
            commit: None,
            fields: String::new(),
            grace_s: 1,
            gpu_way: None,
            shape,
        };
        let target = Target { id: None, name: spec.name.clone() };
        let network = Call::EnsureNetwork { name: "n".to_owned() };
        for call in [network, Call::Create(Box::new(spec)), Call::Start(target)] {
            let id = fake.container_of(&app());
            fake.apply(&ResolvedCall { call: &call, id, given: crate::secret::Given::default() })
                .await
                .unwrap();
        }
        fake
    }

    fn seen(fake: &Fake) -> (ContainerState, u64) {
        let id = fake.container_of(&app()).unwrap();
        fake.with(|state, _| (state.things[&id].state, state.things[&id].restart_count))
    }

    #[tokio::test(start_paused = true)]
    async fn a_crash_loop_slows_down_as_dockers_does() {
        let fake = running(RestartPolicy::Always, Behaviour::exits(1)).await;
        assert_eq!(seen(&fake), (ContainerState::Restarting, 0));
        tokio::time::advance(Duration::from_millis(150)).await;
        assert_eq!(seen(&fake), (ContainerState::Restarting, 1));
        tokio::time::advance(Duration::from_mins(1)).await;
        let (_, restarts) = seen(&fake);
        assert!((8..=10).contains(&restarts), "{restarts}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_somebody_kills_stays_down_and_what_crashes_comes_back() {
        let fake = running(RestartPolicy::Always, Behaviour::default()).await;
        assert!(fake.crash(&app(), 1));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(seen(&fake), (ContainerState::Running, 1));
        assert!(fake.kill(&app()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(seen(&fake).0, ContainerState::Exited);
    }

    /// Faults D12, D14.
    #[tokio::test(start_paused = true)]
    async fn an_engine_that_is_down_breaks_streams_and_answers_nothing() {
        use futures_util::StreamExt as _;
        let fake = running(RestartPolicy::Always, Behaviour::default()).await;
        let mut events = fake.events();
        assert_eq!(events.next().await.unwrap().unwrap(), Hint::subscribed());
        fake.set_down(true);
        assert!(events.next().await.unwrap().is_err());
        assert!(events.next().await.is_none());
        assert!(matches!(fake.observe().await, Err(Error::Unreachable { .. })));
        fake.set_down(false);
        assert_eq!(fake.observe().await.unwrap().containers.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_answers_once_it_is_warm() {
        let warm_up = Duration::from_secs(5);
        let fake =
            running(RestartPolicy::Always, Behaviour { warm_up, ..Behaviour::default() }).await;
        let world = fake.world();
        let ip = world.containers[0].networks["n"].clone().unwrap();
        assert!(!fake.answers_at(&ip));
        tokio::time::advance(warm_up).await;
        assert!(fake.answers_at(&ip));
    }
}
