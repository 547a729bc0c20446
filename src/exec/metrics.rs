//! `Look::Metrics`: a page in the Prometheus text format.

use std::{collections::HashMap, time::Duration};

use reqwest::Method;
use serde_json::{Map, Value, json};
use tokio::time::Instant;

use crate::{
    diagnosis::{Explained, Observation},
    model::MetricsSource,
};

use super::{Job, dial::ms, failed, request};

/// At most this many samples are told; a page can hold a hundred thousand.
const MOST: usize = 500;

/// Carries it out.
pub(crate) async fn look(job: &Job, source: &str, select: &[String], delta: Option<Duration>) -> Observation {
    let start = Instant::now();
    let merged = match job.service.metrics.iter().find(|known| known.name == source) {
        Some(source) => scrape_and_tell(job, source, select, delta).await,
        None => Err(super::not_in_profile("metrics page", source, "metrics")),
    };
    match merged {
        Ok(value) => Observation { nodes: Vec::new(), merged: Ok(value), took: start.elapsed() },
        Err(error) => failed(error, start),
    }
}

async fn scrape_and_tell(
    job: &Job,
    source: &MetricsSource,
    select: &[String],
    delta: Option<Duration>,
) -> Result<Value, Explained> {
    let select = if select.is_empty() { &source.select } else { select };
    let begun = Instant::now();
    let (first_at, first) = scrape(job, source, select).await?;
    let took = begun.elapsed();
    let Some(apart) = delta else {
        return Ok(tell(first.iter().map(|sample| sample.json(None)), took, None));
    };
    let left = job.budget.end.saturating_duration_since(Instant::now());
    tokio::time::sleep(apart.min(left.saturating_sub(job.budget.call.min(left / 2)))).await;
    let (second_at, second) = scrape(job, source, select).await?;
    let seconds = second_at.duration_since(first_at).as_secs_f64().max(1e-6);
    let before: HashMap<&str, f64> = first.iter().map(|sample| (sample.series.as_str(), sample.value)).collect();
    let samples = second.iter().map(|sample| {
        let grew = before.get(sample.series.as_str()).map(|before| sample.value - before);
        sample.json(grew.map(|grew| (grew, seconds)))
    });
    Ok(tell(samples, took, Some(seconds)))
}

fn tell(samples: impl Iterator<Item = Value>, took: Duration, seconds: Option<f64>) -> Value {
    let all: Vec<Value> = samples.collect();
    let count = all.len();
    let mut told = json!({"count": count, "ms": ms(took), "samples": all.into_iter().take(MOST).collect::<Vec<_>>()});
    if count > MOST {
        told["truncated"] = true.into();
    }
    if let Some(seconds) = seconds {
        told["seconds"] = json!((seconds * 1e3).round() / 1e3);
    }
    told
}

async fn scrape(job: &Job, source: &MetricsSource, select: &[String]) -> Result<(Instant, Vec<Sample>), Explained> {
    let until = job.budget.until();
    // Metrics pages are inside the network as a rule; link-local is refused all the same.
    let request = request::begin(Method::GET, &source.url, true)?.header("accept", "text/plain; version=0.0.4");
    let response = request::send(request, until).await?;
    let at = Instant::now();
    if !response.status().is_success() {
        return Err(Explained {
            code: "HTTP".into(),
            what: format!("the metrics page `{}` answered {}", source.name, response.status().as_u16()),
            cause: "the page is elsewhere, protected, or the application is in trouble".into(),
            next: "open the page from the bot's host, and correct its URL in the profile".into(),
        });
    }
    let (body, _cut) = request::body(response, job.site.settings.body_bytes, until).await?;
    Ok((at, parse(&String::from_utf8_lossy(&body), select)))
}

/// One line of a page.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    /// As written: `name{a="b"}`.
    series: String,
    name: String,
    labels: Vec<(String, String)>,
    value: f64,
}

impl Sample {
    fn json(&self, grew: Option<(f64, f64)>) -> Value {
        let labels: Map<String, Value> =
            self.labels.iter().map(|(name, value)| (name.clone(), Value::from(value.clone()))).collect();
        let mut told = json!({
            "name": self.name,
            "series": self.series,
            "labels": labels,
            "value": number(self.value),
        });
        if let Some((grew, seconds)) = grew {
            told["delta"] = number(grew);
            told["rate"] = number((grew / seconds * 1e6).round() / 1e6);
        }
        told
    }
}

/// JSON has no infinity and no NaN; they are told as texts.
fn number(x: f64) -> Value {
    if x.is_finite() { json!(x) } else { Value::String(x.to_string()) }
}

/// The samples whose name begins with one of the prefixes; all, when there are none. What is no sample is passed over.
fn parse(page: &str, select: &[String]) -> Vec<Sample> {
    page.lines()
        .filter(|line| select.is_empty() || select.iter().any(|prefix| line.trim_start().starts_with(prefix.as_str())))
        .filter_map(sample)
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let name = &line[..name_end];
    let (labels, rest) = match line[name_end..].strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), &line[name_end..]),
    };
    let series = line[..line.len() - rest.len()].trim_end().to_owned();
    // A timestamp may follow the value; OpenMetrics adds exemplars after `#`.
    let value = match rest.split_whitespace().next()? {
        "+Inf" | "Inf" => f64::INFINITY,
        "-Inf" => f64::NEG_INFINITY,
        text => text.parse().ok()?,
    };
    Some(Sample { series, name: name.to_owned(), labels, value })
}

/// Reads `a="b",c="d"} rest`.
fn labels(text: &str) -> Option<(Vec<(String, String)>, &str)> {
    let mut labels = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Some((labels, after));
        }
        let (name, after) = rest.split_once('=')?;
        let quoted = after.trim_start().strip_prefix('"')?;
        let mut value = String::new();
        let mut chars = quoted.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at,
                (_, '\\') => match chars.next()?.1 {
                    'n' => value.push('\n'),
                    c => value.push(c),
                },
                (_, c) => value.push(c),
            }
        };
        labels.push((name.trim().to_owned(), value));
        rest = quoted[end + 1..].trim_start().trim_start_matches(',').trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"# HELP http_requests_total Requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="get",path="C:\\DIR\\\"x\" {a,b}",} 3
redis_fallback 1.5e3
up NaN
bucket{le="+Inf"} +Inf # {trace="x"} 0.1

broken{a="b
"#;

    #[test]
    fn a_page_is_read_with_its_labels_and_what_is_broken_is_passed_over() {
        let samples = parse(PAGE, &[]);
        assert_eq!(samples.len(), 5);
        assert_eq!(samples[0].value, 1027.0);
        assert_eq!(samples[0].series, r#"http_requests_total{method="post",code="200"}"#);
        assert_eq!(samples[1].labels[1], ("path".to_owned(), "C:\\DIR\\\"x\" {a,b}".to_owned()));
        assert!(samples[3].value.is_nan() && samples[4].value.is_infinite());
        assert_eq!(samples[4].json(None)["value"], "inf");
    }

    #[test]
    fn names_are_selected_by_prefix() {
        let samples = parse(PAGE, &["redis_".into(), "up".into()]);
        assert_eq!(samples.iter().map(|sample| sample.name.as_str()).collect::<Vec<_>>(), ["redis_fallback", "up"]);
    }

    #[test]
    fn a_delta_becomes_a_rate() {
        let sample = &parse("a 30", &[])[0];
        let told = sample.json(Some((10.0, 4.0)));
        assert_eq!((told["delta"].as_f64(), told["rate"].as_f64()), (Some(10.0), Some(2.5)));
    }
}
