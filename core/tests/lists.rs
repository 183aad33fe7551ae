//! Lists of many names: complete, in order, without what lies deeper, and answered from one walk over the rows.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod support;

use serde_json::{Value, json};

use conclave_core::Verb;
use support::Node;

/// `CONCLAVE_LIST_NAMES` sets another number.
const NAMES: usize = 2_000;

#[tokio::test]
async fn a_directory_of_many_names_is_listed_whole_and_in_order() {
    let names = std::env::var("CONCLAVE_LIST_NAMES").map_or(NAMES, |text| text.parse().unwrap());
    let node = Node::unsealed().await;
    let mut expected = Vec::new();
    for number in 0..names {
        // Every tenth is a directory with two names beneath, which must show as one.
        let name = format!("name-{number:06}");
        let beneath = if number % 10 == 0 {
            vec!["/a", "/b/c"]
        } else {
            vec![""]
        };
        for rest in &beneath {
            let path = format!("secret/data/wide/{name}{rest}");
            node.call(Verb::Write, &path, json!({"data": {"n": number}}))
                .await
                .unwrap();
        }
        expected.push(if beneath.len() == 2 {
            format!("{name}/")
        } else {
            name
        });
    }
    let listed = node
        .call(Verb::List, "secret/metadata/wide", Value::Null)
        .await
        .unwrap();
    assert_eq!(listed["data"]["keys"], json!(expected));
    let beneath = node
        .call(Verb::List, "secret/metadata/wide/name-000010", Value::Null)
        .await
        .unwrap();
    assert_eq!(beneath["data"]["keys"], json!(["a", "b/"]));
    let page = json!({"after": "name-000998", "limit": 3});
    let page = node.call(Verb::List, "secret/metadata/wide", page).await.unwrap();
    assert_eq!(page["data"]["keys"], json!(expected[999..1002]));
}
