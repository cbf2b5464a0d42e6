//! `serve` and `token`: what can be said.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use tracing_subscriber::filter::LevelFilter;

use firebrick::core::cloud::Access;
use firebrick_server::StoreUrl;

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// PostgreSQL for metas and keys, instead of SQLite in the data directory; servers that share it are
    /// one: postgres://USER:PASSWORD@HOST/DATABASE
    #[arg(long, value_name = "URL", env = "FIREBRICK_METAS", hide_env_values = true, value_parser = store_url)]
    pub(crate) metas: Option<StoreUrl>,
    /// Object store for CARs, instead of files in the data directory: s3://BUCKET/PREFIX, with the
    /// settings in AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION, AWS_ENDPOINT_URL,
    /// AWS_ALLOW_HTTP
    #[arg(long, value_name = "URL", env = "FIREBRICK_OBJECTS", hide_env_values = true, value_parser = store_url)]
    pub(crate) objects: Option<StoreUrl>,
    /// Give clients no URLs of the object store: the server carries the bytes
    #[arg(long, env = "FIREBRICK_NO_PRESIGN")]
    pub(crate) no_presign: bool,
    /// Address to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDRESS",
        default_value = "127.0.0.1:8909",
        env = "FIREBRICK_LISTEN"
    )]
    pub(crate) listen: SocketAddr,
    /// How clients reach the server, if not under the name that each uses: https://HOST
    #[arg(long, value_name = "URL", env = "FIREBRICK_PUBLIC_URL")]
    pub(crate) public_url: Option<String>,
    /// File with a public key (JWK, JWKS) that tokens are checked with, instead of the server's own;
    /// several times for several. A key can be in $CLOUD_SESSION_TOKEN_PUBLIC, too
    #[arg(long, value_name = "FILE")]
    pub(crate) token_key: Vec<PathBuf>,
    /// URL of public keys that tokens are checked with, instead of the server's own
    #[arg(long, value_name = "URL", env = "FIREBRICK_JWKS_URL")]
    pub(crate) jwks_url: Option<String>,
    /// Take only tokens of this issuer
    #[arg(long, value_name = "NAME")]
    pub(crate) issuer: Option<String>,
    /// Take only tokens for this audience
    #[arg(long, value_name = "NAME")]
    pub(crate) audience: Option<String>,
    /// Longest CAR, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 20)]
    pub(crate) max_object: u64,
    /// Offer no WebSockets: clients ask once a second
    #[arg(long)]
    pub(crate) no_websockets: bool,
    /// Encrypt connections with this certificate and those that it depends on (PEM); read again when it
    /// changes
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_key",
        env = "FIREBRICK_TLS_CERT"
    )]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The certificate's private key (PEM)
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert",
        env = "FIREBRICK_TLS_KEY"
    )]
    pub(crate) tls_key: Option<PathBuf>,
    /// File with limits of single tenants, in JSON; read again on SIGHUP
    #[arg(long, value_name = "FILE", env = "FIREBRICK_TENANTS")]
    pub(crate) tenants: Option<PathBuf>,
    /// Connections at a time that each tenant may have
    #[arg(long, value_name = "N", env = "FIREBRICK_TENANT_CONNECTIONS")]
    pub(crate) tenant_connections: Option<u64>,
    /// Messages and transfers in a second that each tenant may send
    #[arg(long, value_name = "N", env = "FIREBRICK_TENANT_MESSAGES")]
    pub(crate) tenant_messages: Option<u32>,
    /// Bytes of CARs that each tenant may store
    #[arg(long, value_name = "BYTES", env = "FIREBRICK_TENANT_BYTES")]
    pub(crate) tenant_bytes: Option<u64>,
    /// Metas that each tenant may have
    #[arg(long, value_name = "N", env = "FIREBRICK_TENANT_METAS")]
    pub(crate) tenant_metas: Option<u64>,
    /// Ledgers that each tenant may have
    #[arg(long, value_name = "N", env = "FIREBRICK_TENANT_LEDGERS")]
    pub(crate) tenant_ledgers: Option<u64>,
    /// What lets in to /metrics and /admin; without it the server makes one in its data directory
    #[arg(
        long,
        value_name = "TOKEN",
        env = "FIREBRICK_ADMIN_TOKEN",
        hide_env_values = true,
        conflicts_with = "admin_token_file"
    )]
    pub(crate) admin_token: Option<String>,
    /// The same, from a file
    #[arg(long, value_name = "FILE", env = "FIREBRICK_ADMIN_TOKEN_FILE")]
    pub(crate) admin_token_file: Option<PathBuf>,
    /// Form of the log, which goes to stderr
    #[arg(
        long,
        value_name = "FORM",
        default_value = "text",
        env = "FIREBRICK_LOG_FORMAT"
    )]
    pub(crate) log_format: LogFormat,
    /// What is logged: error, warn, info (each request), debug (each message), trace, off
    #[arg(
        long,
        value_name = "LEVEL",
        default_value = "warn",
        env = "FIREBRICK_LOG"
    )]
    pub(crate) log_level: LevelFilter,
    /// What the printed token allows: TENANT/LEDGER, or TENANT/LEDGER:read
    #[arg(long, value_name = "GRANT", default_value = "default/default", value_parser = grant)]
    pub(crate) grant: Vec<Grant>,
    /// Print no token
    #[arg(long)]
    pub(crate) no_token: bool,
    /// Say whether the server could start, and end
    #[arg(long)]
    pub(crate) check_config: bool,
}

/// How lines of the log are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// For programs: one object on each line
    Json,
}

/// Where the server has its data.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Data directory of the server
    #[arg(
        long,
        value_name = "DIR",
        default_value = "firebrick-server",
        env = "FIREBRICK_SERVER_DATA"
    )]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token
    Mint(MintArgs),
    /// Print what a token says, and whether it is good
    Inspect(InspectArgs),
}

/// Which key.
#[derive(Debug, Args)]
pub(crate) struct TokenKeyArgs {
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// File with the key (JWK), instead of the one in the data directory
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MintArgs {
    /// What it allows: TENANT/LEDGER, or TENANT/LEDGER:read; the first is the one that clients use
    /// unless they name another
    #[arg(required = true, value_name = "GRANT", value_parser = grant)]
    pub(crate) grants: Vec<Grant>,
    /// Who gets it
    #[arg(long, value_name = "ID", default_value = "user")]
    pub(crate) user: String,
    /// Their address, without which JavaScript refuses the token
    #[arg(long, value_name = "ADDRESS", default_value = "user@example.com")]
    pub(crate) email: String,
    /// How long it is valid
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    pub(crate) days: u64,
    #[command(flatten)]
    pub(crate) key: TokenKeyArgs,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The token; `-` or nothing reads it from stdin
    pub(crate) token: Option<String>,
    #[command(flatten)]
    pub(crate) key: TokenKeyArgs,
}

/// A ledger and what may be done with it.
#[derive(Debug, Clone)]
pub(crate) struct Grant {
    pub(crate) tenant: String,
    pub(crate) ledger: String,
    pub(crate) access: Access,
}

fn store_url(text: &str) -> Result<StoreUrl, Infallible> {
    Ok(StoreUrl::new(text))
}

fn grant(text: &str) -> Result<Grant, String> {
    let (names, access) = match text.rsplit_once(':') {
        Some((names, "read")) => (names, Access::Read),
        Some((names, "write")) => (names, Access::Write),
        Some((_, right)) => return Err(format!("{right:?} is neither read nor write")),
        None => (text, Access::Write),
    };
    match names.split_once('/') {
        Some((tenant, ledger)) if !tenant.is_empty() && !ledger.is_empty() => Ok(Grant {
            tenant: tenant.to_owned(),
            ledger: ledger.to_owned(),
            access,
        }),
        _ => Err("a grant is TENANT/LEDGER or TENANT/LEDGER:read".to_owned()),
    }
}
