//! Streams: packed nodes, then consumer groups with what is pending in each.

use super::{
    error::Damage,
    memory::{self, Sums},
    radix::Radix,
    window::{Form, Pass, Step, Window},
};

/// A stream as far as it has been read.
#[derive(Debug)]
pub(super) struct Stream {
    /// 1 (Redis 5), 2 (7.0), 3 (7.2), 4 (8.6: idempotent producers), 5 (8.8: entries given back).
    version: u8,
    at: At,
    /// Nodes, then groups, still to come.
    left: u64,
    consumers: u64,
    pending: u64,
    nodes: Radix,
    ids: Radix,
    last_node: u64,
    /// Bytes of all nodes: no stream has more entries than that.
    room: u64,
    bytes: u64,
    entries: u64,
}

#[derive(Debug, Clone, Copy)]
enum At {
    NodeId,
    Node,
    Facts,
    GroupName,
    Group,
    Pending,
    Consumers,
    ConsumerName,
    Consumer,
    ConsumerPending,
    GivenBack,
    GivenBackIds,
    Idempotence,
}

impl Stream {
    pub(super) fn new(version: u8, nodes: u64) -> Self {
        Self {
            version,
            at: if nodes == 0 { At::Facts } else { At::NodeId },
            left: nodes,
            consumers: 0,
            pending: 0,
            nodes: Radix::default(),
            ids: Radix::default(),
            last_node: 0,
            room: 0,
            bytes: 0,
            entries: 0,
        }
    }

    /// Entries and bytes, once the stream was read.
    pub(super) fn finish(self, sums: &Sums) -> (u64, u64) {
        let bytes = memory::OBJECT + sums.stream();
        (self.entries, self.bytes.saturating_add(bytes))
    }

    fn add(&mut self, bytes: u64) {
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// Reads on; `Ok` once the whole stream was read.
    pub(super) fn step(&mut self, window: &mut Window<'_>, pass: &mut Pass, sums: &Sums) -> Step<()> {
        loop {
            match self.at {
                At::NodeId => {
                    let head = window.string()?;
                    if head.form != Form::Raw || head.length != 16 {
                        return Err(Damage::Broken("a stream's node has an id that is not 16 bytes long").into());
                    }
                    self.nodes.add(window.array()?);
                    self.at = At::Node;
                    window.commit();
                }
                At::Node => {
                    let head = window.string()?;
                    if head.length < 7 || matches!(head.form, Form::Int(_)) {
                        return Err(Damage::Broken("a stream's node is not a listpack").into());
                    }
                    self.add(sums.block(self.last_node));
                    self.last_node = head.length;
                    self.room = self.room.saturating_add(head.length);
                    self.left -= 1;
                    self.at = if self.left > 0 { At::NodeId } else { At::Facts };
                    window.over(head.stored, pass)?;
                }
                At::Facts => {
                    let entries = window.length("a stream's length")?;
                    for _ in 0..if self.version >= 2 { 7 } else { 2 } {
                        window.length("a stream's id")?;
                    }
                    self.left = window.length("a stream's groups")?;
                    if entries > self.room {
                        return Err(Damage::Broken("a stream claims more entries than its nodes can hold").into());
                    }
                    window.commit();
                    self.entries = entries;
                    if self.last_node > 0 {
                        // The last node is still growing: it was given room at once.
                        self.add(sums.block(self.last_node.max(memory::STREAM_NODE_FIRST)));
                    }
                    let (ids, nodes) = std::mem::take(&mut self.nodes).finish();
                    self.add(memory::radix(ids, nodes));
                    self.at = At::GroupName;
                }
                At::GroupName => {
                    if self.left == 0 {
                        if self.version < 4 {
                            return Ok(());
                        }
                        self.at = At::Idempotence;
                        continue;
                    }
                    let head = window.string()?;
                    self.left -= 1;
                    self.at = At::Group;
                    window.over(head.stored, pass)?;
                }
                At::Group => {
                    for _ in 0..if self.version >= 2 { 3 } else { 2 } {
                        window.length("a group's id")?;
                    }
                    self.pending = window.length("a group's pending entries")?;
                    window.commit();
                    self.add(sums.group());
                    self.add(self.pending.saturating_mul(memory::NACK));
                    self.at = At::Pending;
                }
                At::Pending => {
                    while self.pending > 0 {
                        let id = window.array()?;
                        window.array::<8>()?;
                        window.length("a delivery count")?;
                        window.commit();
                        self.ids.add(id);
                        self.pending -= 1;
                    }
                    self.close_ids();
                    self.at = At::Consumers;
                }
                At::Consumers => {
                    self.consumers = window.length("a group's consumers")?;
                    window.commit();
                    self.at = At::ConsumerName;
                }
                At::ConsumerName => {
                    if self.consumers == 0 {
                        self.at = if self.version >= 5 { At::GivenBack } else { At::GroupName };
                        continue;
                    }
                    let head = window.string()?;
                    self.consumers -= 1;
                    self.add(head.length.saturating_add(memory::CONSUMER));
                    self.at = At::Consumer;
                    window.over(head.stored, pass)?;
                }
                At::Consumer => {
                    window.slice(if self.version >= 3 { 16 } else { 8 })?;
                    self.pending = window.length("a consumer's pending entries")?;
                    window.commit();
                    self.at = At::ConsumerPending;
                }
                At::ConsumerPending => {
                    while self.pending > 0 {
                        let id = window.array()?;
                        window.commit();
                        self.ids.add(id);
                        self.pending -= 1;
                    }
                    self.close_ids();
                    self.at = At::ConsumerName;
                }
                At::GivenBack => {
                    self.pending = window.length("a group's entries that were given back")?;
                    window.commit();
                    self.at = At::GivenBackIds;
                }
                // They are in the group's pending entries too, and counted there.
                At::GivenBackIds => {
                    while self.pending > 0 {
                        window.array::<16>()?;
                        window.commit();
                        self.pending -= 1;
                    }
                    self.at = At::GroupName;
                }
                At::Idempotence => {
                    for _ in 0..2 {
                        window.length("a stream's settings for idempotence")?;
                    }
                    // How producers are kept is documented nowhere yet; nearly no stream has any.
                    if window.length("a stream's idempotent producers")? > 0 {
                        return Err(
                            Damage::Unsupported("a stream's idempotent producers (XADD IDMP, Redis 8.6)").into()
                        );
                    }
                    for _ in 0..2 {
                        window.length("a stream's count of ids")?;
                    }
                    window.commit();
                    return Ok(());
                }
            }
        }
    }

    /// What was pending is a tree of its own.
    fn close_ids(&mut self) {
        let (ids, nodes) = std::mem::take(&mut self.ids).finish();
        self.add(memory::radix(ids, nodes));
    }
}
