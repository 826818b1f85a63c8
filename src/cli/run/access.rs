//! The access that the command has: when it begins, whether it goes on, and its end.

use super::say;
use super::supervise::Ended;
use super::token::Tokens;
use crate::cli::Failure;
use crate::cli::client::{Client, ClientError, query, segment};
use crate::cli::grants::text;
use crate::model::Time;
use crate::runtime::clock::{Mono, wall};
use serde_json::{Value, json};
use std::time::Duration;

/// How often the grant is looked at. The gate cuts at once whatever this says; this is for the command to learn of it.
const LOOK: Duration = Duration::from_secs(2);
/// How often the task is said to be alive; more often where its idle time is short.
const ALIVE: Duration = Duration::from_secs(20);
/// How many signs of life fit into the idle time of a task: some may get lost.
const SIGNS: u32 = 4;
/// How long one answer may take: the next question must not wait for a connection that is dead.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the end of the task is tried.
const PERSIST: Duration = Duration::from_secs(20);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);

/// A request that was granted.
pub(super) struct Access {
    client: Client,
    request: Value,
    /// When the grant ends, as far as is known.
    expires_at: Option<Time>,
    /// Whether its end was seen.
    over: bool,
}

impl Access {
    /// Of a request whose outcome is a grant.
    pub(super) fn new(mut client: Client, request: Value) -> Self {
        client.set_patience(PATIENCE);
        Self { client, request, expires_at: None, over: false }
    }

    /// The request, as the API shows it.
    pub(super) fn request(&self) -> &Value {
        &self.request
    }

    /// The task's name.
    pub(super) fn task(&self) -> String {
        text(&self.request, "task")
    }

    /// The grant's id.
    pub(super) fn grant(&self) -> String {
        text(&self.request, "grant")
    }

    /// Waits until the grant's window has begun; when it ends.
    pub(super) async fn begun(&mut self) -> Result<String, Failure> {
        let path = format!("/v1/grants/{}", self.grant());
        loop {
            let grant: Value = self.client.get(&path).await?;
            match text(&grant, "state").as_str() {
                "live" => {
                    let end = text(&grant, "expires_at");
                    self.expires_at = end.parse().ok();
                    return Ok(end);
                }
                "upcoming" => tokio::time::sleep(LOOK).await,
                other => return Err(Failure::failed(format!("{} is {other} already", self.grant()))),
            }
        }
    }

    /// Returns when there is no grant under the task any more, and says why. Meanwhile the task is said to be alive.
    pub(super) async fn until_over(&mut self, tokens: &mut Tokens) -> String {
        let mut last_alive: Option<Mono> = None;
        // From the start: the control plane may be away before the first look, and the access goes on all the same.
        let mut expires_at = self.expires_at.unwrap_or_else(|| wall().plus(LOOK));
        let mut said = None;
        loop {
            if said.is_none() {
                said = self.sign_every().await;
            }
            let every = said.unwrap_or(ALIVE);
            if last_alive.is_none_or(|last| Mono::now().since(last) >= every) {
                let alive = format!("/v1/tasks/{}/alive", segment(&self.task()));
                // If it is not heard, the look below tells whether that matters.
                let _: Result<Value, _> = self.client.post(&alive, &json!({})).await;
                last_alive = Some(Mono::now());
            }
            let looked = self.look().await;
            if let Ok(grants) = &looked {
                tokens.follow(grants);
                tokens.refresh(&mut self.client).await;
            }
            match looked.map(|grants| latest_end(&grants)) {
                Ok(Some(end)) => expires_at = end,
                Ok(None) => {
                    self.over = true;
                    return self.why().await;
                }
                // Nobody says otherwise: as far as is known it lasts until then, by this machine's clock.
                Err(_) if wall() >= expires_at => {
                    self.over = true;
                    return "expired, as far as is known".to_owned();
                }
                Err(_) => {}
            }
            let left = expires_at.since(wall()).max(Duration::from_millis(50));
            let bearer = std::sync::Arc::clone(tokens.bearer());
            // Cut short when the gate has refused the token.
            let _ = tokio::time::timeout(left.min(LOOK).min(every), bearer.refused()).await;
        }
    }

    /// How often the task has to be said to be alive; none if the control plane does not say.
    async fn sign_every(&mut self) -> Option<Duration> {
        let task: Result<Value, _> = self.client.get(&format!("/v1/tasks/{}", segment(&self.task()))).await;
        let idle = task.ok()?.get("idle_timeout_seconds").and_then(Value::as_f64);
        let idle = idle.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Some(idle.map_or(ALIVE, |idle| (idle / SIGNS).clamp(Duration::from_millis(50), ALIVE)))
    }

    /// The grants under the task. An extension is such a grant as well.
    async fn look(&mut self) -> Result<Vec<Value>, ClientError> {
        let filter = [
            ("task", Some(self.task())),
            ("principal", Some(text(&self.request, "principal"))),
            ("state", Some("current".to_owned())),
        ];
        self.client.get(&query("/v1/grants", filter)).await
    }

    /// The first token, before there is a command.
    pub(super) async fn bear(&mut self, tokens: &mut Tokens) {
        tokens.refresh(&mut self.client).await;
    }

    async fn why(&mut self) -> String {
        let grant: Result<Value, _> = self.client.get(&format!("/v1/grants/{}", self.grant())).await;
        grant.map_or_else(|_| "over".to_owned(), |grant| text(&grant, "state"))
    }

    /// Ends the task as the command ended; says so if that does not work.
    pub(super) async fn end(&mut self, ended: &Ended) {
        let outcome = if ended.is_success() { "done" } else { "failed" };
        let path = format!("/v1/tasks/{}/{outcome}", segment(&self.task()));
        let body = json!({"reason": ended.to_string()});
        let until = Mono::now().plus(PERSIST);
        let error = loop {
            match self.client.post::<Value>(&path, &body).await {
                Ok(_) => return,
                Err(error) if error.is_passing() && Mono::now() < until => tokio::time::sleep(AGAIN).await,
                Err(error) => break error,
            }
        };
        // Ended by somebody else: nothing is left to end.
        if !(self.over && error.status().is_some()) {
            say(&format!("the task could not be ended as {outcome}: {error}; its access ends by itself"));
        }
    }
}

/// The latest end of these grants; none when there are none.
fn latest_end(grants: &[Value]) -> Option<Time> {
    grants.iter().filter_map(|grant| text(grant, "expires_at").parse().ok()).max()
}
