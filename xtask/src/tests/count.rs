//! Runs a test runner, passes its output on, and counts what it says passed and failed.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail};

use crate::run::describe;

/// Tests that passed and failed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Runs `command`; fails if it fails or if no test ran.
pub(crate) fn run(command: &mut Command) -> Result<Count> {
    let line = describe(command);
    eprintln!("    $ {line}");
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{line}`"))?;
    let stdout = child.stdout.take().context("no pipe")?;
    let stderr = child.stderr.take().context("no pipe")?;
    let errors = thread::spawn(move || pass_on(stderr, &mut std::io::stderr()));
    let mut count = pass_on(stdout, &mut std::io::stdout());
    count += errors.join().unwrap_or_default();
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "`{line}` failed ({status}): {} passed, {} failed",
            count.passed,
            count.failed
        );
    }
    if count.passed == 0 && !line.contains("--doc") {
        bail!("`{line}` ran no test");
    }
    Ok(count)
}

fn pass_on(from: impl Read, to: &mut impl Write) -> Count {
    let mut count = Count::default();
    for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
        let text = String::from_utf8_lossy(&line);
        if let Some(found) = summary(&text) {
            count += found;
        }
        // The reader of our output may be gone; the tests go on.
        let _ = writeln!(to, "{text}");
    }
    count
}

/// Reads the closing line of cargo test, nextest, node's runner, or the plain form.
fn summary(line: &str) -> Option<Count> {
    let line = strip_colours(line);
    let line = line.trim();
    if line.starts_with("Summary [") || line.starts_with("test result:") {
        return Some(Count {
            passed: number_before(line, "passed"),
            failed: number_before(line, "failed"),
        });
    }
    // node --test, in both of its reporters: `# pass 12`, `ℹ pass 12`
    if let Some(rest) = line.strip_prefix("# ").or_else(|| line.strip_prefix("ℹ ")) {
        let (word, number) = rest.split_once(' ')?;
        let number = number.trim().parse().ok()?;
        return match word {
            "pass" => Some(Count {
                passed: number,
                failed: 0,
            }),
            "fail" => Some(Count {
                passed: 0,
                failed: number,
            }),
            _ => None,
        };
    }
    let plain = line.split_once(": ").map_or(line, |(_, rest)| rest);
    let (passed, rest) = plain.split_once(" passed, ")?;
    let failed = rest.split_once(" failed")?.0;
    Some(Count {
        passed: passed.parse().ok()?,
        failed: failed.parse().ok()?,
    })
}

fn number_before(line: &str, word: &str) -> u64 {
    line.split_once(&format!(" {word}"))
        .and_then(|(before, _)| before.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0)
}

fn strip_colours(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find("\u{1b}[") {
        plain.push_str(&rest[..start]);
        rest = &rest[start..];
        rest = rest.find('m').map_or("", |end| &rest[end + 1..]);
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_understood() {
        let check = |line: &str, passed, failed| {
            assert_eq!(summary(line), Some(Count { passed, failed }), "{line}");
        };
        check(
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out",
            12,
            0,
        );
        check(
            "\u{1b}[32m     Summary\u{1b}[0m [   0.1s] 5 tests run: 4 passed, 1 failed, 0 skipped",
            4,
            1,
        );
        check(
            "     Summary [   0.1s] 5 tests run: 5 passed (1 slow), 0 skipped",
            5,
            0,
        );
        check("ℹ pass 7", 7, 0);
        check("# fail 2", 0, 2);
        check("golden: 31 passed, 0 failed", 31, 0);
        assert_eq!(summary("running 3 tests"), None);
    }
}
