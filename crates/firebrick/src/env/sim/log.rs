//! The event log: a hash of everything, and the last notes in words.

use std::collections::VecDeque;
use std::time::Duration;

use super::task::TaskId;
use crate::env::rng::mix;

/// How many notes are kept for the report of a stuck run.
const RECENT: usize = 100;

#[derive(Debug)]
pub(super) struct Log {
    hash: u64,
    recent: VecDeque<String>,
    /// Every event in words, to find out where two runs part.
    transcript: Option<Vec<String>>,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            hash: 0,
            recent: VecDeque::new(),
            transcript: None,
        }
    }

    pub(super) fn with_transcript() -> Self {
        Self {
            transcript: Some(Vec::new()),
            ..Self::new()
        }
    }

    pub(super) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(super) fn recent(&self) -> Vec<String> {
        self.recent.iter().cloned().collect()
    }

    pub(super) fn transcript(&self) -> Vec<String> {
        self.transcript.clone().unwrap_or_default()
    }

    pub(super) fn spawn(&mut self, process: usize, id: TaskId, name: &str) {
        self.add(1, &[process as u64, id]);
        self.text(name);
        self.line(|| format!("process {process} spawns task {id} {name:?}"));
    }

    pub(super) fn poll(&mut self, id: TaskId) {
        self.add(2, &[id]);
        self.line(|| format!("poll task {id}"));
    }

    pub(super) fn time(&mut self, now: Duration) {
        self.add(3, &[u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)]);
        self.line(|| format!("time is {now:?}"));
    }

    pub(super) fn crash(&mut self, process: usize) {
        self.add(4, &[process as u64]);
        self.line(|| format!("process {process} crashes"));
    }

    pub(super) fn pause(&mut self, process: usize, paused: bool) {
        self.add(5, &[process as u64, u64::from(paused)]);
        self.line(|| format!("process {process} paused: {paused}"));
    }

    pub(super) fn note(&mut self, now: Duration, id: TaskId, name: &str, line: &str) {
        self.add(6, &[id]);
        self.text(line);
        let line = format!("{now:>10.3?} {name}: {line}");
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.line(|| line.clone());
        self.recent.push_back(line);
    }

    fn add(&mut self, kind: u64, values: &[u64]) {
        self.hash = mix(self.hash ^ kind);
        for value in values {
            self.hash = mix(self.hash.rotate_left(17) ^ *value);
        }
    }

    fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            self.hash = (self.hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.hash = mix(self.hash);
    }

    fn line(&mut self, line: impl FnOnce() -> String) {
        if let Some(transcript) = &mut self.transcript {
            transcript.push(line());
        }
    }
}
