//! Replaces the policies of a running control plane, and ends what the new ones no longer allow.
//!
//! Order, so that nothing slips through: the new set decides from now on; whatever was decided on before is waited for; every live
//! grant is looked at with the facts of its own decision; then the load and the revocations are logged in one append. If this
//! process dies in between, the log still names the old set, and the next start does it again. A set that cannot be used changes
//! nothing.

use crate::config::PolicyConfig;
use crate::control::log::LogError;
use crate::control::plane::Plane;
use crate::control::policy::{PolicyErrors, PolicySet};
use crate::control::state::{Command, Refusal, Rules, State};
use crate::control::workflow::{AccessCommand, Disallowed, recheck};
use crate::model::event::{Actor, Event, EventBody};
use crate::model::{GrantId, Revision, Time};
use parking_lot::Mutex;
use std::sync::Arc;

/// Grants looked at while the state is held once.
const AT_ONCE: usize = 64;

/// Where policies come from, and since when those that decide do.
#[derive(Debug)]
pub struct Policies {
    config: PolicyConfig,
    loaded_at: Mutex<Time>,
    /// One after the other.
    loading: tokio::sync::Mutex<()>,
}

/// What loading led to, or would lead to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The hash of the set.
    pub policy: String,
    /// The ids of its policies.
    pub policies: Vec<String>,
    /// Whether it is another than the one that decided.
    pub changed: bool,
    /// The grants that it does not allow.
    pub disallowed: Vec<Disallowed>,
}

/// Why policies are not replaced.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The set cannot be used; the one before goes on deciding.
    #[error(transparent)]
    Policies(#[from] PolicyErrors),
    /// The facts of decisions cannot be read.
    #[error("the event log cannot be read")]
    Log(#[from] LogError),
    /// The load cannot be logged.
    #[error("the load of the policies cannot be logged")]
    Refused(#[from] Refusal),
    /// The task that reads the folder was stopped.
    #[error("the control plane is stopping")]
    Stopping,
}

impl Policies {
    /// Those of a configuration; the plane has them already.
    #[must_use]
    pub fn new(config: PolicyConfig, plane: &Plane) -> Self {
        let (started, _) = plane.started();
        Self { config, loaded_at: Mutex::new(started), loading: tokio::sync::Mutex::default() }
    }

    /// Since when this process decides by the set that decides now.
    #[must_use]
    pub fn loaded_at(&self) -> Time {
        *self.loaded_at.lock()
    }

    /// Reads the folder again. In a dry run nothing changes.
    ///
    /// # Errors
    /// [`LoadError`]: the set cannot be used; or it decides already, and what it does not allow is revoked by the next try.
    pub async fn reload(&self, plane: &Plane, actor: Actor, dry_run: bool) -> Result<Loaded, LoadError> {
        let _one = self.loading.lock().await;
        let config = self.config.clone();
        let read = tokio::task::spawn_blocking(move || PolicySet::from_config(&config)).await;
        let set = read.map_err(|_| LoadError::Stopping)??;
        let changed = set.hash() != plane.rules().policies.hash()
            || plane.with_state(|state| is_other(state, set.hash()));
        if dry_run || !changed {
            let rules = with(&plane.rules(), &set);
            let disallowed = if changed { disallowed(plane, &rules).await? } else { Vec::new() };
            return Ok(loaded(&set, changed, disallowed));
        }
        plane.update_rules(|rules| with(rules, &set));
        *self.loaded_at.lock() = plane.control_time();
        // Whatever waits for the writer was decided on by either set; after this, only by the new one.
        plane.submit(Actor::System, Command::Access(AccessCommand::Sweep)).await?;
        log(plane, actor).await
    }

    /// At start: if the log names another set than the one that decides now, it is as if that were loaded now.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn settle(plane: &Plane) -> Result<(), LoadError> {
        let hash = plane.rules().policies.hash().to_owned();
        if plane.with_state(|state| is_other(state, &hash)) {
            let loaded = log(plane, Actor::System).await?;
            tracing::info!(
                policy = loaded.policy,
                revoked = loaded.disallowed.len(),
                "other policies decide"
            );
        }
        Ok(())
    }
}

/// Logs that the set of the plane decides, and revokes what it does not allow.
async fn log(plane: &Plane, actor: Actor) -> Result<Loaded, LoadError> {
    let rules = plane.rules();
    let set = &rules.policies;
    let disallowed = disallowed(plane, &rules).await?;
    let command = AccessCommand::PoliciesLoaded {
        policy: set.hash().to_owned(),
        policies: set.ids(),
        disallowed: disallowed.clone(),
    };
    plane.submit(actor, Command::Access(command)).await?;
    Ok(loaded(set, true, disallowed))
}

fn loaded(set: &PolicySet, changed: bool, disallowed: Vec<Disallowed>) -> Loaded {
    Loaded { policy: set.hash().to_owned(), policies: set.ids(), changed, disallowed }
}

fn with(rules: &Rules, set: &PolicySet) -> Rules {
    Rules { policies: set.clone(), zone: set.zone().clone(), ..rules.clone() }
}

/// A log that names no set was decided on by the built-in rule.
fn is_other(state: &State, hash: &str) -> bool {
    state.policy().unwrap_or(PolicySet::builtin().hash()) != hash
}

/// Every live grant that the policies of `rules` do not allow.
async fn disallowed(plane: &Plane, rules: &Rules) -> Result<Vec<Disallowed>, LogError> {
    let now = plane.control_time();
    let live: Vec<(GrantId, Option<Revision>)> = plane.with_state(|state| {
        let not_over = state.live().filter(|live| now < live.grant.expires_at);
        not_over.map(|live| (live.grant.id, evaluated(state, live.grant.id))).collect()
    });
    let mut found = Vec::new();
    for part in live.chunks(AT_ONCE) {
        let mut events = Vec::with_capacity(part.len());
        for (grant, revision) in part {
            let event = match revision {
                Some(revision) => event_at(plane, *revision).await?,
                None => None,
            };
            events.push((*grant, event));
        }
        found.extend(plane.with_state(|state| {
            let check = |(grant, event): &(GrantId, Option<Arc<Event>>)| {
                let facts = event.as_deref().and_then(facts);
                recheck(state, rules, state.live_grant(*grant)?, facts)
            };
            events.iter().filter_map(check).collect::<Vec<_>>()
        }));
    }
    Ok(found)
}

fn facts(event: &Event) -> Option<&serde_json::Value> {
    if let EventBody::AccessEvaluated { evaluation, .. } = &event.body {
        Some(&evaluation.facts)
    } else {
        None
    }
}

/// Where the last evaluation of the request behind a grant is in the log.
fn evaluated(state: &State, grant: GrantId) -> Option<Revision> {
    let lineage = state.live_grant(grant)?.grant.lineage.as_ref()?;
    Some(state.request(lineage.request?)?.evaluated.as_ref()?.revision)
}

async fn event_at(plane: &Plane, revision: Revision) -> Result<Option<Arc<Event>>, LogError> {
    let before = Revision(revision.0.saturating_sub(1));
    Ok(plane.read(before, 1).await?.pop().map(|recorded| recorded.event))
}
