//! One value: measured from its framing, never kept.

use super::{
    super::seen::Kind,
    error::Damage,
    facts::Facts,
    key::Encoding,
    memory::{self, Sums},
    module::Module,
    packed::{Count, Packed, Walk},
    stream::Stream,
    window::{Form, Head, Pass, Step, Window},
};

/// A value as far as it has been read.
#[derive(Debug)]
pub(super) struct Value {
    pub(super) kind: Kind,
    pub(super) encoding: Encoding,
    shape: Shape,
    elements: u64,
    bytes: u64,
}

/// What a value consists of.
#[derive(Debug)]
enum Shape {
    /// One string.
    Text,
    /// Elements, each the same parts.
    Parts { parts: &'static [Part], at: usize, left: u64 },
    /// Packed nodes, each with a tag since 7.0.
    Nodes { left: u64, tagged: bool },
    /// One packed string, `per` of whose entries are an element.
    Packed { packed: Packed, per: u64, read: bool },
    /// A stream.
    Stream(Box<Stream>),
    /// A module's.
    Module(Module),
}

/// A part of an element.
#[derive(Debug, Clone, Copy)]
enum Part {
    /// A string of its own.
    Text,
    /// A string that lies in a packed node.
    Item,
    /// A number in text.
    Number,
    /// Eight bytes.
    Eight,
    /// A length.
    Length,
}

/// A packed node of a list is closed at about this size (`list-max-listpack-size -2`).
const NODE: u64 = 8 * 1024;

impl Value {
    /// Whether there is such a type.
    #[inline]
    pub(super) fn is_known(code: u8, valkey: bool) -> bool {
        matches!(code, 0..=7 | 9..=22) || (!valkey && matches!(code, 23..=27))
    }

    /// Begins a value of type `code`.
    pub(super) fn begin(code: u8, facts: &Facts, window: &mut Window<'_>) -> Step<Self> {
        use Encoding as E;
        use Part::{Eight, Item, Length, Number, Text};
        let valkey = facts.valkey;
        let mut parts = |kind, encoding, parts: &'static [Part]| {
            let left = window.length("a value's length")?;
            // Every part takes a byte at least.
            let what = match kind {
                Kind::List => "a list",
                Kind::Set => "a set",
                Kind::Zset => "a sorted set",
                _ => "a hash",
            };
            window.check_elements(left, parts.len() as u64, what)?;
            Ok(Self::new(kind, encoding, Shape::Parts { parts, at: 0, left }))
        };
        let packed =
            |kind, encoding, packed, per| Ok(Self::new(kind, encoding, Shape::Packed { packed, per, read: false }));
        match code {
            0 => Ok(Self::new(Kind::String, E::Raw, Shape::Text)),
            1 => parts(Kind::List, E::LinkedList, &[Item]),
            2 => parts(Kind::Set, E::Hashtable, &[Text]),
            3 => parts(Kind::Zset, E::Skiplist, &[Text, Number]),
            4 => parts(Kind::Hash, E::Hashtable, &[Text, Text]),
            5 => parts(Kind::Zset, E::Skiplist, &[Text, Eight]),
            6 => Err(Damage::PreRelease("module values of the first module format").into()),
            7 => {
                window.length("a module's id")?;
                Ok(Self::new(Kind::Module, E::Module, Shape::Module(Module::default())))
            }
            9 => packed(Kind::Hash, E::Zipmap, Packed::Zipmap, 2),
            10 => packed(Kind::List, E::Ziplist, Packed::Ziplist, 1),
            11 => packed(Kind::Set, E::Intset, Packed::Intset, 1),
            12 => packed(Kind::Zset, E::Ziplist, Packed::Ziplist, 2),
            13 => packed(Kind::Hash, E::Ziplist, Packed::Ziplist, 2),
            14 | 18 => {
                let left = window.length("a list's nodes")?;
                window.check_elements(left, 1, "a list")?;
                // Since 7.2 a list of one node is kept as the node alone.
                let alone = left == 1 && facts.version >= 11;
                let encoding = if alone { E::Listpack } else { E::Quicklist };
                Ok(Self::new(Kind::List, encoding, Shape::Nodes { left, tagged: code == 18 }))
            }
            26 | 27 if valkey => Err(Damage::UnknownType(code).into()),
            15 | 19 | 21 | 26 | 27 => {
                let nodes = window.length("a stream's nodes")?;
                window.check_elements(nodes, 1, "a stream")?;
                let version = match code {
                    15 => 1,
                    19 => 2,
                    21 => 3,
                    26 => 4,
                    _ => 5,
                };
                Ok(Self::new(Kind::Stream, E::Stream, Shape::Stream(Box::new(Stream::new(version, nodes)))))
            }
            16 => packed(Kind::Hash, E::Listpack, Packed::Listpack, 2),
            17 => packed(Kind::Zset, E::Listpack, Packed::Listpack, 2),
            20 => packed(Kind::Set, E::Listpack, Packed::Listpack, 1),
            22 if valkey => parts(Kind::Hash, E::HashtableTtl, &[Text, Text, Eight]),
            22 if !valkey => parts(Kind::Hash, E::HashtableTtl, &[Length, Text, Text]),
            23 if !valkey => packed(Kind::Hash, E::ListpackTtl, Packed::Listpack, 3),
            24 if !valkey => {
                window.array::<8>()?;
                let left = window.length("a value's length")?;
                window.check_elements(left, 3, "a hash")?;
                let shape = Shape::Parts { parts: &[Length, Text, Text], at: 0, left };
                Ok(Self::new(Kind::Hash, E::HashtableTtl, shape))
            }
            25 if !valkey => {
                window.array::<8>()?;
                packed(Kind::Hash, E::ListpackTtl, Packed::Listpack, 3)
            }
            _ => Err(Damage::UnknownType(code).into()),
        }
    }

    fn new(kind: Kind, encoding: Encoding, shape: Shape) -> Self {
        Self { kind, encoding, shape, elements: 0, bytes: 0 }
    }

    /// Reads on; `Ok(true)` once the whole value was read, `Ok(false)` when a walk has to come first.
    #[inline]
    pub(super) fn step(
        &mut self,
        window: &mut Window<'_>,
        pass: &mut Pass,
        sums: &Sums,
        scratch: &mut Vec<u8>,
    ) -> Step<bool> {
        match &mut self.shape {
            Shape::Text => self.text(window, pass, sums),
            Shape::Parts { .. } => self.parts(window, pass, sums),
            Shape::Nodes { .. } => self.nodes(window, pass, sums, scratch),
            Shape::Packed { .. } => self.packed(window, pass, sums, scratch),
            Shape::Stream(stream) => stream.step(window, pass, sums).map(|()| true),
            Shape::Module(module) => module.step(window, pass).map(|()| true),
        }
    }

    /// What a walk that was asked for counted.
    pub(super) fn walked(&mut self, count: u64) {
        self.elements = self.elements.saturating_add(count);
    }

    #[inline]
    fn text(&mut self, window: &mut Window<'_>, pass: &mut Pass, sums: &Sums) -> Step<bool> {
        if self.elements > 0 || self.bytes > 0 {
            return Ok(true);
        }
        let head = window.string()?;
        let number = match head.form {
            Form::Int(_) => true,
            // Numbers beyond 32 bits are stored as text and kept as numbers.
            Form::Raw if head.length <= 20 => is_number(window.peek(head.length as usize)?),
            _ => false,
        };
        self.elements = head.length;
        (self.encoding, self.bytes) = match head.length {
            _ if number => (Encoding::Int, memory::OBJECT),
            0..=44 => (Encoding::Embstr, sums.text(head.length)),
            _ => (Encoding::Raw, sums.text(head.length)),
        };
        window.over(head.stored, pass)?;
        Ok(true)
    }

    fn parts(&mut self, window: &mut Window<'_>, pass: &mut Pass, sums: &Sums) -> Step<bool> {
        let Shape::Parts { parts, at, left } = &mut self.shape else { return Ok(true) };
        while *left > 0 {
            let part = parts[*at];
            // State first: passing over may end this step.
            let mut turn = || {
                *at += 1;
                if *at == parts.len() {
                    *at = 0;
                    *left -= 1;
                    self.elements += 1;
                }
            };
            match part {
                Part::Text => {
                    let head = window.string()?;
                    turn();
                    self.bytes = self.bytes.saturating_add(sums.sds(head.length));
                    window.over(head.stored, pass)?;
                }
                Part::Item => {
                    let head = window.string()?;
                    turn();
                    self.bytes = self.bytes.saturating_add(head.length).saturating_add(2);
                    window.over(head.stored, pass)?;
                }
                Part::Number => {
                    let length = window.byte()?;
                    turn();
                    // The three highest say NaN, +∞ and −∞.
                    window.over(if length < 253 { u64::from(length) } else { 0 }, pass)?;
                }
                Part::Eight => {
                    window.array::<8>()?;
                    turn();
                    window.commit();
                }
                Part::Length => {
                    window.length("a field's expiry")?;
                    turn();
                    window.commit();
                }
            }
        }
        Ok(true)
    }

    fn nodes(&mut self, window: &mut Window<'_>, pass: &mut Pass, sums: &Sums, scratch: &mut Vec<u8>) -> Step<bool> {
        let Shape::Nodes { left, tagged } = &mut self.shape else { return Ok(true) };
        while *left > 0 {
            let plain = *tagged
                && match window.length("a list's node")? {
                    1 => true,
                    2 => false,
                    _ => return Err(Damage::Broken("a list's node is neither plain nor packed").into()),
                };
            let head = window.string()?;
            let packed = if *tagged { Packed::Listpack } else { Packed::Ziplist };
            let count = if plain { Count::Known(1) } else { count(packed, head, window, scratch)? };
            *left -= 1;
            if plain {
                self.encoding = Encoding::Quicklist;
            }
            let node = if self.encoding == Encoding::Listpack { 0 } else { sums.list_node() };
            self.bytes = self.bytes.saturating_add(node).saturating_add(sums.packed(head.length));
            match count {
                Count::Known(count) => {
                    self.elements = self.elements.saturating_add(count);
                    window.over(head.stored, pass)?;
                }
                Count::Walk => {
                    walk(packed, head, window, pass)?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    fn packed(&mut self, window: &mut Window<'_>, pass: &mut Pass, sums: &Sums, scratch: &mut Vec<u8>) -> Step<bool> {
        let Shape::Packed { packed, read, .. } = &mut self.shape else { return Ok(true) };
        if *read {
            return Ok(true);
        }
        let head = window.string()?;
        let count = count(*packed, head, window, scratch)?;
        *read = true;
        self.bytes = match packed {
            // Its block is counted by every version.
            Packed::Intset => sums.block(head.length),
            _ => sums.packed(head.length),
        };
        if self.kind == Kind::List {
            let nodes = head.length.div_ceil(NODE);
            self.bytes = self.bytes.saturating_add(nodes.saturating_mul(sums.list_node()));
        }
        match count {
            Count::Known(count) => {
                self.elements = count;
                window.over(head.stored, pass)?;
                Ok(true)
            }
            Count::Walk => {
                walk(*packed, head, window, pass)?;
                Ok(false)
            }
        }
    }

    /// Elements and bytes in memory, the name not counted, once the value was read.
    pub(super) fn finish(self, sums: &Sums) -> (Option<u64>, u64) {
        let Self { kind, encoding, shape, elements, bytes } = self;
        let table = |per: u64| {
            let entries = elements.saturating_mul(memory::ENTRY + per);
            (memory::OBJECT + sums.dict()).saturating_add(memory::buckets(elements)).saturating_add(entries)
        };
        let more = match (kind, encoding) {
            (Kind::List, Encoding::LinkedList) => {
                let nodes = bytes.div_ceil(NODE).saturating_mul(sums.list_node());
                nodes.saturating_add(memory::OBJECT + memory::QUICKLIST)
            }
            (Kind::List, Encoding::Listpack) => memory::OBJECT,
            (Kind::List, _) => memory::OBJECT + memory::QUICKLIST,
            (Kind::Zset, Encoding::Skiplist) => table(0)
                .saturating_add(memory::ZSET + sums.skiplist_head())
                .saturating_add(sums.skiplist_nodes(elements)),
            (_, Encoding::Hashtable) => table(0),
            (_, Encoding::HashtableTtl) => table(16),
            (Kind::Set | Kind::Zset | Kind::Hash, _) => memory::OBJECT,
            _ => 0,
        };
        match shape {
            Shape::Stream(stream) => {
                let (entries, bytes) = stream.finish(sums);
                (Some(entries), bytes)
            }
            Shape::Module(module) => (None, module.bytes.saturating_add(memory::OBJECT)),
            Shape::Packed { per, .. } => (Some(elements / per), bytes.saturating_add(more)),
            _ => (Some(elements), bytes.saturating_add(more)),
        }
    }
}

/// What the head of a packed string says, without passing over it.
#[inline]
fn count(packed: Packed, head: Head, window: &Window<'_>, scratch: &mut Vec<u8>) -> Step<Count> {
    match head.form {
        Form::Raw => {
            let bytes = window.peek(packed.head().min(usize::try_from(head.length).unwrap_or(usize::MAX)))?;
            packed.count(bytes, head.length)
        }
        Form::Lzf => {
            window.beginning(head, packed.head(), scratch)?;
            packed.count(scratch, head.length)
        }
        Form::Int(_) => Err(Damage::Broken("a packed value is a number").into()),
    }
}

/// Leaves the string whose head was just read to a walk.
fn walk(packed: Packed, head: Head, window: &mut Window<'_>, pass: &mut Pass) -> Step<()> {
    window.check_left(head.stored, "a string")?;
    window.commit();
    pass.left = head.stored;
    pass.walk = Some(Walk::new(packed, head.form == Form::Lzf));
    Ok(())
}

/// Whether a string is kept as a number: a 64-bit integer as it would be printed.
fn is_number(text: &[u8]) -> bool {
    let digits = text.strip_prefix(b"-").unwrap_or(text);
    match digits {
        [b'0'] => digits.len() == text.len(),
        [b'1'..=b'9', ..] if digits.len() < 19 => digits.iter().all(u8::is_ascii_digit),
        [b'1'..=b'9', ..] => std::str::from_utf8(text).is_ok_and(|text| text.parse::<i64>().is_ok()),
        _ => false,
    }
}
