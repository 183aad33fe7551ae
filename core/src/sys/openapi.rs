//! `sys/internal/specs/openapi`: the OpenAPI 3 document of what the caller can reach, made from the tables that route.
//! There is no second list: what is not in a table is not answered, and what is in one is in the document.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use conclave_engine_api::outcome::RawBody;
use conclave_engine_api::{Operation, Reply};

use crate::catalog::{Category, MountRecord};
use crate::error::Error;
use crate::routes::{Access, Answer, Call};
use crate::sys::{object, open, unbuilt};

/// One operation of one path.
struct Line {
    /// As routed: `:name` for a segment, a final `*name` for the rest.
    pattern: String,
    operation: Operation,
    summary: &'static str,
    tag: &'static str,
    /// Whether no token is asked for.
    open: bool,
    sudo: bool,
}

/// The document.
pub fn document(call: &mut Call<'_, '_>) -> Result<Answer, Error> {
    let mut lines = of_nobody();
    for category in [Category::Secret, Category::Auth] {
        for mount in call.work.catalog.mounts(category).values() {
            if call.caller.acl.is_root() || call.caller.acl.reaches_beneath(&call.seen(&mount.full_path())?) {
                lines.extend(of_mount(call, mount));
            }
        }
    }
    let version = &call.core.settings.conclave_version;
    let document = json!({
        "openapi": "3.0.2",
        "info": {
            "title": "Conclave HTTP API",
            "description": "Everything this caller can reach, as Vault's API shapes it. Each path lies beneath /v1.",
            "version": version,
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "servers": [{"url": "/v1"}],
        "paths": paths(&lines),
        "components": components(),
        "x-conclave-unsupported": unbuilt::known(),
    });
    let raw = RawBody {
        status: 200,
        content_type: "application/json",
        bytes: document.to_string().into_bytes(),
    };
    Ok(Reply {
        raw: Some(raw),
        ..Reply::default()
    }
    .into())
}

/// What is answered without a token and by no mount.
fn of_nobody() -> Vec<Line> {
    let routes = open::ROUTES.iter();
    let lines = routes.flat_map(|(pattern, operations)| {
        operations.iter().map(move |operation| Line {
            pattern: format!("sys/{pattern}"),
            operation: *operation,
            summary: "",
            tag: "system",
            open: true,
            sudo: false,
        })
    });
    lines.collect()
}

fn of_mount(call: &Call<'_, '_>, mount: &MountRecord) -> Vec<Line> {
    let prefix = &mount.full_path();
    if let Some(table) = crate::pipeline::table_of(&mount.kind) {
        let tag = if mount.kind == "system" { "system" } else { "auth" };
        let lines = table.iter().flat_map(|route| {
            route.operations.iter().map(move |operation| Line {
                pattern: format!("{prefix}{}", route.pattern),
                operation: *operation,
                summary: "",
                tag,
                open: false,
                sudo: route.access == Access::Sudo,
            })
        });
        return lines.collect();
    }
    let Some(engine) = call.core.engine_of(mount) else {
        return Vec::new();
    };
    let tag = match mount.category {
        Category::Secret => "secrets",
        Category::Auth => "auth",
    };
    let lines = engine.routes().iter().flat_map(|route| {
        let open = match mount.category {
            Category::Auth => engine.logins(),
            Category::Secret => engine.open_paths(),
        }
        .contains(&route.pattern);
        let sudo = engine.is_sudo_path(route.pattern);
        route
            .operations
            .iter()
            .map(move |operation| (route, *operation, open, sudo))
    });
    lines
        .map(|(route, operation, open, sudo)| Line {
            pattern: format!("{prefix}{}", route.pattern),
            operation,
            summary: route.summary,
            tag,
            open,
            sudo,
        })
        .collect()
}

/// Paths in the document's way: patterns that differ in nothing but the names of their parameters are one path.
fn paths(lines: &[Line]) -> Map<String, Value> {
    let mut known: BTreeMap<String, (String, Vec<&Line>)> = BTreeMap::new();
    for line in lines {
        let shape: Vec<&str> = line
            .pattern
            .split('/')
            .map(|part| if part.starts_with([':', '*']) { "{}" } else { part })
            .collect();
        known
            .entry(shape.join("/"))
            .or_insert_with(|| (line.pattern.clone(), Vec::new()))
            .1
            .push(line);
    }
    known
        .into_values()
        .map(|(pattern, lines)| (template(&pattern), Value::Object(path(&pattern, &lines))))
        .collect()
}

/// `a/:b/*c` as `/a/{b}/{c}`.
fn template(pattern: &str) -> String {
    let parts = pattern
        .split('/')
        .map(|part| match part.strip_prefix([':', '*']) {
            Some(name) => format!("/{{{name}}}"),
            None => format!("/{part}"),
        });
    parts.collect()
}

fn path(pattern: &str, lines: &[&Line]) -> Map<String, Value> {
    let names = pattern
        .split('/')
        .filter_map(|part| Some((part.strip_prefix([':', '*'])?, part.starts_with('*'))));
    let parameters: Vec<Value> = names
        .map(|(name, rest)| {
            let schema = json!({"type": "string"});
            // Only the last parameter of a path may hold slashes.
            json!({"name": name, "in": "path", "required": true, "schema": schema, "x-conclave-rest": rest})
        })
        .collect();
    let mut path = Map::new();
    if !parameters.is_empty() {
        path.insert("parameters".to_owned(), json!(parameters));
    }
    if lines.iter().any(|line| line.sudo) {
        path.insert("x-vault-sudo".to_owned(), json!(true));
    }
    if lines.iter().all(|line| line.open) {
        path.insert("x-vault-unauthenticated".to_owned(), json!(true));
    }
    let operations: BTreeSet<Operation> = lines.iter().map(|line| line.operation).collect();
    for method in ["get", "post", "patch", "delete"] {
        let answered: Vec<Operation> = operations
            .iter()
            .copied()
            .filter(|operation| method_of(*operation) == method)
            .collect();
        let Some(line) = lines.iter().find(|line| answered.contains(&line.operation)) else {
            continue;
        };
        path.insert(method.to_owned(), operation(pattern, method, line, &answered));
    }
    path
}

fn operation(pattern: &str, method: &str, line: &Line, answered: &[Operation]) -> Value {
    let mut told = object(json!({
        "operationId": format!("{method}-{}", name(pattern)),
        "tags": [line.tag],
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}},
            "204": {"description": "Done, nothing to say"},
            "default": {"$ref": "#/components/responses/Failure"},
        },
    }));
    let names: Vec<&str> = answered.iter().map(|operation| operation.name()).collect();
    told.insert("x-conclave-operations".to_owned(), json!(names));
    if !line.summary.is_empty() {
        told.insert("summary".to_owned(), json!(line.summary));
    }
    if !line.open {
        told.insert("security".to_owned(), json!([{"token": []}]));
    }
    let mut parameters = Vec::new();
    for (flag, operation) in [("list", Operation::List), ("scan", Operation::Scan)] {
        if answered.contains(&operation) {
            let only = answered == [operation];
            parameters.push(json!({
                "name": flag,
                "in": "query",
                "required": only,
                "schema": {"type": "string", "enum": ["true"]},
            }));
        }
    }
    if !parameters.is_empty() {
        let schemas = [
            ("after", json!({"type": "string"})),
            ("limit", json!({"type": "integer"})),
        ];
        for (name, schema) in schemas {
            parameters.push(json!({"name": name, "in": "query", "schema": schema}));
        }
        told.insert("parameters".to_owned(), json!(parameters));
    }
    let kind = match method {
        "post" => Some("application/json"),
        "patch" => Some("application/merge-patch+json"),
        _ => None,
    };
    if let Some(kind) = kind {
        let mut content = Map::new();
        content.insert(kind.to_owned(), json!({"schema": {"type": "object"}}));
        told.insert("requestBody".to_owned(), json!({"content": content}));
    }
    Value::Object(told)
}

fn method_of(operation: Operation) -> &'static str {
    match operation {
        Operation::Create | Operation::Update => "post",
        Operation::Read | Operation::List | Operation::Scan | Operation::Help => "get",
        Operation::Patch => "patch",
        Operation::Delete => "delete",
    }
}

/// A name of letters, digits and dashes, one for each shape of a path.
fn name(pattern: &str) -> String {
    let parts = pattern
        .split('/')
        .map(|part| match part.strip_prefix([':', '*']) {
            Some(name) => format!("by-{name}"),
            None => part.to_owned(),
        });
    parts.collect::<Vec<_>>().join("-")
}

fn components() -> Value {
    json!({
        "securitySchemes": {"token": {"type": "apiKey", "in": "header", "name": "X-Vault-Token"}},
        "schemas": {
            "Answer": {
                "type": "object",
                "properties": {
                    "request_id": {"type": "string"},
                    "lease_id": {"type": "string"},
                    "renewable": {"type": "boolean"},
                    "lease_duration": {"type": "integer"},
                    "data": {"type": "object", "nullable": true},
                    "wrap_info": {"type": "object", "nullable": true},
                    "warnings": {"type": "array", "items": {"type": "string"}, "nullable": true},
                    "auth": {"type": "object", "nullable": true},
                },
            },
            "Errors": {
                "type": "object",
                "required": ["errors"],
                "properties": {"errors": {"type": "array", "items": {"type": "string"}}},
            },
        },
        "responses": {
            "Failure": {
                "description": "Not done: the texts say why",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Errors"}}},
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::ROUTES;

    fn lines() -> Vec<Line> {
        let lines = ROUTES.iter().flat_map(|route| {
            route.operations.iter().map(|operation| Line {
                pattern: format!("sys/{}", route.pattern),
                operation: *operation,
                summary: "",
                tag: "system",
                open: false,
                sudo: route.access == Access::Sudo,
            })
        });
        lines.chain(of_nobody()).collect()
    }

    #[test]
    fn every_route_is_in_the_document() {
        let lines = lines();
        let paths = paths(&lines);
        for line in &lines {
            let found = paths.iter().any(|(path, told)| {
                let same = path.split('/').skip(1).count() == line.pattern.split('/').count()
                    && path
                        .split('/')
                        .skip(1)
                        .zip(line.pattern.split('/'))
                        .all(|(told, routed)| {
                            told == routed || told.starts_with('{') && routed.starts_with([':', '*'])
                        });
                same && told.get(method_of(line.operation)).is_some()
            });
            assert!(found, "{} {:?}", line.pattern, line.operation);
        }
    }

    #[test]
    fn names_of_operations_are_unique_and_parameters_are_declared() {
        let paths = paths(&lines());
        let mut names = BTreeSet::new();
        for (path, told) in &paths {
            let told = told.as_object().unwrap();
            for method in ["get", "post", "patch", "delete"] {
                if let Some(operation) = told.get(method) {
                    let name = operation.get("operationId").unwrap().to_string();
                    assert!(names.insert(name), "{path}");
                }
            }
            let declared = told
                .get("parameters")
                .and_then(Value::as_array)
                .map_or(0, Vec::len);
            assert_eq!(path.matches('{').count(), declared, "{path}");
        }
        assert!(paths.len() > 100);
    }
}
