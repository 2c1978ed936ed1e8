//! A probe that says what a test tells it to.

use std::sync::{
    Arc, Condvar, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use super::{Error, Probe};
use crate::state::Inventory;

/// What the probe says next; kept by the test. Every probe that it makes says the same.
#[derive(Clone, Default)]
pub struct Script(Arc<Shared>);

#[derive(Default)]
struct Shared {
    says: Mutex<Says>,
    changed: Condvar,
    made: AtomicUsize,
    read: AtomicUsize,
    hanging: AtomicUsize,
}

#[derive(Default)]
struct Says {
    answer: Option<Result<Inventory, Error>>,
    is_hanging: bool,
    xids: Vec<(String, u64)>,
}

impl Script {
    /// From now on it reads this.
    pub fn says(&self, answer: Result<Inventory, Error>) {
        self.lock().answer = Some(answer);
    }

    /// From now on it hangs; or no longer, and who hung goes on.
    pub fn hangs(&self, is_hanging: bool) {
        self.lock().is_hanging = is_hanging;
        self.0.changed.notify_all();
    }

    /// The driver reports an error of a card.
    pub fn reports(&self, uuid: &str, code: u64) {
        self.lock().xids.push((uuid.to_owned(), code));
    }

    /// How many probes were made, how often they read, and how many readings hang.
    pub fn counts(&self) -> (usize, usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
        (count(&self.0.made), count(&self.0.read), count(&self.0.hanging))
    }

    /// A probe.
    pub fn probe(&self) -> Box<dyn Probe> {
        self.0.made.fetch_add(1, Ordering::SeqCst);
        Box::new(Scripted(self.clone()))
    }

    fn lock(&self) -> MutexGuard<'_, Says> {
        self.0.says.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Scripted(Script);

impl Probe for Scripted {
    fn read(&mut self) -> Result<Inventory, Error> {
        let shared = &self.0.0;
        shared.read.fetch_add(1, Ordering::SeqCst);
        shared.hanging.fetch_add(1, Ordering::SeqCst);
        let says = shared.changed.wait_while(self.0.lock(), |says| says.is_hanging);
        shared.hanging.fetch_sub(1, Ordering::SeqCst);
        let says = says.unwrap_or_else(PoisonError::into_inner);
        says.answer.clone().unwrap_or_else(|| Ok(Inventory::default()))
    }

    fn xids(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.0.lock().xids)
    }
}
