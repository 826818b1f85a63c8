//! An `mcp` permission: services, methods, what they are about, and the arguments of a call.
//!
//! Which lists it has follows from its methods: each is required exactly where a method needs it, and refused where none does.
//!
//! | methods | `tools` | `resources` | `prompts` | `arguments` |
//! |---|---|---|---|---|
//! | `tools/call` | required | | | required |
//! | `resources/read`, `resources/subscribe`, `resources/unsubscribe` | | required | | |
//! | `prompts/get` | | | required | required |
//! | `completion/complete` | | one of the two, | or both | |
//! | every other | | | | |
//! | `*` | required | required | required | required |

mod arguments;
mod names;
#[cfg(test)]
mod tests;
mod text;
mod uri;

pub use arguments::{Arguments, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, PatternFault, Schema, SchemaFault};
pub use names::Names;
pub use uri::{UriFault, UriPattern, UriSegment, Uris};

use super::error::PermissionError;
use super::list::List;
use super::services;
use crate::model::{McpCall, ServiceName};
use serde_json::Value;
use std::sync::Arc;

pub(super) use text::{parse, write_json, write_text};

/// A permission to make MCP requests. Cloning is cheap: what was compiled is shared.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct McpPermission {
    pub(super) locations: List<ServiceName>,
    terms: Arc<Terms>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Terms {
    actions: Names,
    tools: Option<Names>,
    resources: Option<Uris>,
    prompts: Option<Names>,
    arguments: Option<Arguments>,
}

/// What a permission is made of, as it is written; `["*"]` for any.
#[derive(Debug, Clone, Default)]
pub struct McpParts<S> {
    /// MCP methods.
    pub actions: Vec<S>,
    /// Names of tools.
    pub tools: Option<Vec<S>>,
    /// URI patterns.
    pub resources: Option<Vec<S>>,
    /// Names of prompts.
    pub prompts: Option<Vec<S>>,
    /// `true` or a schema.
    pub arguments: Option<Value>,
}

/// What a method is about: which list of a permission says whether it may be used with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum McpTarget {
    /// A tool.
    Tool,
    /// A resource.
    Resource,
    /// A prompt.
    Prompt,
    /// A prompt or a resource (`completion/complete`).
    Completion,
    /// Nothing that a permission could name.
    Nothing,
}

impl McpTarget {
    /// The methods that are about something.
    pub const METHODS: [(&'static str, Self); 6] = [
        ("tools/call", Self::Tool),
        ("resources/read", Self::Resource),
        ("resources/subscribe", Self::Resource),
        ("resources/unsubscribe", Self::Resource),
        ("prompts/get", Self::Prompt),
        ("completion/complete", Self::Completion),
    ];

    /// Of a method.
    #[must_use]
    pub fn of(method: &str) -> Self {
        let known = Self::METHODS.iter().find(|(known, _)| *known == method);
        known.map_or(Self::Nothing, |(_, target)| *target)
    }

    /// Whether calls of its methods have arguments that a permission restricts.
    #[must_use]
    pub fn has_arguments(self) -> bool {
        matches!(self, Self::Tool | Self::Prompt)
    }
}

impl McpPermission {
    /// From service names and parts.
    ///
    /// # Errors
    /// Empty, too many, duplicate, `*` beside others, not of the right form, a part that no method uses, or one that is missing.
    pub fn new<L: AsRef<str>, S: AsRef<str>>(
        locations: &[L],
        mut parts: McpParts<S>,
    ) -> Result<Self, PermissionError> {
        let arguments = parts.arguments.take().map(Arguments::new).transpose()?;
        Self::assembled(locations, parts, arguments)
    }

    /// The same, with arguments that were read; those of `parts` are not looked at.
    fn assembled<L: AsRef<str>, S: AsRef<str>>(
        locations: &[L],
        parts: McpParts<S>,
        arguments: Option<Arguments>,
    ) -> Result<Self, PermissionError> {
        let locations = services(locations)?;
        let actions = Names::methods(&parts.actions)?;
        let targets = Targets::of(&actions);
        let all = "`[\"*\"]` for every one";
        let tools = parts.tools.map(|names| Names::named("tools", &names)).transpose()?;
        let prompts = parts.prompts.map(|names| Names::named("prompts", &names)).transpose()?;
        let resources = parts.resources.map(|patterns| Uris::new(&patterns)).transpose()?;
        let (tool, resource, prompt) = (targets.tool, targets.resource, targets.prompt);
        let completion = targets.completion;
        let terms = Terms {
            tools: placed(tools, "tools", tool, tool, all)?,
            resources: placed(resources, "resources", resource, resource || completion, all)?,
            prompts: placed(prompts, "prompts", prompt, prompt || completion, all)?,
            arguments: placed(arguments, "arguments", tool || prompt, tool || prompt, "`true` for any")?,
            actions,
        };
        if completion && terms.resources.is_none() && terms.prompts.is_none() {
            let example = "`prompts`, `resources` or both for `completion/complete`";
            return Err(PermissionError::Missing { key: "prompts", example });
        }
        Ok(Self { locations, terms: Arc::new(terms) })
    }

    /// What a call would have needed; none if no permission can spell it.
    pub(super) fn exactly(service: &ServiceName, call: &McpCall<'_>) -> Option<Self> {
        let target = McpTarget::of(call.method);
        let name = |wanted: bool| wanted.then_some(call.name).flatten().map(|name| vec![name]);
        let is_uri = call.name.is_some_and(|name| name.contains("://"));
        let completion = target == McpTarget::Completion;
        let parts = McpParts {
            actions: vec![call.method],
            tools: name(target == McpTarget::Tool),
            resources: name(target == McpTarget::Resource || (completion && is_uri)),
            prompts: name(target == McpTarget::Prompt || (completion && !is_uri)),
            arguments: None,
        };
        let all = [&parts.actions]
            .into_iter()
            .chain([&parts.tools, &parts.resources, &parts.prompts].into_iter().flatten());
        if all.flatten().any(|text| text.contains('*')) {
            return None;
        }
        let arguments = match target.has_arguments() {
            true => Some(Arguments::of_call(call)?),
            false => None,
        };
        Self::assembled(&[service.as_str()], parts, arguments).ok()
    }

    /// The services that it is for, sorted.
    #[must_use]
    pub fn locations(&self) -> &[ServiceName] {
        &self.locations
    }

    /// The methods.
    #[must_use]
    pub fn actions(&self) -> &Names {
        &self.terms.actions
    }

    /// The tools, where a method needs them.
    #[must_use]
    pub fn tools(&self) -> Option<&Names> {
        self.terms.tools.as_ref()
    }

    /// The resources, where a method needs them.
    #[must_use]
    pub fn resources(&self) -> Option<&Uris> {
        self.terms.resources.as_ref()
    }

    /// The prompts, where a method needs them.
    #[must_use]
    pub fn prompts(&self) -> Option<&Names> {
        self.terms.prompts.as_ref()
    }

    /// The arguments, where a method has them.
    #[must_use]
    pub fn arguments(&self) -> Option<&Arguments> {
        self.terms.arguments.as_ref()
    }

    /// Whether it permits a call at a service that it names.
    #[must_use]
    pub fn permits(&self, call: &McpCall<'_>) -> bool {
        self.shows(call.method, call.name)
            && (!McpTarget::of(call.method).has_arguments()
                || self.arguments().is_some_and(|arguments| arguments.permit(call.arguments)))
    }

    /// Whether it permits a method with a name for some arguments.
    #[must_use]
    pub fn shows(&self, method: &str, name: Option<&str>) -> bool {
        let tool = |name| self.tools().is_some_and(|tools| tools.has(name));
        let resource = |name| self.resources().is_some_and(|resources| resources.has(name));
        let prompt = |name| self.prompts().is_some_and(|prompts| prompts.has(name));
        self.actions().has(method)
            && match McpTarget::of(method) {
                McpTarget::Tool => name.is_some_and(tool),
                McpTarget::Resource => name.is_some_and(resource),
                McpTarget::Prompt => name.is_some_and(prompt),
                McpTarget::Completion => name.is_some_and(|name| prompt(name) || resource(name)),
                McpTarget::Nothing => true,
            }
    }

    /// How many names and patterns it has.
    pub(super) fn size(&self) -> usize {
        let names = |names: Option<&Names>| names.map_or(0, |names| names.texts().count());
        let resources = self.resources().map_or(0, |resources| resources.texts().count());
        let lists = [Some(self.actions()), self.tools(), self.prompts()].into_iter().map(names);
        lists.chain([resources]).fold(0, usize::saturating_add)
    }

    /// Whether it is shown that it permits each call that `other` permits; the services are not looked at.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let names = |wide: Option<&Names>, narrow: Option<&Names>| {
            narrow.is_none_or(|narrow| wide.is_some_and(|wide| wide.covers(narrow)))
        };
        self.actions().covers(other.actions())
            && names(self.tools(), other.tools())
            && names(self.prompts(), other.prompts())
            && other.resources().is_none_or(|narrow| self.resources().is_some_and(|wide| wide.covers(narrow)))
            && other.arguments().is_none_or(|narrow| self.arguments().is_some_and(|wide| wide.covers(narrow)))
    }

    /// Whether both could permit one call; what is not shown to be apart does.
    pub(super) fn meets(&self, other: &Self) -> bool {
        let both = |names: fn(&Self) -> Option<&Names>| {
            names(self).zip(names(other)).is_none_or(|(one, two)| one.meets(two))
        };
        let about = |method: &str, target: McpTarget| {
            self.actions().has(method)
                && other.actions().has(method)
                && match target {
                    McpTarget::Tool => both(Self::tools),
                    McpTarget::Prompt => both(Self::prompts),
                    McpTarget::Resource => {
                        self.resources().zip(other.resources()).is_none_or(|(one, two)| one.meets(two))
                    }
                    McpTarget::Completion | McpTarget::Nothing => true,
                }
                && (!target.has_arguments()
                    || self.arguments().zip(other.arguments()).is_none_or(|(one, two)| one.meets(two)))
        };
        let others = match (self.actions(), other.actions()) {
            (Names::Any, Names::Any) => true,
            (Names::Any, Names::Only(some)) | (Names::Only(some), Names::Any) => {
                some.iter().any(|method| McpTarget::of(method) == McpTarget::Nothing)
            }
            (Names::Only(one), Names::Only(_)) => one
                .iter()
                .any(|method| McpTarget::of(method) == McpTarget::Nothing && other.actions().has(method)),
        };
        others || McpTarget::METHODS.iter().any(|(method, target)| about(method, *target))
    }

    /// Whether it is for everything that a service has.
    pub(super) fn is_widest(&self) -> bool {
        let any_tool = self.tools() == Some(&Names::Any) && self.arguments() == Some(&Arguments::Any);
        any_tool && self.actions().has("tools/call")
    }
}

/// What the methods of a permission are about.
#[derive(Default)]
struct Targets {
    tool: bool,
    resource: bool,
    prompt: bool,
    completion: bool,
}

impl Targets {
    fn of(actions: &Names) -> Self {
        let mut targets = Self::default();
        for (method, target) in McpTarget::METHODS {
            if actions.has(method) {
                match target {
                    McpTarget::Tool => targets.tool = true,
                    McpTarget::Resource => targets.resource = true,
                    McpTarget::Prompt => targets.prompt = true,
                    McpTarget::Completion => targets.completion = true,
                    McpTarget::Nothing => {}
                }
            }
        }
        targets
    }
}

/// A part that is there if it has to be, and only if it may be.
fn placed<T>(
    part: Option<T>,
    key: &'static str,
    required: bool,
    allowed: bool,
    example: &'static str,
) -> Result<Option<T>, PermissionError> {
    match part {
        None if required => Err(PermissionError::Missing { key, example }),
        Some(_) if !allowed => Err(PermissionError::Unused { key }),
        part => Ok(part),
    }
}
