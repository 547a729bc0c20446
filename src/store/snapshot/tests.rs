//! Snapshots cut, bent, filled and swept.

use std::os::unix::fs::PermissionsExt as _;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::keyspace::rdb::dump::fingerprint;

fn home(most_bytes: u64) -> (TempDir, Snapshots) {
    let dir = tempfile::tempdir().unwrap();
    let settings = SnapshotSettings { most_bytes, ..SnapshotSettings::beside(&dir.path().join("rediscue.db")) };
    let home = Snapshots::open(settings).unwrap();
    (dir, home)
}

fn id(run: u64) -> StepId {
    StepId { run: RunId::from_bits(run), seq: 0 }
}

fn header(run: u64) -> Header {
    Header {
        step: id(run),
        service: "shop".parse().unwrap(),
        instance: "main".parse().unwrap(),
        created_ms: 1_767_323_045_000,
    }
}

fn key(name: &str, dump: &[u8]) -> Record {
    Record::Key {
        db: 3,
        key: name.as_bytes().to_vec(),
        deadline: Deadline::At(1_767_323_046_000),
        kind: "string".into(),
        fingerprint: fingerprint(dump),
        dump: dump.to_vec(),
    }
}

/// Frames of records, read back: what is good, and the error at its end.
fn read(home: &Snapshots, run: u64) -> (Vec<Record>, Vec<SnapshotError>, bool) {
    let mut reader = home.read(&id(run)).unwrap();
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for frame in reader.by_ref() {
        match frame {
            Ok(frame) => good.extend(frame.records),
            Err(error) => bad.push(error),
        }
    }
    (good, bad, reader.is_closed())
}

fn made(over: Option<Over>) -> Record {
    let (key, deadline) = (b"session:dora".to_vec(), Deadline::At(1_767_323_047_000));
    Record::Made { db: 1, key, deadline, fingerprint: fingerprint(b"a"), over }
}

fn contents() -> Contents {
    let types = [("hash".to_owned(), (3, 400))].into();
    Contents { what: "keys matching tenant:*".into(), files: 2, keys: 3, format: 10, types, ..Contents::default() }
}

fn batches() -> Vec<Vec<Record>> {
    vec![
        vec![key("session:alice", b"secret-value-of-alice"), key("session:bob", &[0xff; 300])],
        vec![
            Record::Retimed { db: 0, key: vec![0, 255, b'}'], old: Deadline::Never, new: Deadline::At(5) },
            Record::Aside { db: 0, key: b"huge".to_vec(), deadline: Deadline::Never },
            made(None),
            made(Some(Over { deadline: Deadline::At(7), fingerprint: fingerprint(b"b"), dump: vec![1; 40] })),
            Record::Unmade { db: 1, key: b"session:dora".to_vec() },
            Record::Contents(contents()),
        ],
        vec![key("session:carol", b"")],
    ]
}

fn written(home: &Snapshots, run: u64) -> (PathBuf, Vec<u64>) {
    let mut writer = home.begin(&header(run)).unwrap();
    let mut ends = vec![writer.bytes()];
    for (index, batch) in batches().iter().enumerate() {
        assert_eq!(writer.append(batch).unwrap(), index as u32 + 1);
        ends.push(writer.bytes());
    }
    (home.path(&header(run).step), ends)
}

#[test]
fn what_was_appended_is_read_back_and_the_end_is_told() {
    let (dir, home) = home(1 << 20);
    written(&home, 1);
    let all: Vec<Record> = batches().concat();
    let (good, bad, closed) = read(&home, 1);
    assert_eq!((&good, bad.len(), closed), (&all, 0, false));
    home.resume(&header(1).step).unwrap().close().unwrap();
    let (good, bad, closed) = read(&home, 1);
    assert_eq!((good.len(), bad.len(), closed), (all.len() + 1, 0, true));
    assert_eq!(good.last(), Some(&Record::End { records: all.len() as u64 }));
    assert_eq!(home.list().unwrap()[0].header, header(1));
    // Opened again, the same key opens what was written before.
    let again = Snapshots::open(SnapshotSettings::beside(&dir.path().join("rediscue.db"))).unwrap();
    assert_eq!(read(&again, 1).0.len(), all.len() + 1);
}

#[test]
fn frames_can_be_read_from_the_last_to_the_first() {
    let (_dir, home) = home(1 << 20);
    written(&home, 1);
    let mut reader = home.read(&header(1).step).unwrap();
    let places = reader.frames().unwrap();
    let back: Vec<Vec<Record>> = (0..places.len())
        .rev()
        .map(|index| reader.frame_at(places[index], index as u32 + 1).unwrap().records)
        .collect();
    assert_eq!(back, batches().into_iter().rev().collect::<Vec<_>>());
}

#[test]
fn nothing_of_a_key_is_in_clear_and_only_the_owner_may_read() {
    let (_dir, home) = home(1 << 20);
    let (path, _) = written(&home, 1);
    let bytes = fs::read(&path).unwrap();
    for text in ["alice", "session", "secret", "carol"] {
        assert!(!bytes.windows(text.len()).any(|window| window == text.as_bytes()), "{text}");
    }
    for record in batches().concat() {
        let shown = format!("{record:?}");
        assert!(!shown.contains("alice") && !shown.contains("secret"), "{shown}");
    }
    for path in [&path, &home.settings.key] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{}", path.display());
    }
}

#[test]
fn cut_at_any_byte_everything_before_the_cut_frame_is_good() {
    let (_dir, home) = home(1 << 20);
    let (path, ends) = written(&home, 1);
    let whole = fs::read(&path).unwrap();
    let all = batches();
    for cut in 0..whole.len() {
        fs::write(&path, &whole[..cut]).unwrap();
        if (cut as u64) < ends[0] {
            assert!(matches!(home.read(&header(1).step), Err(SnapshotError::NotASnapshot { .. })), "{cut}");
            continue;
        }
        let frames = ends[1..].iter().filter(|end| **end <= cut as u64).count();
        let (good, bad, _) = read(&home, 1);
        assert_eq!(good, all[..frames].concat(), "{cut}");
        if ends.contains(&(cut as u64)) {
            assert!(bad.is_empty(), "{cut}");
        } else {
            assert!(
                matches!(bad[..], [SnapshotError::Torn { frame }] if frame as usize == frames + 1),
                "{cut}: {bad:?}"
            );
        }
    }
    // The writer takes the unfinished frame off and goes on where it began.
    fs::write(&path, &whole[..ends[2] as usize + 7]).unwrap();
    let mut writer = home.resume(&header(1).step).unwrap();
    assert_eq!(writer.append(&all[2]).unwrap(), 3);
    assert_eq!(read(&home, 1).0, all.concat());
}

#[test]
fn a_bent_byte_is_told_and_costs_no_more_than_its_frame() {
    let (_dir, home) = home(1 << 20);
    let (path, ends) = written(&home, 1);
    let whole = fs::read(&path).unwrap();
    let all = batches();
    for at in 0..whole.len() {
        let mut bent = whole.clone();
        bent[at] ^= 1 << (at % 8);
        fs::write(&path, &bent).unwrap();
        if (at as u64) < ends[0] {
            assert!(home.read(&header(1).step).is_err(), "{at}");
            continue;
        }
        let hit = ends.iter().filter(|end| **end <= at as u64).count() - 1;
        let (good, bad, _) = read(&home, 1);
        assert!(
            matches!(bad[..], [SnapshotError::Damaged { frame, .. }] if frame as usize == hit + 1),
            "{at}: {bad:?}"
        );
        let in_head = (at as u64) - ends[hit] < frame::HEAD as u64;
        let expected = if in_head { all[..hit].concat() } else { [&all[..hit], &all[hit + 1..]].concat().concat() };
        assert_eq!(good, expected, "{at}");
        assert!(home.resume(&header(1).step).is_err(), "{at}: a damaged snapshot is not written on");
    }
}

#[test]
fn a_frame_of_another_snapshot_or_place_does_not_fit() {
    let (_dir, home) = home(1 << 20);
    let (one, ends) = written(&home, 1);
    let (two, others) = written(&home, 2);
    let (mut bytes, own) = (fs::read(&one).unwrap(), fs::read(&two).unwrap());
    let first = others[0] as usize..others[1] as usize;
    bytes.splice(ends[0] as usize..ends[1] as usize, own[first.clone()].to_vec());
    fs::write(&one, &bytes).unwrap();
    assert!(matches!(read(&home, 1).1[0], SnapshotError::Damaged { frame: 1, .. }));
    let mut twice = own.clone();
    twice.splice(first.end..first.end, own[first].to_vec());
    fs::write(&two, twice).unwrap();
    assert!(matches!(read(&home, 2).1[0], SnapshotError::Damaged { frame: 2, .. }));
}

#[test]
fn the_bound_holds_over_all_snapshots_and_a_refused_frame_leaves_no_trace() {
    let (_dir, home) = home(2_000);
    let mut writer = home.begin(&header(1)).unwrap();
    let record = |byte: u8| key("k", &(0..400_u16).map(|i| (i as u8).wrapping_mul(byte)).collect::<Vec<_>>());
    let mut appended = 0;
    let refused = loop {
        match writer.append(&[record(appended + 3)]) {
            Ok(_) => appended += 1,
            Err(error) => break error,
        }
    };
    assert!(appended > 0 && matches!(refused, SnapshotError::Full { .. }), "{appended}: {refused}");
    assert_eq!(read(&home, 1).0.len(), usize::from(appended));
    assert_eq!(home.room(), 2_000 - fs::metadata(home.path(&header(1).step)).unwrap().len());
    home.remove(&header(1).step).unwrap();
    assert_eq!(home.room(), 2_000);
    assert!(home.begin(&header(2)).is_ok());
}

#[test]
fn old_snapshots_are_swept_and_young_ones_stay() {
    let (_dir, home) = home(1 << 20);
    let now = Timestamp::from_millisecond(header(1).created_ms).unwrap();
    let old = Header { created_ms: header(1).created_ms - 15 * 86_400_000, ..header(2) };
    home.begin(&header(1)).unwrap();
    home.begin(&old).unwrap();
    assert_eq!(home.sweep(now).unwrap(), 1);
    assert!(matches!(home.read(&old.step), Err(SnapshotError::Missing(_))));
    assert!(home.read(&header(1).step).is_ok());
    assert!(matches!(home.begin(&header(1)), Err(SnapshotError::There(_))));
}

#[test]
fn a_lost_key_is_said_and_never_replaced() {
    let (dir, home) = home(1 << 20);
    written(&home, 1);
    let settings = SnapshotSettings::beside(&dir.path().join("rediscue.db"));
    let key = fs::read(&settings.key).unwrap();
    fs::remove_file(&settings.key).unwrap();
    assert!(matches!(Snapshots::open(settings.clone()), Err(SnapshotError::KeyMissing { .. })));
    fs::write(&settings.key, "nonsense").unwrap();
    assert!(matches!(Snapshots::open(settings.clone()), Err(SnapshotError::BadKey { .. })));
    fs::write(&settings.key, key).unwrap();
    let again = Snapshots::open(settings).unwrap();
    assert_eq!(read(&again, 1).0.len(), batches().concat().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_bytes_in_names_and_values_come_back(
        frames in prop::collection::vec(
            prop::collection::vec((any::<u32>(), prop::collection::vec(any::<u8>(), 0..40), any::<Option<i64>>(), prop::collection::vec(any::<u8>(), 0..200)), 0..6),
            0..5,
        )
    ) {
        let (_dir, home) = home(1 << 22);
        let mut writer = home.begin(&header(9)).unwrap();
        let mut all = Vec::new();
        for frame in frames {
            let records: Vec<Record> = frame.into_iter().map(|(db, key, deadline, dump)| {
                let deadline = deadline.filter(|ms| *ms != i64::MIN).map_or(Deadline::Never, Deadline::At);
                Record::Key { db, key, deadline, kind: "hash".into(), fingerprint: fingerprint(&dump), dump }
            }).collect();
            writer.append(&records).unwrap();
            all.extend(records);
        }
        prop_assert_eq!(read(&home, 9).0, all);
    }
}

#[test]
fn an_export_says_what_it_holds_only_when_it_came_to_its_end() {
    let (_dir, home) = home(1 << 20);
    let mut writer = home.begin(&header(1)).unwrap();
    writer.append(&[key("session:alice", b"x")]).unwrap();
    assert_eq!(home.contents(&id(1)).unwrap(), None);
    writer.append(&[Record::Contents(contents())]).unwrap();
    assert_eq!(home.contents(&id(1)).unwrap(), None, "its end is not there yet");
    writer.close().unwrap();
    assert_eq!(home.contents(&id(1)).unwrap(), Some(contents()));
    let (path, _) = written(&home, 2);
    assert_eq!(home.contents(&id(2)).unwrap(), None, "what a purge kept is no export");
    fs::write(&path, b"nothing of the kind").unwrap();
    assert!(home.contents(&id(2)).is_err());
    assert!(matches!(home.contents(&id(3)), Err(SnapshotError::Missing(_))));
}
