//! Connections of a [`FaultProxy`](super::FaultProxy), and the two ways of each.

use std::cell::Cell;
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;

use super::faults::Faults;
use super::line::Lines;
use super::way::{Lost, Way};
use super::{Direction, Shared, Target};

/// Serves connections for as long as it is polled.
pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
    let lines = Arc::new(Lines::default());
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    connections.spawn_local(serve(client, shared.clone(), lines.clone()));
                }
                // Too many open files: some may be closed meanwhile.
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Serves one connection to its end.
async fn serve(mut client: TcpStream, shared: Arc<Shared>, lines: Arc<Lines>) {
    let _open = shared.counters.opened();
    let mut faults = shared.switch.watch();
    let generation = faults.borrow().generation;
    let cut = async {
        let wrong = |faults: &Faults| faults.cut || faults.generation != generation;
        // The sender is in `shared`, which lives at least as long.
        let _ = faults.wait_for(wrong).await;
    };
    let ended = tokio::select! {
        biased;
        () = cut => Err(io::ErrorKind::ConnectionReset.into()),
        ended = connect(&mut client, &shared, &lines) => ended,
    };
    if ended.is_err() {
        // Without a time to linger, closing sends a reset.
        let _ = rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO));
    }
}

/// Connects to the server, and the two with each other.
async fn connect(client: &mut TcpStream, shared: &Shared, lines: &Lines) -> io::Result<()> {
    client.set_nodelay(true)?;
    let connected = match &shared.target {
        Target::Tcp(address) => match TcpStream::connect(address).await {
            Ok(server) => {
                server.set_nodelay(true)?;
                return relay(client, server, shared, lines).await;
            }
            Err(error) => error,
        },
        Target::Unix(path) => match UnixStream::connect(path).await {
            Ok(server) => return relay(client, server, shared, lines).await,
            Err(error) => error,
        },
    };
    let swallow = shared.switch.now().swallow;
    if swallow.to_server || swallow.to_client {
        // That the server is not there must not come through either.
        return tokio::io::copy(client, &mut tokio::io::sink()).await.map(|_| ());
    }
    Err(connected)
}

/// Passes bytes both ways until both sides have finished.
async fn relay<S: AsyncRead + AsyncWrite>(
    client: &mut TcpStream,
    server: S,
    shared: &Shared,
    lines: &Lines,
) -> io::Result<()> {
    let (client_read, client_write) = client.split();
    let (server_read, server_write) = tokio::io::split(server);
    let awaiting_reply = Cell::new(false);
    let lost = Lost::default();
    let to_server = Way {
        direction: Direction::ToServer,
        faults: shared.switch.watch(),
        line: &lines.to_server,
        lost: &lost,
        arrived: || {
            if !awaiting_reply.replace(true) {
                shared.counters.round_trips.add(1);
            }
            Ok(())
        },
        passed: |bytes| shared.counters.to_server.add(bytes),
    };
    let to_client = Way {
        direction: Direction::ToClient,
        faults: shared.switch.watch(),
        line: &lines.to_client,
        lost: &lost,
        arrived: || {
            awaiting_reply.set(false);
            if shared.switch.lose_one_reply() {
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            Ok(())
        },
        passed: |bytes| shared.counters.to_client.add(bytes),
    };
    tokio::try_join!(
        to_server.run(client_read, server_write),
        to_client.run(server_read, client_write),
    )?;
    Ok(())
}
