//! What a fault of one run means for the others of its round.

use hostsync_model::causes::causes;
use hostsync_model::execution::ExecutionId;
use hostsync_store::outbox::OutboxError;

/// Says what went wrong with one run. `Err`: it would go wrong with all of them, the sweep ends.
pub(crate) fn only_this_run(id: ExecutionId, error: OutboxError) -> Result<(), OutboxError> {
    if error.is_outage() {
        return Err(error);
    }
    tracing::warn!(execution_id = %id, error = %causes(&error), "execution {id} waits");
    Ok(())
}
