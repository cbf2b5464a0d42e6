//! `serve`: a sync server, until it is asked to end.

use firebrick_server::{
    AdminToken, Config, KeySource, Server, ServerError, TenantLimits, TlsFiles,
};
use serde_json::json;

use super::{hung_up, interrupted, token};
use crate::args::ServeArgs;
use crate::failure::{Exit, Failure, Result};
use crate::output::Output;

/// How long the printed token is valid.
const TOKEN_DAYS: u64 = 30;

pub(crate) async fn run(args: ServeArgs, output: &Output) -> Result<Exit> {
    let config = config(&args)?;
    if args.check_config {
        Server::check(&config).await?;
        if output.json() {
            output.value(&json!({ "ok": true }))?;
        } else {
            output.line("The server can start.")?;
        }
        return Ok(Exit::Done);
    }
    let data = config.data.display().to_string();
    open_files(config.limits.connections, output);
    // Without their passwords.
    let metas = config.metas.as_ref().map(ToString::to_string);
    let objects = config.objects.as_ref().map(ToString::to_string);
    let server = Server::start(config).await?;
    let url = server.attach_url().to_string();
    let admin = server.admin_url();
    let admin_token_file = server
        .admin_token_file()
        .map(|path| path.display().to_string());
    let claims = token::claims("user", "user@example.com", &args.grant);
    let minted = if args.no_token {
        None
    } else {
        match server.mint(claims, TOKEN_DAYS * 24 * 3600) {
            Ok(token) => Some(token),
            Err(ServerError::NoSigningKey) => None,
            Err(error) => return Err(error.into()),
        }
    };
    if output.json() {
        output.value(&json!({
            "listening": server.local_addr().to_string(),
            "url": url,
            "token": minted,
            "data": data,
            "admin": admin,
            "adminTokenFile": admin_token_file,
            "metas": metas,
            "objects": objects,
        }))?;
    } else {
        output.line(format!("Listening  {}", server.local_addr()))?;
        output.line(format!("Data       {data}"))?;
        for (what, store) in [("Metas  ", &metas), ("Objects", &objects)] {
            if let Some(store) = store {
                output.line(format!("{what}    {store}"))?;
            }
        }
        output.line(format!("Attach to  {url}"))?;
        let with = admin_token_file.map(|file| format!(", with the token in {file}"));
        output.line(format!("Admin      {admin}{}", with.unwrap_or_default()))?;
        if let Some(minted) = &minted {
            let grants: Vec<String> = args.grant.iter().map(ToString::to_string).collect();
            output.line(format!("Token      {minted}"))?;
            output.note(format!(
                "The token is for {} and valid for {TOKEN_DAYS} days; `firebrick token mint` makes others.",
                grants.join(", ")
            ));
        }
    }
    output.flush()?;
    let hangup = async {
        loop {
            hung_up().await;
            match server.reload() {
                Ok(()) => output.note("Read the settings again."),
                Err(error) => output.warn(format!("The settings stay as they were: {error}")),
            }
        }
    };
    tokio::select! {
        () = interrupted() => {}
        () = hangup => {}
    }
    output.note("Ending: requests that have begun may finish.");
    server.shutdown().await;
    Ok(Exit::Done)
}

/// Each connection is an open file, and many systems allow few unless they are asked for more.
fn open_files(connections: usize, output: &Output) {
    let connections = connections as u64;
    let allowed = rlimit::increase_nofile_limit(connections + 500).unwrap_or(u64::MAX);
    if allowed < connections {
        output.warn(format!(
            "the system allows {allowed} open files, so fewer than {connections} clients can connect; \
             raise the limit (ulimit -n, LimitNOFILE)"
        ));
    }
}

fn config(args: &ServeArgs) -> Result<Config> {
    let mut config = Config::new(&args.data.data);
    config.metas.clone_from(&args.metas);
    config.objects.clone_from(&args.objects);
    config.presign = !args.no_presign;
    config.listen = args.listen;
    config.public_url.clone_from(&args.public_url);
    config.jwks_url.clone_from(&args.jwks_url);
    config.issuer.clone_from(&args.issuer);
    config.audience.clone_from(&args.audience);
    config.websockets = !args.no_websockets;
    config.limits.object = args.max_object;
    config.tls = args
        .tls_cert
        .clone()
        .zip(args.tls_key.clone())
        .map(|(cert, key)| TlsFiles { cert, key });
    config.tenants = TenantLimits {
        connections: args.tenant_connections,
        messages_per_second: args.tenant_messages,
        stored_bytes: args.tenant_bytes,
        metas: args.tenant_metas,
        ledgers: args.tenant_ledgers,
    };
    config.tenants_file.clone_from(&args.tenants);
    config.admin_token = match (&args.admin_token, &args.admin_token_file) {
        (Some(text), _) => Some(AdminToken::new(text)?),
        (None, Some(path)) => Some(AdminToken::new(&token::read_key(path)?)?),
        (None, None) => None,
    };
    for path in &args.token_key {
        config.keys.push(KeySource {
            place: path.display().to_string(),
            text: token::read_key(path)?,
        });
    }
    const VARIABLE: &str = "CLOUD_SESSION_TOKEN_PUBLIC";
    if let Ok(text) = std::env::var(VARIABLE) {
        let place = format!("${VARIABLE}");
        config.keys.push(KeySource { place, text });
    }
    Ok(config)
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Failure {
        let message = error.to_string();
        match error {
            ServerError::Data { .. } | ServerError::Metas(_) => {
                Failure::new(Exit::Store, "server_data", message)
            }
            ServerError::OtherKey { .. } => Failure::new(Exit::Store, "other_key", message),
            ServerError::Store { .. } => Failure::new(Exit::Remote, "store", message),
            ServerError::Locked(_) => Failure::new(Exit::Store, "locked", message),
            ServerError::Listen { .. } => Failure::new(Exit::Remote, "listen", message),
            ServerError::Jwks { .. } => Failure::new(Exit::Remote, "jwks", message),
            _ => Failure::bad_input(message),
        }
    }
}
