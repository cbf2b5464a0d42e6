//! Bodies that are followed to their end.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

type End = Box<dyn FnOnce(u64) + Send>;

/// A body that says how many bytes have gone when it ends, or when nobody wants more of it.
pub(crate) struct Watched {
    body: Body,
    sent: u64,
    end: Option<End>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched")
            .field("sent", &self.sent)
            .finish_non_exhaustive()
    }
}

/// Calls `end` with the length of what has gone.
pub(crate) fn watch(body: Body, end: impl FnOnce(u64) + Send + 'static) -> Body {
    Body::new(Watched {
        body,
        sent: 0,
        end: Some(Box::new(end)),
    })
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(data) = frame.data_ref()
        {
            self.sent += data.len() as u64;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            end(self.sent);
        }
    }
}
