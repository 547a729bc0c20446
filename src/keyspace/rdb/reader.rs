//! The reader: blocks in, keys out.

use std::collections::BTreeMap;

use crc_fast::{CrcAlgorithm, Digest};

use super::{
    DATABASES_MAX, NAME_MAX,
    error::{Damage, RdbError},
    facts::{Checksum, Database, Facts},
    key::{Encoding, Key},
    memory::{Allocator, Sums},
    module::Module,
    value::Value,
    window::{Pass, Step, Stop, Window},
};

/// How a file is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since 1970: which keys have expired is counted by it.
    pub now: u64,
    /// The allocator of the server the memory is estimated for.
    pub allocator: Allocator,
    /// Whether the checksum is computed.
    pub checksum: bool,
    /// The size of the file in bytes, when known: what claims to be longer is refused where it claims it.
    pub size: Option<u64>,
}

/// Reads one snapshot. See the room's own words in [`super`].
#[derive(Debug)]
pub struct Reader {
    reading: Reading,
    sums: Sums,
    digest: Option<Digest>,
    facts: Facts,
    index: BTreeMap<u32, usize>,
    database: Database,
    state: State,
    /// Bytes whose meaning needs the next block.
    carry: Vec<u8>,
    pass: Pass,
    offset: u64,
    scratch: Vec<u8>,
    name: Vec<u8>,
    name_length: u64,
    code: u8,
    ahead: Ahead,
}

/// What stands before a key.
#[derive(Debug, Clone, Copy, Default)]
struct Ahead {
    start: Option<u64>,
    expires_at: Option<u64>,
    idle_s: Option<u64>,
    frequency: Option<u8>,
}

#[derive(Debug)]
enum State {
    Magic,
    Opcode,
    AuxValue,
    Module { then: After },
    Class { more: u64 },
    Begin,
    Value(Value),
    Checksum,
    End,
    Failed(RdbError),
}

/// What follows a run of module data that belongs to no value.
#[derive(Debug, Clone, Copy)]
enum After {
    Opcode,
    /// Metadata of a key, by classes.
    Classes(u64),
}

/// An AUX value is looked at this far.
const AUX_MAX: usize = 256;

impl Reader {
    /// A reader at the beginning of a file.
    pub fn new(reading: Reading) -> Self {
        Self {
            reading,
            sums: Sums::new(reading.allocator),
            digest: reading.checksum.then(|| Digest::new(CrcAlgorithm::Crc64Redis)),
            facts: Facts::default(),
            index: BTreeMap::new(),
            database: Database::default(),
            state: State::Magic,
            carry: Vec::new(),
            pass: Pass::default(),
            offset: 0,
            scratch: Vec::new(),
            name: Vec::new(),
            name_length: 0,
            code: 0,
            ahead: Ahead::default(),
        }
    }

    /// Reads the next block and hands each key that ends in it to `each`.
    ///
    /// # Errors
    /// When the bytes are no snapshot or a damaged one; reading on gives the same error.
    pub fn feed(&mut self, block: &[u8], mut each: impl FnMut(&Key<'_>)) -> Result<(), RdbError> {
        if let State::Failed(error) = self.state {
            return Err(error);
        }
        self.take(block, &mut each).inspect_err(|error| self.state = State::Failed(*error))
    }

    /// What is known so far: versions, databases, how far it has read.
    pub fn facts(&self) -> Facts {
        let mut facts = self.facts.clone();
        put(&mut facts.databases, &self.index, self.database);
        facts.databases.retain(|database| database.keys > 0 || database.announced.is_some());
        facts.read = if let State::Failed(error) = self.state { error.offset } else { self.offset };
        facts
    }

    /// Bytes understood so far.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the end of the snapshot has been read.
    pub fn at_end(&self) -> bool {
        matches!(self.state, State::End)
    }

    /// The input has ended.
    ///
    /// # Errors
    /// When it ended before the snapshot did.
    pub fn finish(self) -> Result<Facts, RdbError> {
        let inside = match &self.state {
            State::End => return Ok(self.facts()),
            State::Failed(error) => return Err(*error),
            State::Magic => "its first nine bytes",
            State::Opcode | State::AuxValue | State::Module { .. } | State::Class { .. } => "what stands between keys",
            State::Begin => "a key's name",
            State::Value(_) => "a key's value",
            State::Checksum => "its checksum",
        };
        Err(RdbError { offset: self.offset + self.carry.len() as u64, damage: Damage::Cut(inside) })
    }

    fn take(&mut self, mut block: &[u8], each: &mut impl FnMut(&Key<'_>)) -> Result<(), RdbError> {
        // What was left over is joined with as little of the block as makes it whole.
        while !self.carry.is_empty() && !block.is_empty() {
            let mut carry = std::mem::take(&mut self.carry);
            let held = carry.len();
            let joined = block.len().min(held.max(1024));
            carry.extend_from_slice(&block[..joined]);
            let used = self.run(&carry, each)?;
            if used >= held {
                block = &block[used - held..];
                carry.clear();
            } else {
                block = &block[joined..];
                carry.drain(..used);
            }
            self.carry = carry;
        }
        if !block.is_empty() {
            let used = self.run(block, each)?;
            self.carry.extend_from_slice(&block[used..]);
        }
        Ok(())
    }

    /// Reads as much of `bytes` as has a meaning, and says how much that was.
    fn run(&mut self, bytes: &[u8], each: &mut impl FnMut(&Key<'_>)) -> Result<usize, RdbError> {
        let left = self.reading.size.map(|size| size.saturating_sub(self.offset));
        let mut window = Window::new(bytes, left);
        let mut summed = 0;
        loop {
            let result = if self.pass.left > 0 {
                self.pass_over(&mut window)
            } else {
                self.step(&mut window, &mut summed, each)
            };
            match result {
                Ok(()) => {}
                Err(Stop::More) => break,
                Err(Stop::Bad(damage)) => {
                    return Err(RdbError { offset: self.offset + window.mark() as u64, damage });
                }
            }
        }
        window.rewind();
        if !matches!(self.state, State::Checksum | State::End) {
            self.sum(&bytes[summed..window.at()]);
        }
        self.offset += window.at() as u64;
        Ok(window.at())
    }

    fn sum(&mut self, bytes: &[u8]) {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
    }

    fn pass_over(&mut self, window: &mut Window<'_>) -> Step<()> {
        let passed = window.drop_up_to(self.pass.left);
        if passed.is_empty() {
            return Err(Stop::More);
        }
        self.pass.left -= passed.len() as u64;
        if let Some(walk) = &mut self.pass.walk {
            walk.feed(passed);
        }
        if self.pass.left == 0
            && let Some(walk) = self.pass.walk.take()
            && let State::Value(value) = &mut self.state
        {
            value.walked(walk.finish()?);
        }
        Ok(())
    }

    #[inline]
    fn step(&mut self, window: &mut Window<'_>, summed: &mut usize, each: &mut impl FnMut(&Key<'_>)) -> Step<()> {
        match &mut self.state {
            State::Opcode => self.opcode(window, summed),
            State::Begin => {
                let value = Value::begin(self.code, &self.facts, window)?;
                window.commit();
                self.state = State::Value(value);
                Ok(())
            }
            State::Value(value) => {
                if value.step(window, &mut self.pass, &self.sums, &mut self.scratch)? {
                    self.end_key(window, each);
                }
                Ok(())
            }
            State::Magic => self.magic(window),
            State::AuxValue => self.aux_value(window),
            State::Module { .. } => self.module(window),
            State::Class { more } => {
                window.array::<4>()?;
                window.commit();
                self.state = State::Module { then: After::Classes(*more) };
                Ok(())
            }
            State::Checksum => self.checksum(window),
            State::End if window.rest().is_empty() => Err(Stop::More),
            State::End if self.facts.aof_preamble => {
                // Commands follow: they are not ours to read.
                window.drop_up_to(u64::MAX);
                Ok(())
            }
            State::End => Err(Damage::Trailing.into()),
            State::Failed(error) => Err(error.damage.into()),
        }
    }

    fn magic(&mut self, window: &mut Window<'_>) -> Step<()> {
        let bytes = window.array::<9>()?;
        let (valkey, version) = match &bytes {
            [b'R', b'E', b'D', b'I', b'S', version @ ..] => (false, &version[..]),
            [b'V', b'A', b'L', b'K', b'E', b'Y', version @ ..] => (true, &version[..]),
            [0x1f, 0x8b, ..] => return Err(Damage::Other("a gzip archive").into()),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => return Err(Damage::Other("a zstd archive").into()),
            [b'P', b'K', 3, 4, ..] => return Err(Damage::Other("a zip archive").into()),
            [b'*', b'0'..=b'9', ..] => return Err(Damage::Other("an AOF (append-only file)").into()),
            _ => return Err(Damage::NotRdb.into()),
        };
        let version = version
            .iter()
            .try_fold(0u32, |number, digit| digit.is_ascii_digit().then(|| number * 10 + u32::from(digit - b'0')))
            .ok_or(Damage::NotRdb)?;
        if !(if valkey { 80..=81 } else { 1..=14 }).contains(&version) {
            return Err(Damage::Version(version).into());
        }
        window.commit();
        self.facts.valkey = valkey;
        self.facts.version = version;
        self.state = State::Opcode;
        // Keys before any SELECTDB are of database 0.
        self.select(0)?;
        Ok(())
    }

    fn opcode(&mut self, window: &mut Window<'_>, summed: &mut usize) -> Step<()> {
        let start = self.offset + window.at() as u64;
        let code = window.byte()?;
        match code {
            // A key: its type and its name.
            0..=240 => {
                if !Value::is_known(code, self.facts.valkey) {
                    return Err(Damage::UnknownType(code).into());
                }
                let head = window.string()?;
                window.beginning(head, NAME_MAX, &mut self.name)?;
                self.name_length = head.length;
                self.code = code;
                self.ahead.start.get_or_insert(start);
                self.state = State::Begin;
                return window.over(head.stored, &mut self.pass);
            }
            252 | 253 => {
                let at = if code == 252 {
                    i64::from_le_bytes(window.array()?)
                } else {
                    i64::from(i32::from_le_bytes(window.array()?)) * 1000
                };
                self.ahead.expires_at = Some(u64::try_from(at).unwrap_or(0));
                self.ahead.start.get_or_insert(start);
            }
            248 => {
                self.ahead.idle_s = Some(window.length("an idle time")?);
                self.ahead.start.get_or_insert(start);
            }
            249 => {
                self.ahead.frequency = Some(window.byte()?);
                self.ahead.start.get_or_insert(start);
            }
            254 => {
                let db = window.length("a database's number")?;
                let db = u32::try_from(db).map_err(|_| Damage::Length { what: "a database's number", length: db })?;
                self.select(db)?;
            }
            251 => {
                self.database.announced = Some(window.length("a database's size")?);
                window.length("a database's size")?;
            }
            244 => {
                for _ in 0..3 {
                    window.length("a slot's size")?;
                }
            }
            250 => {
                let head = window.string()?;
                window.beginning(head, AUX_MAX, &mut self.name)?;
                self.state = State::AuxValue;
                return window.over(head.stored, &mut self.pass);
            }
            245 => {
                let head = window.string()?;
                self.facts.functions += 1;
                return window.over(head.stored, &mut self.pass);
            }
            246 => return Err(Damage::PreRelease("functions of 7.0's release candidates").into()),
            247 => {
                window.length("a module's id")?;
                self.facts.module_data += 1;
                self.state = State::Module { then: After::Opcode };
            }
            // Valkey: the import of slots under way. Redis: metadata of the key that follows.
            243 if self.facts.valkey => {
                let head = window.string()?;
                window.slice(usize::try_from(head.stored).unwrap_or(usize::MAX).min(NAME_MAX))?;
                let ranges = window.length("an import's slots")?;
                if head.stored > NAME_MAX as u64 || ranges > 16_384 {
                    return Err(Damage::Length { what: "an import's slots", length: ranges }.into());
                }
                for _ in 0..ranges * 2 {
                    window.length("an import's slots")?;
                }
            }
            243 => {
                let classes = window.length("a key's metadata")?;
                if classes > 0 {
                    self.state = State::Class { more: classes - 1 };
                }
                self.ahead.start.get_or_insert(start);
            }
            255 => {
                window.commit();
                self.sum(&window.before()[*summed..]);
                *summed = window.at();
                let current = self.database;
                put(&mut self.facts.databases, &self.index, current);
                self.state = if self.facts.version >= 5 { State::Checksum } else { State::End };
                if matches!(self.state, State::End) {
                    self.facts.complete = true;
                }
                return Ok(());
            }
            _ => return Err(Damage::UnknownType(code).into()),
        }
        window.commit();
        Ok(())
    }

    fn select(&mut self, db: u32) -> Result<(), Damage> {
        put(&mut self.facts.databases, &self.index, self.database);
        if !self.index.contains_key(&db) {
            if self.index.len() == DATABASES_MAX {
                return Err(Damage::Databases);
            }
            self.index.insert(db, self.facts.databases.len());
            self.facts.databases.push(Database { db, ..Database::default() });
        }
        self.database = self.facts.databases[self.index[&db]];
        Ok(())
    }

    fn aux_value(&mut self, window: &mut Window<'_>) -> Step<()> {
        let head = window.string()?;
        window.beginning(head, AUX_MAX, &mut self.scratch)?;
        let text = String::from_utf8_lossy(&self.scratch);
        let facts = &mut self.facts;
        match self.name.as_slice() {
            // Whoever writes both counts by its own.
            b"redis-ver" if facts.created_by.is_some() => {}
            b"redis-ver" => {
                facts.created_by = Some(text.trim().to_owned());
                facts.rules = self.sums.written_by(facts.is_valkey(), text.trim());
            }
            b"valkey-ver" => {
                facts.created_by = Some(text.trim().to_owned());
                facts.rules = self.sums.written_by(true, text.trim());
            }
            b"ctime" => facts.created_at = text.parse().ok(),
            b"used-mem" => facts.used_memory = text.parse().ok(),
            b"redis-bits" => facts.bits = text.parse().ok(),
            b"repl-id" => facts.replication_id = Some(text.into_owned()),
            b"repl-offset" => facts.replication_offset = text.parse().ok(),
            b"aof-preamble" | b"aof-base" => facts.aof_preamble = text == "1",
            _ => {}
        }
        self.state = State::Opcode;
        window.over(head.stored, &mut self.pass)
    }

    fn module(&mut self, window: &mut Window<'_>) -> Step<()> {
        let State::Module { then } = self.state else { return Ok(()) };
        Module::default().step(window, &mut self.pass)?;
        self.state = match then {
            After::Classes(left @ 1..) => State::Class { more: left - 1 },
            After::Classes(0) | After::Opcode => State::Opcode,
        };
        Ok(())
    }

    fn end_key(&mut self, window: &Window<'_>, each: &mut impl FnMut(&Key<'_>)) {
        let State::Value(value) = std::mem::replace(&mut self.state, State::Opcode) else { return };
        let (kind, encoding) = (value.kind, value.encoding);
        let (elements, bytes) = value.finish(&self.sums);
        let text = elements.filter(|_| matches!(encoding, Encoding::Embstr | Encoding::Raw));
        let expires = self.ahead.expires_at.is_some();
        let bytes = self.sums.key(self.name_length, bytes, text, expires);
        let Ahead { start, expires_at, idle_s, frequency } = std::mem::take(&mut self.ahead);
        let end = self.offset + window.at() as u64;
        let offset = start.unwrap_or(end);
        let database = &mut self.database;
        database.keys += 1;
        database.expiring += u64::from(expires_at.is_some());
        database.expired += u64::from(expires_at.is_some_and(|at| at <= self.reading.now));
        database.bytes = database.bytes.saturating_add(bytes);
        each(&Key {
            db: database.db,
            name: &self.name,
            name_length: self.name_length,
            kind,
            encoding,
            expires_at,
            elements,
            stored: end - offset,
            bytes,
            idle_s,
            frequency,
            offset,
        });
    }

    fn checksum(&mut self, window: &mut Window<'_>) -> Step<()> {
        let stored = u64::from_le_bytes(window.array()?);
        match self.digest.take().map(|digest| digest.finalize()) {
            _ if stored == 0 => self.facts.checksum = Checksum::Disabled,
            None => self.facts.checksum = Checksum::Unchecked,
            Some(computed) if computed == stored => self.facts.checksum = Checksum::Right(stored),
            Some(computed) => return Err(Damage::Checksum { stored, computed }.into()),
        }
        window.commit();
        self.facts.complete = true;
        self.state = State::End;
        Ok(())
    }
}

/// Writes the counters of the current database where they belong.
fn put(databases: &mut [Database], index: &BTreeMap<u32, usize>, database: Database) {
    if let Some(&at) = index.get(&database.db) {
        databases[at] = database;
    }
}
