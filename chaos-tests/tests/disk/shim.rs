//! The shim itself, under a program that has nothing to do with nodes: exactly what was not synced is undone.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{Disk, LOSE_ALL, LOSE_SOME, Slot, shim};

/// What the program does; it loses power when it has said so.
const PROGRAM: &str = r#"
import os, shutil, sys, time
os.chdir(sys.argv[1])
def new(path, text):
    f = os.open(path, os.O_CREAT | os.O_WRONLY)
    os.write(f, text)
    return f
def sync(path):
    f = os.open(path, os.O_RDONLY)
    os.fsync(f)
    os.close(f)
a = new('appended', b'durable')
os.fsync(a)
o = new('overwritten', b'durable')
os.fsync(o)
c = new('cut', b'durable')
os.fsync(c)
e = new('emptied', b'durable')
os.fsync(e)
r = new('replaced', b'old')
os.fsync(r)
u = new('removed', b'durable')
os.fsync(u)
os.mkdir('folder')
i = new('folder/inner', b'durable')
os.fsync(i)
sync('folder')
n = new('unsynced', b'never synced')
sync('.')
os.write(a, b' and lost')
os.pwrite(o, b'LOST', 0)
os.ftruncate(c, 3)
os.close(os.open('emptied', os.O_WRONLY | os.O_TRUNC))
x = new('replaced.new', b'new')
os.fsync(x)
os.rename('replaced.new', 'replaced')
os.remove('removed')
shutil.rmtree('folder')
m = new('nameless', b'contents')
os.fsync(m)
os.mkdir('made')
os.fsync(new('made/inner', b'contents'))
os.link('appended', 'linked')
print('done', flush=True)
time.sleep(60)
"#;

#[test]
fn cluster_disk_shim_undoes_what_was_not_synced() {
    let found = after_power_loss(LOSE_ALL, 0);
    let kept = |text: &str| Some(text.as_bytes().to_vec());
    for (path, content) in [
        ("appended", kept("durable")),
        ("overwritten", kept("durable")),
        ("cut", kept("durable")),
        ("emptied", kept("durable")),
        ("replaced", kept("old")),
        ("removed", kept("durable")),
        ("folder/inner", kept("durable")),
        // Its name was synced, its contents were not.
        ("unsynced", kept("")),
        ("replaced.new", None),
        ("nameless", None),
        ("made", None),
        ("made/inner", None),
        ("linked", None),
    ] {
        assert_eq!(found.get(path), content.as_ref(), "{path}");
    }
}

#[test]
fn cluster_disk_shim_keeps_some_and_never_loses_more() {
    let mut differ = std::collections::BTreeSet::new();
    for seed in 0..8 {
        let found = after_power_loss(LOSE_SOME, seed);
        let appended = &found["appended"];
        assert!(
            appended.starts_with(b"durable") && appended.len() <= 16,
            "{appended:?}"
        );
        assert!(["old", "new"].contains(&&*String::from_utf8_lossy(&found["replaced"])));
        assert_eq!(found.get("folder/inner").map_or(7, Vec::len), 7);
        differ.insert(found);
    }
    assert!(differ.len() > 1, "the seed chooses nothing");
}

#[test]
fn cluster_disk_shim_takes_part_of_a_write() {
    let files = tempfile::TempDir::with_prefix_in("shim-", env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let data = files.path().join("data");
    fs::create_dir(&data).expect("a data directory");
    let disk = Disk::new(&files.path().join("disk"), &data);
    disk.set(Slot::ShortWrites, 3);
    disk.set(Slot::WriteDelay, 1);
    let program = "import os, sys; f = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY); \
                   print(os.write(f, b'12345678'), os.pwrite(f, b'abcdef', 4), os.writev(f, [b'', b'xyz', b'w']), \
                   os.write(f, b'all'))";
    let ran = Command::new("python3")
        .args(["-c", program])
        .arg(data.join("file"))
        .env("LD_PRELOAD", shim())
        .envs(disk.environment())
        .output()
        .expect("python3 runs");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "4 3 2 3\n", "{ran:?}");
    assert_eq!(fs::read(data.join("file")).expect("a file"), b"1234xyall");
    assert!(disk.get(Slot::ShortWrites) == 0 && disk.get(Slot::Met) >= 7);
}

fn after_power_loss(loss: u64, seed: u64) -> BTreeMap<String, Vec<u8>> {
    let files = tempfile::TempDir::with_prefix_in("shim-", env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let data = files.path().join("data");
    fs::create_dir(&data).expect("a data directory");
    let disk = Disk::new(&files.path().join("disk"), &data);
    let mut program = Command::new("python3")
        .args(["-c", PROGRAM])
        .arg(&data)
        .env("LD_PRELOAD", shim())
        .envs(disk.environment())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 runs");
    let mut said = String::new();
    let mut output = std::io::BufReader::new(program.stdout.take().expect("its output"));
    std::io::BufRead::read_line(&mut output, &mut said).expect("its output");
    assert_eq!(said.trim(), "done");
    disk.lose_power_now(loss, seed);
    let status = program.wait().expect("a child");
    assert_eq!(status.signal(), Some(9), "it lost power");
    assert!(disk.get(Slot::Writes) > 30 && disk.get(Slot::Undone) > 0 || loss == LOSE_SOME);
    disk.is_well_again();
    let mut found = BTreeMap::new();
    read(&data, &data, &mut found);
    found
}

fn read(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(root, &path, found);
        } else {
            let name = path.strip_prefix(root).expect("below").display().to_string();
            found.insert(name, fs::read(&path).expect("a file"));
        }
    }
}
