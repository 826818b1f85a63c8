//! What both ways in have in common: the gate, the control plane, and as whom they are spoken to.

use super::asking::Asking;
use super::link::{Link, Place};
use super::out::Out;
use crate::cli::Failure;
use crate::cli::connection::Target;
use crate::cli::loopback::Gate;
use crate::identity::own::OwnPair;
use crate::mcp::rules::EndpointPath;
use crate::model::{ServiceName, TaskId};
use crate::runtime::clock::wall;
use http::HeaderValue;
use std::sync::Arc;
use tokio_util::task::TaskTracker;

/// See the head of this file.
pub(super) struct Parts {
    pub(super) service: ServiceName,
    pub(super) path: EndpointPath,
    pub(super) task: Option<TaskId>,
    pub(super) gate: Arc<Gate>,
    /// None: the control plane's tools are not wanted.
    pub(super) control: Option<Arc<Gate>>,
}

impl Parts {
    /// Checks the certificate once, so that what is wrong with it is said before a client waits for an answer.
    pub(super) fn checked(self) -> Result<Self, Failure> {
        OwnPair::load(&self.gate.target().identity, wall()).map_err(Failure::usage)?;
        Ok(self)
    }

    /// Every gate that the certificate is shown to.
    pub(super) fn gates(&self) -> Vec<Arc<Gate>> {
        std::iter::once(&self.gate).chain(&self.control).cloned().collect()
    }

    /// The control plane, where its tools are wanted.
    pub(super) fn control(&self) -> Option<Target> {
        self.control.as_ref().map(|gate| gate.target().clone())
    }

    /// The ways out.
    pub(super) fn links(self, out: &Out, tracker: &TaskTracker) -> (Arc<Link>, Option<Asking>) {
        let task = self.task.as_ref().and_then(|task| HeaderValue::from_str(task.as_str()).ok());
        let place = Place { gate: self.gate, authority: self.service.to_string(), path: self.path, task };
        let link = Arc::new(Link::new(place, out.clone(), true, tracker.clone()));
        let asking = self.control.map(|gate| {
            let authority = authority(gate.target());
            let place = Place { gate, authority, path: EndpointPath::default(), task: None };
            Asking::new(Arc::new(Link::new(place, out.clone(), false, tracker.clone())), self.service)
        });
        (link, asking)
    }
}

/// Host and port as they stand in a URL.
pub(super) fn authority(target: &Target) -> String {
    let url = target.endpoint.to_string();
    url.strip_prefix("https://").unwrap_or(&url).to_owned()
}
