//! An application's own pages: metrics.

use serde_json::{Map, Value, json};

use super::{Inputs, number, round, text};

/// Every selected sample of every page, as rows. The looks are `ID[PAGE]`, one for each.
///
/// Beside the rows: `fallback` (a metric whose name begins with `redis_fallback`
/// is above 0), `down` (`redis_up` is 0), `queueing` (`queued_events` grows),
/// and `failed_percent` (of all saves, where the total is exported too).
pub(super) fn metrics(inputs: &Inputs) -> Value {
    let mut rows: Vec<Map<String, Value>> = Vec::new();
    for (id, page) in inputs.0.iter().filter(|(id, _)| !id.starts_with('_')) {
        let name = id.split_once('[').map_or(id.as_str(), |(_, name)| name.trim_end_matches(']'));
        for sample in page.get("samples").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object) {
            let mut row = sample.clone();
            row.insert("page".into(), name.into());
            rows.push(row);
        }
    }
    let any = |prefix: &str, holds: &dyn Fn(&Map<String, Value>) -> bool| {
        rows.iter().any(|row| text(row, "name").starts_with(prefix) && holds(row))
    };
    let total = |name: &str| -> Option<f64> {
        rows.iter().filter(|row| text(row, "name") == name).filter_map(|row| number(row, "value")).reduce(|a, b| a + b)
    };
    let failed = total("history_persist_errors_total")
        .zip(total("history_persist_total").filter(|total| *total > 0.0))
        .map(|(failed, total)| round(failed / total * 100.0, 4));
    json!({
        "fallback": any("redis_fallback", &|row| number(row, "value") > Some(0.0)),
        "down": any("redis_up", &|row| text(row, "name") == "redis_up" && number(row, "value") == Some(0.0)),
        "queueing": any("queued_events", &|row| number(row, "rate") > Some(0.0)),
        "failed_percent": failed,
        "count": rows.len(),
        "rows": rows,
    })
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use super::*;

    #[test]
    fn samples_of_all_pages_are_one_table_and_the_share_of_failed_saves_is_worked_out() {
        let page = json!({"samples": [
            {"name": "redis_fallback_active", "labels": {}, "value": 1.0},
            {"name": "history_persist_errors_total", "value": 3.0},
            {"name": "history_persist_total", "value": 1000.0},
        ]});
        let seen = derive("metric_rows", &inputs(json!({"pages[app]": page})), &service(), &Map::new()).unwrap();
        assert_eq!(
            (&seen["fallback"], &seen["down"], &seen["failed_percent"]),
            (&json!(true), &json!(false), &json!(0.3))
        );
        assert_eq!((&seen["rows"][0]["page"], &seen["count"]), (&json!("app"), &json!(3)));
    }
}
