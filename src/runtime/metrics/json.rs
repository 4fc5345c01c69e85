//! A page as JSON, with whole histograms: what `hutong top` reads, and who wants more than buckets.
//!
//! `{"metrics": {"NAME": {"type": "counter", "samples": [{"labels": {...}, "value": 1}]}}}`; in
//! the place of `value`, a histogram has `hdr`: HdrHistogram's V2 encoding in base64, which its
//! libraries in other languages read as well. Durations are nanoseconds in there.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use serde_json::{Map, Value as Json, json};

use crate::runtime::metrics::collect::{Page, Sample, Value};
use crate::runtime::metrics::families::FAMILIES;

/// The page as JSON.
pub fn render(page: &Page) -> String {
    let metrics = FAMILIES.iter().map(|family| {
        let samples: Vec<Json> = page.of(family).map(sample).collect();
        (family.name.to_string(), json!({ "type": family.kind.name(), "samples": samples }))
    });
    json!({ "metrics": metrics.collect::<Map<_, _>>() }).to_string()
}

fn sample(sample: &Sample) -> Json {
    let names = sample.family.labels.iter();
    let labels = names.zip(&sample.labels);
    let labels: Map<_, _> =
        labels.map(|(name, value)| (name.to_string(), value.clone().into())).collect();
    match &sample.value {
        Value::Number(number) => json!({ "labels": labels, "value": number }),
        Value::Histogram(histogram) => json!({ "labels": labels, "hdr": encode(histogram) }),
    }
}

/// A histogram as text.
pub fn encode(histogram: &Histogram<u64>) -> String {
    let mut bytes = Vec::new();
    let written = V2Serializer::new().serialize(histogram, &mut bytes);
    written.expect("what fits into memory can be written to it");
    BASE64_STANDARD.encode(bytes)
}

/// A histogram from its text. `None` if it is none.
pub fn decode(text: &str) -> Option<Histogram<u64>> {
    let bytes = BASE64_STANDARD.decode(text).ok()?;
    Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::metrics::families::{REQUESTS, STAGE};
    use crate::shard::metrics::durations;

    #[test]
    fn what_is_written_can_be_read() {
        let mut histogram = durations();
        histogram.saturating_record_n(12_345, 678);
        let mut page = Page::default();
        page.histogram(STAGE, ["0", "flush"], &histogram);
        page.number(REQUESTS, ["0", "Fetch"], u64::MAX);
        let json: Json = serde_json::from_str(&render(&page)).unwrap();
        let stage = &json["metrics"]["hutong_stage_seconds"]["samples"][0];
        assert_eq!(stage["labels"], json!({ "shard": "0", "stage": "flush" }));
        assert_eq!(decode(stage["hdr"].as_str().unwrap()), Some(histogram));
        let requests = &json["metrics"]["hutong_requests_total"];
        assert_eq!(requests["samples"][0]["value"], json!(u64::MAX));
        assert_eq!(requests["type"], "counter");
        assert_eq!(decode("nonsense"), None);
    }
}
