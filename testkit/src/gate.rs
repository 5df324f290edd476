//! A place where work waits until the test lets it go on.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// Holds whoever passes until the test opens it, and tells who has arrived.
///
/// This is how a race is tested without a pause: the test waits until the load has
/// [begun](Self::reached), does what shall happen meanwhile, and [opens](Self::open) the gate.
/// Clones are one gate. Once open it stays open.
///
/// ```
/// use cache_testkit::Gate;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let gate = Gate::new();
/// let load = tokio::spawn(gate.loader("acme")());
/// gate.reached().await; // it has begun
/// assert!(!load.is_finished());
/// gate.open();
/// assert_eq!(load.await.unwrap(), Ok("acme"));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Gate(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, Default)]
struct State {
    arrivals: usize,
    open: bool,
}

impl Gate {
    /// A closed gate.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::default())))
    }

    /// Counts an arrival and waits until the gate is open.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves the arrival counted and nothing else.
    pub async fn pass(&self) {
        let mut state = self.0.subscribe();
        self.0.send_modify(|state| state.arrivals += 1);
        // Cannot fail: `self` keeps the sender alive.
        let _ = state.wait_for(|state| state.open).await;
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.send_modify(|state| state.open = true);
    }

    /// How many have arrived so far.
    #[must_use]
    pub fn arrivals(&self) -> usize {
        self.0.borrow().arrivals
    }

    /// Waits until somebody has arrived.
    pub async fn reached(&self) {
        self.reached_by(1).await;
    }

    /// Waits until `count` have arrived.
    pub async fn reached_by(&self, count: usize) {
        // Cannot fail: `self` keeps the sender alive.
        let _ = self.0.subscribe().wait_for(|state| state.arrivals >= count).await;
    }

    /// A loader that waits at this gate and then returns `value`.
    pub fn loader<T: Send + 'static>(
        &self,
        value: T,
    ) -> impl FnOnce() -> GatedLoad<T> + Send + use<T> {
        let gate = self.clone();
        move || {
            Box::pin(async move {
                gate.pass().await;
                Ok(value)
            })
        }
    }
}

/// What a loader from [`Gate::loader`] returns.
type GatedLoad<T> = std::pin::Pin<Box<dyn Future<Output = Result<T, Infallible>> + Send + 'static>>;

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}
