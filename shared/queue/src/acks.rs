//! Acks of one consumer, in as few frames as can be.
//!
//! An ack with `multiple` settles every delivery of the channel up to its tag (AMQP 0-9-1, `basic.ack`), so it may be
//! used only where everything before is done as well: an [`UnackedTags`] knows what is not. Batches end mostly in the order
//! of their tags, and then one frame acks a batch.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::join_all;
use lapin::options::{BasicAckOptions, BasicNackOptions, BasicRejectOptions};

/// To ack a delivery or to give it back; only one of them, and once.
#[derive(Debug, Clone)]
pub struct Acker {
    inner: lapin::Acker,
    tag: u64,
    outstanding: Arc<UnackedTags>,
}

impl Acker {
    pub(super) fn new(inner: lapin::Acker, tag: u64, outstanding: &Arc<UnackedTags>) -> Self {
        outstanding.tags().insert(tag);
        Self { inner, tag, outstanding: Arc::clone(outstanding) }
    }
}

/// Tags of the deliveries of one channel that are neither acked nor given back. A tag leaves once its frame has been
/// sent, never before: an ack of later ones with `multiple` must not overtake it.
#[derive(Debug, Default)]
pub(super) struct UnackedTags(Mutex<BTreeSet<u64>>);

impl UnackedTags {
    fn tags(&self) -> std::sync::MutexGuard<'_, BTreeSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many of `done`, which is sorted, one ack settles: those before which nothing else is outstanding.
    fn together(&self, done: &[u64]) -> usize {
        self.tags().iter().zip(done).take_while(|(outstanding, done)| outstanding == done).count()
    }

    fn forget(&self, settled: &[u64]) {
        let mut tags = self.tags();
        for tag in settled {
            tags.remove(tag);
        }
    }
}

/// Sorted by tag, by channel: a reconnect in between makes several of them.
fn by_channel(ackers: Vec<Acker>) -> Vec<Vec<Acker>> {
    let mut channels: HashMap<*const UnackedTags, Vec<Acker>> = HashMap::new();
    for acker in ackers {
        channels.entry(Arc::as_ptr(&acker.outstanding)).or_default().push(acker);
    }
    let mut channels: Vec<Vec<Acker>> = channels.into_values().collect();
    for ackers in &mut channels {
        ackers.sort_unstable_by_key(|acker| acker.tag);
    }
    channels
}

/// Acks deliveries after their commit. An ack that does not reach the broker costs a redelivery, which is dropped.
pub async fn ack_all(ackers: Vec<Acker>) {
    for ackers in by_channel(ackers) {
        let Some(outstanding) = ackers.first().map(|acker| Arc::clone(&acker.outstanding)) else { continue };
        let tags: Vec<u64> = ackers.iter().map(|acker| acker.tag).collect();
        let together = outstanding.together(&tags);
        let (first, rest) = ackers.split_at(together);
        let up_to = first.last().map(|acker| acker.inner.ack(BasicAckOptions { multiple: true }));
        let alone = rest.iter().map(|acker| acker.inner.ack(BasicAckOptions::default()));
        let failed = join_all(up_to.into_iter().chain(alone)).await;
        let failed = failed.into_iter().filter(|result| !matches!(result, Ok(true))).count();
        outstanding.forget(&tags);
        if failed > 0 {
            tracing::debug!(failed, "acks did not reach the broker; the jobs will come again and be dropped");
        }
    }
}

/// Gives deliveries back to the queue, unfinished. Only for an orderly stop: never a way to retry.
pub async fn give_back(ackers: Vec<Acker>) {
    let requeue = BasicNackOptions { requeue: true, ..BasicNackOptions::default() };
    join_all(ackers.iter().map(|acker| acker.inner.nack(requeue))).await;
    forget(&ackers);
}

/// Gives deliveries back whose worker panicked. Every broker counts a reject towards the delivery limit of the queue, the
/// last bound; those from 4.0 on do not count a nack. What was settled before the panic stays settled.
pub async fn reject(ackers: Vec<Acker>) {
    let requeue = BasicRejectOptions { requeue: true };
    join_all(ackers.iter().map(|acker| acker.inner.reject(requeue))).await;
    forget(&ackers);
}

/// Has the broker put a delivery among the dead letters itself, as it is.
pub async fn refuse(acker: Acker) {
    if acker.inner.reject(BasicRejectOptions { requeue: false }).await.is_err() {
        tracing::debug!("a refusal did not reach the broker; the message will come again");
    }
    forget(&[acker]);
}

fn forget(ackers: &[Acker]) {
    for acker in ackers {
        acker.outstanding.forget(&[acker.tag]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outstanding(tags: impl IntoIterator<Item = u64>) -> UnackedTags {
        UnackedTags(Mutex::new(tags.into_iter().collect()))
    }

    #[test]
    fn what_has_nothing_before_it_is_acked_together() {
        let channel = outstanding(1..=6);
        assert_eq!(channel.together(&[1, 2, 3]), 3);
        assert_eq!(channel.together(&[1, 2, 4]), 2, "3 is not done");
        assert_eq!(channel.together(&[2, 3]), 0, "1 is not done");
    }

    #[test]
    fn a_settled_tag_is_in_nobodys_way() {
        let channel = outstanding(1..=6);
        channel.forget(&[2, 3]);
        assert_eq!(channel.together(&[1, 4]), 2);
        channel.forget(&[1, 4]);
        assert_eq!(channel.together(&[5, 6]), 2);
        assert_eq!(channel.together(&[]), 0);
    }
}
