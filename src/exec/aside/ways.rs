//! The primaries that keys belong to now, and a connection to each that is needed.

use std::{collections::HashMap, sync::Arc};

use super::{
    Ground,
    lane::{self, Lane},
};
use crate::{
    diagnosis::Explained,
    exec::{
        Looking,
        fault::Fault,
        topology::{Topology, slot_of},
    },
    model::Address,
};

pub(super) struct Ways<'a> {
    ground: &'a Ground,
    cx: &'a Looking,
    topology: Arc<Topology>,
    lanes: HashMap<Address, Lane>,
}

impl<'a> Ways<'a> {
    pub(super) async fn of(ground: &'a Ground, cx: &'a Looking) -> Result<Self, Explained> {
        let topology = ground.site.topology(super::super::budget(cx)).await?;
        Ok(Self { ground, cx, topology, lanes: HashMap::new() })
    }

    /// The primary a key belongs to now.
    pub(super) fn holder(&self, key: &[u8]) -> Option<Address> {
        if self.topology.slots.is_empty() {
            return self.topology.primaries().next().map(|member| member.address.clone());
        }
        self.topology.holder(slot_of(key)).map(|member| member.address.clone())
    }

    /// The connection to a server, opened when it is first needed; to be put back after use.
    pub(super) async fn take(&mut self, address: &Address) -> Result<Lane, Fault> {
        match self.lanes.remove(address) {
            Some(lane) => Ok(lane),
            None => {
                let host = lane::meet(self.ground, address, 1, self.cx).await?;
                Lane::open(self.ground, &host).await
            }
        }
    }

    pub(super) fn put(&mut self, address: &Address, lane: Lane) {
        self.lanes.insert(address.clone(), lane);
    }

    /// By the servers they belong to; what belongs to none comes second.
    pub(super) fn sort<T>(
        &self,
        all: impl IntoIterator<Item = T>,
        key: impl Fn(&T) -> &[u8],
    ) -> (HashMap<Address, Vec<T>>, Vec<T>) {
        let (mut sorted, mut nowhere) = (HashMap::<Address, Vec<T>>::new(), Vec::new());
        for one in all {
            match self.holder(key(&one)) {
                Some(address) => sorted.entry(address).or_default().push(one),
                None => nowhere.push(one),
            }
        }
        (sorted, nowhere)
    }
}
