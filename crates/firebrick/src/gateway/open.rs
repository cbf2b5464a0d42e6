//! From a URL to a gateway.

use std::sync::Arc;

use super::Gateway;
use super::error::GatewayError;
use super::url::{Place, RemoteUrl};
use crate::env::{Env, RealEnv};

/// Opens the gateway of a URL. Nothing is touched before [`Gateway::prepare`].
///
/// # Errors
/// If the URL can't be understood, or nothing here can open it.
pub fn open(url: &str) -> Result<Arc<dyn Gateway>, GatewayError> {
    open_with(&RemoteUrl::parse(url)?, Arc::new(RealEnv::new()))
}

/// As [`open`], in an environment of the caller's.
///
/// # Errors
/// If this build doesn't have the gateway.
#[cfg_attr(
    not(feature = "folder"),
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
    }
}
