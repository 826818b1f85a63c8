//! What has one reading is accepted, everything else is not.

use super::*;
use crate::model::DenyReason;

fn one(text: &str) -> Result<Message, Fault> {
    match read(text.as_bytes(), Limits::default())? {
        Content::One(message) => Ok(message),
        Content::Batch(_) => panic!("{text} is no batch"),
    }
}

fn request(text: &str) -> Request {
    match one(text) {
        Ok(Message::Request(request)) => request,
        other => panic!("{text}: {other:?}"),
    }
}

fn call(params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
}

#[test]
fn a_call_shows_what_is_decided_on() {
    let text = r#" {"method":"tools/call","params":{"name":"restart_service","arguments":{"service":"billing","n":[1,{"a":-2.5}]},
        "_meta":{"progressToken":1}},"jsonrpc":"2.0","id":"a-1"} "#;
    let request = request(text);
    let call = request.call();
    assert_eq!((call.method, call.name), ("tools/call", Some("restart_service")));
    assert_eq!(request.id(), &Id::Text("a-1".into()));
    let arguments: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(r#"{"service":"billing","n":[1,{"a":-2.5}]}"#).unwrap();
    assert_eq!(call.arguments, Some(&arguments.into()));
}

#[test]
fn arguments_are_as_many_bytes_as_were_sent() {
    for (params, bytes) in [
        (r#"{"name":"t","arguments": {"a":  1} }"#, 9),
        (r#"{"arguments":{},"name":"t"}"#, 2),
        (r#"{"name":"t","arguments":{"\u0061":"\u00e9"}}"#, 19),
        // Without arguments all of the parameters.
        (r#" {"name":"t"}"#, 12),
        // What answers the service's own questions is sent to the tool as well.
        (r#"{"name":"t","arguments":{},"requestState":"s","inputResponses":{"a":1}}"#, 9),
        (r#"{"inputResponses":{"a": 1},"name":"t"}"#, 8),
    ] {
        assert_eq!(request(&call(params)).argument_bytes(), bytes, "{params}");
    }
    for (params, bytes) in [
        (r#"{"taskId":"t-1","_meta":{"a":1}}"#, 0),
        (r#"{"taskId":"t-1","inputResponses":{"a":1}}"#, 7),
        // Arguments that the method does not have hide nothing.
        (r#"{"arguments":{},"taskId":"t-1","inputResponses":{"a":1},"more":[1, 2]}"#, 15),
    ] {
        let update = call(params).replace("tools/call", "tasks/update");
        assert_eq!(request(&update).argument_bytes(), bytes, "{params}");
    }
    let Ok(Message::Response(response)) = one(r#"{"jsonrpc":"2.0","id":1,"result":{"a":  1}}"#) else {
        panic!()
    };
    assert_eq!(response.sent(), 9);
    let Ok(Message::Request(ping)) = one(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#) else { panic!() };
    assert_eq!(ping.argument_bytes(), 0);
}

#[test]
fn what_a_request_is_about() {
    for (method, params, name) in [
        ("tools/call", r#"{"name":"t\u00e9l\ud83d\ude00"}"#, Some("tél😀")),
        ("prompts/get", r#"{"name":"p"}"#, Some("p")),
        ("resources/read", r#"{"uri":"file:///a/b?c=../d"}"#, Some("file:///a/b?c=../d")),
        (
            "completion/complete",
            r#"{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"b"}}"#,
            Some("p"),
        ),
        ("tools/list", "{}", None),
        ("x/y", r#"{"name":"n"}"#, Some("n")),
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
        assert_eq!(request(&text).call().name, name, "{text}");
    }
    assert_eq!(request(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).call().name, None);
}

#[test]
fn other_messages() {
    let cancel =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7,"reason":"x"}}"#;
    let Message::Notification(cancel) = one(cancel).unwrap() else { panic!() };
    assert_eq!(cancel.cancels(), Some(&Id::Number(7)));
    for none in [
        "{}",
        r#"{"requestId":null}"#,
        r#"{"requestId":7.0}"#,
        r#"{"requestId":[7]}"#,
        r#"{"requestId":"a\n"}"#,
    ] {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{none}}}"#);
        assert_eq!(one(&text).map_err(|fault| fault.reason), Err(DenyReason::Malformed), "{text}");
    }
    for answer in [
        r#"{"jsonrpc":"2.0","id":7,"result":null}"#,
        r#"{"id":7,"error":{"code":1,"message":""},"jsonrpc":"2.0"}"#,
    ] {
        let Message::Response(answer) = one(answer).unwrap() else { panic!() };
        assert_eq!(answer.id(), &Id::Number(7));
    }
}

fn refused(text: &[u8], reason: DenyReason) {
    let shown = String::from_utf8_lossy(text);
    match read(text, Limits::default()) {
        Err(fault) => assert_eq!(fault.reason, reason, "{shown}: {fault}"),
        Ok(content) => panic!("{shown}: {content:?}"),
    }
}

#[test]
fn two_readings_are_refused() {
    for text in [
        // A name twice: anywhere, also spelt with escapes.
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","method":"tools/call"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"id":1,"method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"tools/call"}"#.to_owned(),
        call(r#"{"name":"a","name":"b"}"#),
        call(r#"{"name":"a","arguments":{"x":[{"y":1,"y":2}]}}"#),
        // Twins.
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","Method":"tools/call"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"Method":"ping"}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","param\u017f":{}}"#.to_owned(),
        r#"{"ｊsonrpc":"2.0","id":1,"method":"ping"}"#.to_owned(),
        call(r#"{"name":"a","Name":"b"}"#),
        call(r#"{"name":"a","Arguments":{}}"#),
        call(r#"{"name":"a","meta":{}}"#),
        call(r#"{"name":"a","_meta":{"io.modelcontextprotocol/ProtocolVersion":"2026-07-28"}}"#),
        call(r#"{"name":"a","arguments":{"path":"/a","Path":"/b"}}"#),
        call(r#"{"name":"a","arguments":{"kind":1,"\u212aind":2}}"#),
        call(r#"{"name":"a","uri":"b"}"#),
        // Numbers, strings.
        call(r#"{"name":"a","arguments":{"n":9007199254740993}}"#),
        call(r#"{"name":"a","arguments":{"n":1e400}}"#),
        call(r#"{"name":"a","arguments":{"n":01}}"#),
        call(r#"{"name":"a","arguments":{"s":"\ud800"}}"#),
        call(r#"{"name":"a","arguments":{"s":"\udc00\ud800"}}"#),
        call(r#"{"name":"a","arguments":{"s":"x\u0000"}}"#),
        // Both kinds at once, something around it.
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":1,"method":"notifications/cancelled"}"#.to_owned(),
        format!("{}x", call(r#"{"name":"a"}"#)),
        format!("{0}{0}", call(r#"{"name":"a"}"#)),
        format!("\u{feff}{}", call(r#"{"name":"a"}"#)),
        r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#
            .to_owned(),
    ] {
        refused(text.as_bytes(), DenyReason::Ambiguous);
    }
    for uri in ["file:///a/../b", "file:///a/%2e%2E/b", "file:///a/.", r"file:///a\\b", "file:///a b", ".."] {
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{"uri":"{uri}"}}}}"#);
        refused(text.as_bytes(), DenyReason::Ambiguous);
    }
}

#[test]
fn what_is_no_message_is_refused() {
    for text in [
        "",
        " ",
        "null",
        "1",
        "\"x\"",
        "[]",
        "{}",
        "{",
        "[1]",
        "{]",
        "nul",
        "NaN",
        "tru",
        r#"{"a"}"#,
        r#"{"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1.0,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":""}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/càll"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":[]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","params":null}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"ping","extra":1}"#,
        r#"{"jsonrpc":"2.0","method":"tools/call","params":{"name":"a"}}"#,
        r#"{"jsonrpc":"2.0","id":1}"#,
        r#"{"jsonrpc":"2.0","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":7}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"uri":"x"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a\nb"}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":[]}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":NaN}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":-Infinity}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","arguments":{"n":1.}}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","_meta":1}}"#,
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"pi\tng\"}",
        "{'jsonrpc':'2.0','id':1,'method':'ping'}",
        "{\"jsonrpc\":\"2.0\",\"id\":1,/**/\"method\":\"ping\"}",
        r#"[{"jsonrpc":"2.0","id":1,"method":"initialize"}]"#,
        r#"[[{"jsonrpc":"2.0","id":1,"method":"ping"}]]"#,
    ] {
        refused(text.as_bytes(), DenyReason::Malformed);
    }
    refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"p\xff\"}", DenyReason::Malformed);
    // `/` as two bytes.
    refused(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\xc0\xafb\"}", DenyReason::Malformed);
}

#[test]
fn bounds() {
    let deep = |depth: usize| {
        call(&format!(r#"{{"name":"a","arguments":{{"x":{}{}}}}}"#, "[".repeat(depth), "]".repeat(depth)))
    };
    let limits = Limits { depth: 10, ..Limits::default() };
    assert!(read(deep(7).as_bytes(), limits).is_ok());
    assert_eq!(read(deep(8).as_bytes(), limits).unwrap_err().reason, DenyReason::TooLarge);
    // The hard limit holds whatever is configured: the stack is not the sender's to fill.
    let limits_off = Limits { depth: u16::MAX, ..limits };
    assert_eq!(read(deep(100_000).as_bytes(), limits_off).unwrap_err().reason, DenyReason::TooLarge);
    let text = call(r#"{"name":"a"}"#);
    assert!(read(text.as_bytes(), Limits { body_bytes: text.len(), ..limits }).is_ok());
    assert!(read(text.as_bytes(), Limits { body_bytes: text.len() - 1, ..limits }).is_err());
    let many = call(&format!(r#"{{"name":"a","arguments":{{"x":[{}0]}}}}"#, "0,".repeat(100_000)));
    refused(many.as_bytes(), DenyReason::TooLarge);
    let batch = |n: usize| {
        let items: Vec<_> =
            (0..n).map(|id| format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#)).collect();
        format!("[{}]", items.join(","))
    };
    assert!(read(batch(MAX_BATCH).as_bytes(), Limits::default()).is_ok());
    refused(batch(MAX_BATCH + 1).as_bytes(), DenyReason::TooLarge);
}
