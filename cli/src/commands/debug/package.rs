//! Where what was captured is kept: a directory of files with an index, packed into one file at the end. Nobody but its owner
//! can read it.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use conclave_client::http::{Fields, Json};
use conclave_server::backup::bundle;

/// A package under way.
pub struct Package {
    dir: PathBuf,
    compress: bool,
    files: BTreeMap<String, Vec<Json>>,
    errors: Vec<Missing>,
}

/// What could not be captured.
struct Missing {
    target: String,
    why: String,
    at: String,
}

impl Package {
    /// Makes the directory.
    ///
    /// # Errors
    /// The directory or the file is there, or cannot be made.
    pub fn create(dir: &Path, compress: bool) -> Result<Self, String> {
        let package = Self {
            dir: dir.to_owned(),
            compress,
            files: BTreeMap::new(),
            errors: Vec::new(),
        };
        if dir.exists() {
            return Err(format!("output directory already exists: {}", dir.display()));
        }
        if compress && package.place().exists() {
            return Err(format!(
                "output file already exists: {}",
                package.place().display()
            ));
        }
        let made = DirBuilder::new().mode(0o700).create(dir);
        made.map_err(|error| {
            let why = conclave_client::http::plain(&error);
            format!("cannot make the output directory {}: {why}", dir.display())
        })?;
        Ok(package)
    }

    /// What there will be in the end.
    pub fn place(&self) -> PathBuf {
        match self.compress {
            true => PathBuf::from(format!("{}.tar.gz", self.dir.display())),
            false => self.dir.clone(),
        }
    }

    /// Notes that something could not be captured.
    pub fn miss(&mut self, target: &str, error: &conclave_client::http::Error, at: String) {
        self.errors.push(Missing {
            target: target.to_owned(),
            why: error.to_string(),
            at,
        });
    }

    /// What could not be captured: each once, with the last line of why.
    pub fn missing(&self) -> BTreeMap<String, String> {
        let told = self.errors.iter().map(|missing| {
            let mut lines = missing.why.lines().map(str::trim).filter(|line| !line.is_empty());
            (
                missing.target.clone(),
                lines.next_back().unwrap_or_default().to_owned(),
            )
        });
        told.collect()
    }

    /// One more item of a file that is a JSON list; written at the end.
    pub fn item(&mut self, file: &str, item: Json) {
        self.files.entry(file.to_owned()).or_default().push(item);
    }

    /// More of a file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn append(&self, file: &str, content: &[u8]) -> io::Result<()> {
        self.open(file)?.write_all(content)
    }

    fn open(&self, file: &str) -> io::Result<fs::File> {
        OpenOptions::new()
            .create(true)
            .append(true)
            .mode(0o600)
            .open(self.dir.join(file))
    }

    /// Writes the index beside the files and packs them; what is there then.
    ///
    /// # Errors
    /// The files cannot be written.
    pub fn close(mut self, mut index: Fields) -> io::Result<PathBuf> {
        for (file, items) in std::mem::take(&mut self.files) {
            self.append(&file, Json::Array(items).to_pretty().as_bytes())?;
        }
        let mut names: Vec<String> = Vec::new();
        for entry in fs::read_dir(&self.dir)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        let listed = names.iter().map(|name| Json::from(name.as_str())).collect();
        index.push("output", Fields::from_iter([("files", Json::Array(listed))]));
        let errors = self.errors.iter().map(|missing| {
            Json::Object(Fields::from_iter([
                ("error", missing.why.as_str()),
                ("target", &missing.target),
                ("timestamp", &missing.at),
            ]))
        });
        index.push("errors", Json::Array(errors.collect()));
        self.append("index.json", Json::Object(index).to_pretty().as_bytes())?;
        names.push("index.json".to_owned());
        if self.compress {
            self.pack(&names)?;
            fs::remove_dir_all(&self.dir)?;
        }
        Ok(self.place())
    }

    fn pack(&self, names: &[String]) -> io::Result<()> {
        let above = self
            .dir
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut files = Vec::new();
        for name in names {
            files.push((format!("{above}/{name}"), fs::read(self.dir.join(name))?));
        }
        let mut options = OpenOptions::new();
        let out = options
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(self.place())?;
        let files = files
            .iter()
            .map(|(name, content)| (name.as_str(), content.as_slice()));
        bundle::pack(io::BufWriter::new(out), files)
    }
}
