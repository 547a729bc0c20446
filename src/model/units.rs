//! Lengths of time and numbers, as people write and read them.

use std::time::Duration;

/// Reads `500ms`, `30s`, `5m`, `2h`, `1d`, `2w`, or several of them (`1h30m`). `None` when it is none of these.
pub fn parse_duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let millis = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        rest = &rest[letters..];
        total = total.checked_add(number.checked_mul(millis)?)?;
    }
    Some(Duration::from_millis(total))
}

/// Writes a length of time the way [`parse_duration`] reads it, in at most two units: `1h30m`, `250ms`.
pub fn show_duration(duration: Duration) -> String {
    const UNITS: [(u128, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let mut left = duration.as_millis();
    let mut shown = String::new();
    let mut units = 0;
    for (size, unit) in UNITS {
        if left >= size && units < 2 {
            shown.push_str(&format!("{}{unit}", left / size));
            left %= size;
            units += 1;
        }
    }
    if shown.is_empty() { "0s".to_owned() } else { shown }
}

/// Reads `512`, `100kb`, `1.5mb`, `2gb`, `2GiB`; as in Redis, `kb` and `k` differ: 1,024 and 1,000.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().to_ascii_lowercase();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let scale: u64 = match unit {
        "" | "b" => 1,
        "k" => 1_000,
        "kb" | "kib" | "ki" => 1 << 10,
        "m" => 1_000_000,
        "mb" | "mib" | "mi" => 1 << 20,
        "g" => 1_000_000_000,
        "gb" | "gib" | "gi" => 1 << 30,
        "t" => 1_000_000_000_000,
        "tb" | "tib" | "ti" => 1 << 40,
        _ => return None,
    };
    let number = number.trim();
    if !number.starts_with(|c: char| c.is_ascii_digit()) || number.contains(|c: char| !c.is_ascii_digit() && c != '.') {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale);
    }
    let bytes = number.parse::<f64>().ok()? * scale as f64;
    (bytes.is_finite() && bytes <= 9e15).then_some(bytes as u64)
}

/// Bytes in powers of 1024, three digits: `812 MiB`, `1.50 GiB`.
pub fn shown_bytes(count: f64) -> String {
    const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if !count.is_finite() {
        return count.to_string();
    }
    let (sign, mut size) = (if count < 0.0 { "-" } else { "" }, count.abs());
    let mut unit = 0;
    while size >= 999.5 && unit < UNITS.len() - 1 {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{sign}{size:.0} B") } else { format!("{sign}{} {}", three_digits(size), UNITS[unit]) }
}

/// A number with groups of thousands; at most two decimals, fewer as it grows.
pub fn shown_number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let size = value.abs();
    let places = if value.fract() == 0.0 || size >= 1000.0 {
        0
    } else if size >= 100.0 {
        1
    } else {
        2
    };
    let text = format!("{size:.places$}");
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let part = part.trim_end_matches('0');
    let mut grouped = String::new();
    for (index, digit) in whole.chars().enumerate() {
        if index > 0 && (whole.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    let sign = if value < 0.0 && text.chars().any(|c| ('1'..='9').contains(&c)) { "-" } else { "" };
    if part.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}.{part}") }
}

/// A ratio as a percentage: 0.79 is `79 %`.
pub fn shown_percent(ratio: f64) -> String {
    let percent = ratio * 100.0;
    let size = percent.abs();
    let text = if size >= 10.0 || size == 0.0 {
        // 99.97 % of hits is not "100 %": rounding must not hide that something is missing.
        if size > 99.0 && size < 100.0 {
            format!("{:.2}", (percent * 100.0).trunc() / 100.0)
        } else {
            shown_number(percent.round())
        }
    } else {
        format!("{percent:.1}")
    };
    format!("{text} %")
}

/// A number with three digits: `0.31`, `12.4`, `812`.
pub(crate) fn three_digits(value: f64) -> String {
    let size = value.abs();
    if size >= 99.95 {
        format!("{value:.0}")
    } else if size >= 9.995 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written_alike() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h30m", 5400), ("1d", 86_400), ("2w", 1_209_600)] {
            assert_eq!(parse_duration(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("250ms"), Some(Duration::from_millis(250)));
        assert_eq!(show_duration(Duration::from_secs(5400)), "1h30m");
        assert_eq!(show_duration(Duration::from_millis(250)), "250ms");
        assert_eq!(show_duration(Duration::ZERO), "0s");
        for bad in ["", "30", "s", "1 h", "-1s", "1y", "99999999999999999999d", "ä"] {
            assert_eq!(parse_duration(bad), None, "{bad}");
        }
    }

    #[test]
    fn bytes_are_read_as_redis_reads_them() {
        for (text, bytes) in
            [("512", 512), ("100kb", 102_400), ("100k", 100_000), ("1.5mb", 1_572_864), ("2GiB", 2 << 30)]
        {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for bad in ["", "mb", "-1", "1e3", "inf", "1 zb", "99999999999999999999"] {
            assert_eq!(parse_bytes(bad), None, "{bad}");
        }
    }
}
