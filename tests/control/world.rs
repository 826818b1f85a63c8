//! A control plane on a port of its own, with a CA of its own, and callers.

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::SendRequest;
use hyper_util::rt::TokioIo;
use jitgate::config::{ControlConfig, IdentityFiles, Person, Role, Store, TrustFiles};
use jitgate::control::app::{ControlApp, Parts};
use jitgate::identity::devca::{DevCa, Leaf};
use jitgate::identity::own::OwnPair;
use jitgate::identity::{OwnIdentity, ServerRule, Trust, TrustSet, tls};
use jitgate::model::{Owner, Sensitivity, ServiceName, ServiceProfile, SpiffeId, Ttl};
use jitgate::runtime::clock::wall;
use jitgate::runtime::drain::Drain;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

const DAY: Duration = Duration::from_secs(86_400);
pub(crate) const AGENT: &str = "spiffe://jitgate.local/agent/demo";

pub(crate) struct World {
    folder: tempfile::TempDir,
    ca: DevCa,
    pub(crate) trust: Arc<Trust>,
    config: ControlConfig,
    drain: Drain,
    app: Option<ControlApp>,
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The answer is this problem, and says so in every place.
    pub(crate) fn is_problem(&self, status: u16, reason: &str) {
        assert_eq!(self.status.as_u16(), status, "{self:?}");
        assert_eq!(self.headers[header::CONTENT_TYPE], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:jitgate:problem:{reason}"));
        assert_eq!((&problem["status"], &problem["reason"]), (&json!(status), &json!(reason)));
    }
}

pub(crate) struct Client {
    sender: SendRequest<Full<Bytes>>,
}

impl Client {
    pub(crate) async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.sender.ready().await.unwrap();
        let response = self.sender.send_request(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap();
        Answer { status: parts.status, headers: parts.headers, text }
    }

    pub(crate) async fn call(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: impl Into<Bytes>,
    ) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "control")
            .header(header::CONTENT_TYPE, kind);
        self.send(request.body(Full::new(body.into())).unwrap()).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Answer {
        let request = Request::builder().uri(path).header(header::HOST, "control");
        self.send(request.body(Full::default()).unwrap()).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.call("POST", path, "application/json", body.to_string()).await
    }

    /// Whether the other side closes the connection instead of answering.
    pub(crate) async fn is_refused(&mut self) -> bool {
        let request = Request::builder().uri("/v1/whoami").header(header::HOST, "control");
        match self.sender.ready().await {
            Ok(()) => self.sender.send_request(request.body(Full::default()).unwrap()).await.is_err(),
            Err(_) => true,
        }
    }

    /// Whether the connection has ended from the other side.
    pub(crate) async fn is_closed(&mut self) -> bool {
        let closed = async {
            while self.sender.ready().await.is_ok() {
                tokio::task::yield_now().await
            }
        };
        tokio::time::timeout(Duration::from_secs(10), closed).await.is_ok()
    }
}

fn load(files: &IdentityFiles) -> Arc<OwnIdentity> {
    OwnIdentity::new(OwnPair::load(files, wall()).unwrap())
}

fn id(text: &str) -> SpiffeId {
    text.parse().unwrap()
}

impl World {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = DevCa::init(&folder.path().join("ca"), DAY, wall()).unwrap();
        let identity =
            ca.issue(&Leaf::control("local").unwrap(), &folder.path().join("control"), DAY, wall()).unwrap();
        let operators = [
            ("admin", vec![Role::Admin]),
            ("security", vec![Role::Security]),
            ("viewer", vec![Role::Viewer]),
            ("broker", vec![Role::Broker]),
            ("approver", vec![Role::Approver]),
            ("second", vec![Role::Approver]),
        ];
        let mut roles: BTreeMap<_, _> = operators
            .into_iter()
            .map(|(name, roles)| {
                (id(&format!("spiffe://jitgate.local/operator/{name}")), roles.into_iter().collect())
            })
            .collect();
        roles.insert(id("spiffe://jitgate.local/proxy/edge"), [Role::Proxy].into());
        let person = ["spiffe://jitgate.local/operator/admin", "spiffe://jitgate.local/agent/of-admin"];
        let config = ControlConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            // The port is another one after each restart.
            public_url: Some("https://control.example:8444".parse().unwrap()),
            admin_listen: None,
            store: Store::Sqlite(folder.path().join("control.db")),
            lease: Duration::from_secs(15),
            clock_drift: Duration::from_millis(100),
            max_ttl: "8h".parse::<Ttl>().unwrap(),
            drain_timeout: Duration::from_secs(1),
            identity,
            trust: TrustFiles { bundles: BTreeMap::new(), crls: Vec::new() },
            roles,
            people: Box::new([Person {
                name: "ada".into(),
                identities: person.map(id).into(),
                groups: std::collections::BTreeSet::new(),
            }]),
            requests: jitgate::config::RequestRules::default(),
            policy: jitgate::config::PolicyConfig::default(),
            principals: std::collections::BTreeMap::new(),
            services: services(),
            issuers: Box::new([]),
            tokens: jitgate::config::TokenRules::default(),
            webhooks: Box::new([]),
            tickets: None,
            exports: Box::new([]),
            witnesses: Box::new([]),
            templates: std::collections::BTreeMap::new(),
        };
        let trust = Trust::new(bundle(&ca), Arc::new(wall));
        let mut world = Self { folder, ca, trust, config, drain: Drain::new(), app: None };
        world.restart().await;
        world
    }

    /// Stops what runs, without a word to it, and starts again from the same files.
    pub(crate) async fn restart(&mut self) {
        if let Some(app) = self.app.take() {
            self.drain.run(Duration::ZERO).await;
            app.stopped().await;
        }
        self.drain = Drain::new();
        // The lock goes when the last user of the file is gone.
        for _ in 0..100 {
            let parts = Parts {
                origin: jitgate::control::restore::Origin::AsLeft,
                own: load(&self.config.identity),
                trust: Arc::clone(&self.trust),
                drain: self.drain.clone(),
                handshakes: Arc::new(|_| {}),
            };
            match ControlApp::start(&self.config, parts).await {
                Ok(app) => {
                    self.app = Some(app);
                    return;
                }
                Err(jitgate::control::app::StartError::Store(_)) => tokio::task::yield_now().await,
                Err(error) => panic!("{error:?}"),
            }
        }
        panic!("the log stays locked");
    }

    /// Changes the configuration and starts anew with it.
    pub(crate) async fn configure(&mut self, change: impl FnOnce(&mut ControlConfig)) {
        change(&mut self.config);
        self.restart().await;
    }

    pub(crate) fn app(&self) -> &ControlApp {
        self.app.as_ref().unwrap()
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    fn files(&self, leaf: &Leaf) -> IdentityFiles {
        let folder = self.folder.path().join(leaf.id().path());
        self.ca.ensure(leaf, &folder, DAY, wall()).unwrap()
    }

    pub(crate) async fn operator(&self, name: &str) -> Client {
        self.connect(&Leaf::operator(name).unwrap()).await
    }

    pub(crate) async fn agent(&self, name: &str) -> Client {
        self.connect(&Leaf::agent(name).unwrap()).await
    }

    pub(crate) async fn proxy(&self, name: &str) -> Client {
        self.connect(&Leaf::proxy(name, &[]).unwrap()).await
    }

    async fn connect(&self, leaf: &Leaf) -> Client {
        let rule = ServerRule::Identity(id("spiffe://jitgate.local/control/local"));
        let trust = Trust::new(bundle(&self.ca), Arc::new(wall));
        let tls = tls::client_config(load(&self.files(leaf)), trust, rule, &[b"http/1.1"]).unwrap();
        let socket = TcpStream::connect(self.app().address()).await.unwrap();
        let stream = TlsConnector::from(tls).connect("localhost".try_into().unwrap(), socket).await.unwrap();
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Client { sender }
    }
}

/// Services that can be asked for, and one that cannot.
fn services() -> BTreeMap<ServiceName, ServiceProfile> {
    let service = |name: &str, requestable| {
        let profile = ServiceProfile {
            owner: Owner::Person("ada".into()),
            sensitivity: Sensitivity::Medium,
            environment: None,
            labels: BTreeMap::new(),
            tools: BTreeMap::new(),
            requestable,
        };
        (name.parse().unwrap(), profile)
    };
    [service("orders", true), service("stock", true), service("vault", false)].into()
}

pub(crate) fn bundle(ca: &DevCa) -> TrustSet {
    let pem = std::fs::read(ca.bundle()).unwrap();
    TrustSet::parse([("jitgate.local", pem.as_slice())], []).unwrap()
}

pub(crate) fn grant(principal: &str, task: &str) -> Value {
    json!({
        "principal": principal,
        "task": task,
        "scope": [{"type": "http", "locations": ["orders"], "actions": ["GET"], "paths": ["/v1/**"]}],
        "ttl": "15m",
        "reason": "a test",
    })
}
