//! What changes while a client is connected: the certificate's files, and the grants for the service.
//!
//! A certificate that was replaced is used for whatever is sent from then on, over a new connection; one that cannot be used changes nothing,
//! and is said once. Grants are looked at with the control plane, not with the gate: looking must not fill the audit trail with denials.

use super::bridge::Bridge;
use crate::cli::client::{Client, query};
use crate::cli::grants::text;
use crate::cli::loopback::Gate;
use crate::cli::run::say;
use crate::identity::own::OwnPair;
use crate::model::ServiceName;
use crate::runtime::clock::wall;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How often the files are looked at.
const FILES: Duration = Duration::from_secs(1);
/// How often the grants are looked at; at once after something was asked.
const GRANTS: Duration = Duration::from_secs(3);
/// For one answer of the control plane.
const PATIENCE: Duration = Duration::from_secs(10);
/// From the control plane's word to the gate's.
const SETTLES: Duration = Duration::from_millis(300);
/// How often a session is tried to begin after grants have changed.
const TRIES: u32 = 4;

/// Follows the certificate of these gates, which share it.
pub(super) async fn certificate(gates: Vec<Arc<Gate>>) {
    let Some(files) = gates.first().map(|gate| gate.target().identity.clone()) else { return };
    let read = || Some((std::fs::read(&files.certificate).ok()?, std::fs::read(&files.key).ok()?));
    // What is in use, and what cannot be used: two files cannot be replaced in one step, so that is said at the second look.
    let (mut used, mut unusable, mut said) = (read(), None, false);
    loop {
        tokio::time::sleep(FILES).await;
        let now = read();
        if now == used {
            continue;
        }
        match OwnPair::load(&files, wall()) {
            Ok(_) => {
                for gate in &gates {
                    gate.renew().await;
                }
                say("the certificate was replaced");
                used = now;
            }
            Err(error) if unusable.as_ref() == Some(&now) && !said => {
                say(&format!("the certificate's files have changed and cannot be used: {error}"));
                said = true;
            }
            Err(_) => {
                said &= unusable.as_ref() == Some(&now);
                unusable = Some(now);
            }
        }
    }
}

/// Follows the grants for the service: begins the session when there is access, and tells the client that its lists have changed.
pub(super) async fn grants(bridge: Arc<Bridge>, mut client: Client, service: ServiceName) {
    client.set_patience(PATIENCE);
    let mut before: Option<BTreeSet<String>> = None;
    let mut tries = 0;
    loop {
        if let Some(asking) = &bridge.asking {
            let _ = tokio::time::timeout(GRANTS, asking.asked.notified()).await;
        }
        let Ok(now) = live(&mut client, &service).await else { continue };
        let changed = before.as_ref().is_some_and(|before| *before != now);
        if changed {
            tries = TRIES;
            tokio::time::sleep(SETTLES).await;
        }
        let had_session = bridge.service.sessions.live().is_some();
        let greeted = bridge.greeted.load(Ordering::Relaxed);
        let mut opened = false;
        if greeted && !had_session && !now.is_empty() && (tries > 0 || before.is_none()) {
            tries = tries.saturating_sub(1);
            opened = bridge.service.opened().await.is_ok();
        }
        if had_session && changed {
            bridge.service.listen();
        }
        if greeted && (opened || changed) {
            let told = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
            bridge.out.send(told.to_string().as_bytes()).await;
        }
        before = Some(now);
    }
}

/// The ids of the grants that permit something there now.
async fn live(
    client: &mut Client,
    service: &ServiceName,
) -> Result<BTreeSet<String>, crate::cli::client::ClientError> {
    let filter = [("service", Some(service.to_string())), ("state", Some("live".to_owned()))];
    let grants: Vec<Value> = client.get(&query("/v1/grants", filter)).await?;
    Ok(grants.iter().map(|grant| text(grant, "id")).collect())
}
