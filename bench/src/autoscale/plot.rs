//! The curve of a play as an SVG: jobs in the queues, and workers.

use std::fmt::Write as _;
use std::time::Duration;

use super::play::Point;

/// Of the picture, and of the space around the curves.
const SIZE: (f64, f64) = (760.0, 300.0);
const LEFT: f64 = 70.0;
const RIGHT: f64 = 50.0;
const TOP: f64 = 34.0;
const BOTTOM: f64 = 36.0;

const JOBS: &str = "#4878a8";
const WORKERS: &str = "#c05020";

/// Lines across.
const LINES: u32 = 4;

/// Draws it.
#[allow(clippy::cast_precision_loss, reason = "far below 2^53")]
pub(crate) fn svg(title: &str, points: &[Point]) -> String {
    let end = points.last().map_or(1.0, |point| point.at.as_secs_f64()).max(1.0);
    let jobs = |point: &Point| point.ready + point.delivered;
    let most_jobs = round_up(points.iter().map(jobs).max().unwrap_or(0));
    let most_workers =
        u64::from(points.iter().map(|point| point.wanted).max().unwrap_or(0)).next_multiple_of(u64::from(LINES)).max(1);
    let (width, height) = (SIZE.0 - LEFT - RIGHT, SIZE.1 - TOP - BOTTOM);
    let x = |at: Duration| LEFT + width * at.as_secs_f64() / end;
    let y = |part: f64| TOP + height * (1.0 - part);

    let mut area = format!("M{LEFT:.0} {:.0}", y(0.0));
    let mut steps = String::new();
    let mut last = y(0.0);
    for point in points {
        let (x, worker_y) = (x(point.at), y(f64::from(point.wanted) / most_workers as f64));
        // Writing to a String cannot fail.
        let _ = write!(area, "L{x:.1} {:.1}", y(jobs(point) as f64 / most_jobs as f64));
        let _ = if steps.is_empty() {
            write!(steps, "M{x:.1} {worker_y:.1}")
        } else {
            write!(steps, "L{x:.1} {last:.1}L{x:.1} {worker_y:.1}")
        };
        last = worker_y;
    }
    let _ = write!(area, "L{:.1} {:.0}Z", LEFT + width, y(0.0));

    let mut axes = String::new();
    for line in 0..=LINES {
        let part = f64::from(line) / f64::from(LINES);
        let (y, right) = (y(part), LEFT + width);
        let _ = writeln!(
            axes,
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"{JOBS}\">{}</text>\
             <text x=\"{:.0}\" y=\"{:.1}\" fill=\"{WORKERS}\">{}</text>\
             <text x=\"{:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{:.0} s</text>",
            LEFT - 8.0,
            y + 4.0,
            most_jobs * u64::from(line) / u64::from(LINES),
            right + 8.0,
            y + 4.0,
            most_workers * u64::from(line) / u64::from(LINES),
            LEFT + width * part,
            SIZE.1 - BOTTOM + 20.0,
            end * part
        );
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {} {}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"{LEFT}\" y=\"18\">{title}: <tspan fill=\"{JOBS}\">jobs in the queues</tspan>, <tspan fill=\"{WORKERS}\">workers</tspan></text>\n\
         {axes}<path d=\"{area}\" fill=\"{JOBS}\" fill-opacity=\"0.35\" stroke=\"{JOBS}\"/>\n\
         <path d=\"{steps}\" fill=\"none\" stroke=\"{WORKERS}\" stroke-width=\"2\"/>\n</svg>\n",
        SIZE.0, SIZE.1
    )
}

/// The next number with one digit that is not 0 and a quarter of which is a whole number.
fn round_up(number: u64) -> u64 {
    let unit = 10_u64.pow(number.max(1).ilog10());
    number.div_ceil(unit).max(1) * unit.max(u64::from(LINES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scale_ends_at_a_round_number() {
        assert_eq!((round_up(0), round_up(3), round_up(100_000), round_up(100_001)), (4, 12, 100_000, 200_000));
    }

    #[test]
    fn the_curves_begin_and_end_on_the_line_of_zero() {
        let at = |seconds, ready, wanted| Point { at: Duration::from_secs(seconds), ready, wanted, ..Point::default() };
        let text = svg("A play", &[at(0, 0, 0), at(5, 100, 2), at(10, 0, 0)]);
        assert!(text.contains("d=\"M70 264L70.0 264.0L390.0 34.0L710.0 264.0L710.0 264Z\""), "{text}");
        assert!(text.contains("d=\"M70.0 264.0L390.0 264.0L390.0 149.0L710.0 149.0L710.0 264.0\""), "{text}");
    }
}
