//! From a URL to a gateway.

use std::sync::Arc;

use super::Gateway;
use super::error::GatewayError;
use super::url::{Place, RemoteUrl};
use crate::env::{Env, RealEnv};

/// Opens the gateway of a URL. Nothing is touched before [`Gateway::prepare`].
///
/// ```
/// use firebrick::gateway::open;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), firebrick::gateway::GatewayError> {
/// let remote = open("memory://opened")?;
/// remote.prepare().await?;
/// assert!(remote.slots().await?.is_empty());
/// assert!(open("gopher://hub").is_err());
/// # Ok(()) }
/// ```
///
/// # Errors
/// If the URL can't be understood, or nothing here can open it.
pub fn open(url: &str) -> Result<Arc<dyn Gateway>, GatewayError> {
    open_with(&RemoteUrl::parse(url)?, Arc::new(RealEnv::new()))
}

/// As [`open`], in an environment of the caller's.
///
/// ```
/// use std::sync::Arc;
/// use firebrick::{env::sim::Executor, gateway::{RemoteUrl, open_with}};
/// // In virtual time.
/// let env = Executor::new(1).process("a");
/// let remote = open_with(&RemoteUrl::parse("memory://simulated")?, Arc::new(env))?;
/// assert_eq!(remote.url(), "memory://simulated");
/// # Ok::<(), firebrick::gateway::GatewayError>(())
/// ```
///
/// # Errors
/// If this build doesn't have the gateway.
#[cfg_attr(
    not(any(feature = "folder", feature = "cloud")),
    allow(unused_variables, clippy::needless_pass_by_value)
)]
pub fn open_with(url: &RemoteUrl, env: Arc<dyn Env>) -> Result<Arc<dyn Gateway>, GatewayError> {
    match &url.place {
        #[cfg(feature = "memory")]
        Place::Memory(name) => Ok(Arc::new(super::MemoryRemote::named(name))),
        #[cfg(not(feature = "memory"))]
        Place::Memory(_) => Err(super::url::left_out("memory", "memory")),
        #[cfg(feature = "folder")]
        Place::Folder(path) => Ok(Arc::new(super::FolderGateway::new(path, env))),
        #[cfg(not(feature = "folder"))]
        Place::Folder(_) => Err(super::url::left_out("file", "folder")),
        #[cfg(feature = "cloud")]
        Place::Cloud(_) => Ok(Arc::new(super::CloudGateway::open(url, env)?)),
        #[cfg(not(feature = "cloud"))]
        Place::Cloud(_) => Err(super::url::left_out("fpcloud", "cloud")),
    }
}
