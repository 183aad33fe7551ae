//! `audit "type" "name"`: devices that this node keeps by itself, so that they are there while it is sealed.

use std::collections::BTreeMap;

use conclave_core::audit::{Declared, DeviceOptions, take_everything};
use conclave_hcl::{Body, Item, Section};

use super::keys;
use super::source::Source;
use crate::error::Error;

/// Longest name of a device in bytes.
const MAX_NAME: usize = 128;
/// What there is.
const KINDS: &[&str] = &["file", "socket", "syslog", "http"];

/// Reads all stanzas of a file.
pub(super) fn read(body: &Body, source: &mut Source<'_>) -> Result<Vec<Declared>, Error> {
    let sections = body.sections("audit", 2).map_err(|error| source.wrong(error))?;
    let mut declared = Vec::with_capacity(sections.len());
    let mut options = Vec::with_capacity(sections.len());
    for section in &sections {
        let (device, read) = device(section, source)?;
        declared.push(device);
        options.push(read);
    }
    match sections.first() {
        Some(first) if !take_everything(options.iter()) => Err(source.at(
            first.pos,
            "every audit device here has a filter, and requests that all pass over are refused: one must have none, or be the \
             fallback",
        )),
        _ => Ok(declared),
    }
}

fn device(section: &Section<'_>, source: &mut Source<'_>) -> Result<(Declared, DeviceOptions), Error> {
    let label = |at: usize| section.labels.get(at).map_or("", |label| label.name.as_str());
    let (kind, name) = (label(0), label(1).trim_matches('/'));
    if !KINDS.contains(&kind) {
        let message = format!(
            "audit {kind:?} is not supported: audit devices are {}",
            KINDS.join(", ")
        );
        return Err(source.at(section.pos, message));
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
        let message = "the name of an audit device is made of letters, digits, -, _, . and /";
        return Err(source.at(section.pos, message));
    }
    source.check_keys(section.body, keys::AUDIT)?;
    let declared = Declared {
        path: format!("{name}/"),
        kind: kind.to_owned(),
        description: source.text(section.body, "description")?.unwrap_or_default(),
        options: options(section.body, source)?,
    };
    match DeviceOptions::read(kind, &declared.options) {
        Ok(options) => Ok((declared, options)),
        Err(error) => Err(source.at(section.pos, format!("audit {kind:?} {name:?}: {error}"))),
    }
}

fn options(body: &Body, source: &Source<'_>) -> Result<BTreeMap<String, String>, Error> {
    let Some(options) = body.object("options").map_err(|error| source.wrong(error))? else {
        return Ok(BTreeMap::new());
    };
    let mut read = BTreeMap::new();
    for name in options.items.iter().map(Item::key) {
        let text = match source.flag(options, &name.name) {
            // As OpenBao writes them: booleans and numbers are texts.
            Ok(Some(flag)) if name.name != "mode" => flag.to_string(),
            _ => source.text(options, &name.name)?.unwrap_or_default(),
        };
        if name.name == "ca_file" {
            // Whoever enables a device over the API must not have a node open files: there, it is the certificate itself.
            let pem = std::fs::read_to_string(&text);
            let pem = pem.map_err(|error| source.at(options.pos, format!("ca_file {text:?}: {error}")))?;
            read.insert("ca_cert".to_owned(), pem);
            continue;
        }
        read.insert(name.name.clone(), text);
    }
    Ok(read)
}
