//! A state of the model: what is wanted, what is on the engine, what Berth knows, how far its
//! passes are, and how much may still go wrong.

use super::scene::Scene;

/// How many apps there are, and host ports for them: what is called a port here is a card in a
/// scene of GPUs.
pub(crate) const APPS: u8 = 2;
pub(crate) const PORTS: u8 = 2;

/// An image whose containers become healthy, another one, and one whose never do, or where
/// health must last, do not stay so.
pub(crate) const SICK: u8 = 2;

/// What makes two containers different: there is at most one of each shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Shape {
    pub(crate) app: u8,
    pub(crate) image: u8,
    pub(crate) port: u8,
}

/// What a manifest says: the image, and the port when it is a fixed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Spec {
    pub(crate) image: u8,
    pub(crate) port: Option<u8>,
}

impl Spec {
    /// What runs first, and what is gone back to.
    pub(crate) const FIRST: Self = Self { image: 0, port: None };
}

/// How a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Life {
    Made,
    Up,
    Down,
}

/// A container. Their order is that of their ages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Thing {
    /// Its identity: what it was made as, or what it gets in the way of.
    pub(crate) shape: Shape,
    pub(crate) life: Life,
    pub(crate) is_ours: bool,
    /// Whether it has the name that this shape gets.
    pub(crate) has_name: bool,
    pub(crate) has_port: bool,
    /// Whether it was taken from us, and another one was made in its place.
    pub(crate) is_replaced: bool,
}

/// What the health check said of the container that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Probe {
    Fresh,
    Healthy,
    /// Not until the deadline, or not any more.
    Failed,
    /// For as long as it must be before the version before goes.
    Proven,
}

/// What Berth knows of an app beside what it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) bad: Option<Shape>,
    pub(crate) port: Option<u8>,
    /// The ports that its containers were seen to have.
    pub(crate) held: [bool; PORTS as usize],
    pub(crate) watched: Option<(Shape, Probe)>,
    /// The manifest that was undone: the app is held at its first version for as long as that is
    /// what the manifest says.
    pub(crate) undone: Option<Spec>,
    /// It waits for a card, as the first or as the second.
    pub(crate) turn: Option<u8>,
    /// Only a broken Berth has this: it never looks again.
    pub(crate) is_stuck: bool,
}

/// A step of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Create(Shape),
    Start(Shape),
    Stop(Shape),
    Remove(Shape),
}

/// How far an app's pass is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    /// None is under way. One may begin at any time: a hint, a resync and the end of any pause
    /// look the same from here.
    Idle,
    /// The engine was listed. The world may go on before the plan is made.
    Seen(Vec<Thing>),
    /// These steps are left.
    Doing(Vec<Step>),
}

/// How often something may still go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) crashes: u8,
    pub(crate) failures: u8,
    pub(crate) foreign: u8,
    pub(crate) edits: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) wants: [Option<Spec>; APPS as usize],
    pub(crate) things: Vec<Thing>,
    pub(crate) memories: [Memory; APPS as usize],
    pub(crate) passes: [Pass; APPS as usize],
    /// Ports that are given to nobody for a while.
    pub(crate) resting: [bool; PORTS as usize],
    /// What a hand has ended, or somebody had undone before that was forgotten, and nobody has
    /// started since, of each app. Only who judges knows it: to Berth a new version that ended
    /// beside the old one looks as if it was given up.
    pub(crate) killed: [Option<Shape>; APPS as usize],
    /// The card that a program outside was lent, as Berth knows it, and its fence.
    pub(crate) lease: Option<(u8, u8)>,
    /// A program whose lease Berth has forgotten with its notes, and that does not know it yet.
    pub(crate) astray: Option<(u8, u8)>,
    /// The time, as far as fences go by it.
    pub(crate) clock: u8,
    pub(crate) budget: Budget,
}

impl Shape {
    fn code(self) -> u8 {
        (self.app * 3 + self.image) * PORTS + self.port
    }
}

impl Thing {
    fn code(self) -> [u8; 2] {
        let flags = [self.is_ours, self.has_name, self.has_port, self.is_replaced];
        let flags = flags.iter().fold(0, |sum, flag| sum * 2 + u8::from(*flag));
        [self.shape.code(), flags * 4 + self.life as u8]
    }
}

impl Step {
    fn code(self) -> [u8; 2] {
        match self {
            Self::Create(shape) => [0, shape.code()],
            Self::Start(shape) => [1, shape.code()],
            Self::Stop(shape) => [2, shape.code()],
            Self::Remove(shape) => [3, shape.code()],
        }
    }

    pub(crate) fn shape(self) -> Shape {
        let (Self::Create(shape) | Self::Start(shape) | Self::Stop(shape) | Self::Remove(shape)) =
            self;
        shape
    }
}

const NONE: u8 = u8::MAX;

fn code_of_want(want: Option<Spec>) -> u8 {
    want.map_or(NONE, |spec| spec.image * 8 + spec.port.map_or(7, |port| port))
}

fn put_things(things: &[Thing], code: &mut Vec<u8>) {
    code.push(u8::try_from(things.len()).unwrap());
    code.extend(things.iter().flat_map(|thing| thing.code()));
}

/// All that a plan for an app is made from, as bytes.
pub(crate) fn code_of_input(state: &State, app: u8, seen: &[Thing]) -> Vec<u8> {
    let mut code = vec![app];
    code.extend(state.wants.iter().map(|want| code_of_want(*want)));
    put_things(seen, &mut code);
    put_memories(state, &mut code);
    put_lease(state.lease, &mut code);
    code
}

fn put_lease(lease: Option<(u8, u8)>, code: &mut Vec<u8>) {
    code.extend(lease.map_or([NONE; 2], |(card, fence)| [card, fence]));
}

fn put_memories(state: &State, code: &mut Vec<u8>) {
    for memory in &state.memories {
        code.push(memory.bad.map_or(NONE, Shape::code));
        code.push(memory.port.unwrap_or(NONE));
        code.push(memory.held.iter().fold(0, |sum, held| sum * 2 + u8::from(*held)));
        let watched = memory.watched.map(|(shape, probe)| [shape.code(), probe as u8]);
        code.extend(watched.unwrap_or([NONE; 2]));
        code.push(code_of_want(memory.undone));
        code.push(memory.turn.unwrap_or(NONE));
        code.push(u8::from(memory.is_stuck));
    }
    code.extend(state.resting.iter().map(|rests| u8::from(*rests)));
}

impl State {
    /// Nothing is there, and these apps are wanted.
    pub(crate) fn begin(wants: [Option<Spec>; APPS as usize], budget: Budget) -> Self {
        Self {
            wants,
            things: Vec::new(),
            memories: Default::default(),
            passes: [Pass::Idle, Pass::Idle],
            resting: Default::default(),
            killed: [None; APPS as usize],
            lease: None,
            astray: None,
            clock: 0,
            budget,
        }
    }

    /// The first apps run at this image, and now other manifests are there.
    pub(crate) fn running(
        scene: &Scene,
        image: u8,
        wants: [Option<Spec>; APPS as usize],
        budget: Budget,
    ) -> Self {
        let mut state = Self::begin(wants, budget);
        let first = state.memories.iter_mut().take(usize::from(scene.begun));
        for (number, memory) in (0..).zip(first) {
            let shape = Shape { app: number, image, port: number };
            let (life, is_ours, has_name, has_port) = (Life::Up, true, true, true);
            let is_replaced = false;
            state.things.push(Thing { shape, life, is_ours, has_name, has_port, is_replaced });
            memory.port = Some(number);
            memory.held[usize::from(number)] = !scene.is_of_cards();
            memory.watched = Some((shape, scene.good()));
        }
        state
    }

    /// The state as bytes: equal states have equal ones.
    pub(crate) fn code(&self) -> Box<[u8]> {
        let mut code = Vec::with_capacity(64);
        code.extend(self.wants.iter().map(|want| code_of_want(*want)));
        put_things(&self.things, &mut code);
        put_memories(self, &mut code);
        for pass in &self.passes {
            match pass {
                Pass::Idle => code.push(0),
                Pass::Seen(things) => {
                    code.push(1);
                    put_things(things, &mut code);
                }
                Pass::Doing(steps) => {
                    code.push(2);
                    code.push(u8::try_from(steps.len()).unwrap());
                    code.extend(steps.iter().flat_map(|step| step.code()));
                }
            }
        }
        let Budget { crashes, failures, foreign, edits } = self.budget;
        code.extend(self.killed.map(|killed| killed.map_or(NONE, Shape::code)));
        put_lease(self.lease, &mut code);
        put_lease(self.astray, &mut code);
        code.push(self.clock);
        code.extend([crashes * 16 + failures, foreign * 16 + edits]);
        code.into_boxed_slice()
    }

    /// The container that was made as this: ours, or one that was taken from us meanwhile.
    pub(crate) fn find(&self, shape: Shape) -> Option<usize> {
        let is_it = |thing: &Thing| {
            thing.shape == shape && (thing.is_ours || !(thing.has_name || thing.is_replaced))
        };
        let ours = self.things.iter().position(|thing| is_it(thing) && thing.is_ours);
        ours.or_else(|| self.things.iter().position(is_it))
    }

    /// What is wanted of an app: an earlier version, as long as the manifest is the undone one.
    pub(crate) fn wanted(&self, app: u8) -> Option<Spec> {
        let at = usize::from(app);
        let want = self.wants[at];
        let is_held = want.is_some() && self.memories[at].undone == want;
        if is_held { Some(Spec::FIRST) } else { want }
    }

    /// What was given to two at a time.
    pub(crate) fn given_twice(&self) -> Option<String> {
        let [one, other] = self.memories.each_ref().map(|memory| memory.port);
        let lent = self.lease.map(|(card, _)| card);
        let is_twice = |card: &u8| {
            [one, other, lent].iter().filter(|given| **given == Some(*card)).count() != 1
        };
        let twice = [one, other, lent].into_iter().flatten().find(is_twice)?;
        Some(format!("{twice} was given twice"))
    }

    /// Whether a container of ours runs on a card, whatever Berth knows of it.
    pub(crate) fn is_used(&self, card: u8) -> Option<String> {
        let uses = |t: &&Thing| t.is_ours && t.life == Life::Up && t.shape.port == card;
        let thing = self.things.iter().find(uses).filter(|_| self.lease.is_some())?;
        Some(format!("card {card} was given twice: {:?} runs on it", thing.shape))
    }

    /// An app waits for a card, or does not any more.
    pub(crate) fn queue(&mut self, app: u8, waits: bool) {
        let (mine, other) = (usize::from(app), usize::from(1 - app));
        let ahead = self.memories[other].turn;
        match (waits, self.memories[mine].turn) {
            (true, None) => self.memories[mine].turn = Some(u8::from(ahead.is_some())),
            (false, Some(_)) => {
                self.memories[mine].turn = None;
                self.memories[other].turn = ahead.map(|_| 0);
            }
            _ => {}
        }
    }

    pub(crate) fn of_app(&self, app: u8) -> impl Iterator<Item = &Thing> {
        self.things.iter().filter(move |thing| thing.is_ours && thing.shape.app == app)
    }
}
