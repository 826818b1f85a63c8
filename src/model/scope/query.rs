//! The `query` of an `http` permission: which parameters a request may have, and with which values.
//!
//! Absent, the query is unrestricted. Present, it names every parameter that may occur: others are refused, and `{}` allows
//! none. A query is read as `name=value` pieces between `&`; a piece without `=` has the empty value; a parameter that occurs
//! several times must be allowed each time.
//!
//! Names and values are compared **as written, percent-encoding included**: decoding has several readings (`+`, overlong
//! UTF-8, decoding twice), bytes have one. Another spelling of an allowed value is therefore refused. A raw `;` is refused
//! everywhere, because some servers split at it.

use super::error::{PermissionError, Quoted};
use super::list::{List, ListFault};
use super::path::{is_unreserved, upper_hex};

const KEY: &str = "query";
const MAX_PARAMETERS: usize = 100;
const MAX_BYTES: usize = 1_024;

/// The parameters that a request may have, sorted by name; none when the query must be empty or absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct QueryRule(Box<[Parameter]>);

/// A parameter and its values.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Parameter {
    name: Box<str>,
    values: Values,
}

/// The values of a parameter.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Values {
    /// `["*"]`: any value without a raw `;`.
    Any,
    /// One of these, as written.
    OneOf(List<Box<str>>),
}

impl QueryRule {
    /// From names and their values, `["*"]` for any value.
    ///
    /// # Errors
    /// Too many, duplicate or empty lists, `*` beside other values, or something not spelt as in a request.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(
        parameters: impl IntoIterator<Item = (N, Vec<V>)>,
    ) -> Result<Self, PermissionError> {
        let mut rule = Vec::new();
        for (name, values) in parameters {
            let name = name.as_ref();
            if name.is_empty() || name.contains('=') || !is_spelt(name) {
                return Err(PermissionError::Query { value: Quoted::of(name) });
            }
            rule.push(Parameter { name: name.into(), values: Values::new(&values)? });
        }
        rule.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let twin = rule.windows(2).find_map(|pair| match pair {
            [a, b] if a.name == b.name => Some(Quoted::of(&a.name)),
            _ => None,
        });
        if let Some(value) = twin {
            return Err(PermissionError::Duplicate { key: KEY, value });
        }
        if rule.len() > MAX_PARAMETERS {
            return Err(PermissionError::TooMany { key: KEY });
        }
        Ok(Self(rule.into_boxed_slice()))
    }

    /// The parameters, sorted by name.
    #[must_use]
    pub fn parameters(&self) -> &[Parameter] {
        &self.0
    }

    /// Whether a request with this query (what follows `?`, as written; none without `?`) is allowed. Allocates nothing.
    #[must_use]
    pub fn permits(&self, query: Option<&str>) -> bool {
        let query = query.unwrap_or_default();
        query.is_empty() || query.split('&').all(|piece| self.permits_piece(piece))
    }

    fn permits_piece(&self, piece: &str) -> bool {
        let (name, value) = piece.split_once('=').unwrap_or((piece, ""));
        !piece.contains(';') && self.values_of(name).is_some_and(|values| values.has(value))
    }

    fn values_of(&self, name: &str) -> Option<&Values> {
        let at = self.0.binary_search_by(|parameter| (*parameter.name).cmp(name)).ok()?;
        self.0.get(at).map(|parameter| &parameter.values)
    }

    /// Whether each query that `other` permits is permitted.
    pub(super) fn covers(&self, other: &Self) -> bool {
        other.0.iter().all(|narrow| match (self.values_of(&narrow.name), &narrow.values) {
            (None, _) | (Some(Values::OneOf(_)), Values::Any) => false,
            (Some(Values::Any), _) => true,
            (Some(Values::OneOf(wide)), Values::OneOf(narrow)) => narrow.iter().all(|value| wide.has(value)),
        })
    }
}

impl Parameter {
    /// Its name, as written in a request.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its values.
    #[must_use]
    pub fn values(&self) -> &Values {
        &self.values
    }
}

impl Values {
    fn new<V: AsRef<str>>(values: &[V]) -> Result<Self, PermissionError> {
        if values.iter().any(|value| value.as_ref() == "*") {
            return match values.len() {
                1 => Ok(Self::Any),
                _ => Err(PermissionError::MixedAny { key: KEY }),
            };
        }
        if let Some(wrong) = values.iter().find(|value| !is_spelt(value.as_ref())) {
            return Err(PermissionError::Query { value: Quoted::of(wrong.as_ref()) });
        }
        let values = values.iter().map(|value| Box::from(value.as_ref())).collect();
        List::new(values).map(Self::OneOf).map_err(|fault| match fault {
            ListFault::Empty => PermissionError::Empty { key: KEY, example: "`[\"*\"]` for any value" },
            ListFault::TooMany => PermissionError::TooMany { key: KEY },
            ListFault::Duplicate(value) => PermissionError::Duplicate { key: KEY, value: Quoted::of(&value) },
        })
    }

    fn has(&self, value: &str) -> bool {
        match self {
            Self::Any => true,
            Self::OneOf(values) => values.binary_search_by(|allowed| (**allowed).cmp(value)).is_ok(),
        }
    }

    /// The values as they are written in a scope.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        let (any, values) = match self {
            Self::Any => (Some("*"), [].as_slice()),
            Self::OneOf(values) => (None, &**values),
        };
        any.into_iter().chain(values.iter().map(|value| &**value))
    }
}

/// RFC 3986 `query`, without what separates parameters (`&` and `;`) and without `*`.
fn is_spelt(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let fine = match byte {
            b'%' => match upper_hex(bytes.next()).zip(upper_hex(bytes.next())) {
                Some((high, low)) => !is_unreserved(high << 4 | low),
                None => false,
            },
            _ => is_unreserved(byte) || b"!$'(),:@/?+=".contains(&byte),
        };
        if !fine {
            return false;
        }
    }
    text.len() <= MAX_BYTES
}

impl serde::Serialize for QueryRule {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|parameter| (&parameter.name, &parameter.values)))
    }
}

impl serde::Serialize for Values {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(self.texts())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(parameters: &[(&str, &[&str])]) -> Result<QueryRule, PermissionError> {
        QueryRule::new(parameters.iter().map(|(name, values)| (*name, values.to_vec())))
    }

    #[test]
    fn parameters_named_and_no_others() {
        let rule = rule(&[("status", &["open", "a%20b", "c=="]), ("page", &["*"]), ("flag", &[""])]).unwrap();
        for query in [
            None,
            Some(""),
            Some("status=open"),
            Some("status=open&page=7"),
            Some("page=&page=x%2Fy"),
            Some("page"),
            Some("status=a%20b"),
            Some("status=c=="),
            Some("flag"),
            Some("flag="),
            Some("status=open&status=a%20b"),
        ] {
            assert!(rule.permits(query), "{query:?}");
        }
        for query in [
            "status=closed",
            "status",
            "status=open&status=closed",
            "status=a+b",
            "status=a b",
            "status=%6Fpen",
            "st%61tus=open",
            "Status=open",
            "status=open&",
            "&status=open",
            "&&",
            "=",
            "other=1",
            "page=1;other=2",
            "page;other=2",
            "status=open;",
            "flag=1",
            "status=*",
            "page[]=1",
        ] {
            assert!(!rule.permits(Some(query)), "{query}");
        }
    }

    #[test]
    fn an_empty_rule_allows_no_parameter() {
        let none = rule(&[]).unwrap();
        assert!(none.permits(None) && none.permits(Some("")));
        assert!(!none.permits(Some("a")) && !none.permits(Some("a=1")) && !none.permits(Some("&")));
    }

    #[test]
    fn rules_that_are_refused() {
        for (parameters, says) in [
            (&[("", &["a"][..])][..], "``"),
            (&[("a", &[][..])], "empty"),
            (&[("a", &["*", "b"][..])], "mixes"),
            (&[("a", &["b", "b"][..])], "twice"),
            (&[("a", &["b"][..]), ("a", &["c"][..])], "twice"),
            (&[("a=b", &["c"][..])], "`a=b`"),
            (&[("a", &["b&c"][..])], "`b&c`"),
            (&[("a", &["b;c"][..])], "`b;c`"),
            (&[("a", &["b c"][..])], "`b c`"),
            (&[("a", &["b*"][..])], "`b*`"),
            (&[("*", &["b"][..])], "`*`"),
            (&[("a", &["%61"][..])], "`%61`"),
            (&[("a", &["%2f"][..])], "`%2f`"),
            (&[("a", &["%2"][..])], "`%2`"),
            (&[("a", &["é"][..])], "u{e9}"),
            (&[("a", &["b#"][..])], "`b#`"),
        ] {
            let error = rule(parameters).unwrap_err().to_string();
            assert!(error.contains("`query`") && error.contains(says), "{parameters:?}: {error}");
        }
        let names: Vec<String> = (0..=MAX_PARAMETERS).map(|n| n.to_string()).collect();
        assert!(QueryRule::new(names.iter().map(|name| (name, vec!["x"]))).is_err());
    }

    #[test]
    fn covering() {
        let covers = |wide: &[(&str, &[&str])], narrow: &[(&str, &[&str])]| {
            rule(wide).unwrap().covers(&rule(narrow).unwrap())
        };
        assert!(covers(&[("a", &["*"]), ("b", &["1", "2"])], &[("a", &["x"]), ("b", &["2"])]));
        assert!(covers(&[("a", &["*"])], &[]));
        assert!(!covers(&[("a", &["1"])], &[("a", &["*"])]));
        assert!(!covers(&[("a", &["1"])], &[("a", &["1", "2"])]));
        assert!(!covers(&[], &[("a", &["1"])]));
    }
}
