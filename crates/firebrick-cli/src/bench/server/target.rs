//! The server that is measured: one of our own in another process, or any.

use std::path::PathBuf;
use std::process::Stdio;

use firebrick::core::cloud::{Access, AttachUrl, Claims, Protocol, Right, TenantLedger};
use firebrick_server::token::{SigningKey, inspect};
use firebrick_server::{mint, signing_key};
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::args::ServerBenchArgs;
use crate::failure::{Exit, Failure, Result};

const TENANT: &str = "bench";
/// Longer than anything here runs.
const TOKEN_SECONDS: u64 = 7 * 24 * 3600;
/// Of Linux, for all programs.
const TICKS_PER_SECOND: f64 = 100.0;

/// A server.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: AttachUrl,
    tokens: Tokens,
    pid: Option<u32>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    process: Child,
    /// Gone when this is.
    _dir: TempDir,
}

enum Tokens {
    /// Everybody gets one of their own.
    Minted(SigningKey),
    /// One for all, and its ledgers.
    Given(String, Vec<TenantLedger>),
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

/// Who a client is, and which ledger it uses.
#[derive(Clone, Debug)]
pub(super) struct Ticket {
    pub(super) ledger: TenantLedger,
    pub(super) token: String,
}

/// What the server's process has used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Resident, in megabytes.
    pub(super) memory: f64,
    /// The most that was resident, in megabytes.
    pub(super) peak: f64,
    pub(super) open_files: usize,
    pub(super) cpu_seconds: f64,
}

impl Target {
    pub(super) async fn start(args: &ServerBenchArgs) -> Result<Self> {
        match (&args.url, &args.token) {
            (Some(url), Some(token)) => Self::given(url, token, args.pid),
            _ => Self::own(args.dir.as_ref()).await,
        }
    }

    fn given(url: &str, token: &str, pid: Option<u32>) -> Result<Self> {
        let bad = |error: &dyn std::fmt::Display| Failure::bad_input(error.to_string());
        let url: AttachUrl = url.parse().map_err(|error| bad(&error))?;
        let claims = inspect(token).map_err(|error| bad(&error))?;
        let ledgers = writable(&claims);
        if ledgers.is_empty() {
            return Err(bad(&"the token lets nobody write")
                .hint("firebrick token mint TENANT/LEDGER makes one that does"));
        }
        Ok(Self {
            url,
            tokens: Tokens::Given(token.to_owned(), ledgers),
            pid,
            own: None,
        })
    }

    async fn own(below: Option<&PathBuf>) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Failure::new(
                Exit::Store,
                "bench",
                format!("no server to measure: {error}"),
            )
        };
        let dir = match below {
            Some(below) => TempDir::new_in(below),
            None => TempDir::new(),
        };
        let dir = dir.map_err(failed)?;
        let data = dir.path().join("data");
        let key = signing_key(&data)?;
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        // Settings of another server are not meant.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name != "FIREBRICK_LOG"
                && (name.starts_with("FIREBRICK_") || name.starts_with("CLOUD_"))
            {
                command.env_remove(name);
            }
        }
        command.args([
            "serve",
            "--json",
            "--no-token",
            "--listen",
            "127.0.0.1:0",
            "--data",
        ]);
        let mut process = command
            .arg(&data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let pid = process.id();
        let mut line = String::new();
        if let Some(stdout) = process.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            stdout.read_line(&mut line).await.map_err(failed)?;
        }
        #[derive(Deserialize)]
        struct Started {
            url: String,
        }
        let started: Option<Started> = serde_json::from_str(&line).ok();
        let url = started.and_then(|started| started.url.parse().ok());
        let url = url.ok_or_else(|| failed(std::io::Error::other("it did not start")))?;
        Ok(Self {
            url,
            tokens: Tokens::Minted(key),
            pid,
            own: Some(Own { process, _dir: dir }),
        })
    }

    /// Who the `n`th client is, if the clients spread over so many ledgers.
    pub(super) fn ticket(&self, n: usize, ledgers: usize) -> Result<Ticket> {
        match &self.tokens {
            Tokens::Given(token, granted) => {
                let ledgers = ledgers.min(granted.len());
                Ok(Ticket {
                    ledger: granted[n % ledgers].clone(),
                    token: token.clone(),
                })
            }
            Tokens::Minted(key) => {
                let ledger = format!("ledger-{}", n % ledgers);
                let user = format!("user-{n}");
                let email = format!("{user}@example.com");
                let claims = Claims::new(user, email, "2026-01-01T00:00:00Z");
                let claims = claims.grant(TENANT, &ledger, Access::Write);
                Ok(Ticket {
                    token: mint(key, claims, TOKEN_SECONDS)?,
                    ledger: TenantLedger::new(TENANT, ledger),
                })
            }
        }
    }

    pub(super) fn websocket(&self) -> Result<String> {
        let url = self.url.endpoint("/ws", Protocol::WebSocket);
        url.map_err(|error| Failure::bad_input(error.to_string()))
    }

    /// Where the system tells, and the server runs here.
    pub(super) fn usage(&self) -> Option<Usage> {
        let folder = PathBuf::from("/proc").join(self.pid?.to_string());
        let status = std::fs::read_to_string(folder.join("status")).ok()?;
        let megabytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
            Some(kibibytes as f64 * 1024.0 / 1e6)
        };
        let stat = std::fs::read_to_string(folder.join("stat")).ok()?;
        // Its name comes first, in brackets, and may have spaces.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        Some(Usage {
            memory: megabytes("VmRSS:")?,
            peak: megabytes("VmHWM:")?,
            open_files: std::fs::read_dir(folder.join("fd")).ok()?.count(),
            cpu_seconds: (ticks()? + ticks()?) as f64 / TICKS_PER_SECOND,
        })
    }

    pub(super) async fn end(self) {
        if let Some(mut own) = self.own {
            // Its data goes, too.
            let _ = own.process.kill().await;
        }
    }
}

/// Pairs that may be written. A token names tenants and ledgers apart.
fn writable(claims: &Claims) -> Vec<TenantLedger> {
    let selected = &claims.selected.tenant;
    let tenant = if selected.is_empty() {
        claims.tenants.first().map_or("", |tenant| &tenant.id)
    } else {
        selected
    };
    let granted = claims
        .ledgers
        .iter()
        .filter(|claim| claim.right == Right::Write);
    granted
        .map(|claim| TenantLedger::new(tenant, &claim.id))
        .collect()
}
