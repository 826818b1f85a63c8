//! What a refused caller reads.

use super::*;
use crate::mcp::fault::Fault;
use crate::mcp::version::Versions;
use serde_json::{Value, json};

fn denial<'a>(reason: DenyReason, required: &'a [Permission]) -> Denial<'a> {
    Denial {
        id: Some(&Id::Number(7)),
        method: Some("tools/call"),
        reason,
        detail: "no live grant permits this",
        request_id: RequestId::from_parts(1, [1; 10]),
        required,
        access_request: Some("https://control.example/v1/requests"),
        metadata: None,
    }
}

fn permission() -> [Permission; 1] {
    [Permission::for_http(&"ops".parse().unwrap(), "GET", "/x").unwrap()]
}

fn body(reply: &Reply) -> Value {
    serde_json::from_slice(&reply.body).unwrap()
}

#[test]
fn a_refused_call_is_an_error_that_an_agent_can_act_on() {
    let required = permission();
    let reply = denial(DenyReason::OutOfScope, &required).reply();
    assert_eq!((reply.status, &reply.challenge), (StatusCode::OK, &None));
    let body = body(&reply);
    assert_eq!(
        (&body["jsonrpc"], &body["id"], &body["error"]["code"]),
        (&json!("2.0"), &json!(7), &json!(ACCESS_DENIED))
    );
    let data = &body["error"]["data"];
    assert_eq!(
        (&data["reason"], &data["type"]),
        (&json!("out_of_scope"), &json!("urn:jitgate:problem:out_of_scope"))
    );
    assert_eq!(
        data["required"],
        json!([{"type":"http","locations":["ops"],"actions":["GET"],"paths":["/x"]}])
    );
    assert_eq!(data["access_request"], "https://control.example/v1/requests");
    let message = body["error"]["message"].as_str().unwrap();
    assert!(
        message.contains("out_of_scope") && message.contains("https://control.example/v1/requests"),
        "{message}"
    );
    // Where asking does not help, nothing says that it would.
    let stale = denial(DenyReason::Stale, &[]).reply();
    assert!(self::body(&stale)["error"]["data"].get("access_request").is_none());
}

#[test]
fn what_wants_no_answer_is_refused_by_http_and_discovery_by_not_found() {
    let quiet =
        Denial { id: None, method: Some("notifications/x"), ..denial(DenyReason::OutOfScope, &[]) }.reply();
    assert_eq!(quiet.status, StatusCode::FORBIDDEN);
    assert!(body(&quiet).get("id").is_none());
    for reason in DenyReason::ALL {
        let metadata = Some("https://ops.localhost/.well-known/oauth-protected-resource/mcp");
        let reply = Denial { method: Some("server/discover"), metadata, ..denial(reason, &[]) }.reply();
        assert_eq!(
            (reply.status, reply.challenge.is_none(), &body(&reply)["error"]["code"]),
            (StatusCode::NOT_FOUND, true, &json!(METHOD_NOT_FOUND))
        );
    }
}

#[test]
fn callers_with_tokens_get_the_form_of_oauth() {
    let required = permission();
    let metadata = Some("https://ops.localhost/.well-known/oauth-protected-resource/mcp");
    let reply = |reason| Denial { metadata, ..denial(reason, &required) }.reply();
    let said = |reply: &Reply| reply.challenge.as_ref().map(|value| value.to_str().unwrap().to_owned());
    let missing = reply(DenyReason::TokenRequired);
    assert_eq!(missing.status, StatusCode::UNAUTHORIZED);
    assert_eq!(
        said(&missing).unwrap(),
        "Bearer resource_metadata=\"https://ops.localhost/.well-known/oauth-protected-resource/mcp\""
    );
    assert!(said(&reply(DenyReason::TokenInvalid)).unwrap().contains("error=\"invalid_token\""));
    let narrow = reply(DenyReason::OutOfScope);
    assert_eq!(narrow.status, StatusCode::FORBIDDEN);
    let challenge = said(&narrow).unwrap();
    for part in [
        "error=\"insufficient_scope\"",
        "scope=\"ops:GET:/x\"",
        "resource_metadata=\"https://",
        "error_description=\"out_of_scope\"",
    ] {
        assert!(challenge.contains(part), "{challenge}");
    }
    let limit = reply(DenyReason::Limit);
    assert_eq!((limit.status, said(&limit)), (StatusCode::OK, None));
    // Nothing of a request breaks out of a quoted string.
    let broken =
        Denial { metadata: Some("https://a\", x=\"/"), ..denial(DenyReason::TokenRequired, &[]) }.reply();
    assert_eq!(broken.challenge, None);
}

#[test]
fn versions_are_named_to_whoever_asked_for_another() {
    let refused = Refused::version(Versions::of([Version::V20251125]).unwrap(), "2027-01-01", false)
        .with_id(Some(&Id::Text("a".into())));
    let reply = refused.reply(RequestId::from_parts(1, [1; 10]));
    let body = body(&reply);
    assert_eq!(
        (reply.status, &body["id"], &body["error"]["code"]),
        (StatusCode::BAD_REQUEST, &json!("a"), &json!(-32_022))
    );
    assert_eq!(
        (&body["error"]["data"]["supported"], &body["error"]["data"]["requested"]),
        (&json!(["2025-11-25"]), &json!("2027-01-01"))
    );
    let large = Refused::from(Fault::too_large("x")).reply(RequestId::from_parts(1, [1; 10]));
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(self::body(&large)["error"]["data"].get("supported").is_none());
}

fn batch(text: &str) -> Batch {
    match crate::mcp::body::read(text.as_bytes(), crate::mcp::Limits::default()).unwrap() {
        crate::mcp::Content::Batch(messages) => Batch::of(&messages),
        crate::mcp::Content::One(_) => panic!("{text} is no batch"),
    }
}

#[test]
fn each_request_of_a_refused_batch_is_answered_under_its_own_id() {
    const THREE: &str = r#"[{"jsonrpc":"2.0","id":"a","method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},
        {"jsonrpc":"2.0","id":7,"method":"ping"},{"jsonrpc":"2.0","id":"7","method":"ping"}]"#;
    let required = permission();
    let refused = Denial { id: None, method: None, ..denial(DenyReason::OutOfScope, &required) };
    let mut three = batch(THREE);
    let answers = |batch: &Batch| {
        let reply = refused.reply_to(batch);
        assert_eq!((reply.status, &reply.challenge), (StatusCode::OK, &None));
        let answers = body(&reply);
        let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
        assert_eq!(ids, [&json!("a"), &json!(7), &json!("7")]);
        for answer in answers.as_array().unwrap() {
            let error = &answer["error"];
            assert_eq!(error["code"], ACCESS_DENIED, "{answers}");
            assert_eq!(error["data"]["reason"], "out_of_scope", "{answers}");
        }
        answers
    };
    let missing = |answer: &Value| answer["error"]["data"].get("required").is_some();
    let says = |answer: &Value, words: &str| answer["error"]["message"].as_str().unwrap().contains(words);

    three.is_refused_for(Some(&Id::Number(7)));
    let told = answers(&three);
    assert!(missing(&told[1]) && says(&told[1], "no live grant permits this"), "{told}");
    for other in [&told[0], &told[2]] {
        assert!(!missing(other) && says(other, "as a whole") && says(other, "with the id 7"), "{told}");
    }
    // Nobody reads an answer to a notification: the first one says what it would have been.
    three.is_refused_for(None);
    let told = answers(&three);
    assert!(missing(&told[0]) && says(&told[0], "no live grant permits this"), "{told}");
    assert!(!missing(&told[1]) && says(&told[1], "no request"), "{told}");
    // What holds for all of them is said to each.
    let stale = Denial { id: None, method: None, ..denial(DenyReason::Stale, &[]) }.reply_to(&batch(THREE));
    assert!(body(&stale).as_array().unwrap().iter().all(|answer| says(answer, "no live grant permits this")));
}

#[test]
fn a_refused_batch_keeps_the_form_of_oauth_and_one_without_a_request_that_of_http() {
    let required = permission();
    let metadata = Some("https://ops.localhost/.well-known/oauth-protected-resource/mcp");
    let refused = Denial { id: None, method: None, metadata, ..denial(DenyReason::OutOfScope, &required) };
    let mut one = batch(r#"[{"jsonrpc":"2.0","id":1,"method":"ping"}]"#);
    one.is_refused_for(Some(&Id::Number(1)));
    let reply = refused.reply_to(&one);
    assert_eq!((reply.status, reply.challenge.is_some()), (StatusCode::FORBIDDEN, true));
    assert_eq!(body(&reply)[0]["id"], 1);
    let quiet = Denial { metadata: None, ..refused }
        .reply_to(&batch(r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#));
    assert_eq!((quiet.status, body(&quiet).is_object()), (StatusCode::FORBIDDEN, true));
}
