//! Keeps a secret and reads it back: `CONCLAVE_ADDR`, `CONCLAVE_CACERT` and `CONCLAVE_TOKEN` say where and as whom.

use conclave_client::Conclave;
use std::collections::BTreeMap;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let addresses = std::env::var("CONCLAVE_ADDR")?;
    let mut builder = Conclave::connect(addresses.split(',')).token(std::env::var("CONCLAVE_TOKEN")?);
    if let Ok(path) = std::env::var("CONCLAVE_CACERT") {
        builder = builder.ca_cert(std::fs::read(path)?);
    }
    let kv = builder.build()?.kv("secret");
    let put = kv
        .put("quickstart", &BTreeMap::from([("greeting", "good morning")]))
        .await?;
    let got = kv.get("quickstart").await?;
    let same = got.data.text("greeting") == Some("good morning") && got.version.number >= put.number;
    let verdict = if same { "kept" } else { "changed by somebody else" };
    std::io::Write::write_all(
        &mut std::io::stdout(),
        format!("version {}: {verdict}\n", put.number).as_bytes(),
    )?;
    Ok(())
}
