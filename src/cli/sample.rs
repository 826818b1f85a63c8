//! The sample API behind `jitgate up` when no `--service` is given: something real to be refused, granted and cut.
//!
//! Owns its routes and how it stops. It is an ordinary upstream: it speaks plain HTTP on a socket like the user's own API and
//! refuses to know anything of grants, identities or the proxy. What it keeps is in memory and bounded; the data it starts with is
//! always the same, so that what the README shows is what everybody sees.

mod echo;
mod export;
mod orders;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::routing::{any, get};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The largest order that may be posted; the echo and the export stream and need no bound.
const ORDER_BYTES: usize = 16 * 1024;

/// How long answers that are still running may take once it was told to stop. Events and exports end at once by themselves; this is
/// for a caller that stopped reading.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Serves the sample API until `shutdown` fires, over HTTP/1.1 and h2c. Ends at the latest one second after that.
pub async fn serve(listener: TcpListener, shutdown: CancellationToken) {
    let router = router(&shutdown);
    let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let overdue = async {
        shutdown.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        ended = serving => if let Err(error) = ended {
            tracing::error!(%error, "the sample API stopped");
        },
        () = overdue => {}
    }
}

fn router(shutdown: &CancellationToken) -> Router {
    let state = Arc::new(orders::Orders::seeded());
    Router::new()
        .route("/v1/orders", get(orders::list).post(orders::create))
        .route("/v1/orders/events", get(orders::events))
        .route("/v1/orders/{id}", get(orders::show).delete(orders::delete))
        .route_layer(DefaultBodyLimit::max(ORDER_BYTES))
        .route("/v1/export", get(export::export))
        .route("/v1/echo", any(echo::echo))
        .route("/v1/echo/{*rest}", any(echo::echo))
        .with_state(App { orders: state, shutdown: shutdown.clone() })
}

/// What the handlers share.
#[derive(Debug, Clone)]
struct App {
    orders: Arc<orders::Orders>,
    shutdown: CancellationToken,
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::Body;
    use axum::http::{Request, Response, StatusCode};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    async fn call(router: &Router, method: &str, target: &str, body: &str) -> Response<Body> {
        let request = Request::builder()
            .method(method)
            .uri(target)
            .header("content-type", "application/json")
            .body(Body::from(body.to_owned()))
            .unwrap();
        router.clone().oneshot(request).await.unwrap()
    }

    async fn json(response: Response<Body>) -> serde_json::Value {
        serde_json::from_slice(&response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn orders_are_listed_created_shown_and_deleted() {
        let router = router(&CancellationToken::new());
        let before = json(call(&router, "GET", "/v1/orders", "").await).await;
        assert_eq!(before[0]["id"], "1001");

        let made = call(&router, "POST", "/v1/orders", r#"{"item":"espresso beans","quantity":2}"#).await;
        assert_eq!(made.status(), StatusCode::CREATED);
        let place = made.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(json(made).await["quantity"], 2);

        assert_eq!(json(call(&router, "GET", &place, "").await).await["item"], "espresso beans");
        assert_eq!(call(&router, "DELETE", &place, "").await.status(), StatusCode::NO_CONTENT);
        assert_eq!(call(&router, "GET", &place, "").await.status(), StatusCode::NOT_FOUND);
        assert_eq!(json(call(&router, "GET", "/v1/orders", "").await).await, before);
    }

    #[tokio::test]
    async fn an_order_that_is_too_large_or_unknown_is_refused() {
        let router = router(&CancellationToken::new());
        let large = format!(r#"{{"item":"{}","quantity":1}}"#, "x".repeat(ORDER_BYTES));
        assert_eq!(call(&router, "POST", "/v1/orders", &large).await.status(), StatusCode::PAYLOAD_TOO_LARGE);
        let unknown = r#"{"item":"tea","quantity":1,"price":0}"#;
        assert_eq!(
            call(&router, "POST", "/v1/orders", unknown).await.status(),
            StatusCode::UNPROCESSABLE_ENTITY
        );
        assert_eq!(call(&router, "DELETE", "/v1/orders/77", "").await.status(), StatusCode::NOT_FOUND);
    }

    #[tokio::test]
    async fn the_export_is_as_long_as_asked_and_no_longer_than_the_limit() {
        let router = router(&CancellationToken::new());
        for bytes in [0, 1, 65_536, 200_001] {
            let response = call(&router, "GET", &format!("/v1/export?bytes={bytes}"), "").await;
            assert_eq!(response.headers()["content-length"], bytes.to_string());
            assert_eq!(response.into_body().collect().await.unwrap().to_bytes().len(), bytes);
        }
        let over = call(&router, "GET", "/v1/export?bytes=99999999999999", "").await;
        assert_eq!(over.status(), StatusCode::BAD_REQUEST);
    }

    #[tokio::test]
    async fn events_begin_at_once_and_go_on_until_the_api_stops() {
        let stop = CancellationToken::new();
        let router = router(&stop);
        let mut body = call(&router, "GET", "/v1/orders/events", "").await.into_body();
        let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
        let text = String::from_utf8(first.to_vec()).unwrap();
        assert!(text.contains("id: 1\n") && text.contains("event: order\n"), "{text}");
        stop.cancel();
        assert!(body.frame().await.is_none());
    }

    #[tokio::test]
    async fn the_echo_tells_what_arrived() {
        let router = router(&CancellationToken::new());
        let told = json(call(&router, "PATCH", "/v1/echo/a%20b/c?q=1", "abc").await).await;
        assert_eq!((&told["method"], &told["path"]), (&"PATCH".into(), &"/v1/echo/a%20b/c".into()));
        assert_eq!((&told["query"], &told["body_bytes"]), (&"q=1".into(), &3.into()));
        assert_eq!(told["body_sha256"], "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(told["headers"][0], serde_json::json!(["content-type", "application/json"]));
    }
}
