//! `hutong-hist diff`: two logs side by side.

use std::fmt::Write;
use std::path::Path;

use serde::Serialize;

use crate::args::Diff;
use crate::error::Error;
use crate::show::headline;
use crate::summary::Summary;
use crate::totals::{Total, Totals};
use crate::units;

/// What `--json` writes for each tag that both have.
#[derive(Serialize)]
struct Pair<'a> {
    tag: Option<&'a str>,
    a: Side<'a>,
    b: Side<'a>,
    /// b / a by the names of the columns; null where a is 0.
    ratio: serde_json::Map<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Side<'a> {
    file: &'a Path,
    #[serde(flatten)]
    summary: Summary,
}

/// What is to be printed, and what is to be told aside.
///
/// # Errors
/// A log can't be read, or they have no tag in common.
pub fn run(args: &Diff) -> Result<(String, Vec<String>), Error> {
    let tag = args.select.tag.as_deref();
    let a = Totals::read(&args.a, tag)?;
    let b = Totals::read(&args.b, tag)?;
    for log in [&a, &b] {
        if log.tags.is_empty() {
            return Err(Error::Empty { path: log.path.clone(), tag: None });
        }
    }
    let mut warnings: Vec<String> = [&a, &b].into_iter().filter_map(Totals::warning).collect();
    let pairs = pairs(&a, &b)?;
    for (log, other) in [(&a, &b), (&b, &a)] {
        let alone =
            log.tags.iter().filter(|x| !pairs.iter().any(|(a, b)| same(a, x) || same(b, x)));
        warnings.extend(alone.map(|total| {
            let (has, not) = (log.path.display(), other.path.display());
            format!("{has} has {}, {not} has not; left out", total.name())
        }));
    }
    let summary = |total: &Total| Summary::of_unit(&total.histogram, args.select.unit);
    let out = if args.json {
        let pairs: Vec<Pair> = pairs
            .iter()
            .map(|(x, y)| {
                let (left, right) = (summary(x), summary(y));
                Pair {
                    tag: x.tag(),
                    a: Side { file: &a.path, summary: left },
                    b: Side { file: &b.path, summary: right },
                    ratio: ratios(&left, &right),
                }
            })
            .collect();
        serde_json::to_string_pretty(&pairs).expect("plain data") + "\n"
    } else {
        let texts: Vec<String> = pairs
            .iter()
            .map(|(x, y)| {
                let heads = [headline(&a.path, x), headline(&b.path, y)];
                format!("A  {}\nB  {}\n\n{}", heads[0], heads[1], table(&summary(x), &summary(y)))
            })
            .collect();
        texts.join("\n")
    };
    Ok((out, warnings))
}

fn same(a: &Total, b: &Total) -> bool {
    std::ptr::eq(a, b)
}

/// Tags that both have. If each has only one, these two, whatever they are called.
fn pairs<'a>(a: &'a Totals, b: &'a Totals) -> Result<Vec<(&'a Total, &'a Total)>, Error> {
    if let ([x], [y]) = (&a.tags[..], &b.tags[..]) {
        return Ok(vec![(x, y)]);
    }
    let pairs: Vec<_> = a
        .tags
        .iter()
        .filter_map(|x| b.tags.iter().find(|y| y.tag == x.tag).map(|y| (x, y)))
        .collect();
    if pairs.is_empty() {
        return Err(Error::NothingInCommon {
            a: a.path.clone(),
            b: b.path.clone(),
            a_tags: a.names(),
            b_tags: b.names(),
        });
    }
    Ok(pairs)
}

/// All but the count, which is not a time, with names.
fn times(summary: &Summary) -> Vec<(&'static str, f64)> {
    let mut times = vec![("mean", summary.mean_ns), ("min", summary.min_ns)];
    times.extend(summary.percentiles());
    times.push(("max", summary.max_ns));
    times
}

fn table(a: &Summary, b: &Summary) -> String {
    let mut text = format!("  {:<9}{:>14}{:>14}{:>10}\n", "", "A", "B", "B/A");
    let mut row = |name: &str, [x, y]: [String; 2], ratio: String| {
        writeln!(text, "  {name:<9}{x:>14}{y:>14}{ratio:>10}").expect("a string");
    };
    let counts = [a.count, b.count];
    row("count", counts.map(units::count), units::ratio(a.count as f64, b.count as f64));
    for ((name, x), (_, y)) in times(a).into_iter().zip(times(b)) {
        // Of no values there is no time.
        let [x, y] = [(x, a), (y, b)].map(|(ns, s)| if s.count == 0 { f64::NAN } else { ns });
        row(name, [x, y].map(units::duration), units::ratio(x, y));
    }
    text
}

fn ratios(a: &Summary, b: &Summary) -> serde_json::Map<String, serde_json::Value> {
    let counts = ("count", (a.count as f64, b.count as f64));
    let times = times(a).into_iter().zip(times(b)).map(|((name, x), (_, y))| (name, (x, y)));
    std::iter::once(counts)
        .chain(times)
        // What isn't finite becomes null.
        .map(|(name, (x, y))| (name.to_string(), serde_json::Value::from(y / x)))
        .collect()
}
