//! A series as a PNG, to be read on a phone.
//!
//! Light ground and dark ink of its own, so that it reads the same in dark and
//! in light mode; large letters, because a phone shows it at a third of its
//! size. The same series gives the same bytes, wherever it is drawn.

use std::sync::LazyLock;

use plotters::{
    prelude::*,
    style::{
        FontStyle, register_font,
        text_anchor::{HPos, Pos, VPos},
    },
};

use super::Series;

/// Width and height, in pixels.
pub const SIZE: (u32, u32) = (1_080, 608);

const GROUND: RGBColor = RGBColor(250, 250, 252);
const INK: RGBColor = RGBColor(29, 28, 29);
const FAINT: RGBColor = RGBColor(208, 211, 218);
const LINE: RGBColor = RGBColor(18, 100, 163);
const UNDER: RGBColor = RGBColor(214, 230, 243);
const LIMIT: RGBColor = RGBColor(200, 30, 60);

/// Edges of the plot within the picture.
const LEFT: i32 = 190;
const RIGHT: i32 = 1_050;
const TOP: i32 = 90;
const BOTTOM: i32 = 520;

const FAMILY: &str = "monospace";
const LETTERS: i32 = 30;
/// Fewer points than this are marked one by one.
const DOTS: usize = 40;
const DAY: i64 = 86_400;

/// Why there is no picture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotDrawn {
    /// One point is no course of things.
    #[error("a chart needs two points at different times")]
    TooFew,
    /// Drawing or encoding failed.
    #[error("the chart could not be drawn: {0}")]
    Failed(String),
}

/// The font is compiled in: what a picture looks like must not depend on the machine.
static FONT: LazyLock<bool> = LazyLock::new(|| {
    register_font(FAMILY, FontStyle::Normal, include_bytes!("../../assets/DejaVuSansMono.ttf")).is_ok()
});

/// Draws a series as PNG.
///
/// # Errors
/// With fewer than two points that are numbers, at two different times.
pub fn picture(series: &Series) -> Result<Vec<u8>, NotDrawn> {
    let frame = Frame::of(series).ok_or(NotDrawn::TooFew)?;
    let mut pixels = vec![0; (SIZE.0 * SIZE.1 * 3) as usize];
    if !*FONT {
        return Err(NotDrawn::Failed("its font cannot be read".to_owned()));
    }
    {
        let area = BitMapBackend::with_buffer(&mut pixels, SIZE).into_drawing_area();
        draw(&area, series, &frame).map_err(|error| NotDrawn::Failed(error.to_string()))?;
    }
    encode(&pixels).map_err(|error| NotDrawn::Failed(error.to_string()))
}

fn encode(pixels: &[u8]) -> Result<Vec<u8>, png::EncodingError> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, SIZE.0, SIZE.1);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header()?;
    writer.write_image_data(pixels)?;
    writer.finish()?;
    Ok(bytes)
}

/// What of time and value the plot shows.
struct Frame {
    points: Vec<(i64, f64)>,
    from: i64,
    to: i64,
    low: f64,
    high: f64,
    /// Between two lines of the grid.
    step: f64,
}

impl Frame {
    fn of(series: &Series) -> Option<Self> {
        let points: Vec<(i64, f64)> = series.points.iter().copied().filter(|(_, value)| value.is_finite()).collect();
        let (from, to) = (points.first()?.0, points.last()?.0);
        if from >= to {
            return None;
        }
        let values =
            || points.iter().map(|(_, value)| *value).chain(series.threshold.filter(|limit| limit.is_finite()));
        let lowest = values().fold(f64::INFINITY, f64::min);
        let highest = values().fold(f64::NEG_INFINITY, f64::max);
        // From zero where that wastes less than half of the picture: a length then says what it looks like.
        let from_zero = lowest >= 0.0 && lowest < highest / 2.0;
        let spread = if highest > lowest { highest - lowest } else { highest.abs().max(1.0) };
        let lowest = if from_zero || (lowest >= 0.0 && spread > lowest) { 0.0 } else { lowest - spread * 0.1 };
        let step = nice((highest + spread * 0.05 - lowest) / 4.0, series.unit == "bytes");
        let low = (lowest / step).floor() * step;
        let high = ((highest + spread * 0.02) / step).ceil() * step;
        Some(Self { points, from, to, low, high: high.max(low + step), step })
    }

    fn x(&self, at: i64) -> i32 {
        LEFT + ((at - self.from) as f64 / (self.to - self.from) as f64 * f64::from(RIGHT - LEFT)).round() as i32
    }

    fn y(&self, value: f64) -> i32 {
        BOTTOM - ((value - self.low) / (self.high - self.low) * f64::from(BOTTOM - TOP)).round() as i32
    }
}

/// The next number that reads well: 1, 2 or 5 with zeros; of bytes, the like of two.
fn nice(step: f64, bytes: bool) -> f64 {
    if bytes {
        return step.max(1.0).log2().ceil().exp2();
    }
    let zeros = 10_f64.powf(step.max(1e-9).log10().floor());
    [1.0, 2.0, 5.0].into_iter().map(|digit| digit * zeros).find(|&nice| nice >= step).unwrap_or(10.0 * zeros)
}

type Area<'a> = DrawingArea<BitMapBackend<'a>, plotters::coord::Shift>;
type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(area: &Area<'_>, series: &Series, frame: &Frame) -> Drawn {
    area.fill(&GROUND)?;
    let last = frame.points.last().map(|(_, value)| *value).unwrap_or_default();
    write(area, &cut(&series.title, 30), (40, 40), HPos::Left, &INK)?;
    write(area, &format!("now {}", shown(last, &series.unit)), (RIGHT, 40), HPos::Right, &LINE)?;
    grid(area, series, frame)?;

    let course: Vec<(i32, i32)> = frame.points.iter().map(|&(at, value)| (frame.x(at), frame.y(value))).collect();
    let mut under = course.clone();
    under.extend([(RIGHT, BOTTOM), (LEFT, BOTTOM)]);
    area.draw(&Polygon::new(under, UNDER.filled()))?;
    // The grid is seen through the area.
    for line in lines(frame) {
        area.draw(&PathElement::new(vec![(LEFT, frame.y(line)), (RIGHT, frame.y(line))], FAINT))?;
    }
    area.draw(&PathElement::new(course.clone(), LINE.stroke_width(4)))?;
    if course.len() < DOTS {
        for point in course {
            area.draw(&Circle::new(point, 6, LINE.filled()))?;
        }
    }
    if let Some(limit) = series.threshold.filter(|limit| limit.is_finite()) {
        let y = frame.y(limit);
        for from in (LEFT..RIGHT).step_by(30) {
            area.draw(&Rectangle::new([(from, y - 2), ((from + 18).min(RIGHT), y + 1)], LIMIT.filled()))?;
        }
        // Below its line where there is no room above it.
        let beside = if y < TOP + 40 { y + 24 } else { y - 24 };
        // At the end where the course is further from it.
        let far = |(_, value): &(i64, f64)| (frame.y(*value) - y).abs();
        let first_is_further = frame.points.first().map(far) >= frame.points.last().map(far);
        let (x, side) = if first_is_further { (LEFT + 8, HPos::Left) } else { (RIGHT - 8, HPos::Right) };
        write(area, &format!("limit {}", shown(limit, &series.unit)), (x, beside), side, &LIMIT)?;
    }
    area.present()?;
    Ok(())
}

fn lines(frame: &Frame) -> impl Iterator<Item = f64> + '_ {
    let many = ((frame.high - frame.low) / frame.step).round() as i32;
    (0..=many).map(|at| frame.low + f64::from(at) * frame.step)
}

fn grid(area: &Area<'_>, series: &Series, frame: &Frame) -> Drawn {
    for line in lines(frame) {
        write(area, &shown(line, &series.unit), (LEFT - 16, frame.y(line)), HPos::Right, &INK)?;
    }
    let (step, format) = clock(frame.to - frame.from);
    let first = frame.from.div_euclid(step) * step + step;
    let mut at = if frame.from.rem_euclid(step) == 0 { frame.from } else { first };
    while at <= frame.to {
        let x = frame.x(at);
        area.draw(&PathElement::new(vec![(x, BOTTOM), (x, BOTTOM + 10)], INK.stroke_width(2)))?;
        let time = jiff::Timestamp::from_second(at).unwrap_or_default();
        // A label that would leave the picture stays within it.
        write(area, &time.strftime(format).to_string(), (x.clamp(LEFT, RIGHT - 30), BOTTOM + 32), HPos::Center, &INK)?;
        at += step;
    }
    area.draw(&PathElement::new(vec![(LEFT, BOTTOM), (RIGHT, BOTTOM)], INK.stroke_width(2)))?;
    let begun = jiff::Timestamp::from_second(frame.from).unwrap_or_default();
    let ended = jiff::Timestamp::from_second(frame.to).unwrap_or_default();
    let span = format!("{} – {} UTC", begun.strftime("%d %b %H:%M"), ended.strftime("%d %b %H:%M"));
    write(area, &span, ((LEFT + RIGHT) / 2, BOTTOM + 70), HPos::Center, &INK)?;
    Ok(())
}

/// How far apart times are labelled, and as what.
fn clock(span: i64) -> (i64, &'static str) {
    let steps = [10, 30, 60, 300, 900, 1_800, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, DAY, 2 * DAY, 7 * DAY, 30 * DAY];
    let step = steps.into_iter().find(|step| span / step <= 5).unwrap_or(span / 4);
    let format = match step {
        ..60 => "%H:%M:%S",
        60..DAY if span <= DAY => "%H:%M",
        60..DAY => "%d/%Hh",
        _ => "%d %b",
    };
    (step, format)
}

fn write(area: &Area<'_>, text: &str, at: (i32, i32), side: HPos, ink: &RGBColor) -> Drawn {
    let style = (FAMILY, LETTERS).into_font().color(ink).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(text.to_owned(), at, style))?;
    Ok(())
}

/// A value with its unit, short enough for an axis.
fn shown(value: f64, unit: &str) -> String {
    if unit == "bytes" {
        let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
        return match units.into_iter().find(|(_, size)| value.abs() >= *size as f64) {
            Some((name, size)) => format!("{} {name}", short(value / size as f64)),
            None => format!("{} B", short(value)),
        };
    }
    let (number, thousands) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e4 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{thousands} {}", short(number), cut(unit, 8)).trim_end().to_owned()
}

fn short(number: f64) -> String {
    let digits = match number.abs() {
        size if size >= 100.0 || size == size.round() => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{number:.digits$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

fn cut(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(values: impl Iterator<Item = f64>, unit: &str, threshold: Option<f64>) -> Series {
        let points = values.enumerate().map(|(at, value)| (1_760_000_000 + at as i64 * 600, value)).collect();
        Series { title: "Memory".to_owned(), unit: unit.to_owned(), points, threshold }
    }

    struct Pixels(Vec<u8>);

    impl Pixels {
        fn of(series: &Series) -> Self {
            let bytes = picture(series).unwrap();
            let mut reader = png::Decoder::new(std::io::Cursor::new(&bytes)).read_info().unwrap();
            let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
            let info = reader.next_frame(&mut pixels).unwrap();
            assert_eq!((info.width, info.height), SIZE);
            assert_eq!(info.color_type, png::ColorType::Rgb);
            Self(pixels)
        }

        fn at(&self, x: i32, y: i32) -> RGBColor {
            let at = (y as usize * SIZE.0 as usize + x as usize) * 3;
            RGBColor(self.0[at], self.0[at + 1], self.0[at + 2])
        }

        /// Where in a column of the plot this colour stands first.
        fn topmost(&self, x: i32, colour: RGBColor) -> Option<i32> {
            (TOP - 10..=BOTTOM).find(|&y| self.at(x, y) == colour)
        }

        fn share(&self, x: std::ops::Range<i32>, y: i32, colour: RGBColor) -> f64 {
            let many = x.len() as f64;
            x.filter(|&x| self.at(x, y) == colour).count() as f64 / many
        }

        fn inked(&self, x: std::ops::Range<i32>, y: std::ops::Range<i32>, colour: RGBColor) -> usize {
            y.flat_map(|y| x.clone().map(move |x| (x, y))).filter(|&(x, y)| self.at(x, y) == colour).count()
        }
    }

    #[test]
    fn the_line_follows_the_values_and_the_limit_stands_where_it_belongs() {
        let rising = series((0..=50).map(f64::from), "%", Some(80.0));
        let pixels = Pixels::of(&rising);
        // 0 to 100 with a line every 20: a value of v stands v hundredths up.
        let height = |value: f64| BOTTOM - (value / 100.0 * f64::from(BOTTOM - TOP)).round() as i32;
        for at in [10, 25, 40] {
            let x = LEFT + (RIGHT - LEFT) * at / 50;
            let y = pixels.topmost(x, LINE).unwrap();
            assert!((y - height(f64::from(at))).abs() <= 4, "{at} stands at {y}, not {}", height(f64::from(at)));
            assert_eq!(pixels.at(x, y + 30), UNDER, "the area below the line is filled");
        }
        let dashes = pixels.share(LEFT..RIGHT, height(80.0), LIMIT);
        assert!((0.5..0.75).contains(&dashes), "{dashes}");
        assert_eq!(pixels.at(0, 0), GROUND);
        // Letters stand by both axes, and the limit says what it is.
        for (what, x, y, ink) in [
            ("values", 20..LEFT - 10, TOP..BOTTOM, INK),
            ("times", LEFT..RIGHT, BOTTOM + 15..BOTTOM + 50, INK),
            ("dates", LEFT..RIGHT, BOTTOM + 52..SIZE.1 as i32, INK),
            ("title", 40..400, 20..60, INK),
            ("limit", LEFT..LEFT + 250, height(80.0) - 40..height(80.0) - 8, LIMIT),
        ] {
            assert!(pixels.inked(x, y, ink) > 100, "{what}");
        }
    }

    #[test]
    fn the_same_series_is_the_same_file_and_a_flat_or_broken_one_is_drawn() {
        let bytes = series((0..200).map(|at| 1e8 + f64::from(at % 17) * 1e6), "bytes", None);
        let drawn = picture(&bytes).unwrap();
        assert_eq!(drawn, picture(&bytes).unwrap());
        assert!(drawn.len() < 100_000, "{} bytes", drawn.len());
        assert_eq!(Pixels::of(&bytes).inked(0..SIZE.0 as i32, 0..SIZE.1 as i32, LIMIT), 0, "nothing judges it");
        for values in
            [vec![5.0, 5.0, 5.0], vec![0.0, 0.0], vec![1.0, f64::NAN, 2.0], vec![-3.0, -1.0], vec![1e15, 2e15]]
        {
            Pixels::of(&series(values.into_iter(), "", None));
        }
        assert_eq!(picture(&series([1.0, f64::NAN].into_iter(), "", None)), Err(NotDrawn::TooFew));
        assert_eq!(picture(&series(std::iter::empty(), "", None)), Err(NotDrawn::TooFew));
    }

    #[test]
    fn values_are_short_on_the_axis() {
        let said =
            [(0.0, "bytes"), (536_870_912.0, "bytes"), (1.5e6, "ops/s"), (80.0, "%"), (0.25, "ms"), (2048.0, "keys")];
        let said = said.map(|(value, unit)| shown(value, unit));
        assert_eq!(said, ["0 B", "512 MiB", "1.5M ops/s", "80 %", "0.25 ms", "2048 keys"]);
    }
}
