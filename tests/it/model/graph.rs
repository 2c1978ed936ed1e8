//! The reachable graph, and its bottom: where it ends up when nothing goes wrong any more.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
};

use super::{
    decide::Planner,
    moves::{Kind, moves},
    scene::Scene,
    state::{APPS, Life, Pass, SICK, Spec, State, Thing},
};

/// How it came to a state: from which, by what.
type Origin = (u32, u32);
/// Where the first states come from.
const NOWHERE: u32 = u32::MAX;

/// What was found.
pub(crate) struct Explored {
    pub(crate) counts: Counts,
    /// What must never happen and did, or never ends: with the way there.
    pub(crate) wrong: Option<String>,
}

/// How large it is.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) states: usize,
    pub(crate) edges: usize,
    /// Edges that are not disturbances.
    pub(crate) calm: usize,
    pub(crate) bottoms: usize,
    pub(crate) largest_bottom: usize,
    /// How far the farthest state is from the first.
    pub(crate) depth: usize,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} states, {} edges, {} without disturbance, depth {}, {} bottom components, the largest of {}",
            self.states, self.edges, self.calm, self.depth, self.bottoms, self.largest_bottom
        )
    }
}

#[derive(Default)]
struct Graph {
    known: BTreeMap<Box<[u8]>, u32>,
    origins: Vec<Origin>,
    depths: Vec<u16>,
    /// Whether all is as it should be, were it to stay so.
    is_good: Vec<bool>,
    labels: BTreeMap<String, u32>,
    /// Where each state's calm edges begin; a target and whether it is a change.
    begins: Vec<u32>,
    calm: Vec<(u32, bool)>,
    counts: Counts,
    /// How many ports or cards there are.
    many: u8,
}

/// Explores all that can be reached, breadth first, so that the way to a mistake is a short one.
pub(crate) fn explore(firsts: &[State], scene: &Scene, planner: &mut Planner) -> Explored {
    let mut graph = Graph { many: scene.many, ..Graph::default() };
    let mut queue = VecDeque::new();
    for first in firsts {
        let label = graph.label(begin(first));
        graph.meet(first, (NOWHERE, label), 0);
        queue.push_back(first.clone());
    }
    let mut number = 0_u32;
    while let Some(state) = queue.pop_front() {
        graph.begins.push(u32::try_from(graph.calm.len()).unwrap());
        let depth = graph.depths[number as usize];
        for next in moves(&state, planner, scene) {
            graph.counts.edges += 1;
            let label = graph.label(next.told);
            if let Some(wrong) = next.wrong {
                let way = graph.way(number, Some(label));
                return graph.end(Some(format!("{wrong}, after\n{way}")));
            }
            let (to, is_new) = graph.meet(&next.to, (number, label), depth + 1);
            if next.kind != Kind::Disturbance {
                graph.calm.push((to, next.kind == Kind::Change));
            }
            if is_new {
                queue.push_back(next.to);
            }
        }
        number += 1;
    }
    graph.begins.push(u32::try_from(graph.calm.len()).unwrap());
    let wrong = graph.check_bottoms().map(|(what, at)| {
        let way = graph.way(at, None);
        let state = walk(firsts, &way, scene, planner);
        format!("{what}, after\n{way}\nIt is then {state:#?}")
    });
    graph.end(wrong)
}

/// Where a way leads.
fn walk(firsts: &[State], way: &str, scene: &Scene, planner: &mut Planner) -> State {
    let mut lines = way.lines();
    let first = lines.next().unwrap_or_default();
    let mut state = firsts.iter().find(|state| begin(state) == first).unwrap().clone();
    for line in lines {
        let mut next = moves(&state, planner, scene).into_iter();
        state = next.find(|next| next.told == line).unwrap().to;
    }
    state
}

fn begin(state: &State) -> String {
    format!("it begins with {:?} and {:?}", state.wants, state.things)
}

impl Graph {
    /// The number of a state, and whether it is a new one.
    fn meet(&mut self, state: &State, origin: Origin, depth: u16) -> (u32, bool) {
        let new = u32::try_from(self.origins.len()).unwrap();
        let number = *self.known.entry(state.code()).or_insert(new);
        if number == new {
            self.origins.push(origin);
            self.depths.push(depth);
            self.is_good.push((0..APPS).all(|app| is_as_wanted(state, app, self.many)));
        }
        (number, number == new)
    }

    fn label(&mut self, told: String) -> u32 {
        let new = u32::try_from(self.labels.len()).unwrap();
        *self.labels.entry(told).or_insert(new)
    }

    /// What leads to a state, line by line.
    fn way(&self, mut number: u32, last: Option<u32>) -> String {
        let texts: BTreeMap<_, _> =
            self.labels.iter().map(|(text, label)| (*label, text)).collect();
        let mut lines: Vec<&str> = last.iter().map(|label| texts[label].as_str()).collect();
        while number != NOWHERE {
            let (before, label) = self.origins[number as usize];
            lines.push(texts[&label]);
            number = before;
        }
        lines.reverse();
        lines.join("\n")
    }

    fn calm_of(&self, number: u32) -> &[(u32, bool)] {
        let at = number as usize;
        &self.calm[self.begins[at] as usize..self.begins[at + 1] as usize]
    }

    /// What is wrong with where it ends up.
    fn check_bottoms(&mut self) -> Option<(&'static str, u32)> {
        let components = components(self.origins.len(), |number| self.calm_of(number));
        for members in &components {
            let is_within = |number: &u32| members.binary_search(number).is_ok();
            let edges = || members.iter().flat_map(|number| self.calm_of(*number));
            if !edges().all(|(to, _)| is_within(to)) {
                continue;
            }
            let never_rests = edges().any(|(_, is_change)| *is_change);
            let is_bad = |number: &&u32| !self.is_good[**number as usize];
            let bad = members.iter().find(is_bad);
            self.counts.bottoms += 1;
            self.counts.largest_bottom = self.counts.largest_bottom.max(members.len());
            let (what, at) = match bad {
                _ if never_rests => ("it never comes to rest", members[0]),
                Some(bad) => ("it stays as nobody wants it", *bad),
                None => continue,
            };
            return Some((what, at));
        }
        None
    }

    fn end(mut self, wrong: Option<String>) -> Explored {
        self.counts.states = self.origins.len();
        self.counts.calm = self.calm.len();
        self.counts.depth = self.depths.iter().copied().max().unwrap_or_default().into();
        Explored { counts: self.counts, wrong }
    }
}

/// The strongly connected components (Tarjan's way, without recursion), each sorted.
pub(crate) fn components<'a>(
    size: usize,
    edges: impl Fn(u32) -> &'a [(u32, bool)],
) -> Vec<Vec<u32>> {
    const NEW: u32 = u32::MAX;
    let (mut index, mut low, mut is_open) = (vec![NEW; size], vec![NEW; size], vec![false; size]);
    let (mut open, mut found, mut next) = (Vec::new(), Vec::new(), 0_u32);
    for root in 0..u32::try_from(size).unwrap() {
        let mut path = vec![(root, 0_usize)];
        while let Some((node, edge)) = path.last_mut() {
            let at = *node as usize;
            if index[at] == NEW {
                (index[at], low[at], is_open[at]) = (next, next, true);
                open.push(*node);
                next += 1;
            } else if *edge == 0 {
                // Met on another path.
                path.pop();
                continue;
            }
            let all = edges(*node);
            let mut down = None;
            while let Some((to, _)) = all.get(*edge) {
                *edge += 1;
                if index[*to as usize] == NEW {
                    down = Some(*to);
                    break;
                }
                if is_open[*to as usize] {
                    low[at] = low[at].min(index[*to as usize]);
                }
            }
            if let Some(to) = down {
                path.push((to, 0));
                continue;
            }
            let node = *node;
            path.pop();
            if low[at] == index[at] {
                let begin = open.iter().rposition(|member| *member == node).unwrap();
                let mut members = open.split_off(begin);
                for member in &members {
                    is_open[*member as usize] = false;
                }
                members.sort_unstable();
                found.push(members);
            }
            if let Some((above, _)) = path.last() {
                low[*above as usize] = low[*above as usize].min(low[at]);
            }
        }
    }
    found
}

/// Whether an app is as it should be, given what others have.
fn is_as_wanted(state: &State, app: u8, many: u8) -> bool {
    if !state.passes.iter().all(|pass| !matches!(pass, Pass::Doing(_))) {
        return false;
    }
    let mine: Vec<_> = state.of_app(app).collect();
    let Some(spec) = state.wanted(app) else { return mine.is_empty() };
    let up: Vec<_> = mine.iter().filter(|thing| thing.life == Life::Up).collect();
    let fits = |thing: &Thing| {
        thing.shape.image == spec.image && spec.port.is_none_or(|port| port == thing.shape.port)
    };
    let is_taken = |thing: &&&Thing| {
        let mut up = state.things.iter().filter(|other| other.life == Life::Up);
        up.any(|other| other.has_port && other.shape.port == thing.shape.port)
            || state.lease.is_some_and(|(card, _)| card == thing.shape.port)
    };
    if is_blocked(state, app, spec, many) {
        // What was there goes on running, unless somebody else has its port.
        let kept = mine.iter().find(|thing| thing.life == Life::Down);
        return up.len() == 1 || up.is_empty() && kept.is_none_or(|kept| is_taken(&kept));
    }
    // What never ran is not what one goes back to.
    let mut good = mine.iter().filter(|t| t.shape.image != SICK && t.life != Life::Made);
    let kept = good.next();
    // What proves good removes all that is older. So where nothing ever did, the first one is as
    // good a version to go back to as any, sick or not.
    let first = mine.iter().find(|thing| thing.life != Life::Made);
    let is_first = |thing: &Thing| first.is_some_and(|first| first.shape == thing.shape);
    match up.as_slice() {
        [one] if spec.image == SICK && one.shape.image != SICK => true,
        [one] if spec.image == SICK => is_first(one) || kept.is_none_or(|kept| is_taken(&kept)),
        [one] if fits(one) => mine.len() == 1,
        // A hand ended the new one before it proved good. That counts as given up.
        [_] => {
            mine.iter().any(|new| fits(new) && state.killed[usize::from(app)] == Some(new.shape))
        }
        [] => spec.image == SICK && kept.is_some_and(|kept| is_taken(&kept)),
        _ => false,
    }
}

/// Whether somebody else has the port, every port, or the name that it needs.
fn is_blocked(state: &State, app: u8, spec: Spec, many: u8) -> bool {
    let is_held = |port: u8| {
        let holds = |thing: &Thing| {
            let is_mine = thing.is_ours && thing.shape.app == app;
            let is_firm = thing.is_ours || thing.life == Life::Up;
            !is_mine && thing.has_port && is_firm && thing.shape.port == port
        };
        let others = state.memories.iter().zip(0_u8..).filter(|(_, other)| *other != app);
        let given = others.filter(|(memory, _)| memory.port == Some(port)).count();
        let is_lent = state.lease.is_some_and(|(card, _)| card == port);
        state.things.iter().any(holds) || 0 < given || is_lent
    };
    let is_named = |port: u8| {
        let holds = |thing: &Thing| {
            !thing.is_ours
                && thing.has_name
                && (thing.shape.app, thing.shape.image, thing.shape.port) == (app, spec.image, port)
        };
        state.things.iter().any(holds)
    };
    let needed = match spec.port {
        Some(port) => vec![port],
        // An app keeps the port it has.
        None => match state.memories[usize::from(app)].port {
            Some(port) if !is_held(port) => vec![port],
            _ => (0..many).collect(),
        },
    };
    needed.iter().all(|port| is_held(*port) || is_named(*port))
        || needed.iter().any(|port| is_named(*port))
}
