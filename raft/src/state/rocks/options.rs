//! How the state database is set up. Values are ciphertext, so nothing is compressed; the log is the source of truth,
//! so writes are not synced one by one. This file must not know what is stored.

use std::path::Path;

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, InfoLogger, LogLevel, Options,
};

use crate::error::Error;

/// Rows by key.
pub(super) const ROWS: &str = "rows";
/// The due index.
pub(super) const DUE: &str = "due";
/// Change sets by revision.
pub(super) const CHANGES: &str = "changes";
/// The applied record; RocksDB insists on this family.
pub(super) const META: &str = "default";

/// Blocks of all families kept in memory, in bytes.
const BLOCK_CACHE: usize = 12 << 20;
/// A memtable of rows, in bytes.
const ROWS_BUFFER: usize = 8 << 20;
/// A memtable of any other family, in bytes.
const OTHER_BUFFER: usize = 2 << 20;
/// Write-ahead log above which memtables are flushed, in bytes.
const MAX_WAL: u64 = 128 << 20;
/// Values above this many bytes go to blob files, so that compaction does not copy them again and again.
const MIN_BLOB: u64 = 4 << 10;
/// Bits of bloom filter a row, for about 1 % false hits.
const BLOOM_BITS: f64 = 10.0;
/// A file in which 64 of 128 entries in a row are deletions is compacted soon: expiry deletes at the head.
const DELETION_WINDOW: (usize, usize) = (128, 64);

/// What to do with the database in a directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Make it; it must not exist.
    Create,
    /// Read and write what exists.
    Write,
    /// Read what exists and change nothing.
    Read,
}

/// Opens the database in `dir`.
pub(super) fn open(dir: &Path, access: Access) -> Result<DB, Error> {
    let options = database_options(access == Access::Create);
    let families = families();
    let opened = match access {
        Access::Read => DB::open_cf_descriptors_read_only(&options, dir, families, false),
        Access::Create | Access::Write => DB::open_cf_descriptors(&options, dir, families),
    };
    opened.map_err(storage)
}

/// RocksDB's error in our terms.
pub(super) fn storage(error: rocksdb::Error) -> Error {
    match error.kind() {
        rocksdb::ErrorKind::Corruption => Error::Corrupt {
            what: "state database",
            detail: error.into_string(),
        },
        _ => Error::Storage(error.into_string()),
    }
}

fn database_options(create: bool) -> Options {
    let mut options = Options::default();
    options.create_if_missing(create);
    options.create_missing_column_families(create);
    options.set_error_if_exists(create);
    options.set_paranoid_checks(true);
    // A torn tail is replayed from the log; a hole before something synced is refused.
    options.set_wal_recovery_mode(DBRecoveryMode::PointInTime);
    options.set_track_and_verify_wals_in_manifest(true);
    // All families move together, or a row could survive a power loss that its applied record did not.
    options.set_atomic_flush(true);
    options.set_max_total_wal_size(MAX_WAL);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_stats_dump_period_sec(0);
    options.set_info_logger(InfoLogger::new_callback_logger(
        LogLevel::Warn,
        |level, message| {
            // Its list of settings comes whatever level is asked for.
            if matches!(level, LogLevel::Warn | LogLevel::Error | LogLevel::Fatal) {
                tracing::warn!(target: "conclave_raft::state", "rocksdb: {message}");
            }
        },
    ));
    options
}

fn families() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE);
    let mut rows = family_options(&cache, ROWS_BUFFER, true);
    rows.set_enable_blob_files(true);
    rows.set_min_blob_size(MIN_BLOB);
    rows.set_blob_compression_type(DBCompressionType::None);
    rows.set_enable_blob_gc(true);
    let mut due = family_options(&cache, OTHER_BUFFER, false);
    due.add_compact_on_deletion_collector_factory(DELETION_WINDOW.0, DELETION_WINDOW.1, 0.0);
    vec![
        ColumnFamilyDescriptor::new(META, family_options(&cache, OTHER_BUFFER, false)),
        ColumnFamilyDescriptor::new(ROWS, rows),
        ColumnFamilyDescriptor::new(DUE, due),
        ColumnFamilyDescriptor::new(CHANGES, family_options(&cache, OTHER_BUFFER, false)),
    ]
}

fn family_options(cache: &Cache, write_buffer: usize, bloom: bool) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In pieces of a block's size: the index of a large file is larger than a shard of this cache, would never stay in it,
    // and would be read whole for every row.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(bloom);
    if bloom {
        table.set_bloom_filter(BLOOM_BITS, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(write_buffer);
    options
}
