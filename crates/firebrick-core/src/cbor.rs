//! dag-cbor as the format uses it (format §3): canonical, strict, bounded.
//!
//! [`Writer`] and [`Reader`] are the low level that every block codec stands on; neither allocates
//! by what the input *claims* to hold.

mod head;

pub use head::{CborError, Reader, Token, Writer};
