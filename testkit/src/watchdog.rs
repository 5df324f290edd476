//! Ending the process where a behaviour has blocked its thread, which no timer of that thread's runtime
//! can see.

use std::io::{self, Write};
use std::process;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// Runs `test`, which ends by itself within `deadline`. Where it has not, some time after that, its
/// thread is blocked, and nothing can be raised in it: `name` goes to standard error, and the process
/// ends.
pub(crate) fn watch<T>(name: &str, deadline: Duration, test: impl FnOnce() -> T) -> T {
    let patience = deadline + deadline / 10;
    let (running, ended) = mpsc::channel::<()>();
    let name = name.to_owned();
    let dog = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
        if ended.recv_timeout(patience) == Err(RecvTimeoutError::Timeout) {
            // Not by `eprintln!`, which the test harness would keep to itself.
            let _ = writeln!(
                io::stderr(),
                "{name} has blocked its thread for {patience:?}: a deadlock?"
            );
            process::abort();
        }
    });
    dog.expect("a thread can be started");
    let result = test();
    // As it does when the test panics.
    drop(running);
    result
}
