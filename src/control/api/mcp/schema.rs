//! The tools as clients see them: what each needs, how a scope is written, what comes back. Written for models: these texts are all
//! that they have.

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use std::sync::{Arc, LazyLock};

/// Every tool, in the order in which an agent needs them.
pub(super) fn tools() -> &'static [Tool] {
    static TOOLS: LazyLock<[Tool; 5]> = LazyLock::new(|| {
        [
            tool(
                "request_access",
                "Ask for access",
                "Ask for access to services for one task, as narrow and as short as the work allows. It may be granted at once, wait \
                 for a person (`pending`), or be denied. Nothing can be called before it is approved.",
                (request_access(), request()),
                hints(true, true),
            ),
            tool(
                "access_status",
                "Look at a request",
                "How a request of yours stands, at once or, with `wait`, when it is decided. Call it again while `state` is `pending`.",
                (
                    json!({"id": {"type": "string", "description": "The `id` that `request_access` answered with, `rq_…`."}, "wait": wait()}),
                    request(),
                ),
                hints(false, true),
            ),
            tool(
                "my_access",
                "What may be called now",
                "Your own grants that are not over, with what each permits and until when, and your requests that are pending.",
                (
                    json!({"task": task("Only for this task."), "after": {"type": "string", "description": "Go on after this grant, `gr_…`, from the answer before."}}),
                    access(),
                ),
                hints(false, true),
            ),
            tool(
                "task_done",
                "The work is done",
                "Ends a task of yours: everything that was granted for it ends at once, and what runs under it is cut. Call it as soon \
                 as the work is finished.",
                (ending(), ended()),
                hints(true, false),
            ),
            tool(
                "task_failed",
                "The work failed",
                "Like `task_done`, for work that is given up or went wrong; say why in `reason`.",
                (ending(), ended()),
                hints(true, false),
            ),
        ]
    });
    &*TOOLS
}

fn tool(
    name: &'static str,
    title: &str,
    description: &'static str,
    (properties, output): (Value, Value),
    hints: ToolAnnotations,
) -> Tool {
    let required: &[&str] = match name {
        "request_access" => &["task", "reason", "ttl"],
        "access_status" => &["id"],
        "my_access" => &[],
        _ => &["task"],
    };
    let input = object(json!({
        "type": "object", "properties": properties, "required": required, "additionalProperties": false,
    }));
    Tool::new(name, description, input)
        .with_title(title)
        .with_raw_output_schema(object(output))
        .with_annotations(hints)
}

fn object(value: Value) -> Arc<JsonObject> {
    let members = if let Value::Object(members) = value { members } else { JsonObject::new() };
    Arc::new(members)
}

/// Whether it changes something, and whether calling it again does no more.
fn hints(changes: bool, adds: bool) -> ToolAnnotations {
    let hints = ToolAnnotations::new().read_only(!changes).open_world(false);
    if changes { hints.destructive(!adds).idempotent(!adds) } else { hints }
}

fn task(description: &str) -> Value {
    json!({"type": "string", "description": description})
}

fn wait() -> Value {
    json!({"type": "string", "description": "Answer when it is decided, or after this long: at most `50s`. Absent: at once.", "examples": ["50s"]})
}

fn scope() -> Value {
    let entry = json!({
        "type": "object",
        "description": "RFC 9396 form: `type` `http`, `grpc` or `mcp`, `locations` (services), `actions`, and what the type needs.",
        "properties": {
            "type": {"type": "string", "enum": ["http", "grpc", "mcp"]},
            "locations": {"type": "array", "items": {"type": "string"}, "description": "Names of services."},
            "actions": {"type": "array", "items": {"type": "string"}, "description": "HTTP methods; gRPC paths `/pkg.Service/Method`; MCP methods such as `tools/call`."},
            "paths": {"type": "array", "items": {"type": "string"}, "description": "`http`: `*` is one segment, a final `**` any rest."},
            "tools": {"type": "array", "items": {"type": "string"}, "description": "`mcp`: names of tools, for `tools/call`."},
            "resources": {"type": "array", "items": {"type": "string"}, "description": "`mcp`: patterns of URIs, for `resources/read` and its like."},
            "prompts": {"type": "array", "items": {"type": "string"}, "description": "`mcp`: names of prompts, for `prompts/get`."},
            "arguments": {"description": "`mcp`: `true` for any, or a JSON Schema that the arguments have to fit."},
        },
        "required": ["type", "locations", "actions"],
    });
    json!({
        "type": "array", "minItems": 1,
        "description": "What is asked for. A call that was refused names what it needs as `required`: pass that on as it is. Each entry \
            is an object, or the same as a text: `SERVICE:METHODS:PATH` for HTTP, such as `orders:GET,HEAD:/v1/orders/*`; \
            `SERVICE:/pkg.Service/Method` for gRPC; `SERVICE:tools/call:TOOL{ARGUMENT=VALUE}` for MCP.",
        "items": {"anyOf": [{"type": "string"}, entry]},
        "examples": [
            ["orders:GET:/v1/orders/7"],
            [{"type": "mcp", "locations": ["ops"], "actions": ["tools/call"], "tools": ["restart_service"],
              "arguments": {"type": "object", "properties": {"service": {"const": "billing"}}, "required": ["service"],
                            "additionalProperties": false}}],
        ],
    })
}

fn request_access() -> Value {
    json!({
        "task": task("The unit of work that it is for, such as a ticket's number. All access of a task ends with it."),
        "reason": {"type": "string", "description": "Why, in words, for the people who decide.", "maxLength": 4096},
        "scope": scope(),
        "envelope": {
            "type": "array", "minItems": 1, "maxItems": 32,
            "description": "Instead of `scope`, for a task that needs several things, each so often: one decision for all of them, and one \
                grant for each entry. `limits` may name `max_uses` (calls in all), `rate` (`{\"requests\": 10, \"per\": \"1m\"}`), \
                `concurrent_streams` (calls at once), `bytes`, `argument_bytes` and `response_bytes` (of one call), `idle_timeout`.",
            "items": {"type": "object", "properties": {"scope": scope(), "limits": {"type": "object"}}, "required": ["scope"], "additionalProperties": false},
            "examples": [[{"scope": ["orders:GET:/v1/orders/*"], "limits": {"max_uses": 20}}, {"scope": ["orders:POST:/v1/orders"], "limits": {"max_uses": 1}}]],
        },
        "role": {"type": "string", "description": "Instead of `scope`: the name of a scope in the configuration."},
        "ttl": {"type": "string", "description": "How long, from approval: `15m`, `1h`.", "examples": ["15m"]},
        "wait": wait(),
        "idempotency_key": {"type": "string", "description": "Choose one for each request and send it again if an answer got lost: it is asked once."},
        "ticket": {"type": "string", "description": "The ticket that the work belongs to, where policies want one."},
        "not_before": {"type": "string", "format": "date-time", "description": "From when; absent: from approval."},
        "emergency": {"type": "boolean", "description": "Break-glass, where policies allow it: it is reviewed afterwards."},
        "principal": {"type": "string", "description": "For another workload (a SPIFFE ID); needs the role `broker`."},
        "on_behalf_of": {"type": "string", "description": "A token (JWT) that names the human behind the work, where policies want one."},
        "task_deadline": {"type": "string", "format": "date-time", "description": "When the task ends, whatever happens."},
        "task_idle_timeout": {"type": "string", "description": "The task ends when nothing happened for this long."},
    })
}

fn request() -> Value {
    json!({
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "`rq_…`"},
            "state": {"type": "string", "description": "`pending`, `approved`, `denied`, `expired`, `cancelled`"},
            "next": {"type": "string", "description": "What to do now."},
            "approval_url": {"type": "string", "description": "While it is pending: where people with a say decide."},
            "access": {"type": "array", "items": {"type": "object"}, "description": "The grants: each with `scope`, `limits`, `expires_at`."},
            "because": {"type": "array", "items": {"type": "string"}, "description": "Why it was refused."},
        },
    })
}

fn access() -> Value {
    json!({
        "type": "object",
        "properties": {
            "grants": {"type": "array", "items": {"type": "object"}, "description": "Each with `id`, `task`, `scope`, `state`, `not_before`, `expires_at`."},
            "pending": {"type": "array", "items": {"type": "object"}, "description": "Requests that nobody has decided on."},
            "after": {"type": "string", "description": "There may be more: call again with it."},
        },
    })
}

fn ending() -> Value {
    json!({
        "task": task("The task that is over."),
        "reason": {"type": "string", "description": "What came of it.", "maxLength": 4096},
    })
}

fn ended() -> Value {
    json!({
        "type": "object",
        "properties": {
            "task": {"type": "string"},
            "state": {"type": "string", "description": "`done` or `failed`"},
            "grants": {"type": "array", "items": {"type": "string"}, "description": "What is left: nothing."},
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tool_says_what_it_needs_and_takes_nothing_else() {
        for tool in tools() {
            assert_eq!(tool.input_schema["additionalProperties"], false, "{}", tool.name);
            let properties = tool.input_schema["properties"].as_object().unwrap();
            for needed in tool.input_schema["required"].as_array().unwrap() {
                assert!(properties.contains_key(needed.as_str().unwrap()), "{}: {needed}", tool.name);
            }
            assert!(
                properties.values().all(|property| property.get("description").is_some()),
                "{}",
                tool.name
            );
        }
    }
}
