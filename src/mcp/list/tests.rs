//! What a filtered list shows, against a filter that parses and writes anew.

use super::*;
use crate::mcp::answer;
use crate::mcp::version::Version;
use proptest::prelude::*;
use serde_json::{Value, json};

fn filtered(text: &str, permits: impl Fn(ListKind, &str) -> bool) -> Result<String, Fault> {
    let limits = Limits::default();
    let answers = answer::read(text.as_bytes(), Version::V20250326, limits)?;
    let list = |id: &Id| (*id == Id::Number(1)).then_some(ListKind::Tools);
    let text = filter(text.as_bytes(), &answers, limits, list, permits)?;
    Ok(String::from_utf8(text.into_owned()).unwrap())
}

#[test]
fn items_that_are_not_permitted_go_and_everything_else_stays() {
    let list = |items: &str| {
        format!(
            "{{ \"jsonrpc\":\"2.0\",\"id\":1,\n\"result\":{{\"tools\":[{items}] ,\"nextCursor\":\"c\",\"x\":1e999}} }}"
        )
    };
    let (a, b, c) = (
        r#"{"name":"a","inputSchema":{"a":1,"A":9007199254740993}}"#,
        r#" {"title":"B","name":"b"} "#,
        r#"{"n":1,"name":"c"}"#,
    );
    let three = list(&format!("{a} , {b},{c}"));
    let only = |names: &'static [&'static str]| {
        filtered(&three, move |kind, name| kind == ListKind::Tools && names.contains(&name)).unwrap()
    };
    assert_eq!(only(&["a", "b", "c"]), three);
    assert_eq!(only(&["a"]), list(a));
    assert_eq!(only(&["b"]), list(b.trim()));
    assert_eq!(only(&["c"]), list(c));
    assert_eq!(only(&["a", "c"]), list(&format!("{a} ,  {c}")));
    assert_eq!(only(&[]), list(""));
    assert_eq!(filtered(&list(""), |_, _| false).unwrap(), list(""));
    // Another call's answer, an error, a question.
    for other in [
        three.replace("\"id\":1", "\"id\":\"1\""),
        r#"{"jsonrpc":"2.0","id":1,"error":{"code":1}}"#.into(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#.into(),
    ] {
        assert_eq!(filtered(&other, |_, _| false).unwrap(), other);
    }
}

fn hinted(result: &str, permits: impl Fn(ListKind, &str) -> bool) -> Result<Value, Fault> {
    let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
    let limits = Limits::default();
    let answers = answer::read(text.as_bytes(), Version::V20251125, limits)?;
    let list = |id: &Id| (*id == Id::Number(1)).then_some(ListKind::Tools);
    let hint =
        Hint::new(vec!["ops:tools/call:c{*}".parse().unwrap(), "ops:prompts/get:p{*}".parse().unwrap()]);
    let hint = |kind| Some(hint.says(kind, Some("https://c/v1/requests")));
    let text = filter_with(text.as_bytes(), &answers, limits, list, permits, hint)?;
    Ok(serde_json::from_slice::<Value>(&text).unwrap()["result"].take())
}

#[test]
fn a_hint_says_the_same_whatever_was_cut_out() {
    let said = &hinted(r#"{"tools":[{"name":"a"}]}"#, |_, _| true).unwrap()["_meta"][KEY];
    assert_eq!((&said["filtered"], &said["tool"]), (&json!(true), &json!("request_access")));
    assert_eq!(said["access_request"], "https://c/v1/requests");
    let requestable = said["requestable"].as_array().unwrap();
    assert_eq!(requestable.len(), 1, "of this kind alone: {said}");
    assert_eq!((&requestable[0]["locations"], &requestable[0]["tools"]), (&json!(["ops"]), &json!(["c"])));
    for (result, more) in [
        (r#"{}"#, json!({})),
        (r#" { "tools" : [ {"name":"a"}, {"name":"b"} ] }"#, json!({"tools": [{"name": "b"}]})),
        (r#"{"_meta":{},"tools":[{"name":"a"}]}"#, json!({"tools": []})),
        (
            r#"{"tools":[{"name":"a"},{"name":"b"}],"_meta":{ "x": {"y":1}},"nextCursor":"c"}"#,
            json!({"tools": [{"name": "b"}], "nextCursor": "c"}),
        ),
    ] {
        let mut shown = hinted(result, |_, name| name == "b").unwrap();
        let meta = shown["_meta"].take();
        assert_eq!(&meta[KEY], said, "{result}");
        assert_eq!(meta.as_object().unwrap().len(), 1 + usize::from(result.contains("\"x\"")), "{result}");
        shown.as_object_mut().unwrap().remove("_meta");
        assert_eq!(shown, more, "{result}");
    }
    // A service that speaks as the gate would.
    for result in [
        r#"{"tools":[],"_meta":{"io.jitgate/access":{"requestable":[]}}}"#,
        r#"{"tools":[],"_meta":{"io.jitgate/\u0061ccess":1}}"#,
        r#"{"tools":[],"_meta":{"io.jitgate/Access":1}}"#,
        r#"{"tools":[],"_meta":1}"#,
        r#"{"tools":[],"_meta":{},"_meta":{}}"#,
    ] {
        assert!(hinted(result, |_, _| true).is_err(), "{result}");
    }
}

#[test]
fn what_was_made_for_one_is_not_kept_for_all() {
    let list = |scope: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"cacheScope":{scope},"tools":[],"ttlMs":9}}}}"#)
    };
    for scope in ["\"public\"", "\"pub\\u006cic\"", "null", "{\"a\":[]}", "\"private\""] {
        assert_eq!(filtered(&list(scope), |_, _| true).unwrap(), list("\"private\""), "{scope}");
    }
    let twice = list("\"private\",\"cacheScope\":\"public\"");
    assert!(filtered(&twice, |_, _| true).is_err());
    assert!(filtered(&list("1").replace("cacheScope", "CacheScope"), |_, _| true).is_err());
}

#[test]
fn each_kind_by_its_own_key_also_in_the_wrong_answer_and_in_batches() {
    let text = r#"[{"jsonrpc":"2.0","id":1,"result":{"resources":[{"uri":"u","name":"n"},{"uri":"v","name":"u"}],
        "resourceTemplates":[{"uriTemplate":"t/{x}","name":"n"}],"prompts":[{"name":"p"},{"name":"q"}]}},
        {"jsonrpc":"2.0","id":2,"result":{"tools":[{"name":"z"}]}}]"#;
    let kept = filtered(text, |kind, name| {
        matches!((kind, name), (ListKind::Resources, "u") | (ListKind::Prompts, "q"))
    })
    .unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(
        kept[0]["result"],
        json!({"resources":[{"uri":"u","name":"n"}],"resourceTemplates":[],"prompts":[{"name":"q"}]})
    );
    assert_eq!(kept[1]["result"]["tools"][0]["name"], "z");
}

#[test]
fn what_a_result_holds_beside_names_is_passed_on_whatever_it_is() {
    let many = format!("[{}1]", "1,".repeat(200_000));
    for held in [
        r#""A=1\u0000B=2""#,
        r#""cut \ud83d""#,
        r#""\udc00\ud800 \uD800\u0041""#,
        r#"{"a\u0000":1,"a\u0000":2,"\udfff":[1e999,-0,9007199254740993]}"#,
        &many,
    ] {
        for text in [
            format!(r#"{{"jsonrpc":"2.0","id":2,"result":{{"content":[{{"type":"text","text":{held}}}]}}}}"#),
            format!(
                r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{{"name":"a","x":{held}}}],"y":{held}}}}}"#
            ),
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":{held}}}}}"#),
            format!(r#"{{"jsonrpc":"2.0","id":2,"error":{{"code":1,"message":"m","data":{held}}}}}"#),
        ] {
            assert_eq!(filtered(&text, |_, _| true).unwrap(), text);
        }
    }
    for broken in
        [r#""\u12""#, r#""\x""#, r#""\"#, "\"a\nb\"", "\"\0\"", r#""a"#, "01", "[1,]", r#"{"a"}"#, r#"{1:2}"#]
    {
        let text = format!(r#"{{"jsonrpc":"2.0","id":2,"result":{{"text":{broken}}}}}"#);
        assert!(filtered(&text, |_, _| true).is_err(), "{text}");
    }
    let deep = format!("{}1{}", "[".repeat(200), "]".repeat(200));
    assert!(filtered(&format!(r#"{{"jsonrpc":"2.0","id":2,"result":{deep}}}"#), |_, _| true).is_err());
}

#[test]
fn lists_without_one_reading_are_not_passed_on() {
    for result in [
        r#"{"tools":[{"name":"a","name":"b"}]}"#,
        r#"{"tools":[{"name":"a","Name":"b"}]}"#,
        r#"{"tools":[{"title":"a"}]}"#,
        r#"{"tools":[{"name":1}]}"#,
        r#"{"tools":["a"]}"#,
        r#"{"tools":{"a":1}}"#,
        r#"{"tools":[],"tools":[{"name":"a"}]}"#,
        r#"{"tools":[],"Tools":[{"name":"a"}]}"#,
        r#"[{"name":"a"}]"#,
        r#"{"tools":[{"name":"\ud800"}]}"#,
        r#"{"tools":null}"#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{result}}}"#);
        assert!(filtered(&text, |_, _| true).is_err(), "{text}");
    }
    for text in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"result":{}}"#,
        r#"{"jsonrpc":"2.0","ID":1,"id":2,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":2,"result":{},"Result":{}}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":null,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"method":"x"}"#,
        "x",
        "{}",
    ] {
        assert!(filtered(text, |_, _| true).is_err(), "{text}");
    }
}

proptest! {
    #[test]
    fn as_if_it_were_parsed_and_written_anew(
        names in proptest::collection::vec("[a-d\"\\\\é]{1,3}", 0..12), allowed in proptest::collection::vec("[a-d\"\\\\é]{1,3}", 0..12), pretty: bool,
    ) {
        let allowed = [allowed, names.iter().step_by(2).cloned().collect()].concat();
        let all = json!({"jsonrpc":"2.0","id":1,"result":{"tools": names.iter().map(|name| json!({"x":[1,{"name":"a"}],"name":name})).collect::<Vec<_>>(),"_meta":{}}});
        let text = if pretty { serde_json::to_string_pretty(&all) } else { serde_json::to_string(&all) }.unwrap();
        let kept = filtered(&text, |_, name| allowed.iter().any(|allowed| allowed == name)).unwrap();
        let mut expected = all;
        expected["result"]["tools"].as_array_mut().unwrap().retain(|item| allowed.iter().any(|name| item["name"] == name.as_str()));
        prop_assert_eq!(serde_json::from_str::<Value>(&kept).unwrap(), expected);
    }
}
