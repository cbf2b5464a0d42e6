//! The simulator: virtual time, seeded order.
/// placeholder
#[derive(Debug, Clone)]
pub struct SimEnv {}
pub(crate) fn report_wait(_label: impl FnOnce() -> String) {}
