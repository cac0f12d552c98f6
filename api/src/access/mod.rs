//! Who may call, and how much at once.
//!
//! Both transports ask here before they read a body. Knows no task and no run.

mod bodies;
mod limits;
mod request_id;
mod token;

pub(crate) use bodies::{EnqueuePermit, MAX_SMALL_BYTES, declared_length, in_time, read_body};
pub(crate) use limits::Limits;
pub(crate) use request_id::{REQUEST_ID, request_id, trace_headers};
pub(crate) use token::Guard;
