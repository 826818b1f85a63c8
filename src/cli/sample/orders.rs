//! The sample's orders: a small table in memory, and the stream of what happens to them.
//!
//! Invariant: at most [`CAPACITY`] orders are kept; a full table refuses new ones instead of forgetting old ones.

use super::App;
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, StreamExt, unfold};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::{Interval, MissedTickBehavior};

/// How many orders are kept.
const CAPACITY: usize = 1_000;

/// Time between two events of the stream.
const EVENT_INTERVAL: Duration = Duration::from_secs(1);

/// What the table starts with; the first order is number 1001.
const SEED: [(&str, u32, OrderState); 4] = [
    ("standing desk", 1, OrderState::Shipped),
    ("mechanical keyboard", 2, OrderState::Packed),
    ("desk lamp", 4, OrderState::Paid),
    ("notebook", 10, OrderState::Paid),
];

const FIRST_ID: u32 = 1_001;

/// Every order.
#[derive(Debug)]
pub(super) struct Orders {
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    orders: BTreeMap<u32, Order>,
    next: u32,
}

#[derive(Debug, Clone, Serialize)]
struct Order {
    id: String,
    item: String,
    quantity: u32,
    state: OrderState,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum OrderState {
    Paid,
    Packed,
    Shipped,
}

/// The body of a new order.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewOrder {
    item: String,
    quantity: NonZeroU32,
}

impl Orders {
    pub(super) fn seeded() -> Self {
        let mut table = Table { orders: BTreeMap::new(), next: FIRST_ID };
        for (item, quantity, state) in SEED {
            table.add(item.to_owned(), quantity, state);
        }
        Self { table: Mutex::new(table) }
    }
}

impl Table {
    fn add(&mut self, item: String, quantity: u32, state: OrderState) -> Option<Order> {
        if self.orders.len() >= CAPACITY {
            return None;
        }
        let order = Order { id: self.next.to_string(), item, quantity, state };
        self.orders.insert(self.next, order.clone());
        self.next = self.next.saturating_add(1);
        Some(order)
    }
}

/// `GET /v1/orders`.
pub(super) async fn list(State(app): State<App>) -> Response {
    let orders: Vec<Order> = app.orders.table.lock().orders.values().cloned().collect();
    Json(orders).into_response()
}

/// `GET /v1/orders/{id}`.
pub(super) async fn show(State(app): State<App>, Path(id): Path<String>) -> Response {
    let order = id.parse().ok().and_then(|id: u32| app.orders.table.lock().orders.get(&id).cloned());
    order.map_or_else(|| problem(StatusCode::NOT_FOUND, "no such order"), |order| Json(order).into_response())
}

/// `POST /v1/orders`.
pub(super) async fn create(State(app): State<App>, body: Result<Json<NewOrder>, JsonRejection>) -> Response {
    let Json(new) = match body {
        Ok(body) => body,
        Err(refused) => return problem(refused.status(), &refused.body_text()),
    };
    let made = app.orders.table.lock().add(new.item, new.quantity.get(), OrderState::Paid);
    match made {
        Some(order) => {
            let place = [(header::LOCATION, format!("/v1/orders/{}", order.id))];
            (StatusCode::CREATED, place, Json(order)).into_response()
        }
        None => problem(StatusCode::INSUFFICIENT_STORAGE, "the table is full: delete an order first"),
    }
}

/// `DELETE /v1/orders/{id}`.
pub(super) async fn delete(State(app): State<App>, Path(id): Path<String>) -> Response {
    let gone = id.parse().ok().and_then(|id: u32| app.orders.table.lock().orders.remove(&id));
    gone.map_or_else(
        || problem(StatusCode::NOT_FOUND, "no such order"),
        |_| StatusCode::NO_CONTENT.into_response(),
    )
}

/// `GET /v1/orders/events`: one event a second until the caller or the API goes.
pub(super) async fn events(State(app): State<App>) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let mut clock = tokio::time::interval(EVENT_INTERVAL);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let stop = app.shutdown.clone().cancelled_owned();
    Sse::new(unfold((clock, 1), next_event).take_until(stop))
}

async fn next_event(
    (mut clock, number): (Interval, u32),
) -> Option<(Result<Event, Infallible>, (Interval, u32))> {
    clock.tick().await;
    let order = FIRST_ID.saturating_add(number % 4);
    let state = if number % 2 == 0 { "packed" } else { "shipped" };
    let data = format!(r#"{{"order":"{order}","state":"{state}"}}"#);
    let event = Event::default().id(number.to_string()).event("order").data(data);
    Some((Ok(event), (clock, number.saturating_add(1))))
}

fn problem(status: StatusCode, detail: &str) -> Response {
    let body = serde_json::json!({ "title": status.canonical_reason(), "status": status.as_u16(), "detail": detail });
    (status, [(header::CONTENT_TYPE, "application/problem+json")], body.to_string()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_refuses_and_keeps_what_it_has() {
        let orders = Orders::seeded();
        let mut table = orders.table.lock();
        while table.add("tea".to_owned(), 1, OrderState::Paid).is_some() {}
        assert_eq!(table.orders.len(), CAPACITY);
        assert!(table.orders.contains_key(&FIRST_ID));
    }
}
