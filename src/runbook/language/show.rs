//! How numbers look to people. The filters of templates and the figures of cards use the same functions.

use crate::model::three_digits;
pub(in crate::runbook) use crate::model::{shown_bytes as bytes, shown_number as number, shown_percent as percent};

/// Seconds as the two largest units: `3 d 4 h`, `250 ms`.
pub(in crate::runbook) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return seconds.to_string();
    }
    let (sign, size) = (if seconds < 0.0 { "-" } else { "" }, seconds.abs());
    if size == 0.0 {
        return "0 s".to_owned();
    }
    if size < 1.0 {
        return format!("{sign}{}", milliseconds(size * 1000.0));
    }
    if size < 10.0 && size.fract() != 0.0 {
        return format!("{sign}{size:.1} s");
    }
    let total = size.round() as u64;
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3600, "h"), (60, "min"), (1, "s")];
    let first = UNITS.iter().position(|(length, _)| total >= *length).unwrap_or(UNITS.len() - 1);
    let (length, name) = UNITS[first];
    let mut text = format!("{sign}{} {name}", number((total / length) as f64));
    if let Some((next, next_name)) = UNITS.get(first + 1) {
        let rest = total % length / next;
        if rest > 0 {
            text.push_str(&format!(" {rest} {next_name}"));
        }
    }
    text
}

/// Milliseconds, three digits: `0.31 ms`, `12.4 ms`, `1.20 s`.
pub(in crate::runbook) fn milliseconds(ms: f64) -> String {
    let size = ms.abs();
    if !ms.is_finite() {
        ms.to_string()
    } else if size == 0.0 {
        "0 ms".to_owned()
    } else if size < 0.01 {
        "<0.01 ms".to_owned()
    } else if size < 1.0 {
        format!("{ms:.2} ms")
    } else if size < 1000.0 {
        format!("{} ms", three_digits(ms))
    } else {
        duration_of_seconds(ms / 1000.0)
    }
}

fn duration_of_seconds(seconds: f64) -> String {
    if seconds.abs() < 60.0 { format!("{} s", three_digits(seconds)) } else { duration(seconds) }
}

/// Events per second: `1,204/s`.
pub(in crate::runbook) fn rate(per_second: f64) -> String {
    format!("{}/s", number(per_second))
}

/// At most `limit` characters, the last of them `…` when something was cut.
pub(in crate::runbook) fn truncate(text: &str, limit: usize) -> String {
    let limit = limit.max(1);
    match text.char_indices().nth(limit) {
        None => text.to_owned(),
        Some(_) => text.chars().take(limit - 1).chain(['…']).collect(),
    }
}

/// `1 key`, `2 keys`; the plural is given where it is not just an `s`.
pub(in crate::runbook) fn plural(count: f64, one: &str, many: Option<&str>) -> String {
    let shown = number(count);
    if shown == "1" {
        return format!("1 {one}");
    }
    many.map_or_else(|| format!("{shown} {one}s"), |many| format!("{shown} {many}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_three_digits_and_a_binary_unit() {
        let shown: Vec<_> = [0.0, 512.0, 1023.0, 1024.0, 851_443_712.0, 1_073_741_824.0, 1.61e9].map(bytes).into();
        assert_eq!(shown, ["0 B", "512 B", "1.00 KiB", "1.00 KiB", "812 MiB", "1.00 GiB", "1.50 GiB"]);
    }

    #[test]
    fn numbers_are_grouped_and_not_longer_than_needed() {
        let shown: Vec<_> = [0.0, 7.0, 1204.0, 1_234_567.0, 3.5, 12.345, 123.45, -1204.0, -0.001].map(number).into();
        assert_eq!(shown, ["0", "7", "1,204", "1,234,567", "3.5", "12.35", "123.5", "-1,204", "0"]);
    }

    #[test]
    fn a_percentage_never_rounds_a_loss_away() {
        let shown: Vec<_> = [0.0, 0.791, 0.031, 0.9997, 1.0].map(percent).into();
        assert_eq!(shown, ["0 %", "79 %", "3.1 %", "99.97 %", "100 %"]);
    }

    #[test]
    fn durations_say_the_two_largest_units() {
        let shown: Vec<_> = [0.0, 0.25, 1.5, 42.0, 61.0, 3600.0, 273_600.0, 86_400.0 * 400.0].map(duration).into();
        assert_eq!(shown, ["0 s", "250 ms", "1.5 s", "42 s", "1 min 1 s", "1 h", "3 d 4 h", "400 d"]);
    }

    #[test]
    fn milliseconds_become_seconds_when_they_are_many() {
        let shown: Vec<_> = [0.0, 0.004, 0.314, 12.44, 250.0, 1200.0, 90_000.0].map(milliseconds).into();
        assert_eq!(shown, ["0 ms", "<0.01 ms", "0.31 ms", "12.4 ms", "250 ms", "1.20 s", "1 min 30 s"]);
    }

    #[test]
    fn text_is_cut_by_characters_and_says_so() {
        assert_eq!(truncate("schlüssel", 5), "schl…");
        assert_eq!(truncate("short", 5), "short");
    }
}
