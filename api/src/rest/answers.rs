//! What the answers of several routes share: the plain body.

use axum::Json;
use serde::Serialize;
use utoipa::ToSchema;

/// The body of an answer that has nothing to say but that it is done.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Done {
    /// Always true.
    #[schema(examples(true))]
    success: bool,
    /// What was done.
    #[schema(examples("task 7 was changed"))]
    message: String,
}

impl Done {
    pub(crate) fn new(message: impl Into<String>) -> Json<Self> {
        Json(Self { success: true, message: message.into() })
    }
}
