//! A few files as one gzip tar, for what operators hand on. It knows nothing of snapshots but their way of packing.

use std::io::{self, Write};

use crate::backup::gzip::GzipWriter;
use crate::backup::tar;

/// Writes `files` (name of at most 100 bytes and content) to `out` as a gzip tar.
///
/// # Errors
/// What `out` answers; a name that is too long.
pub fn pack<'f>(out: impl Write, files: impl Iterator<Item = (&'f str, &'f [u8])>) -> io::Result<()> {
    /// What the name of an entry has room for in bytes.
    const MAX_NAME: usize = 100;
    let mut out = GzipWriter::new(out)?;
    for (name, content) in files {
        if name.len() > MAX_NAME {
            return Err(io::Error::other("the name of a file is too long for an archive"));
        }
        let size = content.len() as u64;
        tar::begin(&mut out, name, size)?;
        out.write_all(content)?;
        tar::end(&mut out, size)?;
    }
    tar::finish(&mut out)?;
    out.finish()?.flush()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;
    use crate::backup::gzip::GzipReader;

    #[test]
    fn what_is_packed_is_read_again() {
        let mut packed = Vec::new();
        let files: [(&str, &[u8]); 2] = [("d/a.json", b"{}"), ("d/b", &[7; 600])];
        pack(&mut packed, files.into_iter()).unwrap();
        let mut input = GzipReader::new(packed.as_slice()).unwrap();
        for (name, content) in files {
            let size = tar::enter(&mut input, name, 1000).unwrap();
            let mut read = vec![0; usize::try_from(size).unwrap()];
            input.read_exact(&mut read).unwrap();
            tar::leave(&mut input, size).unwrap();
            assert_eq!(read, content, "{name}");
        }
        tar::exit(&mut input).unwrap();
        let long = "x".repeat(101);
        assert!(pack(Vec::new(), [(long.as_str(), b"".as_slice())].into_iter()).is_err());
    }
}
