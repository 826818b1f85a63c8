//! Which headers repeat which arguments, by tool, as the lists of one service say. It refuses to know who has asked for a list: it is the
//! service alone that says what its tools declare.
//!
//! Invariants: so many tools and so many bytes at most, whatever lists say; a newer list counts for the tools that it names. What finds
//! no room, or has no one reading, is not known.

use super::Param;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

/// Tools of a service that are remembered, and what all that is remembered of them takes.
const TOOLS: usize = 4_096;
const BYTES: usize = 1 << 20;
/// What a tool, and a header of it, takes beside its texts.
const EACH: usize = 64;

/// What one list says, by tool; none where what it declares has no one reading.
#[derive(Debug)]
pub struct Listed(HashMap<Box<str>, Option<Arc<[Param]>>>);

/// What is known of the tools of a service.
#[derive(Debug, Default)]
pub struct Declared(HashMap<Box<str>, Arc<[Param]>>);

#[derive(Deserialize)]
struct List<'t> {
    #[serde(borrow)]
    tools: Vec<Tool<'t>>,
}

#[derive(Deserialize)]
struct Tool<'t> {
    #[serde(borrow)]
    name: Cow<'t, str>,
    #[serde(borrow, rename = "inputSchema")]
    schema: Option<&'t RawValue>,
}

impl Listed {
    /// Reads the result of a `tools/list`; none if it is no list of tools.
    #[must_use]
    pub fn read(result: &[u8]) -> Option<Self> {
        let list: List<'_> = serde_json::from_slice(result).ok()?;
        let (mut tools, mut bytes) = (HashMap::new(), 0);
        for Tool { name, schema } in list.tools {
            let params: Option<Arc<[Param]>> = schema.map_or(Some(Vec::new()), declared).map(Arc::from);
            bytes += taken(&name, params.as_deref().unwrap_or_default());
            if tools.len() == TOOLS || bytes > BYTES {
                break;
            }
            match tools.entry(Box::<str>::from(name)) {
                Entry::Vacant(free) => _ = free.insert(params),
                // One name, two tools.
                Entry::Occupied(mut other) if *other.get() != params => _ = other.insert(None),
                Entry::Occupied(_) => {}
            }
        }
        Some(Self(tools))
    }
}

impl Declared {
    /// What the headers of a call of this tool repeat; none if no list has said.
    #[must_use]
    pub fn of(&self, tool: &str) -> Option<&[Param]> {
        self.0.get(tool).map(|params| &**params)
    }

    /// Whether a list says nothing new.
    #[must_use]
    pub fn says(&self, listed: &Listed) -> bool {
        listed.0.iter().all(|(tool, params)| self.0.get(tool) == params.as_ref())
    }

    /// With what a newer list says. Where there is not room for both, what older ones said is forgotten.
    #[must_use]
    pub fn with(&self, listed: &Listed) -> Self {
        let both = renewed(self.0.clone(), listed);
        let bytes: usize = both.iter().map(|(tool, params)| taken(tool, params)).sum();
        let fits = both.len() <= TOOLS && bytes <= BYTES;
        Self(if fits { both } else { renewed(HashMap::new(), listed) })
    }
}

fn renewed(mut known: HashMap<Box<str>, Arc<[Param]>>, listed: &Listed) -> HashMap<Box<str>, Arc<[Param]>> {
    for (tool, params) in &listed.0 {
        match params {
            Some(params) => _ = known.insert(tool.clone(), Arc::clone(params)),
            None => _ = known.remove(tool),
        }
    }
    known
}

fn taken(tool: &str, params: &[Param]) -> usize {
    let of_one = |param: &Param| {
        let path: usize = param.path.iter().map(|name| EACH + name.len()).sum();
        EACH + path + param.header.as_str().len()
    };
    EACH + tool.len() + params.iter().map(of_one).sum::<usize>()
}

/// What a schema declares. Most declare nothing, and are not read for that; only a `\u` could hide the word.
fn declared(schema: &RawValue) -> Option<Vec<Param>> {
    let has = |text: &str| memchr::memmem::find(schema.get().as_bytes(), text.as_bytes()).is_some();
    if !has("x-mcp-header") && !has("\\u") {
        return Some(Vec::new());
    }
    let schema: serde_json::Value = serde_json::from_str(schema.get()).ok()?;
    let params = super::declared(&schema)?;
    // Where one stands that is none, clients differ in what they send: nothing is known of such a tool.
    (annotations(&schema) == params.len()).then_some(params)
}

/// Annotations anywhere in a schema; one of a number counts twice, as it may not be there.
fn annotations(schema: &serde_json::Value) -> usize {
    use serde_json::Value;
    match schema {
        Value::Object(members) => {
            let number = members.get("type").and_then(Value::as_str) == Some("number");
            let own = members.contains_key("x-mcp-header").then_some(1 + usize::from(number));
            own.unwrap_or_default() + members.values().map(annotations).sum::<usize>()
        }
        Value::Array(items) => items.iter().map(annotations).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn listed(tools: &Value) -> Listed {
        Listed::read(json!({"tools": tools, "ttlMs": 9}).to_string().as_bytes()).unwrap()
    }

    fn tool(name: &str, header: &str) -> Value {
        let server = json!({"type": "string", "x-mcp-header": header});
        let schema = json!({"type": "object", "properties": {"server": server}});
        json!({"name": name, "description": "d", "inputSchema": schema})
    }

    fn header(declared: &Declared, tool: &str) -> Option<Vec<String>> {
        Some(declared.of(tool)?.iter().map(|param| param.header.to_string()).collect())
    }

    #[test]
    fn a_newer_list_counts_for_the_tools_that_it_names() {
        let first = listed(&json!([tool("a", "Server"), tool("b", "Server"), {"name": "plain"}]));
        let declared = Declared::default().with(&first);
        assert!(declared.says(&first) && !Declared::default().says(&first));
        assert_eq!(header(&declared, "a"), Some(vec!["mcp-param-server".into()]));
        assert_eq!((header(&declared, "plain"), header(&declared, "other")), (Some(vec![]), None));
        let second = listed(&json!([tool("a", "Host"), {"name": "b", "inputSchema": {"type": "object"}}]));
        assert!(!declared.says(&second));
        let declared = declared.with(&second);
        assert_eq!(header(&declared, "a"), Some(vec!["mcp-param-host".into()]));
        assert_eq!((header(&declared, "b"), header(&declared, "plain")), (Some(vec![]), Some(vec![])));
    }

    #[test]
    fn what_has_no_one_reading_is_not_known() {
        let known = Declared::default().with(&listed(&json!([tool("a", "Server"), tool("b", "Server")])));
        let twice = json!({"name": "a", "inputSchema": {"properties": {
            "x": {"type": "string", "x-mcp-header": "X"}, "y": {"type": "string", "x-mcp-header": "x"}}}});
        let of = |schema: Value| json!({"name": "a", "inputSchema": {"properties": schema}});
        // Clients differ in what they make of these.
        let union = of(json!({"s": {"type": ["string", "null"], "x-mcp-header": "S"}}));
        let number = of(json!({"s": {"type": "number", "x-mcp-header": "S"}}));
        let inside = of(json!({"s": {"type": "array", "items": {"type": "string", "x-mcp-header": "S"}}}));
        let differing = json!([tool("a", "Server"), tool("a", "Host")]);
        for tools in [json!([twice]), json!([union]), json!([number]), json!([inside]), differing] {
            let newer = known.with(&listed(&tools));
            assert_eq!((header(&newer, "a"), header(&newer, "b").is_some()), (None, true), "{tools}");
        }
        for result in [&b"{}"[..], b"[]", b"{\"tools\":1}", b"{\"tools\":[{\"name\":1}]}", b"x"] {
            assert!(Listed::read(result).is_none());
        }
        let hidden = br#"{"tools":[{"name":"\u0061","inputSchema":{"properties":{"s":{"type":"string","x-mcp\u002dheader":"S"}}}}]}"#;
        let hidden = Declared::default().with(&Listed::read(hidden).unwrap());
        assert_eq!(header(&hidden, "a"), Some(vec!["mcp-param-s".into()]));
    }

    #[test]
    fn lists_take_no_more_room_than_there_is() {
        let many = |prefix: &str, length: usize| {
            let tools = (0..TOOLS + 9).map(|n| tool(&format!("{prefix}{n}{}", "x".repeat(length)), "S"));
            listed(&tools.collect::<Value>())
        };
        let first = Declared::default().with(&many("a", 0));
        assert_eq!(first.0.len(), TOOLS);
        let second = first.with(&many("b", 0));
        assert_eq!((second.0.len(), second.of("a0"), second.of("b0").is_some()), (TOOLS, None, true));
        let long = first.with(&many("c", 1_000));
        assert!(long.0.len() < BYTES / 1_000 && !long.0.is_empty(), "{}", long.0.len());
    }
}
