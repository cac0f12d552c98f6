//! What this process has for every batch.

use sqlx::MySqlPool;
use tokio_util::sync::CancellationToken;

use crate::missing_indices::MissingIndices;
use crate::search_limit::SearchGates;
use crate::sources::SourceRegistry;

/// What a batch is worked on with.
pub(crate) struct Workbench {
    /// Name of this process, for those who read an explanation.
    pub(crate) name: String,
    pub(crate) pool: MySqlPool,
    pub(crate) sources: SourceRegistry,
    pub(crate) missing_indices: MissingIndices,
    pub(crate) gates: SearchGates,
    /// Nothing new is begun when this has fired.
    pub(crate) stopping: CancellationToken,
    /// Searches are given up when this fires.
    pub(crate) stop_searches: CancellationToken,
    /// Everything is given up when this fires.
    pub(crate) stop_hard: CancellationToken,
}
