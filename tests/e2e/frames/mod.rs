//! HTTP/2 against the gate, from the outside: frames made by hand over TLS, at the service a recorder that knows no HTTP library.
//! Each attack is refused or bounded; other connections go on; where there was a request, there is its line in the trail.

mod floods;
mod protocol;
mod requests;

use crate::harness::raw::{Frame, Raw, preface};
use crate::harness::recorder::Recorder;
use crate::harness::{Protocol, Setup, World};

/// Frame types (RFC 9113, section 6) and flags.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PUSH_PROMISE: u8 = 5;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;

/// `:status 200` of HPACK's static table: what nobody may be told who was to be refused.
const OK: u8 = 0x88;

async fn bare_world(limits: &str) -> (World, Recorder) {
    let recorder = Recorder::start().await;
    let service = format!("[[service]]\nname = \"bare\"\nupstream = [\"http://{}\"]\n", recorder.address);
    let world = Setup::new().tables(&format!("[proxy.limits]\n{limits}{service}")).start().await;
    world.grant("bare:*:/v1/**").await;
    world.grant("orders:*:/**").await;
    (world, recorder)
}

async fn http2(world: &World) -> Raw {
    let mut raw = world.raw(Protocol::H2).await;
    raw.send(preface()).await;
    raw
}

/// Another connection of the same caller works as before.
async fn assert_serves(world: &World) {
    assert_eq!(world.client(Protocol::H2).get("/v1/orders").await.status, 200);
}

/// The pseudo-headers of a request to the recorder.
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "bare.localhost"), (":path", "/v1/orders")];

/// Whether a frame ends the hope for an answer on stream 1.
fn settles(frame: &Frame) -> bool {
    frame.kind == GOAWAY || frame.stream == 1 && matches!(frame.kind, HEADERS | RST_STREAM)
}

/// [`GET`] with one field put in the place of another; an empty value takes it away.
fn with(name: &str, value: &'static str) -> Vec<(&'static str, &'static str)> {
    let changed = GET.into_iter().map(|(key, old)| (key, if key == name { value } else { old }));
    changed.filter(|(_, value)| *value != "\0away").collect()
}
