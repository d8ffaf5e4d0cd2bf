//! The operations port.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::telemetry::Metrics;

use super::*;

#[tokio::test]
async fn probes_and_metrics_answer_get_and_head_only() {
    let ready = Arc::new(AtomicBool::new(false));
    let is_ready = Arc::clone(&ready);
    let probe = move || match is_ready.load(Ordering::Relaxed) {
        true => Ok(()),
        false => Err("applications are not read yet".to_owned()),
    };
    let router = operations(|| Ok(()), probe, Arc::new(Metrics::new("1.2.3")));
    let server = start(router, ServeLimits::default()).await;

    let heard = get(&server, "/healthz").await;
    assert_eq!((status(&heard), body(&heard)), (200, "ok\n"));
    assert_hardened(&heard);
    let heard = ask(&server, request("HEAD", "/healthz", &[], "")).await;
    assert_eq!((status(&heard), body(&heard)), (200, ""));

    let heard = get(&server, "/readyz").await;
    assert_eq!(status(&heard), 503);
    assert_eq!(body(&heard), "applications are not read yet\n");
    ready.store(true, Ordering::Relaxed);
    assert_eq!(status(&get(&server, "/readyz").await), 200);

    let heard = get(&server, "/metrics").await;
    let content_type = header(&heard, "content-type").unwrap();
    assert!(content_type.starts_with("application/openmetrics-text"));
    assert!(
        heard.contains("trimtab_build_info{version=\"1.2.3\"} 1"),
        "{heard}"
    );

    let heard = ask(&server, request("POST", "/healthz", &[], "x")).await;
    assert_eq!(
        (status(&heard), header(&heard, "allow")),
        (405, Some("GET,HEAD"))
    );
    assert_hardened(&heard);
    let heard = get(&server, "/debug").await;
    assert_eq!((status(&heard), body(&heard)), (404, "not found\n"));
    assert_hardened(&heard);
}
