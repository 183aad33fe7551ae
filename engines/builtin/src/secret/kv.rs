//! The key-value engine. One kind serves both versions of the API; the mount's option `version` says which. Rows of the
//! versions lie in different directories, so neither reads what the other wrote; only the upgrade knows both.

mod upgrade;
mod v1;
mod v2;

use conclave_engine_api::{
    ChangedRow, Engine, Env, Error, Happening, Mount, Operation, Outcome, Request, Route, Txn,
};

/// The key-value engine.
pub(crate) struct Kv;

/// Which API a mount speaks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

impl Engine for Kv {
    fn kind(&self) -> &'static str {
        "kv"
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn check_mount(&self, mount: &Mount) -> Result<(), Error> {
        if mount
            .options
            .get("leased_passthrough")
            .is_some_and(|on| on == "true")
        {
            return Err(Error::Unsupported("option leased_passthrough".to_owned()));
        }
        version(mount).map(|_| ())
    }

    fn tune(&self, txn: &mut Txn<'_>, old: &Mount, new: &Mount, env: &mut Env<'_>) -> Result<(), Error> {
        self.check_mount(new)?;
        match (version(old)?, version(new)?) {
            (Version::Two, Version::One) => Err(Error::invalid("cannot downgrade mount from version 2")),
            (Version::One, Version::Two) => upgrade::upgrade(txn, env.now()),
            _ => Ok(()),
        }
    }

    fn exists(&self, txn: &mut Txn<'_>, request: &Request<'_>) -> Result<Option<bool>, Error> {
        match version(request.mount)? {
            Version::One => v1::exists(txn, request).map(Some),
            Version::Two => v2::exists(txn, request),
        }
    }

    fn handle(&self, txn: &mut Txn<'_>, request: &Request<'_>, env: &mut Env<'_>) -> Result<Outcome, Error> {
        match version(request.mount)? {
            Version::One => v1::handle(txn, request),
            Version::Two => v2::handle(txn, request, env),
        }
    }

    fn watched_rows(&self, mount: &Mount, key: &str) -> Option<Vec<String>> {
        Some(match version(mount).ok()? {
            Version::One => vec![v1::rows_of(key)],
            Version::Two => v2::rows_of(key),
        })
    }

    fn happenings(&self, mount: &Mount, rows: &[ChangedRow]) -> Vec<Happening> {
        match version(mount) {
            Ok(Version::One) => v1::happenings(rows),
            Ok(Version::Two) => v2::happenings(rows),
            Err(_) => Vec::new(),
        }
    }

    fn readable_at(&self, mount: &Mount, key: &str) -> Vec<String> {
        match version(mount) {
            Ok(Version::Two) => v2::readable_at(key),
            _ => vec![key.to_owned()],
        }
    }
}

fn version(mount: &Mount) -> Result<Version, Error> {
    match mount.options.get("version").map_or("", String::as_str) {
        "" | "1" => Ok(Version::One),
        "2" => Ok(Version::Two),
        other => Err(Error::invalid(format!("invalid version provided: {other}"))),
    }
}

const WRITE: &[Operation] = &[Operation::Create, Operation::Update];
const LISTS: &[Operation] = &[Operation::List, Operation::Scan];

/// Version 2's paths, then version 1's only one.
const ROUTES: &[Route] = &[
    Route {
        pattern: "config",
        operations: &[Operation::Read, Operation::Create, Operation::Update],
        summary: "Version 2: settings for every key of the mount.",
    },
    Route {
        pattern: "data/*path",
        operations: &[
            Operation::Create,
            Operation::Read,
            Operation::Update,
            Operation::Patch,
            Operation::Delete,
        ],
        summary: "Version 2: read a version; write, patch or soft-delete the latest.",
    },
    Route {
        pattern: "metadata/*path",
        operations: &[
            Operation::Create,
            Operation::Read,
            Operation::Update,
            Operation::Patch,
            Operation::Delete,
            Operation::List,
            Operation::Scan,
        ],
        summary: "Version 2: settings and versions of a key; delete it with all versions; list keys.",
    },
    Route {
        pattern: "detailed-metadata/*path",
        operations: LISTS,
        summary: "Version 2: list keys together with their metadata.",
    },
    Route {
        pattern: "subkeys/*path",
        operations: &[Operation::Read],
        summary: "Version 2: the shape of a secret without its values.",
    },
    Route {
        pattern: "delete/*path",
        operations: WRITE,
        summary: "Version 2: soft-delete versions.",
    },
    Route {
        pattern: "undelete/*path",
        operations: WRITE,
        summary: "Version 2: bring soft-deleted versions back.",
    },
    Route {
        pattern: "destroy/*path",
        operations: WRITE,
        summary: "Version 2: remove the data of versions for ever.",
    },
    Route {
        pattern: "import/*path",
        operations: WRITE,
        summary: "Version 2: take in versions from elsewhere with their numbers and times.",
    },
    Route {
        pattern: "*path",
        operations: &[
            Operation::Create,
            Operation::Read,
            Operation::Update,
            Operation::Delete,
            Operation::List,
            Operation::Scan,
        ],
        summary: "Version 1: read, write, delete and list secrets.",
    },
];
