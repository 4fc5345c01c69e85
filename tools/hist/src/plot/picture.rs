//! Lays out the picture: a title, a table of the runs, latency by percentile, latency over time.
//!
//! Both panels have the same axis of latencies, so a spike of the lower one is found in the upper.

use crate::args::Theme;
use crate::plot::data::{Moment, Run};
use crate::plot::scale::{self, Scale, Tick};
use crate::plot::svg::{Anchor, Svg};
use crate::units;

const WIDTH: f64 = 960.0;
const LEFT: f64 = 72.0;
const RIGHT: f64 = WIDTH - 28.0;
/// From one row of the table to the next.
const ROW: f64 = 22.0;
const TABLE_TOP: f64 = 74.0;
const PERCENTILES_HEIGHT: f64 = 300.0;
const TIMES_HEIGHT: f64 = 240.0;
/// Between a panel and the heading of the next.
const GAP: f64 = 80.0;
/// Letters of a name in the table.
const NAME_CHARS_MAX: usize = 34;

/// Where a panel lies.
#[derive(Clone, Copy)]
struct Panel {
    top: f64,
    bottom: f64,
}

/// Draws the runs, of which there is at least one, each with at least one value.
pub fn draw(runs: &[Run], title: &str, theme: Theme) -> String {
    let percentiles_top = TABLE_TOP + ROW * runs.len() as f64 + 52.0;
    let percentiles = Panel { top: percentiles_top, bottom: percentiles_top + PERCENTILES_HEIGHT };
    let times_top = percentiles.bottom + GAP;
    let times = Panel { top: times_top, bottom: times_top + TIMES_HEIGHT };
    let mut svg = Svg::new(WIDTH, times.bottom + 44.0, title, &describe(runs), theme);
    svg.text("title", (24.0, 38.0), Anchor::Start, title);
    table(&mut svg, runs);

    let least = runs.iter().map(|run| run.summary.min_ns).fold(f64::INFINITY, f64::min);
    let most = runs.iter().map(|run| run.summary.max_ns).fold(0.0, f64::max);
    let (domain, ticks) = scale::latencies(least, most);
    for (panel, heading) in [(percentiles, "Latency by percentile"), (times, "Latency over time")] {
        let y = Scale::new(domain, (panel.bottom, panel.top));
        rows(&mut svg, &y, &ticks);
        svg.text("heading", (24.0, panel.top - 18.0), Anchor::Start, heading);
    }
    draw_percentiles(&mut svg, runs, percentiles, domain);
    draw_times(&mut svg, runs, times, domain);
    svg.finish()
}

/// The runs in words, for who can't see the picture.
fn describe(runs: &[Run]) -> String {
    let words: Vec<String> = runs
        .iter()
        .map(|run| {
            let [p50, p99, max] = [run.summary.p50, run.summary.p99, run.summary.max_ns];
            let [p50, p99, max] = [p50, p99, max].map(units::duration);
            format!("{}: p50 {p50}, p99 {p99}, maximum {max}", run.name)
        })
        .collect();
    words.join("; ")
}

/// One row for each run: its colour, its name, its figures.
fn table(svg: &mut Svg, runs: &[Run]) {
    let columns = ["values", "mean", "p50", "p99", "p99.9", "p99.99", "max"];
    let place = |column: usize| RIGHT - (columns.len() - 1 - column) as f64 * 86.0;
    for (column, name) in columns.iter().enumerate() {
        svg.text("faint", (place(column), TABLE_TOP), Anchor::End, name);
    }
    for (at, run) in runs.iter().enumerate() {
        let y = TABLE_TOP + ROW * (at + 1) as f64;
        svg.curve(at, "bold", &[(26.0, y - 4.5), (50.0, y - 4.5)]);
        svg.text("text", (60.0, y), Anchor::Start, &shorten(&run.name));
        let summary = &run.summary;
        let times = [
            summary.mean_ns,
            summary.p50,
            summary.p99,
            summary.p99_9,
            summary.p99_99,
            summary.max_ns,
        ];
        svg.text("text", (place(0), y), Anchor::End, &units::count(summary.count));
        for (column, ns) in times.into_iter().enumerate() {
            svg.text("text", (place(column + 1), y), Anchor::End, &units::duration(ns));
        }
    }
}

fn shorten(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS_MAX {
        return name.to_string();
    }
    // Names of runs differ at their ends more often than not.
    let skip = name.chars().count() - NAME_CHARS_MAX + 1;
    format!("…{}", name.chars().skip(skip).collect::<String>())
}

/// The axis of latencies: lines across, names at their left.
fn rows(svg: &mut Svg, y: &Scale, ticks: &[Tick]) {
    for (at, tick) in ticks.iter().enumerate() {
        let y = y.place(tick.at);
        svg.line(if at == 0 { "axis" } else { "grid" }, (LEFT, y), (RIGHT, y));
        if !tick.label.is_empty() {
            svg.text("faint", (LEFT - 10.0, y + 4.5), Anchor::End, &tick.label);
        }
    }
}

/// An axis below a panel: lines up, names below.
fn columns(svg: &mut Svg, panel: Panel, x: &Scale, ticks: &[Tick]) {
    for tick in ticks {
        let x = x.place(tick.at);
        svg.line("grid", (x, panel.top), (x, panel.bottom));
        svg.text("faint", (x, panel.bottom + 20.0), Anchor::Middle, &tick.label);
    }
}

fn draw_percentiles(svg: &mut Svg, runs: &[Run], panel: Panel, domain: (f64, f64)) {
    let end = runs.iter().filter_map(|run| run.curve.last()).map(|(x, _)| *x).fold(1.0, f64::max);
    let x = Scale::new((0.0, end), (LEFT, RIGHT - 12.0));
    let y = Scale::new(domain, (panel.bottom, panel.top));
    columns(svg, panel, &x, &scale::percentiles(end));
    for (at, run) in runs.iter().enumerate() {
        let place = |(q, ns): &(f64, f64)| (x.place(*q), y.place(scale::log_ns(*ns)));
        let points: Vec<(f64, f64)> = run.curve.iter().map(place).collect();
        svg.curve(at, "bold", &thin_out(&points));
        if let Some(last) = points.last() {
            svg.dot(&format!("fill{at}"), *last, 3.0);
        }
    }
}

/// Leaves out points on level ground: a step needs only its corners.
fn thin_out(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let level = |a: (f64, f64), b: (f64, f64)| (a.1 - b.1).abs() < 0.05;
    let inner = points.windows(3).filter(|p| !(level(p[0], p[1]) && level(p[1], p[2])));
    let mut kept: Vec<(f64, f64)> = points.first().copied().into_iter().collect();
    kept.extend(inner.map(|p| p[1]));
    if points.len() > 1 {
        kept.extend(points.last());
    }
    kept
}

fn draw_times(svg: &mut Svg, runs: &[Run], panel: Panel, domain: (f64, f64)) {
    let moments = || runs.iter().flat_map(|run| &run.moments);
    let first = moments().map(|moment| moment.at).fold(0.0, f64::min);
    let end = moments().map(|moment| moment.at).fold(0.0, f64::max);
    // One moment alone has no extent.
    let end = if end > first { end } else { first + 1.0 };
    let x = Scale::new((first, end), (LEFT, RIGHT - 12.0));
    let y = Scale::new(domain, (panel.bottom, panel.top));
    columns(svg, panel, &x, &scale::times(end));
    for (at, run) in runs.iter().enumerate() {
        let line = |value: fn(&Moment) -> f64| -> Vec<(f64, f64)> {
            let place =
                |moment: &Moment| (x.place(moment.at), y.place(scale::log_ns(value(moment))));
            run.moments.iter().map(place).collect()
        };
        for point in line(|moment| moment.max_ns) {
            svg.dot(&format!("fill{at}"), point, 1.75);
        }
        svg.curve(at, "thin", &line(|moment| moment.p50_ns));
        svg.curve(at, "bold", &line(|moment| moment.p99_ns));
    }
    styles(svg, panel.top - 18.0);
}

/// What the three kinds of mark over time are, in no run's colour.
fn styles(svg: &mut Svg, y: f64) {
    let middle = y - 4.5;
    svg.text("faint", (RIGHT, y), Anchor::End, "maximum");
    svg.dot("neutral-fill", (RIGHT - 66.0, middle), 1.75);
    svg.dot("neutral-fill", (RIGHT - 74.0, middle), 1.75);
    svg.text("faint", (RIGHT - 92.0, y), Anchor::End, "p99");
    svg.line("neutral bold", (RIGHT - 146.0, middle), (RIGHT - 122.0, middle));
    svg.text("faint", (RIGHT - 164.0, y), Anchor::End, "p50");
    svg.line("neutral thin", (RIGHT - 218.0, middle), (RIGHT - 194.0, middle));
}
