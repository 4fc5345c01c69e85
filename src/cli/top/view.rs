//! A report as text for people and as JSON for scripts.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::cli::output::{Table, human_bytes, human_count, human_duration, plural, printable};
use crate::cli::top::consumers;
use crate::cli::top::rates::{GroupRates, Rates, ShardRates};

/// The percentiles shown, and how.
const PERCENTILES: [(&str, f64); 4] =
    [("p50", 50.0), ("p99", 99.0), ("p99.9", 99.9), ("p99.99", 99.99)];
/// Where the columns of the small histogram begin, in nanoseconds: three for each power of ten,
/// from what is below a microsecond to what takes ten seconds and more.
const BARS: [u64; 23] = [
    0,
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The report as lines.
pub fn text(rates: &Rates, at: &str) -> String {
    let mut text = format!(
        "hutong {} node {} at {at}, up {}: the last {:.1} s\n",
        printable(&rates.version),
        printable(&rates.node),
        uptime(rates.uptime),
        rates.took.as_secs_f64()
    );
    text.push_str(&format!(
        "{:.2} CPUs, {} resident, {} of {} free for data\n\n",
        rates.cpu,
        human_bytes(rates.resident_bytes as u64),
        human_bytes(rates.disk_free as u64),
        human_bytes(rates.disk_size as u64)
    ));
    text.push_str(&shards(&rates.shards));
    text.push('\n');
    text.push_str(&times(&rates.shards));
    text.push('\n');
    text.push_str(&groups(&rates.groups));
    if !rates.consumer_groups.is_empty() {
        text.push('\n');
        text.push_str(&consumers::text(&rates.consumer_groups));
    }
    if !rates.errors.is_empty() {
        text.push('\n');
        text.push_str(&errors(rates));
    }
    text
}

fn uptime(uptime: Duration) -> String {
    let seconds = uptime.as_secs();
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{} {hours} h", plural(days as usize, "day")),
    }
}

fn per_second(rate: f64) -> String {
    if rate > 0.0 && rate < 10.0 { format!("{rate:.1}") } else { human_count(rate as u64) }
}

fn bytes_per_second(rate: f64) -> String {
    format!("{}/s", human_bytes(rate as u64))
}

fn shards(shards: &[ShardRates]) -> String {
    let mut table = Table::new(
        0,
        &[
            "SHARD",
            "CPU",
            "CLIENTS",
            "REQUESTS/S",
            "IN",
            "OUT",
            "APPENDED/S",
            "FETCHED/S",
            "CACHED",
            "WRITES/S",
            "WRITTEN",
            "QUEUED",
            "WAITING",
            "TURNS/S",
            "ERRORS/S",
        ],
    );
    for shard in shards {
        let name = printable(&shard.shard);
        if !shard.up {
            table.row([name, "does not answer".to_string()]);
            continue;
        }
        table.row([
            name,
            format!("{:.0}%", shard.cpu * 100.0),
            human_count(shard.connections as u64),
            per_second(shard.request_rate),
            bytes_per_second(shard.received_rate),
            bytes_per_second(shard.sent_rate),
            per_second(shard.record_rate),
            per_second(shard.fetched_rate),
            shard.cache_hit_share.map_or("-".to_string(), |share| format!("{:.0}%", share * 100.0)),
            per_second(shard.write_rate),
            bytes_per_second(shard.written_rate),
            human_bytes(shard.queued_bytes as u64),
            human_count(shard.pending as u64),
            per_second(shard.turn_rate),
            per_second(shard.error_rate),
        ]);
    }
    table.render()
}

/// A line for each stage of each shard: percentiles, and where the times lie from 1 us to 10 s.
fn times(shards: &[ShardRates]) -> String {
    let mut headings = vec!["SHARD", "STAGE", "COUNT"];
    headings.extend(PERCENTILES.iter().map(|(name, _)| *name));
    headings.extend(["max", " 1us      1ms      1s"]);
    let mut table = Table::new(0, &headings);
    for shard in shards {
        for (stage, times) in &shard.times {
            let mut row = vec![printable(&shard.shard), stage.clone(), human_count(times.len())];
            if times.is_empty() {
                row.extend(["-"; 5].map(str::to_string));
            } else {
                let at = |percentile| nanos(times.value_at_percentile(percentile));
                row.extend(PERCENTILES.iter().map(|(_, percentile)| at(*percentile)));
                row.extend([nanos(times.max()), bars(times)]);
            }
            table.row(row);
        }
    }
    table.render()
}

fn nanos(nanos: u64) -> String {
    human_duration(Duration::from_nanos(nanos))
}

/// A column for each range of times, as high as its share; an empty one is a dot.
fn bars(times: &Histogram<u64>) -> String {
    let mut counts = [0u64; BARS.len()];
    for step in times.iter_recorded() {
        let lowest = times.lowest_equivalent(step.value_iterated_to());
        counts[BARS.partition_point(|from| *from <= lowest) - 1] += step.count_at_value();
    }
    let highest = counts.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: u64| match count {
        0 => '.',
        // By the square root: what matters is rare.
        count => {
            let share = (count as f64 / highest as f64).sqrt();
            BLOCKS[((share * 8.0).ceil() as usize).clamp(1, 8) - 1]
        }
    };
    counts.into_iter().map(bar).collect()
}

fn groups(groups: &[GroupRates]) -> String {
    let mut table = Table::new(
        0,
        &[
            "GROUP",
            "SHARD",
            "ROLE",
            "TERM",
            "PARTITIONS",
            "APPEND",
            "GROWS",
            "FLUSH LAG",
            "COMMIT LAG",
            "REPLICAS LACK",
            "JOURNAL",
            "QUEUED",
            "WAITING",
            "EXPIRED/S",
        ],
    );
    for group in groups {
        let of = |list: &[(String, f64)], name: &str| {
            let found = list.iter().find(|(other, _)| other == name);
            found.map_or(0, |(_, number)| *number as u64)
        };
        table.row([
            printable(&group.group),
            printable(&group.shard),
            if group.leads { "leader" } else { "follower" }.to_string(),
            human_count(group.term as u64),
            human_count(group.partitions as u64),
            human_count(of(&group.positions, "append")),
            bytes_per_second(group.append_rate),
            human_bytes(of(&group.lags, "flush")),
            human_bytes(of(&group.lags, "commit")),
            replicas_lack(&group.replica_lags),
            human_bytes(group.journal_bytes as u64),
            human_count(group.queued as u64),
            waiting(&group.pending),
            per_second(group.expired_rate),
        ]);
    }
    table.render()
}

/// The most entries that a replica lacks, if this node knows.
fn replicas_lack(lags: &[(String, f64)]) -> String {
    let worst = lags.iter().map(|(_, lag)| *lag).reduce(f64::max);
    worst.map_or("-".to_string(), |lag| human_count(lag as u64))
}

/// `12 durable, 3 received`.
fn waiting(pending: &[(String, f64)]) -> String {
    let some = pending.iter().filter(|(_, count)| *count > 0.0);
    let texts =
        some.map(|(level, count)| format!("{} {}", human_count(*count as u64), printable(level)));
    let texts: Vec<String> = texts.collect();
    if texts.is_empty() { "0".to_string() } else { texts.join(", ") }
}

fn errors(rates: &Rates) -> String {
    let mut table = Table::new(0, &["SHARD", "API", "ERROR", "PER SECOND"]);
    for (shard, api, error, rate) in &rates.errors {
        table.row([printable(shard), printable(api), printable(error), per_second(*rate)]);
    }
    table.render()
}

/// Whole numbers as such.
fn number(number: f64) -> Value {
    if number.fract() == 0.0 && number.abs() < 1e15 { json!(number as i64) } else { json!(number) }
}

/// The report for scripts: rates per second, times in nanoseconds.
pub fn json(rates: &Rates) -> Value {
    json!({
        "version": rates.version,
        "node": rates.node,
        "interval_seconds": rates.took.as_secs_f64(),
        "uptime_seconds": rates.uptime.as_secs_f64(),
        "cpu": rates.cpu,
        "resident_bytes": number(rates.resident_bytes),
        "data_dir_free_bytes": number(rates.disk_free),
        "data_dir_size_bytes": number(rates.disk_size),
        "shards": rates.shards.iter().map(shard_json).collect::<Vec<_>>(),
        "groups": rates.groups.iter().map(group_json).collect::<Vec<_>>(),
        "consumer_groups": consumers::json(&rates.consumer_groups),
        "errors": rates.errors.iter().map(|(shard, api, error, rate)| {
            json!({ "shard": shard, "api": api, "error": error, "rate": rate })
        }).collect::<Vec<_>>(),
    })
}

fn shard_json(shard: &ShardRates) -> Value {
    let times = shard.times.iter().map(|(stage, times)| {
        let mut told = json!({ "count": times.len(), "max": times.max(), "mean": times.mean() });
        for (name, percentile) in PERCENTILES {
            told[name] = times.value_at_percentile(percentile).into();
        }
        (stage.replace(' ', "_"), told)
    });
    json!({
        "shard": shard.shard,
        "up": shard.up,
        "cpu": shard.cpu,
        "connections": number(shard.connections),
        "request_rate": shard.request_rate,
        "received_byte_rate": shard.received_rate,
        "sent_byte_rate": shard.sent_rate,
        "appended_record_rate": shard.record_rate,
        "fetched_record_rate": shard.fetched_rate,
        "cache_hit_share": shard.cache_hit_share,
        "journal_write_rate": shard.write_rate,
        "journal_byte_rate": shard.written_rate,
        "queued_bytes": number(shard.queued_bytes),
        "pending_responses": number(shard.pending),
        "turn_rate": shard.turn_rate,
        "error_rate": shard.error_rate,
        "nanoseconds": times.collect::<Map<_, _>>(),
    })
}

fn group_json(group: &GroupRates) -> Value {
    let map = |list: &[(String, f64)]| {
        list.iter()
            .map(|(name, number)| (name.clone(), self::number(*number)))
            .collect::<Map<_, _>>()
    };
    json!({
        "group": group.group,
        "shard": group.shard,
        "leads": group.leads,
        "term": number(group.term),
        "replica_lag_entries": map(&group.replica_lags),
        "partitions": number(group.partitions),
        "positions": map(&group.positions),
        "lag_bytes": map(&group.lags),
        "append_byte_rate": group.append_rate,
        "journal_bytes": number(group.journal_bytes),
        "queued_batches": number(group.queued),
        "pending_responses": map(&group.pending),
        "expired_rate": group.expired_rate,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::top::page::Page;
    use crate::runtime::metrics::json::encode;

    fn page(requests: u64, times: &[(u64, u64)], started: f64) -> Page {
        let mut histogram = Histogram::<u64>::new_with_bounds(100, 60_000_000_000, 2).unwrap();
        for (nanos, count) in times {
            histogram.record_n(*nanos, *count).unwrap();
        }
        let shard = |value: Value| json!({ "type": "x", "samples": [value] });
        let of_shard = |number: u64| shard(json!({ "labels": { "shard": "0" }, "value": number }));
        let body = json!({ "metrics": {
            "process_start_time_seconds":
                { "type": "gauge", "samples": [{ "labels": {}, "value": started }] },
            "hutong_shard_up": of_shard(1),
            "hutong_requests_total": shard(
                json!({ "labels": { "shard": "0", "api": "Produce" }, "value": requests })),
            "hutong_stage_seconds": shard(
                json!({ "labels": { "shard": "0", "stage": "flush" }, "hdr": encode(&histogram) })),
        }});
        Page::from_json(&body.to_string())
    }

    #[test]
    fn a_report_tells_what_happened_in_between() {
        let before = page(100, &[(1_000_000, 50)], 5.0);
        let now = page(400, &[(1_000_000, 50), (20_000, 99), (3_000_000, 1)], 5.0);
        let report = json(&Rates::between(&before, &now));
        let flush = &report["shards"][0]["nanoseconds"]["flush"];
        assert_eq!(flush["count"], 100);
        let p50 = flush["p50"].as_u64().unwrap();
        assert!((19_800..20_200).contains(&p50), "{p50}");
        let highest = flush["p99.99"].as_u64().unwrap();
        assert!((2_970_000..3_030_000).contains(&highest), "{highest}");
        assert!(report["shards"][0]["request_rate"].as_f64().unwrap() > 0.0);
    }

    #[test]
    fn a_broker_that_was_started_again_begins_at_zero() {
        let report = json(&Rates::between(
            &page(1_000_000, &[(1_000, 500)], 5.0),
            &page(10, &[(1_000, 2)], 6.0),
        ));
        assert_eq!(report["shards"][0]["nanoseconds"]["flush"]["count"], 2);
        assert!(report["shards"][0]["request_rate"].as_f64().unwrap() > 0.0);
    }

    #[test]
    fn the_small_histogram_shows_what_is_rare() {
        let mut times = Histogram::<u64>::new_with_bounds(100, 60_000_000_000, 2).unwrap();
        times.record_n(300, 10_000).unwrap();
        times.record(15_000_000).unwrap();
        times.record(30_000_000_000).unwrap();
        assert_eq!(bars(&times), "█............▁........▁");
    }

    #[test]
    fn times_of_running_read_well() {
        let shown = |seconds| uptime(Duration::from_secs(seconds));
        assert_eq!(shown(5), "5 s");
        assert_eq!(shown(65), "1 min 5 s");
        assert_eq!(shown(3_700), "1 h 1 min");
        assert_eq!(shown(90_000), "1 day 1 h");
    }
}
