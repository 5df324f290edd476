//! A way to a server on which single connections are held up, while others go on: a `FaultProxy` treats
//! all alike.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use cache_testkit::RedisServer;

/// Forwards connections to a server, each way in a thread of its own, for as long as they last.
pub(crate) struct Stall {
    address: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    opened: AtomicU64,
    /// What those before this one say is kept back.
    held: AtomicU64,
    /// Who speaks next is kept back as well.
    next: AtomicBool,
    /// That one has spoken, and is.
    caught: AtomicBool,
}

impl Stall {
    pub(crate) fn start(server: &RedisServer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, counts) = (listener.local_addr().unwrap(), Arc::<Counts>::default());
        let (target, shared) = (server.addr(), Arc::clone(&counts));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = shared.opened.fetch_add(1, SeqCst);
                // Not there: the client finds its connection closed.
                let Ok(server) = TcpStream::connect(target) else { continue };
                forward(&server, &client, || {});
                let (counts, mut caught) = (Arc::clone(&shared), false);
                forward(&client, &server, move || {
                    if counts.next.swap(false, SeqCst) {
                        caught = true;
                        counts.caught.store(true, SeqCst);
                    }
                    let stuck = || caught && counts.caught.load(SeqCst);
                    while number < counts.held.load(SeqCst) || stuck() {
                        thread::sleep(Duration::from_millis(1));
                    }
                });
            }
        });
        Self { address, counts }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Keeps back what the connections that are open now say to the server, as a network does that
    /// has lost it and sends it again much later. New ones are well.
    pub(crate) fn hold(&self) {
        self.counts.held.store(self.counts.opened.load(SeqCst), SeqCst);
    }

    /// Keeps back what the one connection says that speaks next, and all that it says after that.
    pub(crate) fn hold_next(&self) {
        self.counts.next.store(true, SeqCst);
    }

    /// Whether it has spoken.
    pub(crate) fn has_caught(&self) -> bool {
        self.counts.caught.load(SeqCst)
    }

    /// Delivers it, also where the client has gone.
    pub(crate) fn deliver(&self) {
        self.counts.held.store(0, SeqCst);
        self.counts.caught.store(false, SeqCst);
    }
}

/// Passes on what is read, each time after `wait`.
fn forward(from: &TcpStream, to: &TcpStream, mut wait: impl FnMut() + Send + 'static) {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    to.set_nodelay(true).unwrap();
    thread::spawn(move || {
        let mut bytes = [0; 16 * 1024];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            wait();
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        wait();
        // It may be closed already.
        let _ = to.shutdown(Shutdown::Write);
    });
}
