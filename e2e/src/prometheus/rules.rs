//! The chart's alert rules, sped up: what takes them minutes takes a test seconds.
//!
//! Every duration of a rule (`[5m]`, `offset 15m`, `for: 1m`) is divided by one factor. Thresholds and everything else stay
//! as they are.

use std::path::Path;

use anyhow::Context;

/// What stands before a duration.
const BEFORE: [&str; 3] = ["[", "offset ", "for: "];

/// The units of a duration, in milliseconds. The longer name first.
const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// The rules as the chart installs them.
///
/// # Errors
///
/// They cannot be read.
pub fn of_the_chart() -> anyhow::Result<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/chart/files/alerts.yaml");
    std::fs::read_to_string(&file).with_context(|| format!("{} cannot be read", file.display()))
}

/// The rules with every duration divided by `factor`.
pub fn sped_up(rules: &str, factor: u64) -> String {
    let mut quick = String::with_capacity(rules.len());
    let mut rest = rules;
    while let Some(first) = rest.chars().next() {
        let found = BEFORE.iter().find_map(|before| {
            let (milliseconds, after) = duration(rest.strip_prefix(before)?)?;
            Some((format!("{before}{}ms", milliseconds / factor), after))
        });
        if let Some((replacement, after)) = found {
            quick.push_str(&replacement);
            rest = after;
        } else {
            quick.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    quick
}

/// The duration that a text begins with, in milliseconds, and what follows.
fn duration(text: &str) -> Option<(u64, &str)> {
    let unit = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, rest) = (text[..unit].parse::<u64>().ok()?, &text[unit..]);
    UNITS.iter().find_map(|(name, milliseconds)| Some((number * milliseconds, rest.strip_prefix(name)?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTOR: u64 = 10;

    /// Words and what stands between them.
    fn tokens(text: &str) -> Vec<&str> {
        text.split_inclusive(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .flat_map(|piece| {
                let word = piece.trim_end_matches(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                [word, &piece[word.len()..]]
            })
            .collect()
    }

    fn milliseconds(word: &str) -> Option<u64> {
        duration(word).and_then(|(milliseconds, after)| after.is_empty().then_some(milliseconds))
    }

    #[test]
    fn nothing_but_durations_differs_and_each_by_the_same_factor() {
        let rules = of_the_chart().expect("the chart's rules");
        let quick = sped_up(&rules, FACTOR);
        let (before, after) = (tokens(&rules), tokens(&quick));
        assert_eq!(before.len(), after.len());
        let differing: Vec<(&str, &str)> =
            before.into_iter().zip(after).filter(|(before, after)| before != after).collect();
        assert!(differing.len() > 30, "{differing:?}");
        for (before, after) in differing {
            let both = (milliseconds(before), milliseconds(after));
            assert!(matches!(both, (Some(before), Some(after)) if before == after * FACTOR), "{before} became {after}");
        }
    }

    #[test]
    fn every_duration_of_a_rule_is_divided() {
        let quick = sped_up(&of_the_chart().expect("the chart's rules"), FACTOR);
        for line in quick.lines() {
            let is_prose = ["#", "summary:", "description:"].iter().any(|prose| line.trim_start().starts_with(prose));
            let left = tokens(line).into_iter().find(|word| milliseconds(word).is_some() && !word.ends_with("ms"));
            assert!(is_prose || left.is_none(), "{left:?} in {line}");
        }
    }

    #[test]
    fn a_threshold_and_a_sentence_stay_as_they_are() {
        for text in ["max(age) > 120", "description: it probes every 15 s", "le=\"30\"", "x[1", "for: the night"] {
            assert_eq!(sped_up(text, FACTOR), text);
        }
        assert_eq!(sped_up("rate(x[5m] offset 1h)\nfor: 45s", FACTOR), "rate(x[30000ms] offset 360000ms)\nfor: 4500ms");
    }
}
