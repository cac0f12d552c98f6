//! A door in front of a real server: it can be shut, it can be slow, and it can turn HTTP requests away.
//!
//! What passes is the real server's; the door only adds what networks and proxies do.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};

/// A forwarding port on 127.0.0.1.
pub struct Gate {
    port: u16,
    state: Arc<State>,
}

struct State {
    target: Mutex<String>,
    /// Clients that send this get no answer to it, as often as this says.
    lose_answer_to: Mutex<Option<(Vec<u8>, u32)>>,
    is_open: watch::Sender<bool>,
    delay_ms: AtomicU64,
    is_mute: AtomicBool,
    /// The HTTP status that every request gets from the door itself; 0: none does.
    refusal: AtomicU16,
    requests: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// What each connection sent, while that is recorded.
    record: Mutex<Option<Vec<Sent>>>,
}

/// What one connection sent.
type Sent = Arc<Mutex<Vec<u8>>>;

/// A lock that a panicking test let go is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Gate {
    /// An open door to `target` (`host:port`).
    ///
    /// # Errors
    ///
    /// No port is free.
    pub async fn to(target: &str) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a free port")?;
        let port = listener.local_addr()?.port();
        let state = Arc::new(State {
            target: Mutex::new(target.to_owned()),
            lose_answer_to: Mutex::default(),
            is_open: watch::channel(true).0,
            delay_ms: AtomicU64::new(0),
            is_mute: AtomicBool::new(false),
            refusal: AtomicU16::new(0),
            requests: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            record: Mutex::default(),
        });
        let served = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let state = Arc::clone(&served);
                tokio::spawn(async move {
                    // A connection that breaks is what a door is for.
                    let _ = pass(stream, &state).await;
                });
            }
        });
        Ok(Self { port, state })
    }

    /// A door to the server that a URL names, and the URL through the door.
    ///
    /// # Errors
    ///
    /// The URL names no port, or no port is free.
    pub async fn before(url: &str) -> anyhow::Result<(Self, String)> {
        let mut parsed: reqwest::Url = url.parse()?;
        let target = format!("{}:{}", parsed.host_str().context("a host")?, parsed.port().context("a port")?);
        let gate = Self::to(&target).await?;
        parsed.set_port(Some(gate.port)).ok().context("a port")?;
        Ok((gate, parsed.to_string().trim_end_matches('/').to_owned()))
    }

    /// `host:port` of the door itself.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Leads new connections to another server; those that stand still lead to the old one.
    pub fn lead_to(&self, target: &str) {
        target.clone_into(&mut locked(&self.state.target));
    }

    /// Lets the server do what a client asks for by a packet that holds this text, but breaks the connection before the
    /// answer: so many times.
    pub fn lose_answer_to(&self, text: &str, times: u32) {
        *locked(&self.state.lose_answer_to) = Some((text.as_bytes().to_vec(), times));
    }

    /// How many answers are still to be lost.
    pub fn answers_to_lose(&self) -> u32 {
        locked(&self.state.lose_answer_to).as_ref().map_or(0, |(_, times)| *times)
    }

    /// Shuts the door: open connections break, new ones are closed at once.
    pub fn shut(&self) {
        self.state.is_open.send_replace(false);
    }

    /// Opens the door.
    pub fn open(&self) {
        self.state.is_open.send_replace(true);
    }

    /// Delays everything that clients send by this.
    pub fn delay(&self, delay: Duration) {
        self.state.delay_ms.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Accepts connections and lets nothing through, as a server that hangs.
    pub fn mute(&self, is_mute: bool) {
        self.state.is_mute.store(is_mute, Ordering::Relaxed);
    }

    /// Answers every HTTP request by this status instead of asking the server; `None`: lets them through again.
    pub fn refuse(&self, status: Option<u16>) {
        self.state.refusal.store(status.unwrap_or(0), Ordering::Relaxed);
    }

    /// How often clients have sent something.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Keeps everything that is sent over connections made from now on.
    pub fn record(&self) {
        locked(&self.state.record).get_or_insert_default();
    }

    /// What was sent since [`Self::record`], a connection an entry.
    pub fn recorded(&self) -> Vec<Vec<u8>> {
        locked(&self.state.record).iter().flatten().map(|connection| locked(connection).clone()).collect()
    }

    /// Bytes that clients have sent, and bytes that they have received.
    pub fn bytes(&self) -> (u64, u64) {
        (self.state.sent.load(Ordering::Relaxed), self.state.received.load(Ordering::Relaxed))
    }
}

async fn pass(mut client: TcpStream, state: &State) -> std::io::Result<()> {
    let mut is_open = state.is_open.subscribe();
    if !*is_open.borrow_and_update() {
        return Ok(());
    }
    let target = locked(&state.target).clone();
    let mut server = TcpStream::connect(target).await?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let (refuse, refused) = oneshot::channel();
    let lost = AtomicBool::new(false);
    let recorded = locked(&state.record).as_mut().map(|connections| {
        connections.push(Arc::default());
        Arc::clone(&connections[connections.len() - 1])
    });
    let requests = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = from_client.read(&mut buffer).await?;
            if n == 0 {
                return to_server.shutdown().await;
            }
            state.requests.fetch_add(1, Ordering::Relaxed);
            if let Some(recorded) = &recorded {
                locked(recorded).extend_from_slice(&buffer[..n]);
            }
            let refusal = state.refusal.load(Ordering::Relaxed);
            if refusal != 0 {
                // Nobody waits for it only when the connection is gone.
                let _ = refuse.send(refusal);
                return std::future::pending().await;
            }
            while state.is_mute.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            let delay = Duration::from_millis(state.delay_ms.load(Ordering::Relaxed));
            tokio::time::sleep(delay).await;
            let is_lost = state.loses_answer_to(&buffer[..n]);
            to_server.write_all(&buffer[..n]).await?;
            state.sent.fetch_add(n as u64, Ordering::Relaxed);
            // What came meanwhile is the rest of a long request, which is not delayed twice.
            while !delay.is_zero()
                && let Ok(more) = from_client.try_read(&mut buffer)
                && more > 0
            {
                to_server.write_all(&buffer[..more]).await?;
                state.sent.fetch_add(more as u64, Ordering::Relaxed);
            }
            if is_lost {
                to_server.flush().await?;
                // The server reads what was sent before the end, and does it.
                lost.store(true, Ordering::Relaxed);
                return to_server.shutdown().await;
            }
        }
    };
    let answers = async {
        let mut buffer = vec![0; 64 << 10];
        loop {
            let n = from_server.read(&mut buffer).await?;
            if n == 0 || lost.load(Ordering::Relaxed) {
                return to_client.shutdown().await;
            }
            to_client.write_all(&buffer[..n]).await?;
            state.received.fetch_add(n as u64, Ordering::Relaxed);
        }
    };
    let status = tokio::select! {
        done = async { tokio::try_join!(requests, answers) } => return done.map(|_| ()),
        _ = is_open.wait_for(|is_open| !is_open) => return Ok(()),
        Ok(status) = refused => status,
    };
    turn_away(client, status).await
}

impl State {
    /// Whether the answer to this is to be lost; counts it.
    fn loses_answer_to(&self, sent: &[u8]) -> bool {
        let mut wanted = locked(&self.lose_answer_to);
        match wanted.as_mut() {
            Some((text, times)) if *times > 0 && sent.windows(text.len()).any(|part| part == text) => {
                *times -= 1;
                true
            }
            _ => false,
        }
    }
}

/// Answers by a status and waits until the client has closed, since an answer may get lost with what was left unread.
async fn turn_away(mut client: TcpStream, status: u16) -> std::io::Result<()> {
    const BODY: &str = r#"{"error": "refused by the door"}"#;
    let answer = format!(
        "HTTP/1.1 {status} Refused\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{BODY}",
        BODY.len()
    );
    client.write_all(answer.as_bytes()).await?;
    client.shutdown().await?;
    tokio::io::copy(&mut client, &mut tokio::io::sink()).await?;
    Ok(())
}
