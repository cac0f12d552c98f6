//! Which signals go to the collector: what OpenTelemetry's standard variables say beside our own endpoint, as far as the SDK
//! leaves it to the program (OpenTelemetry specification, "Environment Variable Specification").

/// Which signals are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signals {
    /// Traces.
    pub(super) traces: bool,
    /// Metrics; `/metrics` shows them in any case.
    pub(super) metrics: bool,
    /// What a variable asked for and cannot be had, as sentences.
    pub(super) ignored: Vec<String>,
}

impl Signals {
    /// As the variables of this process say.
    #[allow(
        clippy::disallowed_methods,
        reason = "the standard names belong to the SDK, which reads its own from the environment too"
    )]
    pub(super) fn of_process() -> Self {
        Self::read(|name| std::env::var(name).ok())
    }

    fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let text = |name: &str| variable(name).unwrap_or_default().trim().to_ascii_lowercase();
        if text("OTEL_SDK_DISABLED") == "true" {
            return Self { traces: false, metrics: false, ignored: Vec::new() };
        }
        let mut ignored = Vec::new();
        let mut by_otlp = |name: &str| {
            let value = text(name);
            let exporters: Vec<&str> =
                value.split(',').map(str::trim).filter(|exporter| !exporter.is_empty()).collect();
            let unknown: Vec<&str> =
                exporters.iter().copied().filter(|exporter| !matches!(*exporter, "otlp" | "none")).collect();
            if !unknown.is_empty() {
                ignored.push(format!("{name}: there are \"otlp\" and \"none\", not \"{}\"", unknown.join(", ")));
            }
            // What is not known is ignored, so "console" alone leaves what is there without the variable.
            exporters.is_empty() || exporters.contains(&"otlp") || !exporters.contains(&"none")
        };
        let (traces, metrics) = (by_otlp("OTEL_TRACES_EXPORTER"), by_otlp("OTEL_METRICS_EXPORTER"));
        Self { traces, metrics, ignored }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Signals {
        Signals::read(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn sent(variables: &[(&str, &str)]) -> (bool, bool) {
        let signals = read(variables);
        (signals.traces, signals.metrics)
    }

    #[test]
    fn signals_are_sent_unless_a_standard_variable_turns_them_off() {
        assert_eq!(sent(&[]), (true, true));
        assert_eq!(sent(&[("OTEL_SDK_DISABLED", "true")]), (false, false));
        assert_eq!(sent(&[("OTEL_SDK_DISABLED", " True ")]), (false, false));
        assert_eq!(sent(&[("OTEL_SDK_DISABLED", "1"), ("OTEL_TRACES_EXPORTER", "")]), (true, true));
        assert_eq!(sent(&[("OTEL_TRACES_EXPORTER", "none")]), (false, true));
        assert_eq!(sent(&[("OTEL_METRICS_EXPORTER", "None")]), (true, false));
        assert_eq!(sent(&[("OTEL_TRACES_EXPORTER", "console, otlp")]), (true, true));
    }

    #[test]
    fn an_exporter_that_is_not_there_is_told_and_changes_nothing() {
        let signals = read(&[("OTEL_TRACES_EXPORTER", "zipkin,console")]);
        assert!(signals.traces);
        assert_eq!(signals.ignored, ["OTEL_TRACES_EXPORTER: there are \"otlp\" and \"none\", not \"zipkin, console\""]);
    }
}
