//! One play: a run over the whole pool, and the number of workers as it goes.

use std::time::{Duration, Instant};

use anyhow::Context;
use hostsync_testing::client::Client;
use reqwest::Method;
use serde_json::json;

use super::autoscaler::Autoscaler;
use super::scaler::Scaler;
use super::workers::{StoppedWorker, Workers};
use crate::fleet::ServiceFleet;
use crate::runs::Run;
use crate::screen::{count, note};

/// Longest wait for a worker that is started before its run.
const READY_WITHIN: Duration = Duration::from_mins(1);

/// Pause between two turns of the play.
const TURN: Duration = Duration::from_millis(100);

/// Pause between two points of the curve.
const POINT_EVERY: Duration = Duration::from_secs(1);

/// Pause between two lines on the screen; a line is also said when the number of workers changes.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// How all goes at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Point {
    /// Since the run was asked for.
    pub(crate) at: Duration,
    /// Jobs in both queues, by the management API, which is some seconds late.
    pub(crate) ready: u64,
    pub(crate) delivered: u64,
    /// Workers asked for, and those that are ready.
    pub(crate) wanted: u32,
    pub(crate) running: u32,
    /// Hosts with an outcome.
    pub(crate) done: usize,
}

/// Who decides how many workers there are.
pub(crate) enum Decider<'a> {
    Autoscaler(&'a mut Autoscaler),
    /// One, from before the run until its end.
    Nobody,
}

/// What a play was.
#[derive(Debug)]
pub(crate) struct PlayRecord {
    pub(crate) run: Run,
    pub(crate) points: Vec<Point>,
    pub(crate) gone: Vec<StoppedWorker>,
    /// When the first worker was ready.
    pub(crate) first_worker: Duration,
    /// When no process was left.
    pub(crate) all_gone: Duration,
}

impl PlayRecord {
    /// The most workers that were asked for.
    pub(crate) fn peak(&self) -> u32 {
        self.points.iter().map(|point| point.wanted).max().unwrap_or(0)
    }
}

/// What a play is played with.
pub(crate) struct Stage<'a> {
    pub(crate) client: &'a Client,
    pub(crate) fleet: &'a mut ServiceFleet,
    /// For looking; the autoscaler has its own.
    pub(crate) queues: &'a [Scaler],
    pub(crate) limit: Duration,
}

/// Plays until the run has ended, the queues are empty and no worker is left.
///
/// # Errors
///
/// A service ended by itself or does not answer, or it takes longer than the limit.
pub(crate) async fn play(
    stage: Stage<'_>,
    task_id: u64,
    mut workers: Workers,
    mut decider: Decider<'_>,
) -> anyhow::Result<PlayRecord> {
    if matches!(decider, Decider::Nobody) {
        workers.scale_to(1, Duration::ZERO, 0)?;
        let started = Instant::now();
        while workers.ready() < 1 {
            anyhow::ensure!(started.elapsed() < READY_WITHIN, "no worker is ready after {} s", READY_WITHIN.as_secs());
            workers.look(Duration::ZERO).await?;
            tokio::time::sleep(TURN).await;
        }
    }
    let started = Instant::now();
    let answer = stage.client.ok(Method::POST, &format!("/es-sync-tasks/{task_id}/execute"), Some(&json!({}))).await?;
    let id = answer["execution_id"].as_u64().context("the API made an execution and did not say its id")?;
    heading();
    let (mut points, mut first_worker): (Vec<Point>, Option<Duration>) = (Vec::new(), None);
    let mut said = None;
    loop {
        let at = started.elapsed();
        anyhow::ensure!(at < stage.limit, "the play has not ended after {} s", stage.limit.as_secs());
        stage.fleet.check()?;
        workers.look(at).await?;
        if workers.ready() > 0 {
            first_worker.get_or_insert(at);
        }
        let wanted = match &mut decider {
            Decider::Autoscaler(autoscaler) => autoscaler.turn(at, workers.wanted()).await?,
            Decider::Nobody => None,
        };
        let is_due = points.last().is_none_or(|point| at >= point.at + POINT_EVERY);
        if wanted.is_some() || is_due {
            let run = execution(stage.client, id).await?;
            if let Some(wanted) = wanted {
                workers.scale_to(wanted, at, left(&run))?;
            }
            let depth = depth(stage.queues).await;
            let (ready, delivered) = match &depth {
                Ok(depth) => *depth,
                // The autoscaler says what goes wrong with the management API; the curve goes on as it was.
                Err(_) => points.last().map(|point| (point.ready, point.delivered)).unwrap_or_default(),
            };
            let point =
                Point { at, ready, delivered, wanted: workers.wanted(), running: workers.ready(), done: run.done() };
            points.push(point);
            if wanted.is_some() || said.is_none_or(|said| at >= said + LINE_EVERY) {
                said = Some(at);
                say(&point);
            }
            if run.has_ended() && depth.is_ok_and(|depth| depth == (0, 0)) {
                if matches!(decider, Decider::Nobody) {
                    workers.scale_to(0, at, 0)?;
                }
                if workers.are_all_gone() {
                    say(&point);
                    let first_worker = first_worker.context("no worker was ever ready")?;
                    let gone = std::mem::take(&mut workers.gone);
                    return Ok(PlayRecord { run, points, gone, first_worker, all_gone: at });
                }
            }
        }
        tokio::time::sleep(TURN).await;
    }
}

async fn execution(client: &Client, id: u64) -> anyhow::Result<Run> {
    serde_json::from_value(client.execution(id).await?).context("the execution's log")
}

/// Hosts without an outcome; 0 until the run is prepared.
fn left(run: &Run) -> u64 {
    run.total().saturating_sub(run.done()) as u64
}

/// Jobs that are ready and that are delivered, in all queues.
async fn depth(queues: &[Scaler]) -> anyhow::Result<(u64, u64)> {
    let (mut ready, mut delivered) = (0, 0);
    for queue in queues {
        let queue = queue.queue().await?;
        ready += queue.messages_ready;
        delivered += queue.messages.saturating_sub(queue.messages_ready);
    }
    Ok((ready, delivered))
}

fn heading() {
    note(format_args!(
        "{:>6}  {:>9}  {:>9}  {:>6}  {:>7}  {:>9}",
        "s", "ready", "delivered", "wanted", "running", "done"
    ));
}

fn say(point: &Point) {
    let number = |number: u64| count(usize::try_from(number).unwrap_or(usize::MAX));
    note(format_args!(
        "{:>6.1}  {:>9}  {:>9}  {:>6}  {:>7}  {:>9}",
        point.at.as_secs_f64(),
        number(point.ready),
        number(point.delivered),
        point.wanted,
        point.running,
        count(point.done)
    ));
}
