//! The peer in Rust: axum, a pool of PostgreSQL connections, prepared statements.
//!
//! `EDGE_POSTGRES` is where the database is, as tokio-postgres reads it; `EDGE_STATIC` a
//! directory of files.

use axum::extract::{Form, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use axum::serve::ListenerExt;
use axum::{Router, serve as serve_on};
use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod, Runtime};
use serde::Deserialize;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use tokio::net::TcpListener;
use tokio_postgres::NoTls;
use tower_http::services::ServeDir;

const POINT: &str = "SELECT doc::text FROM flights WHERE id = $1";
/// One round trip, as somebody who cares would write it.
pub const JOINED: &str = "\
    SELECT json_build_object('key', f.id, 'flight', f.doc, 'airline', a.doc, 'plane', p.doc, \
      'origin', o.doc, 'dest', d.doc, 'weather', w.doc, 'reports', coalesce((SELECT \
        json_agg(r.doc ORDER BY r.number) FROM reports r WHERE r.flight = f.id), '[]'))::text \
    FROM flights f \
      LEFT JOIN airlines a ON a.id = f.doc ->> 'carrier' \
      LEFT JOIN planes p ON p.id = f.doc ->> 'tailnum' \
      LEFT JOIN airports o ON o.id = f.doc ->> 'origin' \
      LEFT JOIN airports d ON d.id = f.doc ->> 'dest' \
      LEFT JOIN weather w ON w.id = (f.doc ->> 'origin') || ' ' || (f.doc ->> 'time_hour') \
    WHERE f.id = $1";
pub const INSERT: &str = "\
    INSERT INTO reports (flight, number, doc) \
    SELECT $1, 1 + coalesce((SELECT max(number) FROM reports WHERE flight = $1), 0), \
      $2::text::jsonb \
    WHERE EXISTS (SELECT FROM flights WHERE id = $1) ON CONFLICT DO NOTHING";

type Fault = (StatusCode, String);

fn failed(error: impl std::fmt::Display) -> Fault {
    (StatusCode::INTERNAL_SERVER_ERROR, error.to_string())
}

fn json_text(text: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

async fn one(pool: &Pool, sql: &str, id: &str) -> Result<Response, Fault> {
    let client = pool.get().await.map_err(failed)?;
    let statement = client.prepare_cached(sql).await.map_err(failed)?;
    match client.query_opt(&statement, &[&id]).await.map_err(failed)? {
        Some(row) => Ok(json_text(row.get(0))),
        None => Err((StatusCode::NOT_FOUND, "there is no such flight".to_owned())),
    }
}

async fn point(State(pool): State<Pool>, Path(id): Path<String>) -> Result<Response, Fault> {
    one(&pool, POINT, &id).await
}

async fn joined(State(pool): State<Pool>, Path(id): Path<String>) -> Result<Response, Fault> {
    one(&pool, JOINED, &id).await
}

#[derive(Deserialize)]
struct Report {
    name: String,
    minutes: u16,
    reason: String,
}

async fn report(
    State(pool): State<Pool>,
    Path(id): Path<String>,
    Form(form): Form<Report>,
) -> Result<Redirect, Fault> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(failed)?.as_millis();
    let document = json!({
        "flight": id, "name": form.name, "minutes": form.minutes, "reason": form.reason,
        "reported_at": u64::try_from(now).map_err(failed)?,
    });
    let client = pool.get().await.map_err(failed)?;
    let statement = client.prepare_cached(INSERT).await.map_err(failed)?;
    for _ in 0..16 {
        let document = document.to_string();
        if client.execute(&statement, &[&id, &document]).await.map_err(failed)? == 1 {
            return Ok(Redirect::to(&format!("/flights/{id}?thanks#reports")));
        }
    }
    Err((StatusCode::NOT_FOUND, "there is no such flight".to_owned()))
}

/// Serves until it is killed; its address is its one line of output.
#[tokio::main]
pub async fn serve() -> Result<(), String> {
    let given = |name: &str| std::env::var(name).map_err(|_| format!("{name} is not set"));
    let said = |e: &dyn std::fmt::Display| e.to_string();
    let config: tokio_postgres::Config =
        given("EDGE_POSTGRES")?.parse().map_err(|e: tokio_postgres::Error| said(&e))?;
    let recycling_method = RecyclingMethod::Fast;
    let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
    let pool = Pool::builder(manager).max_size(8).runtime(Runtime::Tokio1).build();
    let app = Router::new()
        .route("/api/health", get(|| async { "ok\n" }))
        .route("/api/point/{id}", get(point))
        .route("/api/flights/{id}", get(joined))
        .route("/flights/{id}/reports", post(report))
        .fallback_service(ServeDir::new(given("EDGE_STATIC")?))
        .with_state(pool.map_err(|e| said(&e))?);
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|e| said(&e))?;
    println!("http://{}", listener.local_addr().map_err(|e| said(&e))?);
    // Without it a file's body waits for the ack of its head.
    let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap_or_default());
    serve_on(listener, app).await.map_err(|e| said(&e))
}
