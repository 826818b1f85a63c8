//! A connection on which a failed write does not hide an answer.
//!
//! A service may answer before it has read the whole request, and close: 413, 401. Its kernel then resets the connection, our next
//! write fails, and the answer may still lie unread on our side. An HTTP/1.1 client that ends with the write's error never sees it.
//! Here a write that the other side no longer takes stays pending, and the reading side, which a reset connection ends at once,
//! tells how it went: the answer first, then the end or the error. Other errors are errors.
//!
//! Not for HTTP/2, where reading waits for pending writes and an early answer resets its own stream only.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// See the head of this file.
pub(super) struct AnswerFirst<I>(pub(super) I);

/// Leaves the word to the reading side, which has been polled before: it wakes the task.
fn unless_refused<T>(written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
    match written {
        Poll::Ready(Err(error)) if is_refusal(error.kind()) => Poll::Pending,
        Poll::Ready(done) => Poll::Ready(done),
        Poll::Pending => Poll::Pending,
    }
}

fn is_refusal(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

impl<I: AsyncRead + Unpin> AsyncRead for AnswerFirst<I> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for AnswerFirst<I> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        unless_refused(Pin::new(&mut self.get_mut().0).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        unless_refused(Pin::new(&mut self.get_mut().0).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        unless_refused(Pin::new(&mut self.get_mut().0).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::{BodyExt as _, StreamBody};
    use hyper::body::Frame;
    use hyper_util::rt::TokioIo;
    use std::convert::Infallible;

    /// What the other side has sent before it reset the connection; writes fail as told.
    struct Reset {
        sent: &'static [u8],
        fails: ErrorKind,
        written: usize,
    }

    impl AsyncRead for Reset {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let this = self.get_mut();
            if this.written == 0 {
                // The answer comes after the request was begun.
                return Poll::Pending;
            }
            buf.put_slice(std::mem::take(&mut this.sent));
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Reset {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            let this = self.get_mut();
            cx.waker().wake_by_ref();
            if this.written > 0 {
                return Poll::Ready(Err(this.fails.into()));
            }
            this.written = buf.len();
            Poll::Ready(Ok(buf.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    async fn status(sent: &'static [u8], fails: ErrorKind) -> Option<u16> {
        let io = TokioIo::new(AnswerFirst(Reset { sent, fails, written: 0 }));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.unwrap();
        tokio::spawn(connection);
        let frames = futures_util::stream::repeat_with(|| {
            Ok::<_, Infallible>(Frame::data(bytes::Bytes::from_static(&[0; 16 << 10])))
        });
        let body = StreamBody::new(frames).boxed_unsync();
        let request = http::Request::post("/").header("host", "s").body(body).unwrap();
        sender.send_request(request).await.ok().map(|answer| answer.status().as_u16())
    }

    #[tokio::test]
    async fn an_answer_that_came_is_read_and_without_one_the_end_is_told() {
        let answer = b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\n\r\n";
        for refusal in [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe] {
            assert_eq!(status(answer, refusal).await, Some(413), "{refusal}");
            assert_eq!(status(b"", refusal).await, None, "{refusal}: an end is an end");
            assert_eq!(status(b"HTTP/1.1 4", refusal).await, None, "{refusal}: half an answer is none");
        }
    }
}
