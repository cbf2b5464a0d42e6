//! The suite that every gateway passes.

use std::sync::Arc;

use firebrick::env::RealEnv;
use firebrick::gateway::{Gateway, conformance};

use crate::bed::Bed;

async fn conforms(bed: &Bed) {
    let make = || -> Arc<dyn Gateway> { Arc::new(bed.gateway()) };
    if let Err(failure) = conformance::check(&RealEnv::new(), make).await {
        panic!("{failure}");
    }
}

#[tokio::test]
async fn over_websockets() {
    conforms(&Bed::new().await).await;
}

#[tokio::test]
async fn over_http() {
    conforms(&Bed::with(|config| config.websockets = false).await).await;
}
