//! Connections to a listener of a service: how many there are, how long one may say nothing, what is kept of it.
//!
//! Owns every bound on a connection, so that neither silence nor number can take the process away from others. Knows no
//! route; what a body may hold is its reader's matter.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use hostsync_model::causes::causes;

/// How long a connection may say nothing where it is its turn: the head of a request (also the next one on a connection
/// that is kept), the opening of HTTP/2, the taking of an answer. Then it is closed. As long as nginx keeps a connection,
/// and longer than Prometheus waits between two looks.
pub const SILENCE: Duration = Duration::from_secs(75);

/// The same for a connection that came when all places were taken.
const SILENCE_WHEN_FULL: Duration = Duration::from_secs(5);

/// Largest head of a request over HTTP/1, in bytes; a larger one is answered by 431. Nothing else is read ahead of a
/// request, so this is what a connection can hold before it is known who speaks.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Largest head of a call over HTTP/2, in bytes; a larger one is refused.
const MAX_CALL_HEAD_BYTES: u32 = 8 * 1024;

/// Calls of one HTTP/2 connection at a time; a client waits before it begins another.
const MAX_STREAMS: u32 = 100;

/// Bytes that a client may send ahead of what is read, of one call and of all calls of a connection.
const CALL_WINDOW_BYTES: u32 = 128 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 256 * 1024;

/// An HTTP/2 connection is asked so often whether it lives, and is closed if it does not answer in time.
const PING_EVERY: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long an HTTP/2 connection stands, and what its calls have to end then: one that answers pings may yet take no answer,
/// or watch for ever. A client that goes on opens another.
const LIFE: Life = Life { age: Duration::from_mins(30), last_calls: Duration::from_mins(5) };

/// Bytes with which a client opens HTTP/2 (RFC 9113, section 3.4).
const PREFACE_BYTES: usize = 24;

/// What is read and thrown away of a body that was answered before its end. A client that writes all of it before it
/// reads sees the answer then, where closing would show it a broken pipe. Beyond either bound the connection is closed.
const MAX_UNREAD_BYTES: u64 = 64 * 1024 * 1024;
const MAX_UNREAD_TIME: Duration = Duration::from_secs(30);

/// The two ends of the connection that a request came by, in its extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ends {
    /// The caller, or the proxy before it.
    pub remote: SocketAddr,
    /// Where it has reached us.
    pub local: SocketAddr,
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Served as they should be.
    pub usual: usize,
    /// Beyond those: served one request each by the router for this case, within a short time. Further ones are closed
    /// at once.
    pub spare: usize,
}

/// The life of a connection.
#[derive(Debug, Clone, Copy)]
struct Life {
    /// It takes no new calls after this.
    age: Duration,
    /// It is closed so much later, whatever is under way.
    last_calls: Duration,
}

/// What answers on a listener.
pub struct Server {
    protocol: Protocol,
    places: ConnectionLimits,
    silence: Duration,
    /// `None`: as long as requests come.
    life: Option<Life>,
    router: Router,
    when_full: Router,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Http1,
    Http2,
}

/// The right to be served, given back when it is dropped.
struct Place {
    is_usual: bool,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn find(usual: &Arc<Semaphore>, spare: &Arc<Semaphore>) -> Option<Self> {
        let of = |places: &Arc<Semaphore>, is_usual| {
            let permit = Arc::clone(places).try_acquire_owned().ok()?;
            Some(Self { is_usual, _permit: permit })
        };
        of(usual, true).or_else(|| of(spare, false))
    }
}

impl Server {
    /// HTTP/1.1. `when_full` answers when all usual places are taken.
    pub fn http1(router: Router, when_full: Router, places: ConnectionLimits) -> Self {
        Self { protocol: Protocol::Http1, places, silence: SILENCE, life: None, router, when_full }
    }

    /// HTTP/2 without TLS, as gRPC speaks it; without spare places.
    pub fn http2(router: Router, usual: usize) -> Self {
        let places = ConnectionLimits { usual, spare: 0 };
        Self { protocol: Protocol::Http2, places, silence: SILENCE, life: Some(LIFE), router, when_full: Router::new() }
    }

    /// The same with another silence, for tests.
    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// Serves until `stopping`; then takes no more connections and finishes the requests that have begun.
    pub async fn run(self, mut listener: TcpListener, stopping: CancellationToken) {
        let usual = Arc::new(Semaphore::new(self.places.usual));
        let spare = Arc::new(Semaphore::new(self.places.spare));
        let mut was_full = false;
        let connections = TaskTracker::new();
        loop {
            let (stream, remote) = tokio::select! {
                accepted = axum::serve::Listener::accept(&mut listener) => accepted,
                () = stopping.cancelled() => break,
            };
            let place = Place::find(&usual, &spare);
            let is_full = !place.as_ref().is_some_and(|place| place.is_usual);
            if is_full && !was_full {
                let most = self.places.usual;
                tracing::warn!(connections = most, "all {most} connections are taken; further ones are turned away");
            }
            was_full = is_full;
            if let Some(place) = place {
                connections.spawn(self.connection(stream, remote, place, stopping.clone()));
            }
        }
        drop(listener);
        connections.close();
        connections.wait().await;
    }

    /// One connection, to its end.
    fn connection(
        &self,
        stream: TcpStream,
        remote: SocketAddr,
        place: Place,
        stopping: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let router = if place.is_usual { &self.router } else { &self.when_full };
        let router = TowerToHyperService::new(router.clone());
        let silence = if place.is_usual { self.silence } else { self.silence.min(SILENCE_WHEN_FULL) };
        let (builder, protocol, life) = (self.builder(silence, place.is_usual), self.protocol, self.life);
        async move {
            let _place = place;
            // A connection that is gone already.
            let Ok(local) = stream.local_addr() else { return };
            if stream.set_nodelay(true).is_err() {
                return;
            }
            let service = service_fn(move |request: hyper::Request<Incoming>| {
                let answer = router.call(received(request, Ends { remote, local }, protocol));
                async move { answer.await.map(plain) }
            });
            let connection = builder.serve_connection(TokioIo::new(Socket::new(stream, protocol, silence)), service);
            tokio::pin!(connection);
            let is_old = async {
                match life {
                    Some(life) => tokio::time::sleep(life.age).await,
                    None => std::future::pending().await,
                }
            };
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopping.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
                () = is_old => {
                    connection.as_mut().graceful_shutdown();
                    let last_calls = life.map_or(Duration::ZERO, |life| life.last_calls);
                    tokio::time::timeout(last_calls, connection).await.unwrap_or(Ok(()))
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%remote, error = %causes(&*error), "a connection broke off");
            }
        }
    }

    fn builder(&self, silence: Duration, is_kept: bool) -> Builder<TokioExecutor> {
        let mut builder = Builder::new(TokioExecutor::new());
        match self.protocol {
            Protocol::Http1 => {
                builder
                    .http1()
                    .timer(TokioTimer::new())
                    .header_read_timeout(silence)
                    .keep_alive(is_kept)
                    .max_buf_size(MAX_HEAD_BYTES);
                builder.http1_only()
            }
            Protocol::Http2 => {
                builder
                    .http2()
                    .timer(TokioTimer::new())
                    .keep_alive_interval(PING_EVERY)
                    .keep_alive_timeout(PING_TIMEOUT)
                    .max_concurrent_streams(MAX_STREAMS)
                    .max_header_list_size(MAX_CALL_HEAD_BYTES)
                    .initial_stream_window_size(CALL_WINDOW_BYTES)
                    .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
                builder.http2_only()
            }
        }
    }
}

/// A request as the router takes it.
fn received(request: hyper::Request<Incoming>, ends: Ends, protocol: Protocol) -> Request {
    let waits_for_continue = request.headers().contains_key(header::EXPECT);
    let mut request = request.map(|incoming| match protocol {
        Protocol::Http1 => Body::new(ReadOn { incoming: Some(incoming), waits_for_continue }),
        // A stream that is not read to its end is reset, and the client sees its answer.
        Protocol::Http2 => Body::new(incoming),
    });
    request.extensions_mut().insert(ends);
    request
}

/// What holds for every answer, unless it says otherwise: it is what it is called, and nobody keeps it.
fn plain(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.entry(header::X_CONTENT_TYPE_OPTIONS).or_insert(HeaderValue::from_static("nosniff"));
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A body that is read on when it is dropped before its end: see [`MAX_UNREAD_BYTES`].
struct ReadOn {
    incoming: Option<Incoming>,
    /// The client sends nothing before it is told to, so nothing need be read on.
    waits_for_continue: bool,
}

impl HttpBody for ReadOn {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.waits_for_continue = false;
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.incoming = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or_else(|| SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for ReadOn {
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if self.waits_for_continue || incoming.is_end_stream() {
            return;
        }
        // Beside the answer, which is on its way. Outside of a runtime there is no connection any more either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(MAX_UNREAD_TIME, throw_away(incoming)));
        }
    }
}

async fn throw_away(mut incoming: Incoming) {
    let mut left_bytes = MAX_UNREAD_BYTES;
    while let Some(Ok(frame)) = poll_fn(|context| Pin::new(&mut incoming).poll_frame(context)).await {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left_bytes.checked_sub(bytes) {
            Some(left) => left_bytes = left,
            None => return,
        }
    }
}

/// A socket that fails where it would stand still: its client does not open HTTP/2, or does not take what it is sent. What
/// else may stand still has a clock of hyper's (the head of a request over HTTP/1, the pings of HTTP/2), or its connection an
/// end ([`LIFE`]).
struct Socket {
    stream: TcpStream,
    silence: Duration,
    opening: Option<Opening>,
    stalled: Option<Pin<Box<Sleep>>>,
}

struct Opening {
    missing_bytes: usize,
    until: Pin<Box<Sleep>>,
}

impl Socket {
    fn new(stream: TcpStream, protocol: Protocol, silence: Duration) -> Self {
        let opening = (protocol == Protocol::Http2)
            .then(|| Opening { missing_bytes: PREFACE_BYTES, until: Box::pin(tokio::time::sleep(silence)) });
        Self { stream, silence, opening, stalled: None }
    }

    /// What became of a write: one that is not taken within the silence is an error.
    fn taken<T>(&mut self, written: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.silence)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        let Some(opening) = &mut this.opening else { return read };
        if read.is_pending() {
            return opening.until.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        opening.missing_bytes = opening.missing_bytes.saturating_sub(buffer.filled().len() - before);
        if opening.missing_bytes == 0 {
            this.opening = None;
        }
        read
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.taken(written, context)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, slices);
        this.taken(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests;
