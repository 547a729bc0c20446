//! Bounds on commands that are safe only in small helpings.

/// The most elements one look may ask for.
const MOST: i64 = 1_000;
/// The most bytes of one string a look may ask for.
const MOST_BYTES: i64 = 65_536;

/// What must hold of the arguments.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// `start` and `stop` at these places span at most `MOST` elements.
    Span(usize, &'static str),
    /// `start` and `end` span at most `MOST_BYTES` bytes, ends included.
    Bytes(&'static str),
    /// From this place on the word `COUNT n` is there, with n at most `MOST`.
    Count(usize, &'static str),
    /// When `COUNT n` is there from this place on, n is at most `MOST`; without it the server uses a small one.
    CountIfGiven(usize, &'static str),
    /// `LIMIT offset n` is there, with both small.
    Limit(&'static str),
    /// `ZRANGE`: by rank a span, by score or lex a `LIMIT`.
    SpanOrLimit(&'static str),
    /// The number at this place, when given, is between 0 and `MOST`.
    At(usize, &'static str),
    /// The number at this place, when given, is within `MOST` of either end.
    Near(usize, &'static str),
    /// `XREAD`: COUNT given, no BLOCK.
    NoBlock(&'static str),
    /// `MEMORY USAGE`: SAMPLES, when given, is between 1 and 100.
    Samples(&'static str),
    /// At most this many words after the name.
    Words(usize, &'static str),
    /// The word at 2 is `GET`.
    Get(&'static str),
}

/// Why and what instead, when the bound does not hold.
pub(super) fn check(bound: Bound, argv: &[String]) -> Result<(), (String, String)> {
    if argv.iter().any(|word| word.contains("{{")) {
        return Ok(());
    }
    let too_many = |instead: &str| {
        Err((
            format!("it could ask for more than {MOST} elements at once, and the server does nothing else meanwhile"),
            instead.to_owned(),
        ))
    };
    match bound {
        Bound::Span(at, instead) => {
            if spans(argv, at, MOST) {
                Ok(())
            } else {
                too_many(instead)
            }
        }
        Bound::Bytes(instead) => {
            if spans(argv, 2, MOST_BYTES) {
                Ok(())
            } else {
                Err((format!("it could ask for more than {MOST_BYTES} bytes at once"), instead.to_owned()))
            }
        }
        Bound::Count(from, instead) => match after(argv, from, "count") {
            Some(n) if (0..=MOST).contains(&n) => Ok(()),
            _ => too_many(instead),
        },
        Bound::CountIfGiven(from, instead) => match after(argv, from, "count") {
            None => Ok(()),
            Some(n) if (0..=MOST).contains(&n) => Ok(()),
            _ => too_many(instead),
        },
        Bound::Limit(instead) => {
            if limited(argv) {
                Ok(())
            } else {
                too_many(instead)
            }
        }
        Bound::SpanOrLimit(instead) => {
            let by_value = argv
                .iter()
                .skip(4)
                .any(|word| word.eq_ignore_ascii_case("byscore") || word.eq_ignore_ascii_case("bylex"));
            let held = if by_value { limited(argv) } else { spans(argv, 2, MOST) };
            if held { Ok(()) } else { too_many(instead) }
        }
        Bound::At(at, instead) => match argv.get(at).map(|word| word.parse::<i64>()) {
            None => Ok(()),
            Some(Ok(n)) if (0..=MOST).contains(&n) => Ok(()),
            _ => too_many(instead),
        },
        Bound::Near(at, instead) => match argv.get(at).map(|word| word.parse::<i64>()) {
            Some(Ok(n)) if (-MOST..=MOST).contains(&n) => Ok(()),
            _ => Err(("it walks from the nearer end to the element asked for".into(), instead.to_owned())),
        },
        Bound::NoBlock(instead) => {
            let options = argv.iter().position(|word| word.eq_ignore_ascii_case("streams")).unwrap_or(argv.len());
            let options = &argv[..options];
            if options.iter().any(|word| word.eq_ignore_ascii_case("block")) {
                return Err(("it would wait for new entries".into(), instead.to_owned()));
            }
            check(Bound::Count(1, instead), options)
        }
        Bound::Samples(instead) => match after(argv, 3, "samples") {
            None => Ok(()),
            Some(n) if (1..=100).contains(&n) => Ok(()),
            _ => Err((
                "it would walk every element of the value (27 ms for a hash of 200,000 fields)".into(),
                instead.to_owned(),
            )),
        },
        Bound::Get(instead) => {
            if argv.get(2).is_some_and(|word| word.eq_ignore_ascii_case("get")) {
                Ok(())
            } else {
                Err(("only its GET looks".into(), instead.to_owned()))
            }
        }
        Bound::Words(most, instead) => {
            if argv.len() <= most + 1 {
                Ok(())
            } else {
                Err((format!("it names more than {most} words at once"), instead.to_owned()))
            }
        }
    }
}

/// Whether `argv[at]..=argv[at + 1]` spans at most `most`, for certain.
fn spans(argv: &[String], at: usize, most: i64) -> bool {
    let number = |i: usize| argv.get(i).and_then(|word| word.parse::<i64>().ok());
    let (Some(start), Some(stop)) = (number(at), number(at + 1)) else { return false };
    // Indexes of different signs span an unknown length.
    if (start < 0) != (stop < 0) {
        return false;
    }
    stop < start || stop - start < most
}

/// `LIMIT offset n`, both small.
fn limited(argv: &[String]) -> bool {
    let Some(at) = argv.iter().skip(4).position(|word| word.eq_ignore_ascii_case("limit")) else { return false };
    let number = |i: usize| argv.get(i).and_then(|word| word.parse::<i64>().ok());
    matches!((number(at + 5), number(at + 6)), (Some(offset), Some(n)) if (0..=10 * MOST).contains(&offset) && (0..=MOST).contains(&n))
}

/// The largest number after this word, from place `from` on; `-1` where no
/// number follows it. Given twice, the server takes the last: so every one counts.
fn after(argv: &[String], from: usize, word: &str) -> Option<i64> {
    let places = argv.iter().enumerate().skip(from).filter(|(_, given)| given.eq_ignore_ascii_case(word));
    let numbers: Vec<i64> =
        places.map(|(at, _)| argv.get(at + 1).and_then(|number| number.parse().ok()).unwrap_or(-1)).collect();
    if numbers.contains(&-1) { Some(-1) } else { numbers.into_iter().max() }
}

#[cfg(test)]
mod tests {
    use super::super::{LookVerdict, classify};

    fn looks(line: &str) -> bool {
        matches!(classify(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()), LookVerdict::Look { .. })
    }

    #[test]
    fn a_bounded_helping_is_a_look_and_an_unbounded_one_is_not() {
        for line in [
            "LRANGE k 0 99",
            "LRANGE k -10 -1",
            "GETRANGE k 0 4095",
            "ZRANGE k 0 9 WITHSCORES",
            "XRANGE k - + COUNT 10",
            "ZRANGE k 0 100 BYSCORE LIMIT 0 10",
            "HSCAN k 0 COUNT 100",
            "SCAN 0 MATCH a:* COUNT 500",
            "SLOWLOG GET",
            "SLOWLOG GET 128",
            "MEMORY USAGE k",
            "MEMORY USAGE k SAMPLES 5",
            "LINDEX k 0",
            "XREAD COUNT 5 STREAMS s 0",
            "SRANDMEMBER k 5",
            "ACL LOG",
            "ACL LOG 10",
            "XPENDING s g",
            "MGET a b c",
        ] {
            assert!(looks(line), "{line}");
        }
        for line in [
            "LRANGE k 0 -1",
            "LRANGE k 0 100000",
            "LRANGE k",
            "GETRANGE k 0 -1",
            "GETRANGE k 0 99999999",
            "ZRANGE k 0 -1",
            "ZRANGE k 0 100 BYSCORE",
            "XRANGE k - +",
            "SCAN 0 COUNT 1000000",
            "SLOWLOG GET -1",
            "MEMORY USAGE k SAMPLES 0",
            "LINDEX k 500000",
            "XREAD STREAMS s 0",
            "XREAD BLOCK 0 COUNT 1 STREAMS s $",
            "SRANDMEMBER k -9000000",
            "ACL LOG RESET",
            "LRANGE k 0 x",
            "SCAN 0 COUNT 10 COUNT 1000000",
            "XRANGE count 10 +",
            "ZRANGEBYSCORE limit 0 10",
            "XREAD STREAMS count 5",
            "SENTINEL CONFIG SET x 1",
        ] {
            assert!(!looks(line), "{line}");
        }
    }

    #[test]
    fn what_is_still_a_template_is_judged_when_it_is_bound() {
        assert!(looks("LRANGE {{args.key}} 0 {{args.n}}"));
        assert!(looks("SLOWLOG GET {{args.count}}"));
    }
}
