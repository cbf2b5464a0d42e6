//! Metas for tests.

use firebrick_core::Cid;
use firebrick_core::cid::Codec;
use firebrick_core::cloud::MetaEntry;
use firebrick_core::meta::MetaEvent;

pub(crate) fn meta(n: u8) -> MetaEntry {
    MetaEntry::new(&MetaEvent {
        cars: vec![Cid::of(Codec::Car, &[n])],
        parents: Vec::new(),
    })
}
