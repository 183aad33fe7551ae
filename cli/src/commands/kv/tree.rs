//! `kv tree`: folders and keys drawn as a tree. Ours; the original has no such command.

use std::collections::BTreeMap;

use conclave_client::http::{Error, Json};

use super::MOUNT;
use super::place::Place;
use crate::commands::{Command, Output, at_least, at_most};
use crate::exit::{Context as _, Exit, Fail};
use crate::flags::Args;
use crate::output;
use crate::session::{Api, Cx};

/// Folders asked for at most, so that a huge mount is not walked by mistake.
const MAX_FOLDERS: usize = 10_000;

pub const COMMAND: Command = Command::new("kv tree", "[options] PATH", "Draws folders and keys as a tree", run)
    .help("Draws what is in a folder and beneath as a tree; values are not read.\n\n$ conclave kv tree secret/my-app")
    .output(Output::Format)
    .flags(&[MOUNT]);

/// Names in a folder, folders with a slash at their end and their content.
type Tree = BTreeMap<String, Option<Branch>>;
struct Branch(Tree);

fn run(cx: &mut Cx, args: &Args) -> Result<Exit, Fail> {
    if args.some(&MOUNT).is_none() {
        at_least(args, 1)?;
    }
    at_most(args, 1)?;
    let mut api = cx.api(args)?;
    let place = Place::find(&mut api, args)?;
    let path = place.or_plain("metadata");
    let mut budget = MAX_FOLDERS;
    let tree = walk(&api, &path, &mut budget).context(&format!("Error listing {path}"))?;
    if tree.is_empty() {
        return Err(Fail::remote(format!("No value found at {path}")));
    }
    if budget == 0 {
        cx.ui.warn(&format!(
            "WARNING! The tree is cut: it has more than {MAX_FOLDERS} folders."
        ));
    }
    if !cx.ui.is_table() {
        return Ok(output::value(&mut cx.ui, &document(&tree)));
    }
    cx.ui.line(&format!("{}/", place.path.trim_end_matches('/')));
    draw(cx, &tree, "");
    Ok(Exit::OK)
}

fn walk(api: &Api, path: &str, budget: &mut usize) -> Result<Tree, Error> {
    let mut tree = Tree::new();
    let Some(left) = budget.checked_sub(1) else {
        return Ok(tree);
    };
    *budget = left;
    let found = api.list(path, None)?;
    let names = found
        .as_ref()
        .and_then(|s| s.field("keys"))
        .and_then(Json::as_array)
        .unwrap_or_default();
    for name in names.iter().filter_map(Json::as_str) {
        let inside = match name.strip_suffix('/') {
            Some(folder) => Some(Branch(walk(api, &format!("{path}/{folder}"), budget)?)),
            None => None,
        };
        tree.insert(name.to_owned(), inside);
    }
    Ok(tree)
}

fn draw(cx: &mut Cx, tree: &Tree, before: &str) {
    let count = tree.len();
    for (i, (name, inside)) in tree.iter().enumerate() {
        let is_last = i + 1 == count;
        cx.ui
            .line(&format!("{before}{} {name}", if is_last { "└──" } else { "├──" }));
        if let Some(Branch(inside)) = inside {
            draw(
                cx,
                inside,
                &format!("{before}{}", if is_last { "    " } else { "│   " }),
            );
        }
    }
}

fn document(tree: &Tree) -> Json {
    let fields = tree.iter().map(|(name, inside)| {
        (
            name.as_str(),
            inside
                .as_ref()
                .map_or(Json::Null, |Branch(inside)| document(inside)),
        )
    });
    Json::Object(fields.collect())
}
