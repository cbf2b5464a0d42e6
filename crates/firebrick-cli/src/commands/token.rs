//! `token`: makes and reads the tokens that let clients into a server.

use std::fmt;
use std::io::Read as _;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use firebrick::core::cbor::Date;
use firebrick::core::cloud::{Access, Claims};
use firebrick_server::token::{PublicKey, SigningKey, TokenError, check_signature, inspect};
use firebrick_server::{KEY_FILE, mint, signing_key};
use serde_json::json;

use crate::args::{Grant, InspectArgs, MintArgs, TokenCommand};
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

const SECRET: &str = "CLOUD_SESSION_TOKEN_SECRET";
/// No token is longer.
const MAX_LEN: u64 = 64 << 10;

pub(crate) fn run(command: TokenCommand, output: &Output) -> Result<Exit> {
    match command {
        TokenCommand::Mint(args) => make(&args, output),
        TokenCommand::Inspect(args) => show(args, output),
    }
}

/// Somebody with these grants, as of now.
pub(crate) fn claims(user: &str, email: &str, grants: &[Grant]) -> Claims {
    let now = i64::try_from(now()).unwrap_or(i64::MAX / 1000);
    let claims = Claims::new(user, email, Date(now * 1000).to_string());
    grants.iter().fold(claims, |claims, grant| {
        claims.grant(&grant.tenant, &grant.ledger, grant.access)
    })
}

fn make(args: &MintArgs, output: &Output) -> Result<Exit> {
    let bad = |error: &dyn fmt::Display| Failure::bad_input(error.to_string());
    let key = match (&args.key.key, std::env::var(SECRET)) {
        (Some(path), _) => SigningKey::parse(&read_key(path)?)
            .map_err(|error| bad(&format_args!("{}: {error}", path.display())))?,
        (None, Ok(text)) => {
            SigningKey::parse(&text).map_err(|error| bad(&format_args!("${SECRET}: {error}")))?
        }
        (None, Err(_)) => signing_key(&args.key.data.data)?,
    };
    if !args.email.contains('@') {
        return Err(
            bad(&"JavaScript clients refuse tokens without an e-mail address")
                .hint("--email ada@example.com"),
        );
    }
    let claims = claims(&args.user, &args.email, &args.grants);
    let token = mint(&key, claims, args.days.saturating_mul(24 * 3600))?;
    if output.json() {
        output.value(&json!({ "token": token }))?;
    } else {
        output.line(token)?;
    }
    Ok(Exit::Done)
}

fn show(args: InspectArgs, output: &Output) -> Result<Exit> {
    let token = match args.token.filter(|token| token != "-") {
        Some(token) => token,
        None => {
            let mut text = String::new();
            let read = std::io::stdin().take(MAX_LEN).read_to_string(&mut text);
            read.map_err(|error| Failure::bad_input(format!("cannot read the token: {error}")))?;
            text
        }
    };
    let token = token.trim();
    let claims = inspect(token).map_err(|error| Failure::bad_input(error.to_string()))?;
    let own = args.key.data.data.join(KEY_FILE);
    let keys = match &args.key.key {
        Some(path) => Some((path, read_key(path)?)),
        None if own.exists() => Some((&own, read_key(&own)?)),
        None => None,
    };
    let signature = match keys {
        None => "unchecked",
        Some((path, text)) => {
            let keys = PublicKey::parse(&text)
                .map_err(|error| Failure::bad_input(format!("{}: {error}", path.display())))?;
            match check_signature(token, &keys) {
                Ok(_) => "good",
                Err(TokenError::Signature) => "by another key",
                Err(_) => "bad",
            }
        }
    };
    let expired = claims.exp.is_none_or(|exp| exp <= now());
    if output.json() {
        output.value(&json!({
            "claims": claims, "signature": signature, "expired": expired,
        }))?;
    } else {
        let text = serde_json::to_string_pretty(&claims)
            .map_err(|error| Failure::bad_input(error.to_string()))?;
        output.line(crate::output::printable(&text))?;
        output.line(format!("Signature: {signature}"))?;
        match claims.exp {
            None => output.line("It never ends, which servers refuse.")?,
            Some(exp) => {
                let ms = i64::try_from(exp)
                    .unwrap_or(i64::MAX / 1000)
                    .saturating_mul(1000);
                let verb = if expired { "Ended" } else { "Ends" };
                output.line(format!("{verb}: {}", Date(ms)))?;
            }
        }
    }
    let good = !expired && matches!(signature, "good" | "unchecked");
    Ok(if good { Exit::Done } else { Exit::Negative })
}

pub(crate) fn read_key(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|error| {
        Failure::bad_input(format!("cannot read the key {}: {error}", path.display()))
    })
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

impl fmt::Display for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant, self.ledger)?;
        match self.access {
            Access::Read => f.write_str(" (read)"),
            Access::Write => Ok(()),
        }
    }
}
