//! A child process that cannot outlive this one.
//!
//! 1. The server is started by a small shell, which holds the read end of a pipe whose only write
//!    end is in this process. When this process ends, in whatever way, the kernel closes that end;
//!    the shell then kills the server and removes its directory.
//! 2. Only the shell reaps the server, and only after this process has sent a line through that
//!    pipe. Until then the process id cannot be given to another process, so signals by id are
//!    safe.
//! 3. The server holds the write end of a second pipe. When the server ends, this process sees
//!    the end of that pipe: no polling of process tables.
//! 4. The shell leads a process group and ignores what a terminal sends. Interrupting the test
//!    reaches the test, whose end is seen by rule 1; a paused server in a group that has lost its
//!    parent would otherwise have the shell hung up on by the kernel.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid,
};

/// `$1` is the server's directory, the rest its command line.
const SHELL: &str = r#"
trap '' HUP INT QUIT TERM
dir=$1
shift
"$@" 3>&1 >>"$dir/log" 2>&1 </dev/null &
server=$!
echo "$server"
exec >/dev/null
if read -r order; then
    wait "$server"
else
    kill -KILL "$server"
    wait "$server"
    rm -rf "$dir"
    kill -KILL 0
fi
"#;

/// A running (or paused, or ended but not yet reaped) server.
#[derive(Debug)]
pub(super) struct Process {
    shell: Child,
    /// Closed by the kernel at the latest.
    orders: ChildStdin,
    /// At its end when the server has ended.
    life: ChildStdout,
    server: Pid,
}

impl Process {
    /// Starts `program` with its output appended to `log` in `dir`.
    pub(super) fn spawn(program: &Path, arguments: &[&str], dir: &Path) -> Self {
        let mut shell = Command::new("/bin/sh")
            .args(["-c", SHELL, "sh"])
            .arg(dir)
            .arg(program)
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("cannot run /bin/sh");
        let orders = shell.stdin.take().expect("piped");
        let mut life = shell.stdout.take().expect("piped");
        let server = read_pid(&mut life).expect("the shell did not say the server's process id");
        Self { shell, orders, life, server }
    }

    /// The server's process id.
    pub(super) fn pid(&self) -> u32 {
        self.server.as_raw_nonzero().get().cast_unsigned()
    }

    /// Sends a signal to the server.
    pub(super) fn signal(&self, signal: Signal) {
        kill_process(self.server, signal)
            .unwrap_or_else(|e| panic!("cannot signal process {}: {e}", self.pid()));
    }

    /// Whether the server has ended, or ends within `patience`.
    pub(super) fn ends_within(&self, patience: Duration) -> bool {
        let timeout = Timespec {
            tv_sec: patience.as_secs().try_into().expect("a short time"),
            tv_nsec: patience.subsec_nanos().into(),
        };
        let mut ended = [PollFd::new(&self.life, PollFlags::IN)];
        poll(&mut ended, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }
}

impl Drop for Process {
    /// Kills the server if it still runs, and reaps it and everything it has started.
    fn drop(&mut self) {
        let _ = kill_process(self.server, Signal::KILL);
        let _ = self.orders.write_all(b"\n");
        // Seen but not reaped, so that the group's number is still ours in the next line.
        let shell = Pid::from_child(&self.shell);
        let _ = waitid(WaitId::Pid(shell), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
        let _ = kill_process_group(shell, Signal::KILL);
        let _ = self.shell.wait();
    }
}

/// Reads the first line, byte by byte: nothing may be taken that comes after it.
fn read_pid(pipe: &mut ChildStdout) -> Option<Pid> {
    let mut number = 0;
    let mut byte = [0];
    loop {
        pipe.read_exact(&mut byte).ok()?;
        match byte[0] {
            b'\n' => return Pid::from_raw(number),
            digit => number = number * 10 + i32::from(digit.checked_sub(b'0')?),
        }
    }
}
