//! What a line says, in the words of others.

use super::*;

fn line(changes: &Value) -> String {
    let mut line = json!({
        "seq": 7, "time": "2026-11-22T10:00:00.000001Z", "kind": "end", "request_id": "req_1",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "proxy": "edge-1", "principal": "spiffe://a/agent",
        "certificate_sha256": "ab", "source": "127.0.0.1:4711", "user": null, "service": "orders", "method": "GET",
        "path": "/v1/a", "protocol": "h2", "mcp_method": null, "tool": null, "arguments_sha256": null,
        "grant": "gr_1", "task": "t-1", "revision": 3, "decision": "permit", "reason": null, "end": "complete",
        "cause": null, "status": 200, "bytes_in": 0, "bytes_out": 12, "decision_ns": 900, "duration_us": 2_500,
    });
    let members = line.as_object_mut().unwrap();
    members.extend(changes.as_object().unwrap().clone());
    line.to_string()
}

fn event(changes: &Value) -> Value {
    record(7, line(changes), Form::Ocsf, "a/proxy/edge-1/audit").unwrap().ocsf.remove(0)
}

#[test]
fn a_permitted_request_is_an_api_activity_of_its_principal() {
    let event = event(&json!({}));
    for (pointer, value) in [
        ("/class_uid", json!(6003)),
        ("/type_uid", json!(600_302)),
        ("/activity_name", json!("Read")),
        ("/time", json!(1_795_341_600_000_u64)),
        ("/start_time", json!(1_795_341_599_997_u64)),
        ("/actor/user/uid", json!("spiffe://a/agent")),
        ("/src_endpoint", json!({"ip": "127.0.0.1", "port": 4711})),
        ("/dst_endpoint/svc_name", json!("orders")),
        ("/api/operation", json!("GET /v1/a")),
        ("/http_response/code", json!(200)),
        ("/status_id", json!(1)),
        ("/action_id", json!(1)),
        ("/disposition_id", json!(1)),
        ("/authorizations/0/policy/uid", json!("gr_1")),
        ("/metadata/uid", json!("a/proxy/edge-1/audit#7")),
        ("/metadata/correlation_uid", json!("req_1")),
        ("/metadata/profiles", json!(["security_control", "trace"])),
        ("/trace/uid", json!("4bf92f3577b34da6a3ce929d0e0e4736")),
        ("/unmapped/revision", json!(3)),
        ("/raw_data", json!(line(&json!({})))),
    ] {
        assert_eq!(event.pointer(pointer), Some(&value), "{pointer} of {event}");
    }
    assert_eq!(event.pointer("/unmapped/path"), None, "nothing twice");
}

#[test]
fn what_became_of_it_is_told_apart() {
    for (changes, status, action, disposition, severity, detail) in [
        (
            json!({"decision": "deny", "reason": "no_grant", "grant": null, "status": 403}),
            2,
            2,
            2,
            2,
            json!("no_grant"),
        ),
        (json!({"end": "cut", "cause": "revoked"}), 2, 1, 24, 2, json!("revoked")),
        (json!({"end": "cut", "cause": "expired"}), 2, 1, 1, 2, json!("expired")),
        (json!({"end": "client_gone"}), 2, 1, 1, 1, json!("client_gone")),
        (json!({"kind": "admit", "end": null, "status": null}), 99, 1, 1, 1, Value::Null),
        (json!({"decision": null, "end": "client_gone", "status": null}), 2, 0, 0, 1, json!("client_gone")),
    ] {
        let event = event(&changes);
        let found =
            ["status_id", "action_id", "disposition_id", "severity_id"].map(|name| event[name].clone());
        assert_eq!(found, [status, action, disposition, severity].map(Value::from), "{changes}: {event}");
        assert_eq!(event["status_detail"], detail, "{changes}");
    }
}

#[test]
fn calls_of_tools_handshakes_and_summaries_have_their_own_words() {
    let call = event(&json!({"method": "POST", "mcp_method": "tools/call", "tool": "restart"}));
    assert_eq!(
        (&call["api"]["operation"], &call["activity_name"]),
        (&json!("tools/call restart"), &json!("Call"))
    );
    assert_eq!(call["resources"][1], json!({"name": "restart", "type": "tool"}));
    let handshake = event(&json!({
        "kind": "handshake", "principal": null, "reason": "expired", "decision": null, "method": null, "end": null,
    }));
    assert_eq!((&handshake["class_uid"], &handshake["type_uid"]), (&json!(3002), &json!(300_201)));
    assert_eq!((&handshake["user"], &handshake["status_id"]), (&json!({"name": "unknown"}), &json!(2)));
    let (from, to) = ("2026-11-22T10:00:00.000000Z", "2026-11-22T10:00:01.000000Z");
    let summary = event(&json!({
        "kind": "summary", "of": "end", "count": 9, "from": from, "to": to, "source": null, "duration_us": null,
        "method": null, "decision": "deny", "reason": "no_grant",
    }));
    assert_eq!((&summary["count"], &summary["activity_name"]), (&json!(9), &json!("Summary")));
    assert_eq!(summary["end_time"].as_u64().unwrap() - summary["start_time"].as_u64().unwrap(), 1_000);
}

#[test]
fn members_become_fields_and_what_is_no_line_is_none() {
    let text = line(&json!({"user": {"issuer": "https://i", "subject": "u"}}));
    let record = record(7, text.clone(), Form::Fields, "o").unwrap();
    assert_eq!((record.text, record.notable), (text, false));
    assert_eq!(record.trace_id.unwrap()[..2], [0x4b, 0xf9]);
    let field =
        |name: &str| record.fields.iter().find(|(found, _)| found == name).map(|(_, value)| value.clone());
    assert_eq!(field("user.subject"), Some(json!("u")));
    assert_eq!((field("status"), field("reason")), (Some(json!(200)), None));
    for bad in ["", "[]", "{\"seq\":7}", "{\"seq\":7,\"time\":\"yesterday\",\"kind\":\"end\"}"] {
        assert_eq!(super::record(7, bad.to_owned(), Form::Fields, "o"), None, "{bad}");
    }
}
