//! Which locks the running section holds by `with_lock`, innermost first: how a task that waits
//! for itself is found out.
//!
//! The chain belongs to the future, not to the task: two `with_lock` joined in one task are
//! siblings that wait for each other in good order. A task spawned inside a section starts
//! without a chain, and so does a section that waits for such a task: that ends by `wait`.

use std::sync::Arc;

use smol_str::SmolStr;

use super::error::{LockError, LockErrorKind};
use super::guard::HeldLock;
use super::info::FencingToken;
use super::service::ConcurrencyService;

#[derive(Clone)]
struct Link {
    key: SmolStr,
    token: FencingToken,
    outer: Option<Arc<Link>>,
}

tokio::task_local! {
    static CHAIN: Link;
}

/// Errs if the running section, or one around it, holds `key` of this `service`.
///
/// Whether it is the same service is asked of the service itself, by the fencing token: handles,
/// wrappers and connections differ, what they lock may still be one thing. It is only asked once
/// a key is found twice, so the usual call pays for a look at the task's chain.
pub(super) async fn check<S>(service: &S, key: &str) -> Result<(), LockError>
where
    S: ConcurrencyService + ?Sized,
{
    let Some(tokens) = CHAIN.try_with(|innermost| tokens(innermost, key)).ok().flatten() else {
        return Ok(());
    };
    match service.inspect(key).await? {
        Some(info) if tokens.contains(&info.fencing_token) => Err(LockError::new(
            LockErrorKind::Deadlock,
            "the section that asks for the lock runs under it",
        )
        .with_key(key)),
        _ => Ok(()),
    }
}

/// Runs `section` as one that holds `held`.
pub(super) async fn enter<F: Future>(held: &HeldLock, section: F) -> F::Output {
    let outer = CHAIN.try_with(|link| Arc::new(link.clone())).ok();
    let link = Link { key: held.name(), token: held.fencing_token(), outer };
    CHAIN.scope(link, section).await
}

/// The tokens under which the chain holds `key`: several if services nest.
fn tokens(innermost: &Link, key: &str) -> Option<Vec<FencingToken>> {
    let links = std::iter::successors(Some(innermost), |link| link.outer.as_deref());
    let tokens: Vec<_> = links.filter(|link| link.key == key).map(|link| link.token).collect();
    (!tokens.is_empty()).then_some(tokens)
}
