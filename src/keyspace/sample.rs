//! What random samples say of the whole, and how sure that is.
//!
//! A SCAN at a random cursor brings whole buckets, so names come in clusters.
//! A server hashes names with a secret, so that what is in a bucket has
//! nothing to do with what a key is; a bucket's length has, though, everything
//! to do with how many of its keys are seen. Totals are therefore ratios
//! (bytes per key seen, times the keys there are) and their spread is taken
//! between clusters, which is right whether or not keys of a cluster resemble
//! each other. Several servers are strata: totals and variances add.
//!
//! A few huge keys defeat any sample: missed, the total is too small; met, it
//! is far too large. So a key that would carry more than a two-hundredth of
//! the total by itself counts for itself alone, and what INFO says the dataset
//! weighs tells how much of that kind was not met.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Kind, Seen, Tally, Ttl, Wanted, name::Separators, pace::Found, prefix::Prefixes, prefix::Sums, server::Server,
};

/// A number with the interval it lies in, 19 times out of 20.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Figure {
    /// The best guess, or the count.
    pub value: f64,
    /// Not less than this.
    pub low: f64,
    /// Not more than this.
    pub high: f64,
}

impl Figure {
    /// A number that was counted.
    pub fn exact(value: u64) -> Self {
        let value = value as f64;
        Self { value, low: value, high: value }
    }

    /// A number that may be so much more or less.
    pub fn within(value: u64, half: f64) -> Self {
        let value = value as f64;
        Self { value, low: (value - half).max(0.0), high: value + half }
    }

    /// The same of things there are no parts of.
    #[must_use]
    pub fn whole(self) -> Self {
        Self { value: self.value.round(), low: self.low.floor(), high: self.high.ceil() }
    }

    /// Whether it was counted.
    pub fn is_exact(&self) -> bool {
        self.low == self.high
    }

    /// Half the interval over the value; 0 for what was counted.
    pub fn relative_error(&self) -> f64 {
        if self.value > 0.0 { (self.high - self.low) / 2.0 / self.value } else { 0.0 }
    }
}

/// One key of a sample.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampled {
    /// Its name.
    pub name: Vec<u8>,
    /// The SCAN that brought it, an index into [`Sample::clusters`].
    pub cluster: u32,
    /// Its type.
    pub kind: Kind,
    /// Its lifetime, when asked.
    pub ttl: Option<Ttl>,
    /// Its bytes, 0 when not asked.
    pub bytes: u64,
    /// Its elements, when asked.
    pub elements: Option<u64>,
    /// Its use, when asked.
    pub heat: Option<u64>,
}

/// One server's sample.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Keys there are.
    pub dbsize: u64,
    /// Names seen, whether they match or not.
    pub seen: u64,
    /// Names each SCAN brought.
    pub clusters: Vec<u32>,
    /// Those that match, with their facts.
    pub keys: Vec<Sampled>,
    /// Keys of those seen that our user may not ask about.
    pub barred: u64,
    /// Questions that were refused, with the server's words.
    pub denied: Vec<(String, String)>,
    /// The server.
    pub server: Server,
    /// The logical database.
    pub db: u32,
    /// NO-TOUCH was on.
    pub no_touch: bool,
    /// How the server was.
    pub pace: Found,
    /// From the first byte to here.
    pub took: Duration,
}

/// A key counts for itself alone when it would otherwise carry more than this share of the total.
const HUGE_SHARE: f64 = 0.005;
/// More than so many such keys are no longer exceptions.
const MOST_HUGE: usize = 200;
/// What INFO leaves over is called huge keys from this share of the total on.
const LEFT_OVER: f64 = 0.03;
/// Bytes per key that `MEMORY USAGE` counts as the key's and INFO as overhead: the entry in the
/// table and the value's header.
const PER_KEY: f64 = 40.0;

/// What the samples of all servers say together.
#[derive(Debug)]
pub struct Estimate {
    /// Matching keys.
    pub keys: Figure,
    /// Their bytes, huge ones included.
    pub bytes: Figure,
    /// Keys without TTL.
    pub endless_keys: Figure,
    /// Their bytes.
    pub endless_bytes: Figure,
    /// Bytes that INFO knows of and no sampled key accounts for.
    pub huge: Option<f64>,
    /// By prefix: the tree, and a figure for each place asked for.
    pub tree: Prefixes,
    /// Types: keys and bytes, in the order of [`Kind::ALL`].
    pub kinds: Vec<(Figure, Figure)>,
    /// The sampled keys as a tally: the largest seen, lifetimes, names.
    pub tally: Tally,
    /// How many keys one sampled key stands for (on the average over servers).
    pub weight: f64,
    /// Names seen.
    pub seen: u64,
    rows: Vec<Row>,
    strata: Vec<Stratum>,
}

#[derive(Debug)]
struct Row {
    stratum: usize,
    cluster: u32,
    place: u32,
    kind: Kind,
    bytes: u64,
    huge: bool,
    endless: bool,
}

#[derive(Debug)]
struct Stratum {
    population: f64,
    clusters: Vec<u32>,
    seen: f64,
}

/// Whether the server's allocator hands out multiples of 16 bytes only (a distribution's jemalloc)
/// rather than of 8 (the one that comes with Redis): then so are the bytes of every key, less the
/// entry and the header. Short strings share an allocation with their header and say nothing.
fn rounds_to_sixteen(sample: &Sample) -> bool {
    // The header has 16 bytes; an entry that does not hold its key is counted as 24.
    let rest = if sample.server.entries_hold_keys() { 0 } else { 8 };
    let mut telling = sample.keys.iter().filter(|key| key.bytes > 200).take(500).peekable();
    telling.peek().is_some() && telling.all(|key| key.bytes % 16 == rest)
}

/// What is added up over keys.
type Measure = fn(&Row) -> f64;

impl Estimate {
    /// Works it out. `whole` says that no pattern was given, so INFO's dataset is comparable.
    pub fn of(samples: &[Sample], wanted: &Wanted, whole: bool) -> Self {
        let names = || samples.iter().flat_map(|sample| sample.keys.iter());
        let separators =
            wanted.separators.clone().unwrap_or_else(|| Separators::find(names().map(|key| key.name.as_slice())));
        let mut tree = Prefixes::new(separators.clone(), &wanted.globs).showing_words(wanted.words);
        let mut tally = Tally::new(Wanted { separators: Some(separators), ..wanted.clone() });
        let mut rows = Vec::with_capacity(names().count());
        for (stratum, sample) in samples.iter().enumerate() {
            for key in &sample.keys {
                let endless = key.ttl == Some(Ttl::Never);
                let sums = Sums {
                    keys: 1,
                    bytes: key.bytes,
                    endless_keys: u64::from(endless),
                    endless_bytes: if endless { key.bytes } else { 0 },
                };
                let place = tree.add(&key.name, sums);
                tally.add(&Seen {
                    db: sample.db,
                    name: &key.name,
                    kind: key.kind,
                    bytes: key.bytes,
                    elements: key.elements,
                    ttl: key.ttl,
                    stands_for: 1,
                });
                rows.push(Row {
                    stratum,
                    cluster: key.cluster,
                    place,
                    kind: key.kind,
                    bytes: key.bytes,
                    huge: false,
                    endless,
                });
            }
        }
        for row in &mut rows {
            row.place = tree.now_at(row.place);
        }
        let strata: Vec<Stratum> = samples
            .iter()
            .map(|sample| Stratum {
                population: sample.dbsize as f64,
                clusters: sample.clusters.clone(),
                seen: (sample.seen as f64).max(1.0),
            })
            .collect();
        let seen = samples.iter().map(|sample| sample.seen).sum::<u64>();
        let population = samples.iter().map(|sample| sample.dbsize).sum::<u64>();
        let mut estimate = Self {
            keys: Figure::default(),
            bytes: Figure::default(),
            endless_keys: Figure::default(),
            endless_bytes: Figure::default(),
            huge: None,
            tree,
            kinds: Vec::new(),
            tally,
            weight: population as f64 / (seen as f64).max(1.0),
            seen,
            rows,
            strata,
        };
        estimate.set_huge_apart();
        estimate.keys = estimate.figure(|_| true, |_| 1.0);
        estimate.bytes = estimate.bytes_where(|_| true);
        estimate.endless_keys = estimate.figure(|row| row.endless, |_| 1.0);
        estimate.endless_bytes = estimate.bytes_where(|row| row.endless);
        estimate.kinds = Kind::ALL
            .into_iter()
            .map(|kind| {
                (estimate.figure(|row| row.kind == kind, |_| 1.0), estimate.bytes_where(|row| row.kind == kind))
            })
            .collect();
        if whole {
            estimate.compare_with_info(samples);
        }
        estimate
    }

    /// Marks the keys that count for themselves alone.
    fn set_huge_apart(&mut self) {
        let weight = |row: &Row, strata: &[Stratum]| strata[row.stratum].population / strata[row.stratum].seen;
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        order.sort_by_key(|&at| std::cmp::Reverse(self.rows[at].bytes));
        let mut total: f64 = self.rows.iter().map(|row| row.bytes as f64 * weight(row, &self.strata)).sum();
        let mut apart = Vec::new();
        for at in order {
            let carried = self.rows[at].bytes as f64 * weight(&self.rows[at], &self.strata);
            // Sampled whole (one stands for one): nothing to set apart.
            if carried <= HUGE_SHARE * total || weight(&self.rows[at], &self.strata) < 2.0 {
                break;
            }
            total -= carried;
            apart.push(at);
        }
        // Many of a size are a population, and are estimated well enough as one.
        if apart.len() <= MOST_HUGE {
            for at in apart {
                self.rows[at].huge = true;
            }
        }
    }

    /// What INFO says the data weighs, against what the sample does.
    fn compare_with_info(&mut self, samples: &[Sample]) {
        let mut known = 0.0;
        for sample in samples {
            match sample.server.dataset_of(sample.db) {
                Some(bytes) => {
                    known += bytes as f64 + PER_KEY * sample.dbsize as f64;
                    if rounds_to_sixteen(sample) {
                        // An entry of a table has 24 bytes and takes 32, of which neither tells;
                        // but of one that holds its key, `MEMORY USAGE` does.
                        let silent = if sample.server.entries_hold_keys() { 0 } else { sample.dbsize };
                        known -= 8.0 * (silent + sample.server.expires) as f64;
                    }
                }
                None => return,
            }
        }
        let spread = (self.bytes.high - self.bytes.low) / 2.0;
        let left = known - self.bytes.value;
        if left > (LEFT_OVER * known).max(spread) {
            self.huge = Some(left);
            self.bytes = Figure { value: known, low: known * 0.98, high: known * 1.02 };
        }
    }

    /// Bytes of some keys: regular ones by ratio, huge ones as they are.
    fn bytes_where(&self, wanted: impl Fn(&Row) -> bool) -> Figure {
        let mut figure = self.figure(|row| !row.huge && wanted(row), |row| row.bytes as f64);
        let apart: f64 = self.rows.iter().filter(|row| row.huge && wanted(row)).map(|row| row.bytes as f64).sum();
        figure.value += apart;
        figure.low += apart;
        figure.high += apart;
        figure
    }

    fn figure(&self, wanted: impl Fn(&Row) -> bool, measure: Measure) -> Figure {
        let (mut total, mut variance, mut met, mut room) = (0.0, 0.0, 0_usize, 0.0);
        for (index, stratum) in self.strata.iter().enumerate() {
            let mut sums = vec![0.0; stratum.clusters.len()];
            for row in self.rows.iter().filter(|row| row.stratum == index && wanted(row)) {
                sums[row.cluster as usize] += measure(row);
                met += 1;
            }
            let ratio = sums.iter().sum::<f64>() / stratum.seen;
            let clusters = stratum.clusters.len() as f64;
            let squares: f64 =
                sums.iter().zip(&stratum.clusters).map(|(sum, size)| (sum - ratio * f64::from(*size)).powi(2)).sum();
            let left = (1.0 - stratum.seen / stratum.population).max(0.0);
            total += ratio * stratum.population;
            if clusters > 1.0 {
                variance +=
                    stratum.population.powi(2) * left * clusters / (clusters - 1.0) * squares / stratum.seen.powi(2);
            }
            room += stratum.population / stratum.seen;
        }
        let mean_weight = room / (self.strata.len() as f64).max(1.0);
        let half = 1.96 * variance.sqrt();
        // Of few the normal curve knows little: the rule of three, and its like for small counts.
        let rare = if met < 30 {
            let most = met as f64 + 1.96 * (met as f64).sqrt() + 3.0;
            let each = if met > 0 { total / met as f64 } else { mean_weight };
            most * each
        } else {
            0.0
        };
        let sampled_all = mean_weight < 1.000_001;
        Figure {
            value: total,
            low: (total - half).max(0.0),
            high: if sampled_all { total } else { (total + half).max(rare) },
        }
    }

    /// Keys, bytes, and the same without TTL, of a place of the tree and all below it.
    pub fn at(&self, place: u32) -> [Figure; 4] {
        let under = self.tree.is_under(place);
        self.of_places(&under)
    }

    /// The same for marked places.
    pub fn of_places(&self, marks: &[bool]) -> [Figure; 4] {
        let here = |row: &Row| marks[row.place as usize];
        [
            self.figure(here, |_| 1.0),
            self.bytes_where(here),
            self.figure(|row| here(row) && row.endless, |_| 1.0),
            self.bytes_where(|row| here(row) && row.endless),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lcg(u64);
    impl Lcg {
        fn next(&mut self) -> u64 {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            super::super::top::hash(&self.0.to_le_bytes())
        }
    }

    /// A table of buckets filled as hashing fills them, sampled as SCAN COUNT samples it.
    fn sample(keys: usize, take: usize, count: usize, seed: u64, bytes: impl Fn(usize) -> u64) -> Sample {
        let mut random = Lcg(seed);
        let buckets = keys.next_power_of_two();
        let mut table: Vec<Vec<usize>> = vec![Vec::new(); buckets];
        for key in 0..keys {
            let at = random.next() as usize % buckets;
            table[at].push(key);
        }
        let mut sample = Sample { dbsize: keys as u64, ..Sample::default() };
        while sample.keys.len() < take {
            let mut at = random.next() as usize % buckets;
            let mut got = 0;
            let cluster = sample.clusters.len() as u32;
            while got < count {
                for &key in &table[at] {
                    got += 1;
                    sample.keys.push(Sampled {
                        name: format!("{}:{key}", if key % 4 == 0 { "cart" } else { "session" }).into_bytes(),
                        cluster,
                        kind: Kind::String,
                        ttl: Some(if key % 10 == 0 { Ttl::Never } else { Ttl::Left(1) }),
                        bytes: bytes(key),
                        elements: None,
                        heat: None,
                    });
                }
                at = (at + 1) % buckets;
            }
            sample.clusters.push(got as u32);
        }
        sample.seen = sample.keys.len() as u64;
        sample
    }

    #[test]
    fn estimates_are_unbiased_and_intervals_hold_as_often_as_they_say() {
        let truth: u64 = (0..50_000).map(|key| 100 + (key % 7) * 50).sum();
        let (mut held, mut sum, mut endless_held) = (0, 0.0, 0);
        let runs = 200;
        for seed in 0..runs {
            // COUNT 1 stops at the first bucket that holds anything: where chains matter most.
            let one =
                sample(50_000, 2_000, if seed % 2 == 0 { 1 } else { 10 }, seed, |key| 100 + (key as u64 % 7) * 50);
            let estimate = Estimate::of(&[one], &Wanted::default(), true);
            sum += estimate.bytes.value;
            held += u32::from((estimate.bytes.low..=estimate.bytes.high).contains(&(truth as f64)));
            endless_held += u32::from((estimate.endless_keys.low..=estimate.endless_keys.high).contains(&5_000.0));
        }
        let mean = sum / f64::from(runs as u32);
        assert!((mean / truth as f64 - 1.0).abs() < 0.002, "{}", mean / truth as f64);
        assert!((180..=200).contains(&held), "{held}");
        assert!((180..=200).contains(&endless_held), "{endless_held}");
    }

    #[test]
    fn huge_keys_are_known_by_what_info_leaves_over() {
        let huge = |key: usize| if key % 20_000 == 7 { 20_000_000 } else { 800 };
        let truth: u64 = (0..100_000).map(huge).sum();
        for seed in 0..20 {
            let mut one = sample(100_000, 10_000, 10, seed, huge);
            one.server.dataset = Some(truth - 40 * 100_000);
            let estimate = Estimate::of(&[one], &Wanted::default(), true);
            let error = estimate.bytes.value / truth as f64 - 1.0;
            assert!(error.abs() < 0.02, "{error}");
        }
    }

    #[test]
    fn what_was_never_met_may_still_be_there() {
        let one = sample(50_000, 2_000, 10, 1, |_| 100);
        let estimate = Estimate::of(&[one], &Wanted::default(), true);
        let none = estimate.figure(|row| row.kind == Kind::Stream, |_| 1.0);
        assert_eq!(none.value, 0.0);
        assert!((50.0..150.0).contains(&none.high), "{none:?}");
    }
}
