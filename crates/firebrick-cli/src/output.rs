//! What is printed, and how: for people on a terminal, NDJSON in pipes and with `--json`.

use std::io::{self, BufWriter, IsTerminal, Stdout, Write};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use comfy_table::presets::NOTHING;
use comfy_table::{Cell, Table};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;
use serde::ser::SerializeMap;
use serde_json::{Map, Value};

use crate::args::Global;
use crate::failure::{Failure, Result};

/// The two streams of a command, and what they are connected to.
#[derive(Debug)]
pub(crate) struct Output {
    json: bool,
    quiet: bool,
    terminal: bool,
    error_terminal: bool,
    colour: bool,
    stdout: Mutex<BufWriter<Stdout>>,
}

impl Output {
    pub(crate) fn new(global: &Global) -> Output {
        let terminal = io::stdout().is_terminal();
        Output {
            json: global.json,
            quiet: global.quiet,
            terminal,
            error_terminal: io::stderr().is_terminal(),
            colour: terminal && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            stdout: Mutex::new(BufWriter::with_capacity(64 * 1024, io::stdout())),
        }
    }

    /// `--json` was given.
    pub(crate) fn json(&self) -> bool {
        self.json
    }

    /// Documents go out as NDJSON: for a program, because asked to or because in a pipe.
    pub(crate) fn ndjson(&self) -> bool {
        self.json || !self.terminal
    }

    pub(crate) fn quiet(&self) -> bool {
        self.quiet
    }

    /// Whether stdout shows to a person.
    pub(crate) fn terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn colour(&self) -> bool {
        self.colour
    }

    /// Prints one line; on a terminal at once, else when the buffer is full or flushed.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Result<()> {
        let mut stdout = self.stdout.lock().unwrap_or_else(PoisonError::into_inner);
        let text = text.as_ref();
        stdout
            .write_all(text.as_bytes())
            .and_then(|()| stdout.write_all(b"\n"))
            .map_err(|e| write_failed(&e))?;
        if self.terminal {
            stdout.flush().map_err(|e| write_failed(&e))
        } else {
            Ok(())
        }
    }

    pub(crate) fn value(&self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string(value).map_err(|e| Failure::bad_input(e.to_string()))?;
        self.line(text)
    }

    /// A document, `_id` first: on one line for programs, indented for people.
    pub(crate) fn document(&self, document: &Value) -> Result<()> {
        self.line(document_text(document, !self.ndjson()))
    }

    pub(crate) fn flush(&self) -> Result<()> {
        self.stdout
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .flush()
            .map_err(|e| write_failed(&e))
    }

    /// A remark for people, on stderr.
    pub(crate) fn note(&self, text: impl AsRef<str>) {
        if !self.quiet && !self.json {
            let _ = writeln!(io::stderr(), "{}", text.as_ref());
        }
    }

    /// A remark for someone who is about to be waited for at a terminal.
    pub(crate) fn prompt(&self, text: &str) {
        if io::stdin().is_terminal() {
            self.note(text);
        }
    }

    /// A warning: said even when asked to be quiet, and as JSON with `--json`.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        let text = text.as_ref();
        let _ = if self.json {
            writeln!(io::stderr(), "{}", serde_json::json!({ "warning": text }))
        } else {
            writeln!(io::stderr(), "warning: {text}")
        };
    }

    pub(crate) fn failure(&self, failure: &Failure) {
        let mut stderr = io::stderr();
        let _ = if self.json {
            writeln!(stderr, "{}", failure.to_json())
        } else {
            let hint = failure
                .hint
                .as_deref()
                .map_or(String::new(), |hint| format!("\n  {hint}"));
            writeln!(stderr, "error: {}{hint}", printable(&failure.message))
        };
    }

    pub(crate) fn table(&self, header: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(NOTHING);
        if !self.terminal {
            table.force_no_tty();
        }
        if header.is_empty() {
            return table;
        }
        table.set_header(header.iter().map(|title| {
            let cell = Cell::new(title);
            if self.colour {
                cell.add_attribute(comfy_table::Attribute::Bold)
            } else {
                cell
            }
        }));
        table
    }

    pub(crate) fn print_table(&self, table: &Table) -> Result<()> {
        table
            .lines()
            .try_for_each(|line| self.line(line.trim_end()))
    }

    /// Bars are drawn on stderr, and only where a person sees them.
    fn draw_target(&self) -> ProgressDrawTarget {
        if self.error_terminal && !self.quiet && !self.json {
            ProgressDrawTarget::stderr_with_hz(12)
        } else {
            ProgressDrawTarget::hidden()
        }
    }

    /// Whether progress bars show; otherwise lines can stand in for them.
    pub(crate) fn draws_bars(&self) -> bool {
        !self.draw_target().is_hidden()
    }

    pub(crate) fn bars(&self) -> MultiProgress {
        MultiProgress::with_draw_target(self.draw_target())
    }

    /// A bar over bytes when the length is known, else a counter.
    pub(crate) fn byte_bar(&self, length: Option<u64>) -> ProgressBar {
        let bar = match length {
            Some(length) => ProgressBar::new(length).with_style(style(
                "{bar:32.green/dim} {bytes}/{total_bytes}  {msg}  {eta}",
            )),
            None => {
                ProgressBar::no_length().with_style(style("{spinner} {bytes}  {msg}  {elapsed}"))
            }
        };
        self.started(bar)
    }

    pub(crate) fn count_bar(&self, length: Option<u64>) -> ProgressBar {
        let bar = match length {
            Some(length) => ProgressBar::new(length).with_style(style(
                "{bar:32.green/dim} {human_pos}/{human_len}  {msg}  {eta}",
            )),
            None => ProgressBar::no_length()
                .with_style(style("{spinner} {human_pos}  {msg}  {elapsed}")),
        };
        self.started(bar)
    }

    fn started(&self, bar: ProgressBar) -> ProgressBar {
        bar.set_draw_target(self.draw_target());
        bar.enable_steady_tick(Duration::from_millis(120));
        bar
    }
}

pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("━╸─")
}

fn write_failed(error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe {
        Failure::output_closed()
    } else {
        Failure::bad_input(format!("cannot write the output: {error}"))
    }
}

/// Text without control characters, which could steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

pub(crate) fn document_text(document: &Value, pretty: bool) -> String {
    let Value::Object(map) = document else {
        return document.to_string();
    };
    if pretty {
        serde_json::to_string_pretty(&IdFirst(map))
            .map(|text| printable(&text))
            .unwrap_or_default()
    } else {
        serde_json::to_string(&IdFirst(map)).unwrap_or_default()
    }
}

struct IdFirst<'a>(&'a Map<String, Value>);

impl Serialize for IdFirst<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        if let Some(id) = self.0.get("_id") {
            map.serialize_entry("_id", id)?;
        }
        for (key, value) in self.0.iter().filter(|(key, _)| *key != "_id") {
            map.serialize_entry(key, value)?;
        }
        map.end()
    }
}

/// 1234567 as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that reads best: `812 B`, `3.4 kB`, `1.2 MB`.
pub(crate) fn bytes(count: u64) -> String {
    indicatif::DecimalBytes(count).to_string()
}

/// The beginning of a CID or a hash, enough to compare by eye.
pub(crate) fn short(text: &str) -> String {
    match text.char_indices().nth(16) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_id_comes_first() {
        assert_eq!(
            document_text(&json!({"a": 1, "_id": "x", "Z": 2}), false),
            r#"{"_id":"x","Z":2,"a":1}"#
        );
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1_234_567), "1,234,567");
    }

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(
            printable("a\u{1b}[31mb\u{9b}c\n"),
            "a\u{fffd}[31mb\u{fffd}c\n"
        );
    }
}
