//! Asking for access over the API, as the stories do.

use super::client::full;
use super::pki::Leaf;
use super::{Answer, Setup, World};
use serde_json::{Value, json};
use std::fs;

/// What is asked for where a story does not say more: one action at the paths of `orders`, for five minutes.
pub(crate) fn asked(task: &str, action: &str, path: &str) -> Value {
    json!({
        "task": task, "reason": "a customer asks", "ttl": "5m",
        "scope": [{"type": "http", "locations": ["orders"], "actions": [action], "paths": [path]}],
    })
}

/// The same with one member more, or another value of one.
pub(crate) fn with(mut body: Value, key: &str, value: Value) -> Value {
    body[key] = value;
    body
}

impl Setup {
    /// Lays out a world in which these policies decide; `control_policy` are lines for their table. Starts no process.
    pub(crate) async fn decided_by(self, control_policy: &str, policies: &str) -> World {
        let table = format!("[control.policy]\nfolder = \"policies\"\n{control_policy}\n");
        let world = self.tables(&table).prepare().await;
        world.write_policies(policies);
        world
    }
}

impl World {
    /// Replaces the one file of the policies' folder.
    pub(crate) fn write_policies(&self, text: &str) {
        fs::create_dir_all(self.path("policies")).unwrap();
        fs::write(self.path("policies/a.cedar"), text).unwrap();
    }

    pub(crate) async fn start_both(mut self) -> Self {
        self.start_control().await;
        self.start_proxy().await;
        self
    }

    /// One call of the API as somebody.
    pub(crate) async fn api(&self, who: &Leaf, (method, path): (&str, &str), body: &Value) -> Answer {
        let mut connection = self.api_as(who).connect().await;
        let request = connection.request(method, path).header("content-type", "application/json");
        Answer::of(connection.send(request.body(full(body.to_string())).unwrap()).await).await
    }

    /// Asks as somebody; the answer, whatever it is.
    pub(crate) async fn try_ask(&self, who: &Leaf, body: &Value) -> Answer {
        self.api(who, ("POST", "/v1/requests"), body).await
    }

    /// Asks as somebody; the request as it is then.
    pub(crate) async fn ask(&self, who: &Leaf, body: &Value) -> Value {
        let asked = self.try_ask(who, body).await;
        assert_eq!(asked.status, 201, "{asked:?}");
        asked.json()
    }

    /// The grant of an approved request, once the proxy enforces it.
    pub(crate) async fn granted(&self, request: &Value) -> Value {
        assert_eq!(request["state"], "approved", "{request}");
        let grant = self.cli(&["grants", "show", request["grant"].as_str().unwrap()]).await;
        self.applied(&grant["revision"]).await;
        grant
    }
}

pub(crate) fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap_or_else(|| panic!("no id in {thing}"))
}

/// Why a request was refused by policy.
pub(crate) fn because(request: &Value) -> String {
    assert_eq!(request["state"], "denied", "{request}");
    request["because"].as_array().unwrap().iter().map(|text| text.as_str().unwrap()).collect()
}
