//! The page at `/docs`.

use crate::harness::with_server;

/// What a page loads: the values of its `src` and `href`.
fn loaded(page: &str) -> Vec<&str> {
    [" src=\"", " href=\""]
        .iter()
        .flat_map(|attribute| page.split(attribute).skip(1).filter_map(|rest| rest.split('"').next()))
        .filter(|target| *target != "data:,")
        .collect()
}

#[tokio::test]
async fn the_page_needs_no_token_and_loads_nothing_from_elsewhere() {
    with_server(async |server| {
        let page = server.get_plain("/docs").await;
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        let policy = page.header("content-security-policy").expect("a policy");
        assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
        let targets = loaded(&page.text);
        assert!(targets.len() >= 4, "{targets:?}");
        for target in targets {
            assert!(!target.contains(':') && !target.starts_with('/'), "{target}");
            let answer = server.get_plain(&format!("/{target}")).await;
            assert_eq!(answer.status, 200, "{target}");
            assert!(
                !answer.text.is_empty() && answer.header("x-content-type-options").is_some()
                    || target == "openapi.json"
            );
        }
        // The client has undone the compression.
        let script = server.get_plain("/docs/swagger-ui-bundle.js").await.text;
        assert!(script.contains("SwaggerUIBundle") && script.len() > 1_000_000, "{}", script.len());
        assert!(!script.contains("sourceMappingURL"));
        let start = server.get_plain("/docs/start.js").await.text;
        assert!(start.contains("\"openapi.json\"") && !start.contains("http"), "{start}");
        assert!(server.get_plain("/docs/swagger-ui.css").await.text.contains(".swagger-ui"));
        server.get_plain("/docs/other.js").await.refused(404, "not_found");
    })
    .await;
}
