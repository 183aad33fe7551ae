//! HCL and JSON that people write: an answer for every text, with a place in it for every error.

pub fn run(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match conclave_hcl::parse(&text) {
        Ok(body) => {
            let _ = body.only(&["name", "path"]);
            let _ = body.sections("path", 1);
            let _ = body.value("name");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
