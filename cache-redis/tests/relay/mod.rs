//! A way to a server that can lead to another one: a name or a balancer in front of several.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

pub struct Relay {
    addr: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    /// It takes its connections with it.
    _serving: JoinSet<()>,
}

impl Relay {
    pub async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (addr, target) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(target)));
        let mut _serving = JoinSet::new();
        _serving.spawn(serve(listener, Arc::clone(&target)));
        Self { addr, target, _serving }
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Where connections to come lead; those that are open stay.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.target.lock() = target;
    }
}

async fn serve(listener: TcpListener, target: Arc<Mutex<SocketAddr>>) {
    let mut connections = JoinSet::new();
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let target = *target.lock();
        connections.spawn(async move {
            if let Ok(mut server) = TcpStream::connect(target).await {
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            }
        });
        while connections.try_join_next().is_some() {}
    }
}
