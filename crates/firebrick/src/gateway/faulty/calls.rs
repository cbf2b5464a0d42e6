//! The calls of a [`Faulty`] gateway.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use firebrick_core::Cid;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt};

use super::plan::{Call, CallKind, Phase};
use super::{Action, Faulty, Upload};
use crate::env::named;
use crate::env::sim::note;
use crate::gateway::announcement::{Announcement, SlotId};
use crate::gateway::{Capabilities, CarEntry, Gateway, GatewayResult, KeyExchange};

impl<G: Gateway + ?Sized> Faulty<G> {
    /// Makes one call with everything that fate has in store for it.
    async fn call<T: Send + 'static>(&self, kind: CallKind, action: Action<T>) -> GatewayResult<T> {
        let fate = self.control.fate(kind);
        let result = self.suffer(fate, &action).await;
        note(|| {
            let result = match &result {
                Ok(_) => "ok".to_owned(),
                Err(error) => format!("{:?}", error.kind()),
            };
            format!("{} {kind:?} {result}", self.control.label)
        });
        result
    }

    async fn suffer<T: Send + 'static>(
        &self,
        fate: super::Fate,
        action: &Action<T>,
    ) -> GatewayResult<T> {
        let control = &*self.control;
        let before = fate.call;
        let after = Call {
            phase: Phase::After,
            ..before
        };
        control.hook(before).await?;
        if fate.unavailable {
            control.count(|counters| &mut counters.refused);
            return Err(control.down(before));
        }
        self.delay(fate.delay_before).await;
        if fate.hang_before {
            return control.hang().await;
        }
        if fate.error_before {
            control.count(|counters| &mut counters.errors_before);
            return Err(control.lost(before));
        }
        let result = named("a gateway call", action()).await;
        if fate.twice {
            control.count(|counters| &mut counters.duplicates);
            let _ = action().await;
        }
        if let Some(delay) = fate.again_after {
            control.count(|counters| &mut counters.late_duplicates);
            self.again(delay, Arc::clone(action));
        }
        control.hook(after).await?;
        if fate.hang_after {
            return control.hang().await;
        }
        self.delay(fate.delay_after).await;
        if fate.error_after {
            control.count(|counters| &mut counters.errors_after);
            return Err(control.lost(after));
        }
        result
    }

    async fn delay(&self, delay: Duration) {
        if delay > Duration::ZERO {
            self.control.env.sleep(delay).await;
        }
    }

    /// Repeats a call later, whatever was called meanwhile.
    fn again<T: Send + 'static>(&self, delay: Duration, action: Action<T>) {
        let pause = self.control.env.sleep(delay);
        let repeat = Box::pin(async move {
            pause.await;
            let _ = action().await;
        });
        self.control.env.spawn("a late duplicate", repeat);
    }

    fn action<T: Send + 'static, F>(&self, call: F) -> Action<T>
    where
        F: Fn(Arc<G>) -> BoxFuture<'static, GatewayResult<T>> + Send + Sync + 'static,
    {
        let inner = Arc::clone(&self.inner);
        Arc::new(move || call(Arc::clone(&inner)))
    }

    async fn put(&self, cid: &Cid, is_file: bool, bytes: Bytes) -> GatewayResult<()> {
        let (kind, cid) = match is_file {
            false => (CallKind::PutCar, *cid),
            true => (CallKind::PutFileCar, *cid),
        };
        let control = Arc::clone(&self.control);
        let action = self.action(move |inner| {
            let (control, bytes) = (Arc::clone(&control), bytes.clone());
            Box::pin(async move {
                let (bytes, cut) = match control.upload(&bytes) {
                    Upload::Whole => (bytes, false),
                    Upload::Cut(part) => (part, true),
                    Upload::Lost => return Ok(()),
                };
                let put = if is_file {
                    inner.put_file_car(&cid, bytes)
                } else {
                    inner.put_car(&cid, bytes)
                };
                put.await?;
                let call = Call {
                    index: 0,
                    kind,
                    phase: Phase::Before,
                };
                if cut { Err(control.lost(call)) } else { Ok(()) }
            })
        });
        self.call(kind, action).await
    }

    async fn get(&self, cid: &Cid, is_file: bool) -> GatewayResult<Option<Bytes>> {
        let (kind, cid) = match is_file {
            false => (CallKind::GetCar, *cid),
            true => (CallKind::GetFileCar, *cid),
        };
        let action = self.action(move |inner| {
            Box::pin(async move {
                if is_file {
                    inner.get_file_car(&cid).await
                } else {
                    inner.get_car(&cid).await
                }
            })
        });
        let bytes = self.call(kind, action).await?;
        self.control.damage(&cid, bytes)
    }
}

impl<G: Gateway + ?Sized> Gateway for Faulty<G> {
    fn url(&self) -> &str {
        self.inner.url()
    }

    fn capabilities(&self) -> Capabilities {
        let can = self.inner.capabilities();
        let limits = self.state().limits.unwrap_or(can);
        Capabilities {
            write: can.write && limits.write,
            notify: can.notify && limits.notify,
            list: can.list && limits.list,
            delete: can.delete && limits.delete,
            shared_pointer: can.shared_pointer && limits.shared_pointer,
            javascript: can.javascript && limits.javascript,
            remove_slots: can.remove_slots && limits.remove_slots,
        }
    }

    fn prepare(&self) -> BoxFuture<'_, GatewayResult<()>> {
        let action = self.action(|inner| Box::pin(async move { inner.prepare().await }));
        Box::pin(self.call(CallKind::Prepare, action))
    }

    fn put_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(self.put(cid, false, bytes))
    }

    fn put_file_car<'a>(&'a self, cid: &'a Cid, bytes: Bytes) -> BoxFuture<'a, GatewayResult<()>> {
        Box::pin(self.put(cid, true, bytes))
    }

    fn get_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        Box::pin(self.get(cid, false))
    }

    fn get_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<Option<Bytes>>> {
        Box::pin(self.get(cid, true))
    }

    fn delete_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        let cid = *cid;
        let action =
            self.action(move |inner| Box::pin(async move { inner.delete_car(&cid).await }));
        Box::pin(self.call(CallKind::DeleteCar, action))
    }

    fn delete_file_car<'a>(&'a self, cid: &'a Cid) -> BoxFuture<'a, GatewayResult<()>> {
        let cid = *cid;
        let action =
            self.action(move |inner| Box::pin(async move { inner.delete_file_car(&cid).await }));
        Box::pin(self.call(CallKind::DeleteFileCar, action))
    }

    fn list_cars(&self) -> BoxFuture<'_, GatewayResult<Option<Vec<CarEntry>>>> {
        let action = self.action(|inner| Box::pin(async move { inner.list_cars().await }));
        Box::pin(async move {
            let entries = self.call(CallKind::ListCars, action).await?;
            let entries = entries.filter(|_| self.capabilities().list);
            Ok(entries.map(|entries| self.control.hide_cars(entries)))
        })
    }

    fn announce<'a>(
        &'a self,
        slot: &'a SlotId,
        announcement: &'a Announcement,
    ) -> BoxFuture<'a, GatewayResult<()>> {
        let (slot, announcement) = (slot.clone(), announcement.clone());
        let action = self.action(move |inner| {
            let (slot, announcement) = (slot.clone(), announcement.clone());
            Box::pin(async move { inner.announce(&slot, &announcement).await })
        });
        Box::pin(self.call(CallKind::Announce, action))
    }

    fn slots(&self) -> BoxFuture<'_, GatewayResult<Vec<(SlotId, Announcement)>>> {
        let action = self.action(|inner| Box::pin(async move { inner.slots().await }));
        Box::pin(async move {
            let slots = self.call(CallKind::Slots, action).await?;
            Ok(self.control.hide_slots(slots))
        })
    }

    fn remove_slot<'a>(&'a self, slot: &'a SlotId) -> BoxFuture<'a, GatewayResult<()>> {
        let slot = slot.clone();
        let action = self.action(move |inner| {
            let slot = slot.clone();
            Box::pin(async move { inner.remove_slot(&slot).await })
        });
        Box::pin(self.call(CallKind::RemoveSlot, action))
    }

    fn read_pointer(&self) -> BoxFuture<'_, GatewayResult<Option<Bytes>>> {
        let action = self.action(|inner| Box::pin(async move { inner.read_pointer().await }));
        Box::pin(self.call(CallKind::ReadPointer, action))
    }

    fn write_pointer(&self, bytes: Bytes) -> BoxFuture<'_, GatewayResult<()>> {
        let action = self.action(move |inner| {
            let bytes = bytes.clone();
            Box::pin(async move { inner.write_pointer(bytes).await })
        });
        Box::pin(self.call(CallKind::WritePointer, action))
    }

    fn share_keys(&self, exchange: Arc<dyn KeyExchange>) -> bool {
        self.inner.share_keys(exchange)
    }

    fn watch(&self) -> BoxStream<'static, ()> {
        if !self.capabilities().notify {
            return stream::pending().boxed();
        }
        let control = Arc::clone(&self.control);
        let hints = (self.inner.watch(), false);
        stream::unfold(hints, move |(mut hints, repeat)| {
            let control = Arc::clone(&control);
            async move {
                if repeat {
                    return Some(((), (hints, false)));
                }
                loop {
                    hints.next().await?;
                    let (hint, delay) = control.hint();
                    control.env.sleep(delay).await;
                    match hint {
                        Hint::Drop => {}
                        Hint::Once => return Some(((), (hints, false))),
                        Hint::Twice => return Some(((), (hints, true))),
                        Hint::End => return None,
                    }
                }
            }
        })
        .boxed()
    }
}

/// What becomes of one hint.
enum Hint {
    Drop,
    Once,
    Twice,
    End,
}

impl super::Control {
    fn hint(&self) -> (Hint, Duration) {
        let now = self.env.now();
        let mut state = self.state();
        let plan = state.plan.clone();
        let rng = &mut state.rng;
        let end = rng.chance(plan.end_watch);
        let lost = rng.chance(plan.drop_hint);
        let twice = rng.chance(plan.duplicate_hint);
        let late = rng.chance(plan.delay);
        let delay = super::span(rng, plan.delay_max);
        let down = state.unavailable || now < state.outage_until;
        let hint = if end {
            state.counters.ended_watches += 1;
            Hint::End
        } else if lost || down {
            state.counters.dropped_hints += 1;
            Hint::Drop
        } else if twice {
            Hint::Twice
        } else {
            Hint::Once
        };
        (hint, if late { delay } else { Duration::ZERO })
    }
}
