//! Asking for access: what is common to `request` and `run`, and the wait for whoever decides.

mod wait;

pub(super) use wait::{Outcome, Progress, decided};

use super::Failure;
use super::client::Call;
use crate::model::{RoleName, Scope, TaskId, Ttl};
use http::{HeaderValue, header};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Longest file with a token.
const MAX_TOKEN: u64 = 64 * 1024;

/// What is asked for, in the flags that `request` and `run` share.
#[derive(Debug, clap::Args)]
pub(super) struct Wanted {
    /// The unit of work that it is for
    #[arg(long)]
    pub(super) task: TaskId,
    /// What is asked for, in text or JSON form; repeatable
    #[arg(long, group = "what", value_name = "SCOPE")]
    scope: Vec<String>,
    /// A named scope of the configuration
    #[arg(long, group = "what", conflicts_with = "scope", value_name = "NAME")]
    role: Option<RoleName>,
    /// How long, from approval or from --not-before, for instance `15m`
    #[arg(long)]
    ttl: Ttl,
    /// The ticket that it belongs to
    #[arg(long)]
    ticket: Option<String>,
    /// Break glass: where policies allow it, granted at once, recorded, and reviewed by a second person
    #[arg(long)]
    emergency: bool,
    /// A token (JWT) that names the human behind the request
    #[arg(long, value_name = "TOKENFILE")]
    on_behalf_of: Option<PathBuf>,
    #[command(flatten)]
    proof: Proof,
}

/// How a caller proves more than its certificate.
#[derive(Debug, clap::Args)]
pub(super) struct Proof {
    /// A fresh token (JWT) of yours, where policies demand a stronger or more recent authentication
    #[arg(long, value_name = "TOKENFILE")]
    bearer: Option<PathBuf>,
}

impl Wanted {
    /// The body of a request, with this justification.
    pub(super) fn body(&self, reason: &str) -> Result<Map<String, Value>, Failure> {
        let mut body = Map::new();
        body.insert("task".to_owned(), json!(self.task));
        body.insert("reason".to_owned(), json!(reason));
        body.insert("ttl".to_owned(), json!(self.ttl));
        if !self.scope.is_empty() {
            let scope = Scope::parse_all(&self.scope).map_err(Failure::usage)?;
            body.insert("scope".to_owned(), json!(scope));
        }
        let user = self.on_behalf_of.as_deref().map(token).transpose()?;
        let optional = [
            ("role", self.role.as_ref().map(|role| json!(role))),
            ("ticket", self.ticket.as_ref().map(|ticket| json!(ticket))),
            ("on_behalf_of", user.map(|user| json!(user))),
            ("emergency", self.emergency.then_some(json!(true))),
        ];
        body.extend(optional.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        Ok(body)
    }

    /// The call that asks.
    pub(super) fn call(&self, body: &Map<String, Value>) -> Result<Call, Failure> {
        self.proof.add_to(Call::post("/v1/requests", body)?)
    }
}

impl Proof {
    /// The same call with the token, if there is one.
    pub(super) fn add_to(&self, call: Call) -> Result<Call, Failure> {
        let Some(file) = &self.bearer else { return Ok(call) };
        let mut value = HeaderValue::try_from(format!("Bearer {}", token(file)?)).map_err(Failure::usage)?;
        value.set_sensitive(true);
        Ok(call.header(header::AUTHORIZATION, value))
    }
}

/// The token in a file, without white space around it; `-` is standard input.
fn token(file: &Path) -> Result<String, Failure> {
    use std::io::Read;
    let fail = |why: String| Failure::usage(format!("`{}`: {why}", file.display()));
    let mut text = String::new();
    let reader: Box<dyn Read> = if file.as_os_str() == "-" {
        Box::new(std::io::stdin())
    } else {
        Box::new(std::fs::File::open(file).map_err(|error| fail(error.to_string()))?)
    };
    reader.take(MAX_TOKEN).read_to_string(&mut text).map_err(|error| fail(error.to_string()))?;
    let text = text.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    // The text itself stays out of the message: it may be a secret of another kind.
    if text.is_empty() || !text.bytes().all(is_token) {
        return Err(fail("holds no token: expected one JWT and nothing else".to_owned()));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_token_or_refused_without_being_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("token");
        std::fs::write(&file, "eyJ.a-b_c.d\n").unwrap();
        assert_eq!(token(&file).unwrap(), "eyJ.a-b_c.d");
        for bad in ["", "two tokens", "a\nb", "-----BEGIN PRIVATE KEY-----\nsecret"] {
            std::fs::write(&file, bad).unwrap();
            let error = token(&file).unwrap_err();
            assert!(!error.text().contains("secret"), "{}", error.text());
        }
        assert!(token(&dir.path().join("none")).is_err());
    }
}
