//! The example engine, through HTTP: its one line in the registry is all it takes.

use conclave_server::dev::{DevOptions, DevServer};

use crate::dev::ask;
use crate::support::{body, status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_example_engine_answers_through_http() {
    let dev = DevServer::start(DevOptions {
        listen_address: "127.0.0.1:0".to_owned(),
        root_token: Some("root".to_owned()),
        ..DevOptions::default()
    })
    .await
    .unwrap();
    let mounted = ask(&dev, "POST", "sys/mounts/greeter", "root", r#"{"type":"hello"}"#).await;
    assert_eq!(status(&mounted), 204, "{mounted}");
    let set = ask(&dev, "POST", "greeter/config", "root", r#"{"greeting":"Ahoy"}"#).await;
    assert_eq!(status(&set), 204, "{set}");
    for count in 1..=2 {
        let greeted = ask(&dev, "POST", "greeter/greet/ada", "root", "{}").await;
        assert_eq!(status(&greeted), 200, "{greeted}");
        assert!(
            body(&greeted).contains("Ahoy") && body(&greeted).contains(&format!(":{count}")),
            "{greeted}"
        );
    }
    let listed = ask(&dev, "LIST", "greeter/greet", "root", "").await;
    assert!(body(&listed).contains(r#""keys":["ada"]"#), "{listed}");
    let refused = ask(&dev, "POST", "greeter/config", "root", "{}").await;
    assert_eq!(status(&refused), 400, "{refused}");
    assert_eq!(
        status(&ask(&dev, "GET", "greeter/nowhere", "root", "").await),
        404
    );
    assert_eq!(
        status(&ask(&dev, "POST", "greeter/greet/eve", "wrong", "{}").await),
        403
    );
}
