//! What a person sees: lines, progress and tables on standard output.
//!
//! On a terminal progress is a bar; elsewhere (a log of a CI run) it is a line now and then.
#![allow(clippy::print_stdout, reason = "this is the one place that speaks to the person who started the program")]

use std::borrow::Cow;
use std::fmt::Display;
use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Pause between two lines of progress where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// What everything below a heading is indented by.
const INDENT: &str = "    ";

/// Prints a line. Whoever reads it may be gone; that ends nothing.
pub(crate) fn line(text: impl Display) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Prints a line below a heading.
pub(crate) fn note(text: impl Display) {
    line(format_args!("{INDENT}{text}"));
}

/// A step, from its heading to its time.
pub(crate) struct Step {
    started: Instant,
}

impl Step {
    /// Says what comes now.
    pub(crate) fn begin(heading: impl Display) -> Self {
        line(heading);
        Self { started: Instant::now() }
    }

    /// Says what was done and how long it took.
    pub(crate) fn done(self, what: impl Display) {
        note(format_args!("{} s: {what}", seconds(self.started.elapsed())));
    }
}

/// `12.3`, to a tenth of a second.
pub(crate) fn seconds(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64())
}

/// `12,345`.
pub(crate) fn count(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

/// `12,345`, without a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "rates are positive and far below 2^53")]
pub(crate) fn rate(number: f64) -> String {
    HumanCount(number.round() as u64).to_string()
}

/// How far something is that has an end.
pub(crate) struct ProgressLine {
    kind: Kind,
}

enum Kind {
    Bar(ProgressBar),
    Lines { label: Cow<'static, str>, total: u64, done: u64, note: String, said: Instant },
}

impl ProgressLine {
    /// Nothing of `total` is done; 0 means that the total is not known yet.
    pub(crate) fn start(label: impl Into<Cow<'static, str>>, total: usize) -> Self {
        let (label, total) = (label.into(), total as u64);
        if !std::io::stdout().is_terminal() {
            return Self { kind: Kind::Lines { label, total, done: 0, note: String::new(), said: Instant::now() } };
        }
        let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stdout_with_hz(30));
        // The template is a constant: it parses.
        if let Ok(style) = ProgressStyle::with_template("    {prefix:<14} [{bar:30}] {human_pos}/{human_len}  {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label);
        Self { kind: Kind::Bar(bar) }
    }

    /// So much is done, of so much in all.
    pub(crate) fn set(&mut self, now_done: usize, of: usize, what: impl Into<String>) {
        let (now_done, of) = (now_done as u64, of as u64);
        match &mut self.kind {
            Kind::Bar(bar) => {
                bar.set_length(of);
                bar.set_position(now_done);
                bar.set_message(what.into());
            }
            Kind::Lines { total, done, note, said, .. } => {
                (*total, *done, *note) = (of, now_done, what.into());
                if said.elapsed() >= LINE_EVERY {
                    *said = Instant::now();
                    self.say();
                }
            }
        }
    }

    /// Leaves the last state on the screen.
    pub(crate) fn finish(self) {
        match &self.kind {
            Kind::Bar(bar) => bar.abandon(),
            Kind::Lines { .. } => self.say(),
        }
    }

    fn say(&self) {
        if let Kind::Lines { label, total, done, note: what, .. } = &self.kind {
            let of = if *total == 0 { "?".to_owned() } else { HumanCount(*total).to_string() };
            note(format_args!("{label}: {}/{of}  {what}", HumanCount(*done)).to_string().trim_end());
        }
    }
}

/// Prints rows in columns; the first row is the heading, the first column is aligned to the left, the others to the right.
pub(crate) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .enumerate()
            .map(
                |(column, (cell, width))| {
                    if column == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
                },
            )
            .collect();
        note(cells.join("  ").trim_end());
    }
}
