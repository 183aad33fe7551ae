//! Copies key-value mounts: keys as they are, and keys with all versions, their numbers and times.

use std::collections::BTreeMap;

use conclave_client::http::{Client, Fields, Json};
use futures::stream::{self, StreamExt as _};

use super::calls::{self, Trouble, number, telling, text};
use super::job::{Fate, Job};

/// Keys copied at the same time.
const AT_ONCE: usize = 8;
/// Most keys of a mount: their names are held in memory.
const MAX_KEYS: usize = 5_000_000;
/// What one import carries of a key's data, in bytes of JSON; a single version may be longer.
const IMPORT_BYTES: usize = 2 * 1024 * 1024;

/// What one key came to.
struct Key {
    fate: Fate,
    versions: u64,
    note: Option<String>,
}

impl Key {
    fn of(fate: Fate) -> Self {
        Self {
            fate,
            versions: 0,
            note: None,
        }
    }
}

/// What all keys of a mount have in common.
#[derive(Clone, Copy)]
struct Mount<'a> {
    source: &'a Client,
    target: &'a Client,
    path: &'a str,
    dry: bool,
    overwrite: bool,
}

/// Copies a mount without versions.
///
/// # Errors
/// The reason to stop.
pub async fn copy_plain(job: &mut Job<'_>, mount: &str) -> Result<(), String> {
    keys(job, mount, mount, async |mount, key| plain(mount, &key).await).await
}

/// Copies a mount with versions.
///
/// # Errors
/// The reason to stop.
pub async fn copy_versioned(job: &mut Job<'_>, mount: &str) -> Result<(), String> {
    let outcome = settings(job, mount).await;
    job.or_enter(mount, &format!("{mount}config"), outcome)?;
    let root = format!("{mount}metadata/");
    keys(job, mount, &root, async |mount, key| versioned(mount, &key).await).await
}

/// Copies all keys beneath `root`, in the order of their names, several at a time.
async fn keys(
    job: &mut Job<'_>,
    path: &str,
    root: &str,
    copy: impl AsyncFn(Mount<'_>, String) -> Result<Key, Trouble>,
) -> Result<(), String> {
    let names = walk(job, path, root).await;
    let Some(names) = job.or_enter(path, root, names)? else {
        return Ok(());
    };
    let all = names.len() as u64;
    let done = job
        .state
        .after(path)
        .map_or(0, |after| names.partition_point(|name| name.as_str() <= after));
    let mount = Mount {
        source: job.source,
        target: job.target,
        path,
        dry: job.dry,
        overwrite: job.overwrite,
    };
    for (at, batch) in names.get(done..).unwrap_or_default().chunks(AT_ONCE).enumerate() {
        let reached = (done + at * AT_ONCE) as u64;
        job.progress.show(job.ui, path, reached, all);
        let copies = stream::iter(batch.iter().map(|name| copy(mount, name.clone())));
        let outcomes: Vec<_> = copies.buffered(AT_ONCE).collect().await;
        for (name, outcome) in batch.iter().zip(outcomes) {
            let what = format!("{path}{name}");
            let outcome = outcome.map(|key| {
                job.state.report.count(path).versions += key.versions;
                if let Some(note) = key.note {
                    job.state.report.note(&what, note);
                }
                key.fate
            });
            job.enter(path, &what, outcome)?;
        }
        if let Some(last) = batch.last() {
            job.state.reach(path, last)?;
        }
    }
    job.progress.show(job.ui, path, all, all);
    Ok(())
}

/// The names of all keys beneath `root`, sorted.
async fn walk(job: &mut Job<'_>, path: &str, root: &str) -> Result<Vec<String>, Trouble> {
    let mut names = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for name in calls::list(job.source, &format!("{root}{folder}")).await? {
            let name = format!("{folder}{name}");
            if name.ends_with('/') {
                folders.push(name);
            } else {
                names.push(name);
            }
        }
        if names.len() + folders.len() > MAX_KEYS {
            return Err(Trouble::Item(format!("more than {MAX_KEYS} keys")));
        }
        job.progress
            .show(job.ui, &format!("{path} (counting)"), 0, names.len() as u64);
    }
    names.sort_unstable();
    Ok(names)
}

async fn plain(mount: Mount<'_>, key: &str) -> Result<Key, Trouble> {
    let path = format!("{}{key}", mount.path);
    let Some(data) = calls::read(mount.source, &path).await? else {
        return Ok(Key::of(Fate::Gone));
    };
    match calls::read(mount.target, &path).await? {
        Some(here) if here == data => return Ok(Key::of(Fate::Kept)),
        Some(_) if !mount.overwrite => {
            return Err(Trouble::Item(
                "other data is on the target; -overwrite replaces it".into(),
            ));
        }
        _ => {}
    }
    if !mount.dry {
        calls::write(mount.target, &path, data).await?;
    }
    Ok(Key::of(Fate::Copied))
}

/// Copies the settings of a mount with versions.
async fn settings(job: &Job<'_>, mount: &str) -> Result<(), Trouble> {
    let path = format!("{mount}config");
    let Some(config) = calls::read(job.source, &path).await? else {
        return Ok(());
    };
    let mut telling = telling(&config, &[]);
    if text(&config, "delete_version_after") == "0s" {
        telling.remove("delete_version_after");
    }
    if !telling.is_empty() && !job.dry {
        calls::write(job.target, &path, telling).await?;
    }
    Ok(())
}

/// Copies what the target lacks of a key, once what it has of it was compared.
async fn versioned(mount: Mount<'_>, key: &str) -> Result<Key, Trouble> {
    let (data, metadata) = (
        format!("{}data/{key}", mount.path),
        format!("{}metadata/{key}", mount.path),
    );
    let Some(wanted) = calls::read(mount.source, &metadata).await? else {
        return Ok(Key::of(Fate::Gone));
    };
    let here = if mount.dry {
        // The mount may not be there yet.
        calls::read(mount.target, &metadata).await.unwrap_or_default()
    } else {
        calls::read(mount.target, &metadata).await?
    };
    let current = here.as_ref().map_or(0, |here| number(here, "current_version"));
    let versions = lives(&wanted);
    if let Some(here) = &here {
        compare(mount, &data, &versions, &lives(here), current).await?;
        if current == number(&wanted, "current_version") {
            return Ok(Key::of(Fate::Kept));
        }
    }
    let missing = versions.range(current + 1..);
    if mount.dry {
        return Ok(Key {
            versions: missing.count() as u64,
            ..Key::of(Fate::Copied)
        });
    }
    import(mount, key, &data, &wanted, missing, current).await
}

/// The versions of a key by number, as its metadata has them.
fn lives(metadata: &Fields) -> BTreeMap<u64, Fields> {
    let versions = metadata.get("versions").and_then(Json::as_object);
    let versions = versions.into_iter().flat_map(Fields::iter);
    versions
        .filter_map(|(name, life)| Some((name.parse().ok()?, life.as_object()?.clone())))
        .collect()
}

/// Whether the target's versions are the source's.
async fn compare(
    mount: Mount<'_>,
    data: &str,
    wanted: &BTreeMap<u64, Fields>,
    here: &BTreeMap<u64, Fields>,
    current: u64,
) -> Result<(), Trouble> {
    let differs = |why: &str| {
        Err(Trouble::Item(format!(
            "{why} on the target, which was left as it is"
        )))
    };
    if wanted.last_key_value().map_or(0, |(number, _)| *number) < current {
        return differs("there are later versions");
    }
    for (number, _) in wanted.range(..=current) {
        if !here.contains_key(number) {
            // Trimmed there because newer ones were written.
            continue;
        }
        let source = calls::version(mount.source, data, *number).await?;
        if source != calls::version(mount.target, data, *number).await? {
            return differs(&format!("version {number} is another"));
        }
    }
    Ok(())
}

/// Writes versions with their numbers and times, as many at once as one request may carry.
async fn import(
    mount: Mount<'_>,
    key: &str,
    data: &str,
    wanted: &Fields,
    missing: impl Iterator<Item = (&u64, &Fields)>,
    mut current: u64,
) -> Result<Key, Trouble> {
    let path = format!("{}import/{key}", mount.path);
    let mut settings = wanted.clone();
    for name in ["versions", "current_version"] {
        settings.remove(name);
    }
    let (mut batch, mut bytes, mut copied) = (Fields::new(), 0, 0);
    let mut unreadable = Vec::new();
    let send = async |batch: Fields, current: u64| {
        let mut body = settings.clone();
        body.insert("cas", current);
        body.insert("versions", batch);
        calls::write(mount.target, &path, body).await
    };
    for (number, life) in missing {
        let mut version = life.clone();
        if life.get("destroyed").and_then(Json::as_bool) != Some(true) {
            match calls::version(mount.source, data, *number).await? {
                Some(found) => {
                    bytes += found.to_compact().len();
                    version.insert("data", found);
                }
                None => unreadable.push(number.to_string()),
            }
        }
        if bytes > IMPORT_BYTES && !batch.is_empty() {
            send(std::mem::take(&mut batch), current).await?;
            (current, bytes) = (number - 1, 0);
        }
        batch.insert(number.to_string(), version);
        copied += 1;
    }
    send(batch, current).await?;
    let note = (!unreadable.is_empty()).then(|| {
        format!(
            "deleted versions whose data only the source can bring back: {}",
            unreadable.join(", ")
        )
    });
    Ok(Key {
        fate: Fate::Copied,
        versions: copied,
        note,
    })
}
