//! A gateway whose every call ends: no wait without a deadline.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::Cid;
use futures_util::stream::BoxStream;

use crate::env::{self, Env};
use crate::gateway::{
    Announcement, Capabilities, CarEntry, Gateway, GatewayError, GatewayErrorKind, GatewayResult,
    SlotId,
};

/// How long a small call may take.
const SMALL: Duration = Duration::from_secs(20);
/// The slowest line that a CAR is waited for on.
const BYTES_PER_SECOND_MIN: usize = 32 << 10;
/// How long reading a CAR of unknown size may take.
const READ: Duration = Duration::from_secs(120);

/// The gateway as the tracker uses it.
#[derive(Clone)]
pub(crate) struct Timed {
    inner: Arc<dyn Gateway>,
    env: Arc<dyn Env>,
}

impl Timed {
    pub(super) fn new(inner: Arc<dyn Gateway>, env: Arc<dyn Env>) -> Self {
        Self { inner, env }
    }

    async fn within<T>(
        &self,
        what: &str,
        limit: Duration,
        call: impl Future<Output = GatewayResult<T>>,
    ) -> GatewayResult<T> {
        let answer = env::timeout(&*self.env, limit, call).await;
        answer.unwrap_or_else(|_| {
            let message = format!(
                "{} gave no answer to {what} within {} s; it is tried again",
                self.inner.url(),
                limit.as_secs()
            );
            Err(GatewayError::new(GatewayErrorKind::Unavailable, message))
        })
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    pub(super) fn watch(&self) -> BoxStream<'static, ()> {
        self.inner.watch()
    }

    pub(super) async fn prepare(&self) -> GatewayResult<()> {
        self.within("the first contact", SMALL, self.inner.prepare())
            .await
    }

    pub(super) async fn put_car(&self, cid: &Cid, bytes: Bytes) -> GatewayResult<()> {
        let limit = SMALL + Duration::from_secs((bytes.len() / BYTES_PER_SECOND_MIN) as u64);
        self.within("an upload", limit, self.inner.put_car(cid, bytes))
            .await
    }

    pub(super) async fn get_car(&self, cid: &Cid) -> GatewayResult<Option<Bytes>> {
        self.within("a download", READ, self.inner.get_car(cid))
            .await
    }

    pub(super) async fn car_len(&self, cid: &Cid) -> GatewayResult<Option<u64>> {
        self.within("a look at a CAR", READ, self.inner.car_len(cid))
            .await
    }

    pub(crate) async fn get_file_car(&self, cid: &Cid) -> GatewayResult<Option<Bytes>> {
        self.within("a download", READ, self.inner.get_file_car(cid))
            .await
    }

    pub(super) async fn put_file_car(&self, cid: &Cid, bytes: Bytes) -> GatewayResult<()> {
        let limit = SMALL + Duration::from_secs((bytes.len() / BYTES_PER_SECOND_MIN) as u64);
        self.within("an upload", limit, self.inner.put_file_car(cid, bytes))
            .await
    }

    pub(super) async fn delete_car(&self, cid: &Cid) -> GatewayResult<()> {
        self.within("a deletion", SMALL, self.inner.delete_car(cid))
            .await
    }

    pub(super) async fn list_cars(&self) -> GatewayResult<Option<Vec<CarEntry>>> {
        self.within("a listing of CARs", READ, self.inner.list_cars())
            .await
    }

    pub(super) async fn announce(&self, slot: &SlotId, said: &Announcement) -> GatewayResult<()> {
        // Remotes that sync at the announcement have all the CARs before it to sync.
        self.within("an announcement", READ, self.inner.announce(slot, said))
            .await
    }

    pub(super) async fn slots(&self) -> GatewayResult<Vec<(SlotId, Announcement)>> {
        self.within("a listing of slots", SMALL, self.inner.slots())
            .await
    }

    pub(super) async fn remove_slot(&self, slot: &SlotId) -> GatewayResult<()> {
        self.within("the removal of a slot", SMALL, self.inner.remove_slot(slot))
            .await
    }

    pub(super) async fn read_pointer(&self) -> GatewayResult<Option<Bytes>> {
        self.within("reading the pointer", SMALL, self.inner.read_pointer())
            .await
    }

    pub(super) async fn write_pointer(&self, bytes: Bytes) -> GatewayResult<()> {
        self.within(
            "writing the pointer",
            SMALL,
            self.inner.write_pointer(bytes),
        )
        .await
    }
}
