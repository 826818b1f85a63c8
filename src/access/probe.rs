//! A request, hashed for look-ups among compiled permissions ([`super::rules`]).

use super::calls::{self, ARGUMENTS};
use super::rules::{OTHER_METHODS, Seed, hash_segment};
use super::view::{Form, MAX_SEGMENTS, View};
use crate::model::McpCall;
use crate::model::scope::Methods;
use std::cell::OnceCell;

/// A request, prepared for look-ups in one set.
pub(in crate::access) struct Probe<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) question: Question<'a>,
    hashes: [u32; MAX_SEGMENTS],
    pub(super) count: usize,
    pub(super) method: u16,
    arguments: OnceCell<u32>,
    seed: &'a Seed,
}

/// What is asked of the permissions.
#[derive(Debug, Clone, Copy)]
pub(in crate::access) enum Question<'a> {
    /// Is this view's request permitted?
    View,
    /// Is this call permitted?
    Call(&'a McpCall<'a>),
    /// Is this call permitted with some arguments?
    Show(&'a McpCall<'a>),
}

impl<'a> Probe<'a> {
    /// The request, hashed as the rules that were compiled with this seed are.
    pub(in crate::access) fn of(view: &'a View<'a>, question: Question<'a>, seed: &'a Seed) -> Self {
        let mut hashes = [0; MAX_SEGMENTS];
        let mut count = 0;
        if let Question::Call(call) | Question::Show(call) = question {
            let count = calls::hash(call, seed, &mut hashes);
            let arguments = OnceCell::new();
            return Probe { view, question, hashes, count, method: u16::MAX, arguments, seed };
        }
        // By bytes: segments are short, and a byte-wise split is the fastest there.
        let path = view.path().as_bytes();
        let segments = path.strip_prefix(b"/").unwrap_or(path).split(|byte| *byte == b'/');
        for (hash, segment) in hashes.iter_mut().zip(segments) {
            *hash = hash_segment(seed, segment);
            count += 1;
        }
        let method = Methods::bit(view.action()).unwrap_or(OTHER_METHODS);
        Probe { view, question, hashes, count, method, arguments: OnceCell::new(), seed }
    }

    /// The hash at a place. That of arguments is made when it is first needed.
    pub(super) fn hash(&self, place: usize) -> u32 {
        match self.question {
            Question::Call(call) if place == ARGUMENTS => {
                *self.arguments.get_or_init(|| calls::hash_arguments(call, self.seed))
            }
            Question::View | Question::Call(_) | Question::Show(_) => {
                self.hashes.get(place).copied().unwrap_or_default()
            }
        }
    }

    /// Whether a gRPC call is asked about; none for MCP.
    pub(super) fn grpc(&self) -> Option<bool> {
        matches!(self.question, Question::View).then(|| self.view.form() == Form::Grpc)
    }
}
