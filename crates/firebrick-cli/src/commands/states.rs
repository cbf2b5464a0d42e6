//! The states of remotes in words.

use serde_json::Value;

use crate::output::{bytes, grouped};

/// What a status says of one remote. It comes as JSON, maybe from another process.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemoteView<'a>(pub(super) &'a Value);

impl<'a> RemoteView<'a> {
    pub(super) fn name(self) -> &'a str {
        text(self.0, "remote")
    }

    pub(super) fn url(self) -> &'a str {
        text(self.0, "url")
    }

    /// The state's one word, such as `up_to_date`.
    pub(super) fn word(self) -> &'a str {
        text(self.0, "state")
    }

    /// The state for people.
    pub(super) fn words(self) -> String {
        let shares = self.0.get("shares_keys").and_then(Value::as_bool);
        let hint = match shares {
            Some(true) => " (has the keys of the ledger)",
            _ => "",
        };
        self.state_words() + hint
    }

    fn state_words(self) -> String {
        let state = self.0;
        match self.word() {
            "" => "not connected".to_owned(),
            "up_to_date" => "up to date".to_owned(),
            "syncing" => format!(
                "syncing: {} of {} sent, {} of {} received",
                grouped(number(state, "pushed")),
                grouped(number(state, "pushed") + number(state, "to_push")),
                grouped(number(state, "pulled")),
                grouped(number(state, "pulled") + number(state, "to_pull")),
            ),
            "offline" => format!(
                "out of reach, next try in {:.0} s: {}",
                number(state, "retry_in_ms") as f64 / 1000.0,
                text(state, "cause")
            ),
            "needs_key" => format!("needs the key {}", text(state, "fingerprint")),
            "needs_auth" => format!("needs credentials: {}", text(state, "cause")),
            "needs_merge" => {
                "holds another ledger; attach it again with --merge to join the two".to_owned()
            }
            "failed" => format!("failed: {}", text(state, "cause")),
            other => other.replace('_', " "),
        }
    }

    /// Steps done and steps in all, while it is syncing.
    pub(super) fn progress(self) -> Option<(u64, u64)> {
        let sum = |one, other| number(self.0, one) + number(self.0, other);
        (self.word() == "syncing").then(|| {
            let done = sum("pushed", "pulled");
            (done, done + sum("to_push", "to_pull"))
        })
    }

    pub(super) fn traffic(self, what: &str) -> u64 {
        self.0
            .get("traffic")
            .map_or(0, |traffic| number(traffic, what))
    }

    pub(super) fn sent(self) -> String {
        bytes(self.traffic("bytes_up"))
    }

    pub(super) fn received(self) -> String {
        bytes(self.traffic("bytes_down"))
    }

    pub(super) fn pending(self) -> &'a [Value] {
        self.0
            .get("pending")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn missing_documents(self) -> &'a [Value] {
        self.0
            .get("missing_documents")
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    pub(super) fn last_error(self) -> &'a str {
        text(self.0, "last_error")
    }
}

pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or("")
}

pub(super) fn number(value: &Value, key: &str) -> u64 {
    value.get(key).and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn states_read_well() {
        let remote = json!({"remote": "hub", "state": "syncing", "pushed": 1, "to_push": 2, "pulled": 3, "to_pull": 4000});
        assert_eq!(
            RemoteView(&remote).words(),
            "syncing: 1 of 3 sent, 3 of 4,003 received"
        );
        assert_eq!(RemoteView(&remote).progress(), Some((4, 4006)));
        let remote = json!({"remote": "hub", "state": "up_to_date"});
        assert_eq!(RemoteView(&remote).words(), "up to date");
        assert_eq!(RemoteView(&json!({})).words(), "not connected");
        let remote = json!({"remote": "hub", "state": "up_to_date", "shares_keys": true});
        let words = RemoteView(&remote).words();
        assert_eq!(words, "up to date (has the keys of the ledger)");
    }
}
