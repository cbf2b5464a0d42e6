//! Keys in messages: JavaScript clients send theirs in clear, we only if that was asked for.

use std::sync::{Arc, Mutex};

use firebrick_core::cloud::KeyText;
use hashbrown::HashSet;

use crate::gateway::KeyExchange;
use crate::lock::lock;

/// Keys that are taken from one server. A ledger has one per writer that rotated or began apart.
const MOST: usize = 256;

/// Whether, and with whom, keys are shared.
pub(super) struct Sharing {
    allowed: bool,
    exchange: Mutex<Option<Arc<dyn KeyExchange>>>,
    seen: Mutex<HashSet<String>>,
}

impl Sharing {
    pub(super) fn new(allowed: bool) -> Self {
        Self {
            allowed,
            exchange: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    pub(super) fn is_allowed(&self) -> bool {
        self.allowed
    }

    /// Connects the keys of the ledger, if they are to be shared; whether they are.
    pub(super) fn connect(&self, exchange: Arc<dyn KeyExchange>) -> bool {
        if self.allowed {
            *lock(&self.exchange) = Some(exchange);
        }
        self.allowed
    }

    /// The keys that go with a meta.
    pub(super) fn send(&self) -> Vec<KeyText> {
        let exchange = lock(&self.exchange).clone();
        exchange.map_or_else(Vec::new, |exchange| exchange.keys())
    }

    /// Keys that came with metas.
    pub(super) fn receive(&self, keys: &[KeyText]) {
        let Some(exchange) = lock(&self.exchange).clone() else {
            return;
        };
        let fresh: Vec<KeyText> = {
            let mut seen = lock(&self.seen);
            let mut fresh = Vec::new();
            for key in keys {
                let Ok(parsed) = key.key() else { continue };
                if seen.len() < MOST && seen.insert(parsed.fingerprint()) {
                    fresh.push(key.clone());
                }
            }
            fresh
        };
        if !fresh.is_empty() {
            // Writes to the keybag.
            tokio::task::spawn_blocking(move || exchange.learn(&fresh));
        }
    }
}
