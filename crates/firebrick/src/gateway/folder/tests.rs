use super::*;
use crate::env::RealEnv;
use crate::gateway::conformance;

fn folder(path: &Path) -> FolderGateway {
    FolderGateway::new(path, Arc::new(RealEnv::new()))
}

#[tokio::test]
async fn conforms() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("deep/ledger");
    let env = RealEnv::new();
    let suite = conformance::check(&env, || Arc::new(folder(&path)));
    suite.await.unwrap();
}
