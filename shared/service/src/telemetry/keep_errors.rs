//! Keeps the spans of failed work that the sampler would drop.
//!
//! What the sampler drops is recorded all the same, and waits in memory until the root of its part of the trace within
//! this process (the local root: an HTTP request, a fire, a batch) ends. If one of the spans had the status Error, all of
//! them are handed on, else they are forgotten. The decision stays here: other processes are told "not sampled", by the
//! spans' own context. Bounded by [`MAX_WAITING`] and [`MAX_WAITING_BELOW`].
//!
//! Recording a span that the sampler drops costs about 4 µs, unoptimised; a batch of 500 hosts has three.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::trace::{Link, Span as _, SpanContext, SpanId, SpanKind, Status, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Config, SamplingDecision, SamplingResult, ShouldSample, Span, SpanData, SpanProcessor};

/// Most ended spans that wait in this process, a few kilobytes each at the most. Beyond it a healthy span is forgotten
/// at once, and one with an error is handed on at once.
const MAX_WAITING: usize = 4_096;

/// Most ended spans that wait for the same open span: one long piece of work does not take the place of all others.
const MAX_WAITING_BELOW: usize = 512;

/// The sampler chosen by the standard variables, with what it drops recorded.
#[derive(Debug, Clone)]
pub(super) struct RecordAll {
    chosen: Box<dyn ShouldSample>,
}

impl RecordAll {
    /// Around the sampler that `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG` name: all traces, unless they do.
    pub(super) fn around_the_configured() -> Self {
        Self { chosen: Config::default().sampler }
    }
}

impl ShouldSample for RecordAll {
    fn should_sample(
        &self,
        parent_context: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        span_kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        let mut result = self.chosen.should_sample(parent_context, trace_id, name, span_kind, attributes, links);
        if result.decision == SamplingDecision::Drop {
            result.decision = SamplingDecision::RecordOnly;
        }
        result
    }
}

/// Passes sampled spans to the next processor, and the others where their part of the trace failed.
#[derive(Debug)]
pub(super) struct KeepErrors<P> {
    next: P,
    waiting: Mutex<Waiting>,
    max_waiting: usize,
    max_waiting_below: usize,
}

/// Unsampled spans that are open, and what has ended below each.
#[derive(Debug, Default)]
struct Waiting {
    open: HashMap<SpanId, Below>,
    /// Ended spans in all of `open`.
    spans: usize,
}

#[derive(Debug, Default)]
struct Below {
    spans: Vec<SpanData>,
    has_error: bool,
}

impl<P: SpanProcessor> KeepErrors<P> {
    pub(super) fn before(next: P) -> Self {
        Self { next, waiting: Mutex::default(), max_waiting: MAX_WAITING, max_waiting_below: MAX_WAITING_BELOW }
    }

    /// A thread that panicked here left counts that are at worst too high: the spans are still good.
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an unsampled span that has ended; returns the spans that are to be handed on now.
    fn settle(&self, span: SpanData) -> Vec<SpanData> {
        let mut guard = self.waiting();
        let Waiting { open, spans: count } = &mut *guard;
        let Below { spans: mut ended, has_error } = open.remove(&span.span_context.span_id()).unwrap_or_default();
        *count -= ended.len();
        let parent = if span.parent_span_is_remote { None } else { open.get_mut(&span.parent_span_id) };
        let has_error = has_error || is_error(&span);
        ended.push(span);
        let Some(parent) = parent else {
            return if has_error { ended } else { Vec::new() };
        };
        parent.has_error |= has_error;
        let room =
            self.max_waiting.saturating_sub(*count).min(self.max_waiting_below.saturating_sub(parent.spans.len()));
        let mut handed_on = Vec::new();
        if ended.len() > room {
            // The span itself comes first: what is above says more than what is below.
            ended.reverse();
            handed_on = ended.split_off(room);
            handed_on.retain(is_error);
        }
        *count += ended.len();
        parent.spans.append(&mut ended);
        handed_on
    }
}

impl<P: SpanProcessor> SpanProcessor for KeepErrors<P> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        if !span.span_context().is_sampled() {
            self.waiting().open.insert(span.span_context().span_id(), Below::default());
        }
        self.next.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.next.on_end(span);
            return;
        }
        for mut kept in self.settle(span) {
            kept.span_context = as_sampled(&kept.span_context);
            self.next.on_end(kept);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.next.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.next.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.next.set_resource(resource);
    }
}

fn is_error(span: &SpanData) -> bool {
    matches!(span.status, Status::Error { .. })
}

fn as_sampled(context: &SpanContext) -> SpanContext {
    SpanContext::new(
        context.trace_id(),
        context.span_id(),
        context.trace_flags().with_sampled(true),
        context.is_remote(),
        context.trace_state().clone(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use opentelemetry::trace::{TraceContextExt as _, TraceFlags, TraceState, Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};

    use super::*;

    /// The spans that were handed on.
    #[derive(Debug, Clone, Default)]
    struct Arrived(Arc<Mutex<Vec<SpanData>>>);

    impl SpanProcessor for Arrived {
        fn on_start(&self, _: &mut Span, _: &Context) {}

        fn on_end(&self, span: SpanData) {
            self.0.lock().expect("spans").push(span);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    /// A tracer whose sampler is `sampler`, and where its spans arrive.
    struct Traced {
        arrived: Arrived,
        tracer: SdkTracer,
    }

    impl Traced {
        fn new(sampler: Sampler) -> Self {
            Self::bounded(sampler, MAX_WAITING, MAX_WAITING_BELOW)
        }

        fn bounded(sampler: Sampler, max_waiting: usize, max_waiting_below: usize) -> Self {
            let arrived = Arrived::default();
            let keep = KeepErrors::before(arrived.clone());
            let provider = SdkTracerProvider::builder()
                .with_sampler(RecordAll { chosen: Box::new(sampler) })
                .with_span_processor(KeepErrors { max_waiting, max_waiting_below, ..keep })
                .build();
            Self { arrived, tracer: provider.tracer("test") }
        }

        /// A span that has begun, in the context that its children are given.
        fn begin(&self, name: &'static str, parent: &Context) -> Context {
            parent.with_span(self.tracer.start_with_context(name, parent))
        }

        fn end(context: &Context, status: Status) {
            context.span().set_status(status);
            context.span().end();
        }

        fn names(&self) -> Vec<String> {
            let spans = self.arrived.0.lock().expect("spans").clone();
            assert!(spans.iter().all(|span| span.span_context.is_sampled()), "{spans:?}");
            let mut names: Vec<String> = spans.into_iter().map(|span| span.name.into_owned()).collect();
            names.sort();
            names
        }
    }

    fn unsampled() -> Sampler {
        Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(0.0)))
    }

    fn remote(flags: TraceFlags) -> Context {
        let (trace, span) = (TraceId::from(7), SpanId::from(9));
        Context::new().with_remote_span_context(SpanContext::new(trace, span, flags, true, TraceState::default()))
    }

    #[test]
    fn healthy_work_that_is_not_sampled_leaves_nothing() {
        let traced = Traced::new(unsampled());
        let root = traced.begin("batch", &Context::new());
        let child = traced.begin("search", &root);
        assert!(!child.span().span_context().is_sampled());
        Traced::end(&child, Status::Ok);
        Traced::end(&root, Status::Unset);
        assert_eq!(traced.names(), [""; 0]);
    }

    #[test]
    fn one_failed_span_keeps_its_whole_local_trace_and_no_other() {
        let traced = Traced::new(unsampled());
        let healthy = traced.begin("healthy batch", &Context::new());
        let root = traced.begin("batch", &Context::new());
        for (name, status) in [("write", Status::Ok), ("search", Status::error("no answer"))] {
            let child = traced.begin(name, &root);
            let grandchild = traced.begin("request", &child);
            Traced::end(&grandchild, Status::Unset);
            Traced::end(&child, status);
        }
        assert_eq!(traced.names(), [""; 0], "not before the local root ends");
        Traced::end(&root, Status::Unset);
        Traced::end(&healthy, Status::Unset);
        assert_eq!(traced.names(), ["batch", "request", "request", "search", "write"]);
    }

    #[test]
    fn the_local_root_may_have_a_parent_in_another_process() {
        let traced = Traced::new(unsampled());
        let root = traced.begin("batch", &remote(TraceFlags::default()));
        Traced::end(&root, Status::error("failed"));
        assert_eq!(traced.names(), ["batch"]);
        assert_eq!(traced.arrived.0.lock().expect("spans")[0].span_context.trace_id(), TraceId::from(7));
        // What another process would be told.
        assert!(!root.span().span_context().is_sampled());
    }

    #[test]
    fn sampled_work_does_not_wait() {
        let traced = Traced::new(unsampled());
        let root = traced.begin("batch", &remote(TraceFlags::SAMPLED));
        let child = traced.begin("search", &root);
        Traced::end(&child, Status::Ok);
        assert_eq!(traced.names(), ["search"]);
        Traced::end(&root, Status::Ok);
        assert_eq!(traced.names(), ["batch", "search"]);
    }

    #[test]
    fn a_span_that_ends_after_its_local_root_is_judged_alone() {
        let traced = Traced::new(unsampled());
        let root = traced.begin("batch", &Context::new());
        let (late, failed) = (traced.begin("late", &root), traced.begin("late and failed", &root));
        Traced::end(&root, Status::error("failed"));
        Traced::end(&late, Status::Ok);
        Traced::end(&failed, Status::error("failed"));
        assert_eq!(traced.names(), ["batch", "late and failed"]);
    }

    #[test]
    fn beyond_the_bounds_healthy_spans_are_lost_and_errors_are_not() {
        for (max_waiting, max_waiting_below) in [(3, 100), (100, 3)] {
            let traced = Traced::bounded(unsampled(), max_waiting, max_waiting_below);
            let root = traced.begin("batch", &Context::new());
            for _ in 0..10 {
                Traced::end(&traced.begin("write", &root), Status::Ok);
            }
            Traced::end(&traced.begin("search", &root), Status::error("no answer"));
            assert_eq!(traced.names(), ["search"], "the error does not wait");
            Traced::end(&root, Status::Unset);
            assert_eq!(traced.names(), ["batch", "search", "write", "write", "write"]);
        }
    }

    #[test]
    fn room_is_given_back_when_a_local_root_ends() {
        let traced = Traced::bounded(unsampled(), 2, 2);
        for _ in 0..5 {
            let root = traced.begin("healthy", &Context::new());
            Traced::end(&traced.begin("write", &root), Status::Ok);
            Traced::end(&traced.begin("write", &root), Status::Ok);
            Traced::end(&root, Status::Ok);
        }
        let root = traced.begin("batch", &Context::new());
        let child = traced.begin("search", &root);
        Traced::end(&traced.begin("request", &child), Status::error("refused"));
        Traced::end(&child, Status::Ok);
        Traced::end(&root, Status::Ok);
        assert_eq!(traced.names(), ["batch", "request", "search"]);
    }
}
