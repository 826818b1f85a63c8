//! What `rmcp` is told: who this server is, which tools it has, and how a call of one is answered.

use super::elicit::{Back, Way};
use super::tools::Reply;
use super::{VERSIONS, schema, tools};
use crate::control::api::Api;
use crate::control::api::read::Caller;
use crate::mcp::Version;
use crate::model::shown::escaped_json;
use http::request::Parts;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, ListToolsResult,
    PaginatedRequestParams, ProtocolVersion, ServerCapabilities, ServerConfig, Tool,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use std::borrow::Cow;

const INSTRUCTIONS: &str = "\
Access here is just in time: nothing may be called without a grant for one task. Ask with `request_access` for exactly what the task \
needs (a refused call names it as `required`), wait with `access_status` while it is pending, look with `my_access` at what you have, \
and end the access with `task_done` or `task_failed` as soon as the work is over.";

/// The server of one message.
#[derive(Debug)]
pub(super) struct Asking {
    api: Api,
}

impl Asking {
    pub(super) fn new(api: Api) -> Self {
        Self { api }
    }
}

impl ServerHandler for Asking {
    fn get_info(&self) -> ServerConfig {
        let own = Implementation::new("jitgate", env!("CARGO_PKG_VERSION"))
            .with_title("jitgate: access on request");
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(own)
            .with_instructions(INSTRUCTIONS)
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        let ours =
            |known: &&ProtocolVersion| VERSIONS.iter().any(|version| version.as_str() == known.as_str());
        ProtocolVersion::KNOWN_VERSIONS.iter().filter(ours).cloned().collect()
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(schema::tools().to_vec()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        schema::tools().iter().find(|tool| tool.name == name).cloned()
    }

    async fn call_tool(
        &self,
        call: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        // Put there by `super::endpoint` from the handshake of the connection. Without it nobody is let in.
        let parts = context.extensions.get::<Parts>();
        let known = parts.and_then(|parts| {
            let all = &parts.extensions;
            Some((parts, all.get::<Caller>()?, *all.get::<Way>()?, *all.get::<Version>()?))
        });
        let Some((parts, caller, way, version)) = known else {
            return Err(ErrorData::internal_error("the caller is not known", None));
        };
        let Some(tool) = self.get_tool(&call.name) else {
            let names: Vec<&str> = schema::tools().iter().map(|tool| &*tool.name).collect();
            return Err(ErrorData::invalid_params(
                format!("there is no such tool; there are {}", names.join(", ")),
                None,
            ));
        };
        let asked = async {
            let back = Back::of(&call, version)?;
            let arguments = call.arguments.unwrap_or_default();
            tools::call(&self.api, (caller, &parts.headers), (&tool, arguments), (way, back)).await
        };
        let answer = tokio::select! {
            biased;
            // The client is gone: it waits for nothing here.
            () = context.ct.cancelled() => return Err(ErrorData::internal_error("cancelled", None)),
            answer = asked => answer,
        };
        let (content, text, is_error) = match answer {
            Ok(Reply::Page(page)) => {
                return match way {
                    Way::Error => Err(page.error()),
                    Way::Answer | Way::None => Ok(page.answer().into()),
                };
            }
            Ok(Reply::Said(content)) => {
                let text = escaped_json(&content.to_string());
                (content, text, false)
            }
            Err(problem) => (tools::refused(&problem), tools::refusal_text(&problem), true),
        };
        let mut result = CallToolResult::success(vec![ContentBlock::text(text)]);
        result.structured_content = Some(content);
        result.is_error = Some(is_error);
        Ok(result.into())
    }
}
