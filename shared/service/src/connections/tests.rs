use axum::http::StatusCode;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// Longest wait for a condition.
const DEADLINE: Duration = Duration::from_mins(1);

/// More than sockets hold between them.
const MUCH: usize = 32 * 1024 * 1024;

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

const LAST_GET: &str = "GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

fn router() -> Router {
    Router::new()
        .route("/", get(async || "usual"))
        .route("/kept", get(async || ([(header::CACHE_CONTROL, "max-age=1")], "kept")))
        .route("/much", get(async || vec![b'x'; MUCH]))
        .route("/refused", post(async || (StatusCode::PAYLOAD_TOO_LARGE, "too much")))
}

/// A server on a port of its own.
async fn served(server: Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(server.run(listener, CancellationToken::new()));
    address
}

fn http1(places: ConnectionLimits) -> Server {
    Server::http1(router(), Router::new().fallback(async || (StatusCode::SERVICE_UNAVAILABLE, "full")), places)
}

const MANY: ConnectionLimits = ConnectionLimits { usual: 100, spare: 0 };

async fn connected(address: SocketAddr, sent: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("connected");
    stream.write_all(sent).await.expect("sent");
    stream
}

/// What comes until the connection is closed; a reset is an end as well.
async fn until_closed(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let read = async {
        let mut part = [0; 4096];
        while let Ok(bytes @ 1..) = stream.read(&mut part).await {
            all.extend_from_slice(&part[..bytes]);
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("closed in time");
    String::from_utf8_lossy(&all).into_owned()
}

/// One answer with its body, which ends by `end`.
async fn answer(stream: &mut TcpStream, end: &str) -> String {
    let mut all = Vec::new();
    let read = async {
        while !all.ends_with(end.as_bytes()) {
            let mut byte = [0];
            assert_eq!(stream.read(&mut byte).await.expect("an answer"), 1, "{}", String::from_utf8_lossy(&all));
            all.push(byte[0]);
        }
    };
    tokio::time::timeout(DEADLINE, read).await.expect("answered in time");
    String::from_utf8_lossy(&all).into_owned()
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let quick = Duration::from_millis(300);
    let address = served(http1(MANY).with_silence(quick)).await;
    for sent in ["", "G", "GET / HTTP/1.1\r\nhost: x\r\nx-half: "] {
        assert_eq!(until_closed(&mut connected(address, sent.as_bytes()).await).await, "", "{sent:?}");
    }
    let kept = until_closed(&mut connected(address, GET.as_bytes()).await).await;
    assert!(kept.ends_with("usual"), "{kept}");
    let address = served(Server::http2(router(), 100).with_silence(quick)).await;
    for sent in [&b""[..], b"PRI * HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
        until_closed(&mut connected(address, sent).await).await;
    }
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_has_no_more_time() {
    let address = served(http1(MANY).with_silence(Duration::from_millis(300))).await;
    let mut stream = connected(address, b"GET / HTTP/1.1\r\nx-long: ").await;
    let dripping = async { while stream.write_all(b"x").await.is_ok() {} };
    tokio::time::timeout(DEADLINE, dripping).await.expect("closed in time");
}

#[tokio::test]
async fn a_client_that_takes_no_answer_is_given_up() {
    let one = ConnectionLimits { usual: 1, spare: 0 };
    let address = served(http1(one).with_silence(Duration::from_millis(300))).await;
    let _deaf = connected(address, b"GET /much HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let served =
        async { while !until_closed(&mut connected(address, GET.as_bytes()).await).await.contains("usual") {} };
    tokio::time::timeout(DEADLINE, served).await.expect("the place is free again");
}

#[tokio::test]
async fn a_connection_of_calls_ends_though_one_of_them_never_does() {
    let (begun, mut has_begun) = tokio::sync::mpsc::channel(1);
    let router = Router::new().route(
        "/",
        post(async move || {
            begun.send(()).await.expect("awaited");
            std::future::pending::<()>().await;
        }),
    );
    let moment = Duration::from_millis(500);
    let address =
        served(Server { life: Some(Life { age: moment, last_calls: moment }), ..Server::http2(router, 1) }).await;
    // The opening, empty settings, and the head of a POST of "/" with `:scheme` http and no end (RFC 9113 and RFC 7541:
    // static entries 3, 4 and 6).
    let mut call = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    call.extend([0, 0, 0, 4, 0, 0, 0, 0, 0]);
    call.extend([0, 0, 3, 1, 4, 0, 0, 0, 1, 0x83, 0x84, 0x86]);
    let mut stream = connected(address, &call).await;
    tokio::time::timeout(DEADLINE, has_begun.recv()).await.expect("begun in time");
    // Sooner than a ping could miss its answer.
    tokio::time::timeout(PING_EVERY, until_closed(&mut stream)).await.expect("closed by its age");
}

#[tokio::test]
async fn beyond_the_places_there_is_one_answer_and_then_none() {
    let address = served(http1(ConnectionLimits { usual: 1, spare: 1 })).await;
    let mut first = connected(address, GET.as_bytes()).await;
    assert!(answer(&mut first, "usual").await.starts_with("HTTP/1.1 200"));
    let full = until_closed(&mut connected(address, GET.as_bytes()).await).await;
    assert!(full.starts_with("HTTP/1.1 503") && full.ends_with("full") && full.contains("connection: close"), "{full}");
    let _spare = connected(address, b"GET").await;
    assert_eq!(until_closed(&mut connected(address, GET.as_bytes()).await).await, "");
    drop(first);
    let again =
        async { while !until_closed(&mut connected(address, LAST_GET.as_bytes()).await).await.contains("usual") {} };
    tokio::time::timeout(DEADLINE, again).await.expect("the place is free again");
}

#[tokio::test]
async fn whoever_writes_all_before_it_reads_sees_the_answer() {
    let address = served(http1(MANY)).await;
    let told = format!("POST /refused HTTP/1.1\r\nhost: x\r\ncontent-length: {MUCH}\r\n\r\n").into_bytes();
    let chunk = format!("{MUCH:x}\r\n").into_bytes();
    let chunked = b"POST /refused HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let body = vec![b'x'; MUCH];
    for parts in [vec![told, body.clone()], vec![chunked, chunk, body, b"\r\n0\r\n\r\n".to_vec()]] {
        let mut stream = connected(address, &parts.concat()).await;
        let refused = answer(&mut stream, "too much").await;
        assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
        stream.write_all(GET.as_bytes()).await.expect("sent");
        assert!(answer(&mut stream, "usual").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn a_body_without_an_end_is_not_read_for_ever() {
    let address = served(http1(MANY)).await;
    let mut stream =
        connected(address, b"POST /refused HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n").await;
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b'x'; 1 << 20], b"\r\n".to_vec()].concat();
    let mut sent = 0_u64;
    let endless = async {
        while stream.write_all(&chunk).await.is_ok() {
            sent += 1 << 20;
        }
    };
    tokio::time::timeout(DEADLINE, endless).await.expect("closed in time");
    assert!(sent >= MAX_UNREAD_BYTES / 2, "{sent}");
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_not_told_to() {
    let address = served(http1(MANY)).await;
    let head = format!("POST /refused HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {MUCH}\r\n\r\n");
    let refused = until_closed(&mut connected(address, head.as_bytes()).await).await;
    assert!(refused.starts_with("HTTP/1.1 413"), "{refused}");
}

#[tokio::test]
async fn every_answer_is_what_it_is_called_and_is_not_kept() {
    let address = served(http1(MANY)).await;
    for (path, kept) in [("/", "no-store"), ("/nowhere", "no-store"), ("/kept", "max-age=1")] {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = until_closed(&mut connected(address, head.as_bytes()).await).await;
        assert!(answer.contains("x-content-type-options: nosniff\r\n"), "{answer}");
        assert!(answer.contains(&format!("cache-control: {kept}\r\n")), "{answer}");
    }
}

#[tokio::test]
async fn a_head_has_a_bound() {
    let address = served(http1(MANY)).await;
    let mut stream = connected(address, b"GET / HTTP/1.1\r\nx-long: ").await;
    // What does not fit into sockets may meet a closed connection.
    let _ = stream.write_all(&vec![b'x'; MAX_HEAD_BYTES]).await;
    let refused = until_closed(&mut stream).await;
    assert!(refused.is_empty() || refused.starts_with("HTTP/1.1 431"), "{refused}");
}
