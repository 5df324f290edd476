//! A byte stream that remembers when the other side last gave a sign of life.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

/// When the peer last did something: sent bytes, or made room for ours after we had to wait.
///
/// A write that goes through at once is no sign: the kernel buffers for a dead peer too.
#[derive(Clone, Debug)]
pub(crate) struct Progress(Arc<Marks>);

#[derive(Debug)]
struct Marks {
    start: Instant,
    micros: AtomicU64,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Marks { start: Instant::now(), micros: AtomicU64::new(0) }))
    }

    pub(crate) fn last(&self) -> Instant {
        self.0.start + Duration::from_micros(self.0.micros.load(Ordering::Relaxed))
    }

    fn touch(&self) {
        let micros = self.0.start.elapsed().as_micros();
        self.0.micros.store(u64::try_from(micros).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// `inner`, watched.
pub(crate) struct Watched<S> {
    inner: S,
    progress: Progress,
    /// The last write had to wait.
    full: bool,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, progress: Progress) -> Self {
        Self { inner, progress, full: false }
    }

    fn wrote(&mut self, result: &io::Result<usize>) {
        if std::mem::take(&mut self.full) && result.is_ok() {
            self.progress.touch();
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.progress.touch();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write(cx, buf);
        match &poll {
            Poll::Ready(result) => self.wrote(result),
            Poll::Pending => self.full = true,
        }
        poll
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        match &poll {
            Poll::Ready(result) => self.wrote(result),
            Poll::Pending => self.full = true,
        }
        poll
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
