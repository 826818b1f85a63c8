//! Between admission and the service where a service is `durable`: the request waits until its `admit` line is on disk.
//!
//! Invariant: a request comes out of here permitted only with that line synced, and only if nothing that it rests on has ended while
//! it waited (laws 5 and 7). The wait is bounded; nothing blocks a thread.

use crate::access::stream::{CutCause, Direction};
use crate::model::DenyReason;
use crate::proxy::body::Download;
use crate::proxy::forward::{Admitted, cut_words};
use crate::proxy::reply::{Refusal, refuse};
use crate::runtime::clock::Mono;
use crate::session::Live;
use http::Response;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

/// A disk that takes longer refuses requests.
const WAIT: Duration = Duration::from_secs(5);

/// Lets it through when its line is on disk. `also`: what else was admitted for it.
pub(crate) async fn on_disk(
    mut admitted: Admitted,
    also: &[Live],
) -> Result<Admitted, Box<Response<Download>>> {
    let Ok(on_disk) = admitted.record.admit_on_disk() else { return Err(denied(admitted, CutCause::Audit)) };
    let mut on_disk = pin!(tokio::time::timeout(WAIT, on_disk));
    let live = &admitted.live;
    let outcome = poll_fn(|cx| {
        let written = match on_disk.as_mut().poll(cx) {
            Poll::Ready(Ok(Ok(()))) => Poll::Ready(Ok(())),
            Poll::Ready(Ok(Err(_)) | Err(_)) => Poll::Ready(Err(CutCause::Audit)),
            Poll::Pending => Poll::Pending,
        };
        live.stream().register(Direction::Down, cx.waker());
        // After the wait as well: what was admitted before it may have ended meanwhile.
        let now = Mono::now();
        let ended = std::iter::once(live).chain(also).try_for_each(|live| live.check(now));
        match ended {
            Ok(()) => written,
            Err(cause) => Poll::Ready(Err(cause)),
        }
    })
    .await;
    match outcome {
        Ok(()) => {
            admitted.route.metrics.permit.inc();
            Ok(admitted)
        }
        Err(cause) => Err(denied(admitted, cause)),
    }
}

/// Nothing of it reached the service.
fn denied(admitted: Admitted, cause: CutCause) -> Box<Response<Download>> {
    let Admitted { live, record, route, request_id, shape, .. } = admitted;
    let (reason, detail) = match cause {
        CutCause::Audit => {
            (DenyReason::AuditUnavailable, "the audit trail cannot be written; try again later")
        }
        CutCause::Grant(_)
        | CutCause::Stale
        | CutCause::Identity
        | CutCause::Drain
        | CutCause::UpstreamTimeout
        | CutCause::ClientTimeout
        | CutCause::Finished => cut_words(cause),
    };
    live.cut(CutCause::Finished);
    route.metrics.deny(reason).inc();
    let (response, length) = refuse(&Refusal::plain(reason, detail, request_id, &shape));
    record.deny(reason, response.status().as_u16(), length);
    Box::new(response)
}
