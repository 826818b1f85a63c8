//! From the question to the grant, or to no question any more: whatever ends the wait withdraws the request, so that nobody approves
//! what no command waits for; and what was granted at that very moment ends.

use super::Run;
use super::access::Access;
use super::command::CommandLine;
use super::signals::Signals;
use super::supervise::Ended;
use crate::cli::Failure;
use crate::cli::ask::{Outcome, Progress, decided};
use crate::cli::client::{Call, Client, ClientError, segment};
use crate::cli::connection::Target;
use crate::cli::grants::text;
use crate::cli::request::refused;
use crate::identity::own::OwnPair;
use crate::runtime::clock::{Mono, wall};
use futures_util::FutureExt as _;
use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// The same key asks the same request once.
const KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// How long a question is sent again whose answer did not come, and the word that it is taken back.
const PERSIST: Duration = Duration::from_secs(20);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(500);
/// How long an answer of the control plane may take before there is a command.
const ANSWERS: Duration = Duration::from_secs(30);

/// What is told of a question that cannot be taken back.
const UNKNOWN: &str = "it is unknown whether anything was asked; what was ends by itself";
/// What is told of a request that cannot be.
const PENDING: &str = "not known to be withdrawn";

impl Run {
    /// Whether nobody has begun the task: then its terms are ours to say. An error if it is somebody else's: who only takes part in
    /// it cannot end it, so that the access would outlive the command.
    pub(super) async fn begins(&self, control: &Target) -> Result<bool, Failure> {
        let name = &self.wanted.task;
        let task: Value = match client(control).get(&format!("/v1/tasks/{}", segment(name.as_str()))).await {
            Ok(task) => task,
            Err(error) if error.status() == Some(http::StatusCode::NOT_FOUND) => return Ok(true),
            Err(error) => return Err(error.into()),
        };
        let pair = OwnPair::load(&control.identity, wall()).map_err(Failure::usage)?;
        let owner = text(&task, "owner");
        if pair.principal().is_none_or(|own| own.to_string() != owner) {
            return Err(Failure::failed(format!(
                "the task `{name}` belongs to {owner}, and `run` ends the task with the command: give it a task of its own"
            )));
        }
        Ok(text(&task, "state") != "open")
    }

    /// Asks and waits. The request that comes back is granted.
    pub(super) async fn ask(
        &self,
        control: &Target,
        command: &CommandLine,
        begins: bool,
        signals: &mut Signals,
    ) -> Result<Value, Failure> {
        let reason = self.reason.clone().unwrap_or_else(|| format!("run of `{}`", command.name()));
        let mut body = self.wanted.body(&reason)?;
        if begins {
            body.insert("task_idle_timeout".to_owned(), json!(self.task_idle_timeout));
        }
        let question = self.question(&body)?;
        let mut client = client(control);
        let asked = tokio::select! {
            biased;
            signal = signals.next() => Err(format!("interrupted ({}) while asking", signal.name())),
            asked = first(&mut client, &question) => match asked {
                Err(error) if is_unknown(&error) => Err(Failure::from(error).text().to_owned()),
                asked => Ok(asked?),
            },
        };
        let asked = match asked {
            Ok(asked) => asked,
            Err(why) if !client.has_reached() => {
                return Err(Failure::failed(format!("{why}; nothing was asked")));
            }
            Err(why) => {
                let taken_back = tokio::select! {
                    biased;
                    () = insisted(signals) => UNKNOWN.to_owned(),
                    said = take_back(control, question) => said,
                };
                return Err(Failure::failed(format!("{why}; {taken_back}")));
            }
        };
        let id = text(&asked, "id");
        let until = self.wait.map(|limit| Mono::now().plus(limit.get()));
        let mut progress = Progress::new();
        let waited = tokio::select! {
            biased;
            signal = signals.next() => Err(format!("interrupted ({}) while waiting", signal.name())),
            request = decided(&mut client, asked, until, &mut progress) => {
                request.map_err(|failure| failure.text().to_owned())
            }
        };
        progress.end();
        let why = match waited {
            Ok(request) => match (Outcome::of(&request), self.wait) {
                (Outcome::Granted, _) => return Ok(request),
                (Outcome::Pending, Some(limit)) => format!("nobody decided within {limit}"),
                (Outcome::Pending | Outcome::Refused, _) => return Err(refused(&request)),
            },
            Err(why) => why,
        };
        let withdrawn = tokio::select! {
            biased;
            () = insisted(signals) => PENDING.to_owned(),
            said = withdraw(control, &id) => said,
        };
        Err(Failure::failed(format!("{why}; {id} is {withdrawn}")))
    }
}

impl Run {
    /// The call that asks: however often it is sent, it asks once.
    fn question(&self, body: &Map<String, Value>) -> Result<Call, Failure> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(Failure::failed)?;
        let key = format!("run-{:032x}", u128::from_be_bytes(random));
        let key = HeaderValue::try_from(key).map_err(Failure::failed)?;
        Ok(self.wanted.call(body)?.header(KEY, key))
    }
}

/// Asks, also when the answer gets lost on the way and the question has to be sent again.
async fn first(client: &mut Client, question: &Call) -> Result<Value, ClientError> {
    let until = Mono::now().plus(PERSIST);
    loop {
        match client.send(question.clone()).await {
            // Nothing was said: it may have arrived or not.
            Err(error) if error.is_passing() && error.status().is_none() && Mono::now() < until => {
                tokio::time::sleep(AGAIN).await;
            }
            said => return said,
        }
    }
}

/// Whether the question may have arrived all the same. Who asked too often did not.
fn is_unknown(error: &ClientError) -> bool {
    error.is_passing() && error.status() != Some(http::StatusCode::TOO_MANY_REQUESTS)
}

/// Somebody wants it to end without what is being taken back. What comes with the first signal, or just behind it, is the same wish.
async fn insisted(signals: &mut Signals) {
    tokio::time::sleep(Duration::from_secs(1)).await;
    while signals.next().now_or_never().is_some() {}
    signals.next().await;
}

/// Takes back what may have been asked: the same question once more is answered with what became of the first. What to tell.
async fn take_back(control: &Target, question: Call) -> String {
    match persist(&mut client(control), &question, Mono::now().plus(PERSIST)).await {
        Ok(asked) => {
            let id = text(&asked, "id");
            format!("{id} is {}", withdraw(control, &id).await)
        }
        // A refusal of the second says nothing of the first: a token may have run out between.
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// Takes a request back; how it stands then.
async fn withdraw(control: &Target, id: &str) -> String {
    let unknown = || PENDING.to_owned();
    let mut client = client(control);
    let path = format!("/v1/requests/{id}");
    let body = json!({"reason": "no command waits for it any more"});
    let Ok(cancel) = Call::post(format!("{path}/cancel"), &body) else { return unknown() };
    let until = Mono::now().plus(PERSIST);
    match persist(&mut client, &cancel, until).await {
        Ok(_) => return "withdrawn".to_owned(),
        Err(error) if error.status().is_some() && !error.is_passing() => {}
        Err(_) => return unknown(),
    }
    // Somebody decided at this very moment.
    match persist(&mut client, &Call::get(path), until).await {
        Ok(request) if Outcome::of(&request) == Outcome::Granted => {
            Access::new(client, request).end(&Ended::NeverStarted).await;
            "granted meanwhile, its task is ended".to_owned()
        }
        Ok(request) => text(&request, "state"),
        Err(_) => unknown(),
    }
}

/// Sends a call until something is said about it, or it is too late.
async fn persist(client: &mut Client, call: &Call, until: Mono) -> Result<Value, ClientError> {
    loop {
        match client.send(call.clone()).await {
            Err(error) if error.is_passing() && Mono::now() < until => tokio::time::sleep(AGAIN).await,
            said => return said,
        }
    }
}

fn client(control: &Target) -> Client {
    let mut client = Client::new(control.clone());
    client.set_patience(ANSWERS);
    client
}
