//! Webhooks: what an operator does is told, signed, by the real binary.

use crate::harness::Setup;
use crate::harness::wait::within;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

#[tokio::test]
async fn a_revocation_arrives_signed() {
    let receiver = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let tables = format!(
        "[[webhooks]]\nname = \"siem\"\nurl = \"http://{}/\"\nsecret_file = \"hook.secret\"\nevents = [\"grant.revoked\"]\n",
        receiver.local_addr().unwrap()
    );
    let mut world = Setup::new().tables(&tables).prepare().await;
    let key = [9_u8; 32];
    let secret = world.path("hook.secret");
    fs::write(&secret, format!("whsec_{}\n", STANDARD.encode(key))).unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    world.start_control().await;
    world.start_proxy().await;
    let grant = world.grant("orders:GET:/**").await;
    world.revoke(&grant).await;
    let (mut stream, _) = within("a message", receiver.accept()).await.unwrap();
    let mut bytes = vec![0; 64 << 10];
    let mut read = 0;
    let (head, body) = loop {
        read += within("a message", stream.read(&mut bytes[read..])).await.unwrap();
        let text = std::str::from_utf8(&bytes[..read]).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && serde_json::from_str::<Value>(body).is_ok()
        {
            break (head, body);
        }
    };
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    let (id, timestamp) = (header("webhook-id: "), header("webhook-timestamp: "));
    let signature = STANDARD.decode(header("webhook-signature: v1,")).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, format!("{id}.{timestamp}.{body}").as_bytes(), &signature).unwrap();
    let told: Value = serde_json::from_str(body).unwrap();
    assert_eq!((&told["type"], &told["data"]["grants"][0]["id"]), (&"grant.revoked".into(), &grant.into()));
    let (_, metrics) = world.admin(9465, "/metrics").await.unwrap();
    assert!(metrics.contains("jitgate_webhook_waiting{webhook=\"siem\"} 1"), "{metrics}");
    stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
}
