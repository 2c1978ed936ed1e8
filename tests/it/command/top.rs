//! `berth top NAME`, for an app whose hour is always the same.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    thread,
};

use serde_json::{Value, json};

use super::{desk::Desk, golden::Page};

/// A controller that knows two apps' hours, and nothing else.
fn controller() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It ends with the test's process.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream);
        }
    });
    url
}

fn answer(mut stream: TcpStream) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    lines.take_while(|line| !line.is_empty()).for_each(drop);
    let app = ["busy", "ended", "new"].iter().find(|app| first.contains(&format!("/{app}/usage")));
    let (status, body) = match app {
        Some(app) => ("200 OK", usage(app)),
        None => ("404 Not Found", json!({"code": "app.not-found", "title": "no such app"})),
    };
    let body = body.to_string();
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// An hour with a wave of a quarter of an hour, a gap, and a burst at its end.
fn usage(app: &str) -> Value {
    let all = json!({
        "apiVersion": "berth/v1", "kind": "AppUsage", "metadata": {"name": app}, "units": {},
        "asked": {}, "now": null, "step": 5, "from": "2026-01-01T00:00:00.000Z", "series": {},
    });
    let wave = |height: f64| -> Vec<Option<f64>> {
        (0_u32..720)
            .map(|at| {
                let part = f64::from(at % 180) / 180.0;
                let is_known = !(300..330).contains(&at);
                is_known.then_some(if at < 690 { part * height } else { height * 2.0 })
            })
            .collect()
    };
    let series = json!({
        "cpu": wave(0.75), "memory": vec![Some(1_u64 << 30); 720],
        "gpuMemory": wave(40e9), "gpuUtilization": wave(45.0),
        "networkReceive": wave(2e6), "networkTransmit": vec![Some(0.0); 720],
    });
    let now = json!({
        "cpu": 1.5, "memory": 1_u64 << 30, "gpuMemory": 80_000_000_000_u64,
        "gpuUtilization": 90.0, "networkReceive": 4e6, "networkTransmit": 0.0,
    });
    let asked = json!({"cpu": 2.5, "memory": 4_u64 << 30, "gpus": 1, "gpuMemory": 80_u64 << 30});
    let with = |fields: &[(&str, &Value)]| {
        let mut all = all.clone();
        for (name, value) in fields {
            all[*name] = (*value).clone();
        }
        all
    };
    match app {
        "busy" => with(&[("series", &series), ("now", &now), ("asked", &asked)]),
        "ended" => with(&[("series", &json!({"cpu": [0.1, null, 0.4, 0.2]}))]),
        _ => all,
    }
}

#[test]
fn the_last_hour_of_an_app_is_drawn() {
    let desk = Desk::empty();
    let mut page = Page::of(&desk, "top", controller());
    page.everywhere(&["top", "busy", "--once"]);
    page.piped(&["top", "busy", "--no-unicode"]);
    page.everywhere(&["top", "ended", "--once", "--no-unicode"]);
    page.piped(&["top", "new"]);
    page.piped(&["top", "busy", "-o", "jsonpath={.asked.gpuMemory}"]);
    page.piped(&["top", "busy", "-o", "name"]);
    page.piped(&["top", "nobody"]);
    page.piped(&["top", "busy", "--sort", "cpu"]);
    page.piped(&["top", "Not_A_Name"]);
}
