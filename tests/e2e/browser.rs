//! A person with a browser and a certificate: what browsers do to HTTP/2 connections, streams and errors must work at the gate.

use crate::harness::World;
use crate::harness::browser::{Browser, Identity};
use serde_json::json;

async fn browser(world: &World, origin: &str) -> Browser {
    let identity = Identity {
        ca: world.path("ca.pem"),
        certificate: world.path("agent/cert.pem"),
        key: world.path("agent/key.pem"),
        origins: &[origin.to_owned()],
        address: world.listener().ip().to_string(),
    };
    Browser::start(&identity).await
}

#[tokio::test]
async fn a_browser_is_refused_granted_and_cut_over_one_connection() {
    let world = World::start().await;
    let origin = format!("https://orders.localhost:{}", world.listener().port());
    let mut browser = browser(&world, &origin).await;

    browser.open(&format!("{origin}/v1/orders")).await;
    let shown = browser.run("document.body.innerText").await;
    assert!(shown.as_str().unwrap().contains("no_grant"), "{shown}");
    let protocol = "performance.getEntriesByType('navigation')[0].nextHopProtocol";
    assert_eq!(browser.run(protocol).await, "h2");

    let grant = world.grant("orders:GET:/**").await;
    browser.open(&format!("{origin}/v1/orders")).await;
    assert_eq!(browser.run("document.body.innerText").await, "hello");

    let many = "Promise.all(Array.from({length: 60}, (_, n) => fetch(`/v1/orders/${n}`).then(r => r.text())))\
        .then(texts => texts.filter(text => text === 'hello').length)";
    assert_eq!(browser.run(many).await, 60);
    let refused =
        "fetch('/v1/orders', {method: 'DELETE'}).then(async r => [r.status, (await r.json()).reason])";
    assert_eq!(browser.run(refused).await, json!([403, "out_of_scope"]));

    // A stream is read until it is cut; the connection goes on, and the browser's own retries do not bring it back.
    let read = "globalThis.seen = 0; globalThis.end = null; (async () => {
        const reader = (await fetch('/sse')).body.getReader();
        try { for (;;) { const {done} = await reader.read(); if (done) { end = 'complete'; return; } seen++; } }
        catch (error) { end = error.name; } })(); true";
    browser.run(read).await;
    let two = "new Promise(found => { const look = () => seen >= 2 ? found(true) : setTimeout(look, 10); look(); })";
    assert_eq!(browser.run(two).await, true);
    world.revoke(&grant).await;
    let end = "new Promise(found => { const look = () => end ? found(end) : setTimeout(look, 10); look(); })";
    assert_eq!(browser.run(end).await, "TypeError");
    let refused = "fetch('/sse').then(async r => [r.status, (await r.json()).reason])";
    assert_eq!(browser.run(refused).await, json!([403, "revoked"]));

    world.grant("orders:GET:/**").await;
    assert_eq!(browser.run("fetch('/v1/orders').then(r => r.text())").await, "hello");
    let ends = world.ends("/sse").await;
    assert_eq!([&ends[0]["end"], &ends[1]["reason"]], ["cut", "revoked"], "{ends:?}");
}
