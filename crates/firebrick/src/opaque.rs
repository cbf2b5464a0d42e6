//! `Debug` for what has nothing to show but its name.

macro_rules! opaque_debug {
    ($($name:literal $type:ty),*) => {$(
        impl std::fmt::Debug for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct($name).finish_non_exhaustive()
            }
        }
    )*};
}
pub(crate) use opaque_debug;
