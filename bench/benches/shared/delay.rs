//! A proxy that delays, to fractions of a millisecond: a network between processes and server.
//!
//! `cache_testkit::FaultProxy` counts in milliseconds: told 0.55 ms each way, it takes 3.5 ms there and
//! back.

use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::LocalSet;

use crate::timer::Timer;

/// In a thread of its own, until it is dropped.
pub(crate) struct Delay {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Delay {
    /// In the proxy; what it and the two loopbacks take themselves comes on top: some 1.3 ms there
    /// and back.
    pub(crate) const EACH_WAY: Duration = Duration::from_micros(550);

    pub(crate) fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            LocalSet::new().block_on(&runtime, async {
                tokio::select! {
                    _ = stopped => {}
                    () = accept(listener, server) => {}
                }
            });
        });
        Self { address, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }
}

impl Drop for Delay {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, server: SocketAddr) {
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        tokio::task::spawn_local(async move {
            let server = TcpStream::connect(server).await.unwrap();
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let (client_read, client_write) = client.into_split();
            let (server_read, server_write) = server.into_split();
            // A connection that ends is no news here.
            let _ =
                tokio::try_join!(pass(client_read, server_write), pass(server_read, client_write),);
        });
    }
}

/// One way: what comes is written after the delay, until the end.
async fn pass(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) -> io::Result<()> {
    let mut timer = Timer::new();
    let mut under_way = VecDeque::<(Instant, Vec<u8>)>::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let due = under_way.front().map(|(due, _)| *due);
        tokio::select! {
            biased;
            () = timer.sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some((_, bytes)) = under_way.pop_front() {
                    to.write_all(&bytes).await?;
                }
            }
            read = from.read(&mut buffer) => match read? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => {
                    under_way.push_back((Instant::now() + Delay::EACH_WAY, buffer[..length].to_vec()));
                }
            },
        }
    }
}
