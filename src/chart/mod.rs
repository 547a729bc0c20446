//! Drawing a series for people who would rather look than read.

mod picture;

pub use picture::{NotDrawn, SIZE, picture};

use serde::{Deserialize, Serialize};

/// A figure over time.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Series {
    /// What is measured: `used memory`.
    pub title: String,
    /// The unit of the values: `bytes`, `ops/s`, `ms`, `%`.
    pub unit: String,
    /// Unix seconds and value, oldest first.
    pub points: Vec<(i64, f64)>,
    /// What the values are judged by, drawn as a line; `None` where nothing judges them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

impl Series {
    /// The name of its picture.
    pub fn file_name(&self) -> String {
        let words: String = self.title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        format!("{}.png", words.to_lowercase().trim_matches('-'))
    }
}

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A line of block characters, at most `width` of them, scaled between the
/// smallest and the largest value. Values that are not finite leave a gap.
pub fn sparkline(values: &[f64], width: usize) -> String {
    if values.is_empty() || width == 0 {
        return String::new();
    }
    let columns = width.min(values.len());
    let mean_of = |column: usize| {
        let from = column * values.len() / columns;
        let to = ((column + 1) * values.len() / columns).max(from + 1);
        let finite: Vec<f64> = values[from..to].iter().copied().filter(|v| v.is_finite()).collect();
        (!finite.is_empty()).then(|| finite.iter().sum::<f64>() / finite.len() as f64)
    };
    let means: Vec<Option<f64>> = (0..columns).map(mean_of).collect();
    let low = means.iter().flatten().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().flatten().copied().fold(f64::NEG_INFINITY, f64::max);
    means
        .into_iter()
        .map(|mean| match mean {
            None => ' ',
            Some(_) if high <= low => BLOCKS[0],
            Some(v) => BLOCKS[(((v - low) / (high - low)) * 7.0).round() as usize],
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sparkline_spans_from_the_lowest_to_the_highest_value() {
        assert_eq!(sparkline(&[0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0], 8), "▁▂▃▄▅▆▇█");
        assert_eq!(sparkline(&[5.0, 5.0], 8), "▁▁");
        assert_eq!(sparkline(&[1.0, f64::NAN, 2.0], 3), "▁ █");
        assert_eq!(sparkline(&[], 8), "");
    }
}
