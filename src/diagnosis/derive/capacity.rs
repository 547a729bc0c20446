//! When to scale: how full, how fast it fills, how long it lasts.

use serde_json::{Map, Value, json};

use super::{Inputs, bytes, finding, number, round, text, vitals};
use crate::model::Service;

/// A trend needs looks over at least this long, in seconds.
const SHORTEST: f64 = 600.0;

/// Uses the series `used_memory`, `clients` and `keys`, and the figures `memory_percent`,
/// `clients_percent`; judges by the thresholds `memory` and `clients_share`.
pub(super) fn capacity(info: &Map<String, Value>, inputs: &Inputs, service: &Service) -> Value {
    let vitals = vitals::vitals(info, inputs);
    let used = number(info, "used_memory").unwrap_or(0.0);
    let limit = number(info, "maxmemory").unwrap_or(0.0);
    let clients = number(info, "connected_clients").unwrap_or(0.0);
    let most = number(info, "maxclients").unwrap_or(0.0);
    let now = inputs.now().map(|now| now as f64);

    let with_now = |name: &str, value: f64| {
        let mut points = inputs.series(name);
        if let Some(now) = now {
            points.push((now, value));
        }
        points
    };
    let memory_trend = trend(&with_now("used_memory", used));
    let client_trend = trend(&with_now("clients", clients));
    let full = |trend: &Option<Trend>, at: f64, limit: f64| {
        trend.as_ref().filter(|trend| trend.per_hour > 0.0 && limit > at).map(|trend| (limit - at) / trend.per_hour)
    };
    let hours = full(&memory_trend, used, limit);
    let client_hours = full(&client_trend, clients, most);
    let bound =
        |name: &str, default: f64| service.thresholds.get(name).and_then(|threshold| threshold.warn).unwrap_or(default);
    let memory_percent = vitals.get("memory_percent").and_then(Value::as_f64);
    let clients_percent = vitals.get("clients_percent").and_then(Value::as_f64);
    let policy = text(info, "maxmemory_policy");

    let mut advice = Vec::new();
    if limit == 0.0 {
        let host = number(info, "total_system_memory").unwrap_or(0.0);
        advice.push(finding(
            "warn",
            "no limit is set: the only limit is the host's memory, and the kernel ends the process there".into(),
            format!("maxmemory=0, {} used, the host has {}", bytes(used), bytes(host)),
            "set `maxmemory` to what the host can spare, leaving room for a fork: `config maxmemory*` shows it now",
        ));
    }
    if let Some(percent) = memory_percent.filter(|percent| *percent > bound("memory", 80.0)) {
        advice.push(finding(
            "warn",
            "memory is past the bound at which to scale".into(),
            format!("{percent:.0} % of maxmemory; bound {:.0} %", bound("memory", 80.0)),
            "first see what holds it (`memory`, then keys without a TTL); raising `maxmemory` is a live change and needs no restart",
        ));
    }
    if let Some(hours) = hours.filter(|hours| *hours < bound("hours_to_full", 72.0)) {
        advice.push(finding(
            if hours < 12.0 { "crit" } else { "warn" },
            format!("at the present rate memory is full in {}", span(hours)),
            format!(
                "{} an hour over the last {}",
                bytes(memory_trend.as_ref().map_or(0.0, |trend| trend.per_hour)),
                span(memory_trend.as_ref().map_or(0.0, |trend| trend.over_h))
            ),
            if policy == "noeviction" {
                "with `noeviction` writes will be refused then: raise `maxmemory`, or find what grows with `memory`"
            } else {
                "keys will be evicted from then on: raise `maxmemory`, or find what grows with `memory`"
            },
        ));
    }
    if let Some(percent) = clients_percent.filter(|percent| *percent > bound("clients_share", 80.0)) {
        advice.push(finding(
            "warn",
            "connections are near their limit".into(),
            format!("{clients:.0} of {most:.0} ({percent:.0} %)"),
            "`clients` shows who holds them; a leak in one application is more likely than growth of all",
        ));
    }
    if number(info, "evicted_keys").unwrap_or(0.0) > 0.0 && policy != "noeviction" {
        advice.push(finding(
            "note",
            "keys have been evicted since the server started".into(),
            format!("{:.0} evicted, policy {policy}", number(info, "evicted_keys").unwrap_or(0.0)),
            "for a cache that is how it works; for a store it is data loss: `status` shows the rate",
        ));
    }
    let of = |level: &str| advice.iter().filter(|advice| advice["level"] == level).cloned().collect::<Vec<_>>();
    json!({
        "crit": of("crit"), "warn": of("warn"), "note": of("note"),
        "memory": {
            "used": used, "limit": (limit > 0.0).then_some(limit), "percent": memory_percent,
            "per_hour": memory_trend.as_ref().map(|trend| round(trend.per_hour, 1)),
            "over_h": memory_trend.as_ref().map(|trend| round(trend.over_h, 2)),
            "looks": inputs.series("used_memory").len(),
            "hours_to_full": hours.map(|hours| round(hours, 1)),
            "peak": number(info, "used_memory_peak"),
        },
        "clients": {
            "now": clients, "limit": (most > 0.0).then_some(most), "percent": clients_percent,
            "per_hour": client_trend.as_ref().map(|trend| round(trend.per_hour, 2)),
            "hours_to_full": client_hours.map(|hours| round(hours, 1)),
        },
        "trend_known": memory_trend.is_some(),
        "advice": advice,
    })
}

struct Trend {
    per_hour: f64,
    over_h: f64,
}

/// The median of the slopes between points far enough apart (Theil–Sen): one
/// restart or one flush does not turn it.
fn trend(points: &[(f64, f64)]) -> Option<Trend> {
    let (first, last) = (points.first()?, points.last()?);
    let over = last.0 - first.0;
    if points.len() < 3 || over < SHORTEST {
        return None;
    }
    // At most 200 points are compared, so that a week of looks costs no more than an hour of them.
    let step = points.len().div_ceil(200);
    let points: Vec<(f64, f64)> = points.iter().copied().step_by(step).collect();
    let mut slopes = Vec::new();
    for (at, from) in points.iter().enumerate() {
        for to in &points[at + 1..] {
            let apart = to.0 - from.0;
            if apart >= over / 4.0 {
                slopes.push((to.1 - from.1) / apart * 3600.0);
            }
        }
    }
    let middle = slopes.len() / 2;
    if slopes.is_empty() {
        return None;
    }
    let (_, median, _) = slopes.select_nth_unstable_by(middle, f64::total_cmp);
    Some(Trend { per_hour: *median, over_h: over / 3600.0 })
}

/// Hours for people.
fn span(hours: f64) -> String {
    match hours {
        h if h < 1.0 => format!("{:.0} minutes", (h * 60.0).max(1.0)),
        h if h < 48.0 => format!("{h:.0} hours"),
        h => format!("{:.0} days", h / 24.0),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{
        derive,
        tests::{inputs, service},
    };
    use super::*;

    #[test]
    fn steady_growth_says_when_memory_is_full() {
        let series: Vec<[f64; 2]> = (0..20).map(|i| [f64::from(i) * 3600.0, f64::from(i) * 1000.0]).collect();
        let all = json!({
            "info": {"used_memory": 20_000, "maxmemory": 30_000, "connected_clients": 5, "maxclients": 100, "maxmemory_policy": "noeviction"},
            "_now": 20 * 3600, "_series": {"used_memory": series},
        });
        let seen = derive("capacity", &inputs(all), &service(), &Map::new()).unwrap();
        assert_eq!(seen["memory"]["per_hour"], 1000.0);
        assert_eq!(seen["memory"]["hours_to_full"], 10.0);
        assert_eq!(seen["advice"][0]["what"], "at the present rate memory is full in 10 hours");
        assert_eq!(seen["advice"][0]["level"], "crit");
    }

    #[test]
    fn one_flush_does_not_turn_the_trend_and_few_looks_give_none() {
        let mut points: Vec<(f64, f64)> = (0..40).map(|i| (f64::from(i) * 600.0, f64::from(i) * 10.0)).collect();
        points[20].1 = 0.0;
        assert_eq!(trend(&points).unwrap().per_hour, 60.0);
        assert!(trend(&points[..2]).is_none());
        assert!(trend(&[(0.0, 1.0), (1.0, 2.0), (2.0, 3.0)]).is_none(), "three looks in two seconds are no trend");
    }
}
