//! The threads of the network: gateways are called on any executor or none.

use std::sync::OnceLock;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

use crate::gateway::{GatewayError, GatewayErrorKind, GatewayResult};

/// The threads of the network: whoever calls a gateway may be on any executor or none.
fn runtime() -> GatewayResult<&'static Handle> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(2).thread_name("firebrick-cloud");
        builder.enable_all().build().map_err(|e| e.to_string())
    });
    runtime.as_ref().map(Runtime::handle).map_err(|cause| {
        let text = format!("the system refuses threads for the network: {cause}");
        GatewayError::new(GatewayErrorKind::Other, text)
    })
}

/// Runs a call on the threads of the network. Dropping the future ends the call.
pub(super) async fn on_network<T: Send + 'static>(
    call: impl Future<Output = GatewayResult<T>> + Send + 'static,
) -> GatewayResult<T> {
    let mut task = Aborting(runtime()?.spawn(call));
    (&mut task.0).await.unwrap_or_else(|error| {
        let text = format!("a call to the server ended in the middle: {error}");
        Err(GatewayError::new(GatewayErrorKind::Other, text))
    })
}

struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A task that ends with its owner.
pub(super) struct Task {
    _task: Aborting<()>,
}

impl Task {
    /// Only on the threads of the network.
    pub(super) fn spawn(task: impl Future<Output = ()> + Send + 'static) -> Self {
        Self {
            _task: Aborting(tokio::spawn(task)),
        }
    }
}
