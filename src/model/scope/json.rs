//! The JSON form: RFC 9396 `authorization_details`. Unknown members, `null`, duplicate keys at any depth and lists of the wrong
//! shape are refused; what is written has its members in RFC 8785 order.

use super::error::{PermissionError, Quoted, ScopeError};
use super::grpc::GrpcPermission;
use super::http::HttpPermission;
use super::mcp::{McpParts, McpPermission};
use super::query::QueryRule;
use super::{MAX_PERMISSIONS, Permission, Scope};
use crate::model::strict::{Object, Unique, present};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap as _, SerializeStruct as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;

/// A string, borrowed where the input allows.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A permission as it is written. What a key means depends on `type`, which may come last.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(rename = "type", borrow, default, deserialize_with = "present")]
    kind: Option<Text<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    locations: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    actions: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    paths: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    query: Option<RawQuery<'a>>,
    #[serde(borrow, default, deserialize_with = "present")]
    tools: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    resources: Option<Vec<Text<'a>>>,
    #[serde(borrow, default, deserialize_with = "present")]
    prompts: Option<Vec<Text<'a>>>,
    #[serde(default, deserialize_with = "present")]
    arguments: Option<Unique>,
}

/// The members of `query` in the order written, twins included: [`QueryRule::new`] refuses them.
struct RawQuery<'a>(Vec<(Text<'a>, Vec<Text<'a>>)>);

impl<'de: 'a, 'a> Deserialize<'de> for RawQuery<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = RawQuery<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`query`: an object from parameter names to lists of values")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(RawQuery(members))
            }
        }
        from.deserialize_map(Members)
    }
}

impl TryFrom<Raw<'_>> for Permission {
    type Error = PermissionError;

    fn try_from(raw: Raw<'_>) -> Result<Self, PermissionError> {
        let kind = need(raw.kind, "type", "`\"type\":\"http\"`, `\"type\":\"grpc\"` or `\"type\":\"mcp\"`")?;
        let kind = match kind.as_ref() {
            "http" => "http",
            "grpc" => "grpc",
            "mcp" => "mcp",
            other => return Err(PermissionError::UnknownType(Quoted::of(other))),
        };
        let absent = |key, present| match present {
            true => Err(PermissionError::Misplaced { key, kind }),
            false => Ok(()),
        };
        if kind != "http" {
            absent("paths", raw.paths.is_some())?;
            absent("query", raw.query.is_some())?;
        }
        if kind != "mcp" {
            absent("tools", raw.tools.is_some())?;
            absent("resources", raw.resources.is_some())?;
            absent("prompts", raw.prompts.is_some())?;
            absent("arguments", raw.arguments.is_some())?;
        }
        let locations = need(raw.locations, "locations", "the names of services")?;
        let actions = need(raw.actions, "actions", "methods, or `[\"*\"]` for every one")?;
        if kind == "grpc" {
            return GrpcPermission::new(&locations, &actions).map(Self::Grpc);
        }
        if kind == "mcp" {
            let Raw { tools, resources, prompts, .. } = raw;
            let arguments = raw.arguments.map(|Unique(arguments)| arguments);
            let parts = McpParts { actions, tools, resources, prompts, arguments };
            return McpPermission::new(&locations, parts).map(Self::Mcp);
        }
        let paths = need(raw.paths, "paths", "path patterns, or `[\"/**\"]` for every path")?;
        let query = raw.query.map(|RawQuery(members)| QueryRule::new(members)).transpose()?;
        HttpPermission::new(&locations, &actions, &paths, query).map(Self::Http)
    }
}

fn need<T>(value: Option<T>, key: &'static str, example: &'static str) -> Result<T, PermissionError> {
    value.ok_or(PermissionError::Missing { key, example })
}

/// A list of permissions as they are written; a member of the wrong shape is reported with its position.
struct RawList<'a>(Vec<Raw<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for RawList<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = RawList<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a scope: a list of permissions")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = list
                    .next_element()
                    .map_err(|error| A::Error::custom(format_args!("scope[{}]: {error}", entries.len())))?
                {
                    if entries.len() == MAX_PERMISSIONS {
                        return Err(A::Error::custom(ScopeError::TooMany));
                    }
                    let Object(entry) = entry;
                    entries.push(entry);
                }
                Ok(RawList(entries))
            }
        }
        from.deserialize_seq(Entries)
    }
}

impl TryFrom<RawList<'_>> for Scope {
    type Error = ScopeError;

    fn try_from(RawList(list): RawList<'_>) -> Result<Self, ScopeError> {
        permissions(list).and_then(Self::new)
    }
}

fn permissions(list: Vec<Raw<'_>>) -> Result<Vec<Permission>, ScopeError> {
    let convert =
        |(index, raw)| Permission::try_from(raw).map_err(|error| ScopeError::Permission { index, error });
    list.into_iter().enumerate().map(convert).collect()
}

/// One permission from a JSON object.
pub(super) fn permission(json: &str) -> Result<Permission, PermissionError> {
    let Object(raw): Object<Raw<'_>> =
        serde_json::from_str(json).map_err(|error| PermissionError::Json(error.to_string()))?;
    raw.try_into()
}

/// The permissions of a JSON array; it may still be empty or repeat itself.
pub(super) fn list(json: &str) -> Result<Vec<Permission>, ScopeError> {
    let RawList(list) = serde_json::from_str(json).map_err(|error| ScopeError::Json(error.to_string()))?;
    permissions(list)
}

impl<'de> Deserialize<'de> for Permission {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let Object(raw) = Object::<Raw<'de>>::deserialize(from)?;
        raw.try_into().map_err(D::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        RawList::deserialize(from)?.try_into().map_err(D::Error::custom)
    }
}

impl Serialize for Permission {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Http(http) => {
                let mut object = to.serialize_struct("http", 4 + usize::from(http.query().is_some()))?;
                object.serialize_field("actions", http.methods())?;
                object.serialize_field("locations", http.locations())?;
                object.serialize_field("paths", http.paths())?;
                match http.query() {
                    Some(query) => object.serialize_field("query", query)?,
                    None => object.skip_field("query")?,
                }
                object.serialize_field("type", "http")?;
                object.end()
            }
            Self::Grpc(grpc) => {
                let mut object = to.serialize_struct("grpc", 3)?;
                object.serialize_field("actions", grpc.actions())?;
                object.serialize_field("locations", grpc.locations())?;
                object.serialize_field("type", "grpc")?;
                object.end()
            }
            Self::Mcp(mcp) => {
                let mut object = to.serialize_map(None)?;
                let mut list = |key: &str, texts: Option<Vec<&str>>| match texts {
                    Some(texts) => object.serialize_entry(key, &texts),
                    None => Ok(()),
                };
                list("actions", Some(mcp.actions().texts().collect()))?;
                list("locations", Some(mcp.locations().iter().map(|name| name.as_str()).collect()))?;
                list("prompts", mcp.prompts().map(|prompts| prompts.texts().collect()))?;
                list("resources", mcp.resources().map(|resources| resources.texts().collect()))?;
                list("tools", mcp.tools().map(|tools| tools.texts().collect()))?;
                if let Some(arguments) = mcp.arguments() {
                    object.serialize_entry("arguments", arguments)?;
                }
                object.serialize_entry("type", "mcp")?;
                object.end()
            }
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.permissions())
    }
}
