//! A state of the model: what is wanted, what is on the engine, what Berth knows, how far its
//! passes are, and how much may still go wrong.

/// How many apps there are, and host ports for them. Another kind of thing that can be given only
/// once (a GPU) would be one more field of a [`Shape`], with its own `PORTS`.
pub(crate) const APPS: u8 = 2;
pub(crate) const PORTS: u8 = 2;

/// An image whose containers become healthy, another one, and one whose never do.
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
}

/// What the health check said of the container that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Probe {
    Fresh,
    Healthy,
    /// Not until the deadline.
    Failed,
}

/// What Berth knows of an app beside what it sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) bad: Option<Shape>,
    pub(crate) port: Option<u8>,
    /// The ports that its containers were seen to have.
    pub(crate) held: [bool; PORTS as usize],
    pub(crate) watched: Option<(Shape, Probe)>,
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
    /// What a hand has ended and nobody has started since. Only who judges knows it: to Berth a new
    /// version that ended beside the old one looks as if it was given up.
    pub(crate) killed: Option<Shape>,
    pub(crate) budget: Budget,
}

impl Shape {
    fn code(self) -> u8 {
        (self.app * 3 + self.image) * PORTS + self.port
    }
}

impl Thing {
    fn code(self) -> [u8; 2] {
        let flags = [self.is_ours, self.has_name, self.has_port];
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
    code
}

fn put_memories(state: &State, code: &mut Vec<u8>) {
    for memory in &state.memories {
        code.push(memory.bad.map_or(NONE, Shape::code));
        code.push(memory.port.unwrap_or(NONE));
        code.push(memory.held.iter().fold(0, |sum, held| sum * 2 + u8::from(*held)));
        let watched = memory.watched.map(|(shape, probe)| [shape.code(), probe as u8]);
        code.extend(watched.unwrap_or([NONE; 2]));
        code.push(u8::from(memory.is_stuck));
    }
    code.extend(state.resting.iter().map(|rests| u8::from(*rests)));
}

impl State {
    /// Nothing is there, and two apps are wanted.
    pub(crate) fn begin(wants: [Spec; APPS as usize], budget: Budget) -> Self {
        Self {
            wants: wants.map(Some),
            things: Vec::new(),
            memories: Default::default(),
            passes: [Pass::Idle, Pass::Idle],
            resting: Default::default(),
            killed: None,
            budget,
        }
    }

    /// Both apps run at these, and now other manifests are there.
    pub(crate) fn running(image: u8, wants: [Option<Spec>; APPS as usize], budget: Budget) -> Self {
        let mut state = Self::begin([Spec { image, port: None }; 2], budget);
        state.wants = wants;
        for (number, memory) in (0..).zip(&mut state.memories) {
            let shape = Shape { app: number, image, port: number };
            let (life, is_ours, has_name, has_port) = (Life::Up, true, true, true);
            state.things.push(Thing { shape, life, is_ours, has_name, has_port });
            memory.port = Some(number);
            memory.held[usize::from(number)] = true;
            memory.watched = Some((shape, Probe::Healthy));
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
        code.push(self.killed.map_or(NONE, Shape::code));
        code.extend([crashes * 16 + failures, foreign * 16 + edits]);
        code.into_boxed_slice()
    }

    /// The container that was made as this: ours, or one that was taken from us meanwhile.
    pub(crate) fn find(&self, shape: Shape) -> Option<usize> {
        let is_it = |thing: &Thing| thing.shape == shape && (thing.is_ours || !thing.has_name);
        let ours = self.things.iter().position(|thing| is_it(thing) && thing.is_ours);
        ours.or_else(|| self.things.iter().position(is_it))
    }

    pub(crate) fn of_app(&self, app: u8) -> impl Iterator<Item = &Thing> {
        self.things.iter().filter(move |thing| thing.is_ours && thing.shape.app == app)
    }
}
