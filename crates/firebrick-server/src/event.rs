//! Events: what all subscribers of a ledger are told alike is encoded once, and each gets it in an
//! envelope of its own. The bytes are those of [`Message::encode`].

use std::collections::HashSet;

use bytes::Bytes;
use firebrick_core::cloud::{Auth, Body, Conn, KeyText, Message, MetaSet, Scope};

use crate::hub::Outgoing;
use crate::metas::StoredMeta;

/// How an event ends whose URL and metas are empty.
const EMPTY: &str = r#""","meta":{"metas":[],"keys":[]}}"#;

/// The part of an event that is one subscriber's: everything before the signed URL.
#[derive(Debug)]
pub(crate) struct Envelope(Box<[u8]>);

impl Envelope {
    pub(crate) fn new(tid: &str, auth: &Auth, scope: &Scope) -> Self {
        let empty = message(
            tid,
            auth.clone(),
            scope.clone(),
            String::new(),
            MetaSet::default(),
        );
        let mut text = empty.encode();
        // URL and metas are the last fields.
        text.truncate(text.len().saturating_sub(EMPTY.len()));
        Self(text.into_bytes().into())
    }

    /// The event, with its signed URL and [what it tells](News::for_reader).
    pub(crate) fn seal(&self, url: &str, content: Bytes) -> Outgoing {
        let mut own = Vec::with_capacity(self.0.len() + url.len() + 2);
        own.extend_from_slice(&self.0);
        own.push(b'"');
        // A URL has no characters that JSON escapes.
        own.extend_from_slice(url.as_bytes());
        own.push(b'"');
        Outgoing::new(own, content)
    }
}

/// The same as a message, for one.
pub(crate) fn message(
    tid: &str,
    auth: Auth,
    scope: Scope,
    signed_url: String,
    meta: MetaSet,
) -> Message {
    let body = Body::EventGetMeta {
        scope,
        signed_url,
        meta,
    };
    Message::new(tid, auth, body)
}

/// Metas and keys that came together, encoded.
#[derive(Debug)]
pub(crate) struct News {
    metas: Vec<(Conn, String)>,
    keys: String,
    /// Who has brought what is new: the others are told the whole.
    owners: HashSet<Conn>,
    key_owners: HashSet<Conn>,
    whole: Bytes,
}

impl News {
    /// New metas with all keys, and who has brought new keys.
    pub(crate) fn new(metas: &[StoredMeta], keys: &[KeyText], key_owners: HashSet<Conn>) -> Self {
        // Nothing here can fail to be written.
        let text = |meta: &StoredMeta| serde_json::to_string(&meta.entry).unwrap_or_default();
        let metas: Vec<_> = metas
            .iter()
            .map(|meta| (meta.owner.clone(), text(meta)))
            .collect();
        let keys = serde_json::to_string(keys).unwrap_or_default();
        let mut owners = key_owners.clone();
        owners.extend(metas.iter().map(|(owner, _)| owner.clone()));
        Self {
            whole: join(metas.iter(), &keys),
            metas,
            keys,
            key_owners,
            owners,
        }
    }

    /// What a connection is told: not its own. Nothing if there is nothing else.
    pub(crate) fn for_reader(&self, name: &Conn) -> Option<Bytes> {
        if !self.owners.contains(name) {
            return (!self.owners.is_empty()).then(|| self.whole.clone());
        }
        let mut foreign = self
            .metas
            .iter()
            .filter(|(owner, _)| owner != name)
            .peekable();
        if foreign.peek().is_none() && self.key_owners.iter().all(|owner| owner == name) {
            return None;
        }
        Some(join(foreign, &self.keys))
    }
}

/// The end of an event, from the comma before its metas on.
fn join<'a>(metas: impl Iterator<Item = &'a (Conn, String)>, keys: &str) -> Bytes {
    let mut text = String::from(r#","meta":{"metas":["#);
    for (at, (_, meta)) in metas.enumerate() {
        if at > 0 {
            text.push(',');
        }
        text.push_str(meta);
    }
    text.push_str(r#"],"keys":"#);
    text.push_str(keys);
    text.push_str("}}");
    text.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use firebrick_core::Cid;
    use firebrick_core::cid::Codec;
    use firebrick_core::cloud::{MetaEntry, MethodParam, Store, TenantLedger, UrlParam, Verb};
    use firebrick_core::keys::Key;
    use firebrick_core::meta::MetaEvent;

    fn conn(req_id: &str) -> Conn {
        Conn {
            req_id: req_id.into(),
            res_id: "s \"quoted\"".into(),
        }
    }

    fn meta(owner: &str, position: i64) -> StoredMeta {
        StoredMeta {
            position,
            owner: conn(owner),
            entry: MetaEntry::new(&MetaEvent {
                cars: vec![Cid::of(Codec::Car, &position.to_be_bytes())],
                parents: vec![Cid::of(Codec::DagCbor, b"parent")],
            }),
        }
    }

    /// What a subscriber is sent, and the same as a message.
    fn both_ways(reader: &str, auth: &Auth, news: &News, set: MetaSet) -> (Bytes, String) {
        let scope = Scope {
            conn: conn(reader),
            tenant: Some(TenantLedger::new("ten\u{e9}", "led\"ger")),
            method: MethodParam {
                method: Verb::Get,
                store: Store::Meta,
            },
            url: UrlParam {
                key: "main".into(),
                path: Some("/fp\n".into()),
                ..UrlParam::default()
            },
        };
        let (tid, url) = ("tid \\ ü", "http://ü.example:1/store/t/l/meta/main?x-sig=0");
        let content = news.for_reader(&conn(reader)).unwrap();
        let sent = Envelope::new(tid, auth, &scope).seal(url, content);
        let whole = message(tid, auth.clone(), scope, url.into(), set);
        (sent.into_bytes(), whole.encode())
    }

    #[test]
    fn events_are_the_bytes_of_their_message() {
        let keys = [1, 2].map(|n| KeyText::new(&Key::generate([n; 32])));
        let metas = [meta("a", 1), meta("b", 2), meta("a", 3)];
        let entries = |owners: &[&str]| -> Vec<_> {
            let owned = metas
                .iter()
                .filter(|m| owners.contains(&m.owner.req_id.as_str()));
            owned.map(|meta| meta.entry.clone()).collect()
        };
        let odd = Auth::Other {
            kind: "x\u{1}".into(),
            params: Some(serde_json::json!({"meta": {"metas": [], "keys": []}})),
        };
        for auth in [Auth::token("a.b.c"), odd] {
            for (keys, reader, owners) in [
                (&keys[..], "c", &["a", "b"][..]),
                (&keys[..], "a", &["b"][..]),
                (&[][..], "b", &["a"][..]),
            ] {
                let news = News::new(&metas, keys, HashSet::new());
                let set = MetaSet {
                    metas: entries(owners),
                    keys: keys.to_vec(),
                };
                let (sent, whole) = both_ways(reader, &auth, &news, set);
                assert_eq!(sent, whole.as_bytes());
            }
        }
    }

    #[test]
    fn nobody_is_told_their_own_alone() {
        let keys = [KeyText::new(&Key::generate([1; 32]))];
        let by = |names: &[&str]| names.iter().map(|name| conn(name)).collect::<HashSet<_>>();
        let told = |news: &News, name: &str| news.for_reader(&conn(name)).is_some();
        let news = News::new(&[meta("a", 1)], &keys, by(&["a"]));
        assert!(!told(&news, "a") && told(&news, "b"));
        // A key may be all that is new.
        let news = News::new(&[meta("a", 1)], &keys, by(&["a", "b"]));
        assert!(told(&news, "a") && told(&news, "b"));
        let news = News::new(&[], &keys, by(&["b"]));
        assert!(told(&news, "a") && !told(&news, "b"));
        assert!(!told(&News::new(&[], &keys, by(&[])), "a"));
        let auth = Auth::token("a.b.c");
        let set = MetaSet {
            metas: Vec::new(),
            keys: keys.to_vec(),
        };
        let (sent, whole) = both_ways("a", &auth, &news, set);
        assert_eq!(sent, whole.as_bytes());
    }
}
