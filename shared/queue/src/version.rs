//! Which version a broker says it is.
//!
//! The client library reads it and keeps it to itself. So this connects, reads the broker's first frame, which comes before
//! any login (AMQP 0-9-1, `connection.start`), and leaves.

use std::io;

use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};
use lapin::protocol::AMQPClass;
use lapin::protocol::connection::{AMQPMethod, Start};
use lapin::tcp::AMQPUriTcpExt as _;
use lapin::types::AMQPValue;
use lapin::uri::AMQPUri;

use super::{QueueError, bounded};

/// What a client says first: AMQP 0-9-1.
const GREETING: &[u8] = b"AMQP\0\0\x09\x01";

/// The first frame has some hundred bytes; what announces more than this is no broker.
const LONGEST_FRAME: u32 = 16 * 1024;

/// `None`: it does not say.
pub(super) async fn version(url: &str) -> Result<Option<String>, QueueError> {
    let start = bounded("asking for its version", async { Ok(first_frame(url).await?) }).await?;
    Ok(match start.server_properties.inner().get("version") {
        Some(AMQPValue::LongString(version)) => Some(version.to_string()),
        _ => None,
    })
}

async fn first_frame(url: &str) -> io::Result<Start> {
    let url: AMQPUri = url.parse().map_err(|error: String| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let runtime = lapin::runtime::default_runtime().map_err(io::Error::other)?;
    let mut stream = url.connect_async(&runtime).await?;
    stream.write_all(GREETING).await?;
    // Type and channel, which are those of the first frame, and the length of what follows.
    let mut head = [0; 7];
    stream.read_exact(&mut head).await?;
    let [_, _, _, length @ ..] = head;
    let length = u32::from_be_bytes(length);
    if length > LONGEST_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a first frame of {length} bytes")));
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    match lapin::protocol::parse_class(payload.as_slice()) {
        Ok((_, AMQPClass::Connection(AMQPMethod::Start(start)))) => Ok(start),
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the first frame is not a broker's")),
    }
}
