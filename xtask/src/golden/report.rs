//! Counting checks and naming those that fail.

use std::fmt::{Debug, Display};

/// Longer values are cut in messages.
const SHOWN: usize = 300;

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) passed: usize,
    pub(crate) failed: usize,
    /// What failed, one line each.
    pub(crate) lines: Vec<String>,
    quiet: bool,
    place: String,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Prints nothing.
    #[cfg(test)]
    pub(crate) fn quiet() -> Self {
        Self {
            quiet: true,
            ..Self::default()
        }
    }

    /// Says where the following checks belong.
    pub(crate) fn at(&mut self, place: impl Display) {
        self.place = place.to_string();
    }

    /// One check.
    pub(crate) fn check(&mut self, good: bool, cause: impl FnOnce() -> String) -> bool {
        if good {
            self.passed += 1;
        } else {
            self.failed += 1;
            let line = format!("FAIL {}: {}", self.place, cause());
            if !self.quiet {
                println!("{line}");
            }
            self.lines.push(line);
        }
        good
    }

    /// Two values must be equal.
    pub(crate) fn eq<A: PartialEq<B> + Debug + ?Sized, B: Debug + ?Sized>(
        &mut self,
        what: &str,
        actual: &A,
        expected: &B,
    ) -> bool {
        self.check(actual == expected, || {
            format!("{what} is {}, not {}", shown(actual), shown(expected))
        })
    }

    /// Something must work; gives what it made.
    pub(crate) fn ok<T, E: Display>(&mut self, what: &str, result: Result<T, E>) -> Option<T> {
        match result {
            Ok(value) => {
                self.passed += 1;
                Some(value)
            }
            Err(error) => {
                self.check(false, || format!("{what}: {error}"));
                None
            }
        }
    }

    /// Something must fail.
    pub(crate) fn err<T: Debug, E>(&mut self, what: &str, result: Result<T, E>) {
        let value = result.ok();
        self.check(value.is_none(), || {
            format!("{what} was accepted as {}", shown(&value))
        });
    }

    /// A remark that is no check.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            println!("note: {text}");
        }
    }
}

fn shown(value: &(impl Debug + ?Sized)) -> String {
    let text = format!("{value:?}");
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}
