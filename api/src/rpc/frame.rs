//! The frame of a request's message: unpacked where it came as gzip, and looked through before it is decoded.
//!
//! Owns the bound on what decoding makes of a message: few bytes of either gzip or empty fields become many.

use std::io::Read as _;

use axum::http::{HeaderMap, HeaderName};
use flate2::read::GzDecoder;
use prost::encoding::{DecodeContext, decode_key, skip_field};

use crate::error::ApiError;
use crate::request::{MAX_FIELDS, MAX_ITEMS};

/// Bytes before a message: a flag and a length.
pub(super) const FRAME_HEADER_BYTES: usize = 5;

/// How the messages of a request are packed.
pub(super) const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Most fields of a message, those of its one list among them.
const MAX_MESSAGE_FIELDS: usize = MAX_FIELDS + MAX_ITEMS;

/// The same frame with its message unpacked. A frame that is none is left to the transport, which refuses it.
///
/// # Errors
///
/// The message is larger than `limit_bytes` when it is unpacked, is no gzip, or has more than [`MAX_MESSAGE_FIELDS`].
pub(super) fn plain(frame: Vec<u8>, headers: &HeaderMap, limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let Some((head, message)) = frame.split_at_checked(FRAME_HEADER_BYTES) else { return Ok(frame) };
    let is_gzip = head[0] == 1 && headers.get(ENCODING).is_some_and(|encoding| encoding == "gzip");
    let frame = if is_gzip { unpacked(message, limit_bytes)? } else { frame };
    if frame[0] == 0 {
        check_fields(&frame[FRAME_HEADER_BYTES..])?;
    }
    Ok(frame)
}

fn unpacked(message: &[u8], limit_bytes: usize) -> Result<Vec<u8>, ApiError> {
    let mut frame = vec![0; FRAME_HEADER_BYTES];
    let most = limit_bytes as u64 + 1;
    let length = GzDecoder::new(message)
        .take(most)
        .read_to_end(&mut frame)
        .map_err(|error| ApiError::MalformedBody(format!("it is no gzip ({error})")))?;
    match u32::try_from(length) {
        Ok(length) if length as usize <= limit_bytes => {
            frame[1..FRAME_HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
            Ok(frame)
        }
        _ => Err(ApiError::TooLarge { what: "the unpacked request", limit_bytes }),
    }
}

/// Counts the fields of a message. What cannot be read is left to the decoder, which stops at the same place.
fn check_fields(mut message: &[u8]) -> Result<(), ApiError> {
    for _ in 0..=MAX_MESSAGE_FIELDS {
        let skipped = decode_key(&mut message)
            .and_then(|(tag, wire_type)| skip_field(wire_type, tag, &mut message, DecodeContext::default()));
        if skipped.is_err() {
            return Ok(());
        }
    }
    Err(ApiError::MalformedBody(format!("it has more than {MAX_MESSAGE_FIELDS} fields")))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use axum::http::HeaderValue;
    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
        let length = u32::try_from(message.len()).expect("a short message");
        [&[flag], &length.to_be_bytes()[..], message].concat()
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).expect("written");
        encoder.finish().expect("packed")
    }

    fn headers() -> HeaderMap {
        HeaderMap::from_iter([(ENCODING, HeaderValue::from_static("gzip"))])
    }

    #[test]
    fn a_packed_message_is_unpacked_and_everything_else_left_as_it_is() {
        let message = b"\x0a\x0410.1";
        assert_eq!(plain(framed(1, &gzip(message)), &headers(), 100).ok(), Some(framed(0, message)));
        for frame in [framed(0, message), framed(1, message), vec![0, 0], Vec::new()] {
            assert_eq!(plain(frame.clone(), &HeaderMap::new(), 100).ok(), Some(frame));
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit() {
        let packed = gzip(&vec![0; 50_000_000]);
        assert!(packed.len() < 100_000);
        assert!(matches!(plain(framed(1, &packed), &headers(), 1_000_000), Err(ApiError::TooLarge { .. })));
        let twice = gzip(&gzip(&vec![0; 1_000]));
        assert!(plain(framed(1, &twice), &headers(), 1_000_000).is_ok());
        for broken in [&packed[..packed.len() / 2], b"no gzip", b""] {
            assert!(plain(framed(1, broken), &headers(), 100_000_000).is_err());
        }
    }

    #[test]
    fn a_message_of_empty_items_is_refused_before_they_take_memory() {
        let items = |count: usize| framed(0, &[0x0a, 0].repeat(count));
        assert!(plain(items(MAX_MESSAGE_FIELDS), &HeaderMap::new(), 9_000_000).is_ok());
        let error = plain(items(MAX_MESSAGE_FIELDS + 1), &HeaderMap::new(), 9_000_000).expect_err("too many");
        assert_eq!(error.to_string(), "the body cannot be read: it has more than 200064 fields");
        let groups = [0x0b].repeat(1_000_000);
        assert!(plain(framed(0, &groups), &HeaderMap::new(), 9_000_000).is_ok());
    }
}
