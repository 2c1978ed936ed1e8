//! Leases over HTTP.

use serde_json::json;

use crate::api::stage::Stage;

const LEASES: &str = "/api/v1/gpus/leases";

#[tokio::test]
async fn leases_are_given_renewed_and_released() {
    let stage = Stage::start().await;
    let body = json!({"holder": "trainer", "memory": "8Gi", "share": "memory", "ttl": "5m"});
    let answer = stage.ask("POST", LEASES, &[], &body.to_string()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert!(answer.has("location: /api/v1/gpus/leases/gpu-1"), "{answer:?}");
    assert_eq!(answer.json()["fence"], 7);
    let listed = stage.get(LEASES).await.json();
    assert_eq!(listed["items"][0]["devices"], json!(["GPU-a"]));
    let one = format!("{LEASES}/gpu-1");
    let renew = json!({"fence": 7, "ttl": "5m"}).to_string();
    let renewed = stage.ask("POST", &format!("{one}/renew"), &[], &renew).await;
    assert_eq!(renewed.status, 200, "{renewed:?}");
    let released = stage.ask("DELETE", &format!("{one}?fence=7"), &[], "").await;
    assert_eq!(released.status, 200, "{released:?}");
}

#[tokio::test]
async fn what_makes_no_sense_is_a_problem_document() {
    let stage = Stage::start().await;
    let with = |more: serde_json::Value| {
        let mut body = json!({"holder": "trainer", "ttl": "5m"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body.to_string()
    };
    let invalid = "request.invalid";
    for (body, status, code) in [
        (String::new(), 400, invalid),
        (with(json!({"holder": " "})), 400, invalid),
        (with(json!({"ttl": "0s"})), 400, invalid),
        (with(json!({"ttl": "25h"})), 400, invalid),
        (with(json!({"count": 0})), 400, invalid),
        (with(json!({"cuont": 1})), 400, invalid),
        (with(json!({"ids": ["0"]})), 400, invalid),
        (with(json!({"ids": ["GPU-a", "GPU-a"]})), 400, invalid),
        (with(json!({"share": "memory"})), 400, invalid),
        (with(json!({"share": "memory", "memory": "1Gi", "mig": "1g.10gb"})), 400, invalid),
        (with(json!({"priority": 101})), 400, invalid),
        (with(json!({"count": 2})), 422, "gpu.none"),
        (with(json!({"holder": "late"})), 409, "gpu.busy"),
    ] {
        let answer = stage.ask("POST", LEASES, &[], &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.has("content-type: application/problem+json"), "{body}");
        assert_eq!(answer.json()["code"], code, "{body}");
    }
    for (path, status, code) in [
        ("gpu-1", 400, invalid),
        ("gpu-1?fence=6", 409, "gpu.fenced"),
        ("gpu-2?fence=7", 404, "gpu.no-lease"),
    ] {
        let answer = stage.ask("DELETE", &format!("{LEASES}/{path}"), &[], "").await;
        assert_eq!((answer.status, answer.json()["code"].as_str()), (status, Some(code)), "{path}");
    }
}
