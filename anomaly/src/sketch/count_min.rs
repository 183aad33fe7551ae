//! Count-min sketch with conservative update (Cormode and Muthukrishnan 2005; Estan and Varghese 2002): never counts too
//! little, counts too much where keys collide in all rows.

use crate::error::Error;
use crate::key::Key;
use crate::wire::{Reader, Writer};

/// Rows; a key's count is the least of its cells.
const ROWS: usize = 4;
/// Cells of a page, as it is saved.
const PAGE: usize = 1 << 16;

/// Counts by key.
pub struct CountMin {
    cells: Vec<u16>,
    mask: u64,
    dirty: Vec<bool>,
    used: usize,
    most: u16,
}

impl CountMin {
    /// With so many cells (rounded up to a power of two) in each of four rows of two bytes; counts stay at `most`.
    pub fn new(width: usize, most: u16) -> Self {
        let width = width.next_power_of_two().max(64);
        let cells = width * ROWS;
        Self {
            cells: vec![0; cells],
            mask: width as u64 - 1,
            dirty: vec![false; cells.div_ceil(PAGE)],
            used: 0,
            most,
        }
    }

    fn places(&self, key: Key) -> [usize; ROWS] {
        let width = self.cells.len() / ROWS;
        // Two halves of a keyed hash make all rows (Kirsch and Mitzenmacher 2006); the second must be odd.
        let (a, b) = (key, key.rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        std::array::from_fn(|row| {
            let at = a.wrapping_add(b.wrapping_mul(row as u64 + 1));
            row * width + ((at ^ (at >> 29)) & self.mask) as usize
        })
    }

    /// How often a key was added, at least.
    pub fn count(&self, key: Key) -> u16 {
        let cell = |at: &usize| self.cells.get(*at).copied().unwrap_or(0);
        self.places(key).iter().map(cell).min().unwrap_or(0)
    }

    /// Adds to a key's count. How often it is counted now.
    pub fn add(&mut self, key: Key, times: u32) -> u16 {
        let wanted = u32::from(self.count(key))
            .saturating_add(times)
            .min(u32::from(self.most));
        let wanted = u16::try_from(wanted).unwrap_or(self.most);
        for at in self.places(key) {
            let Some(cell) = self.cells.get_mut(at) else {
                continue;
            };
            if *cell < wanted {
                self.used += usize::from(*cell == 0);
                *cell = wanted;
                if let Some(dirty) = self.dirty.get_mut(at / PAGE) {
                    *dirty = true;
                }
            }
        }
        wanted
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.cells.fill(0);
        self.dirty.fill(true);
        self.used = 0;
    }

    /// The part of the cells that are in use, from 0 to 1: above a half, strangers begin to look known.
    pub fn load(&self) -> f64 {
        self.used as f64 / self.cells.len() as f64
    }

    /// Takes one from every cell: what was not seen since falls out.
    pub fn age(&mut self) {
        self.used = 0;
        for cell in &mut self.cells {
            *cell = cell.saturating_sub(1);
            self.used += usize::from(*cell > 0);
        }
        self.dirty.fill(true);
    }

    /// How many pages it is saved in.
    pub fn pages(&self) -> usize {
        self.dirty.len()
    }

    /// Pages that changed since they were last taken, as bytes: at most `limit` of them.
    pub fn take_dirty(&mut self, limit: usize) -> Vec<(usize, Vec<u8>)> {
        let mut taken = Vec::new();
        for page in 0..self.dirty.len() {
            if taken.len() >= limit {
                break;
            }
            if self.dirty.get_mut(page).is_some_and(std::mem::take) {
                taken.push((page, self.page(page)));
            }
        }
        taken
    }

    /// A page is to be taken again.
    pub fn taint(&mut self, page: usize) {
        if let Some(dirty) = self.dirty.get_mut(page) {
            *dirty = true;
        }
    }

    /// Only cells in use are written: `count u32 | (cell u16 | value u16) ..`.
    fn page(&self, page: usize) -> Vec<u8> {
        let cells = self.cells.chunks(PAGE).nth(page).unwrap_or_default();
        let used = cells.iter().enumerate().filter(|(_, value)| **value > 0);
        let mut out = Writer::default();
        out.count(used.clone().count());
        for (at, value) in used {
            out.u16(u16::try_from(at).unwrap_or(u16::MAX));
            out.u16(*value);
        }
        out.0
    }

    /// Puts a saved page back.
    ///
    /// # Errors
    /// [`Error::Damaged`] for what was not saved from a sketch of this size.
    pub fn restore(&mut self, page: usize, bytes: &[u8]) -> Result<(), Error> {
        let mut reader = Reader(bytes);
        let count = reader.count(PAGE)?;
        let cells = self.cells.chunks_mut(PAGE).nth(page);
        let cells = cells.ok_or(Error::Damaged("a page beyond the sketch"))?;
        self.used -= cells.iter().filter(|cell| **cell > 0).count();
        cells.fill(0);
        for _ in 0..count {
            let (at, value) = (reader.u16()?, reader.u16()?);
            let cell = cells.get_mut(usize::from(at));
            *cell.ok_or(Error::Damaged("a cell beyond the page"))? = value;
        }
        self.used += cells.iter().filter(|cell| **cell > 0).count();
        reader.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keyer;

    fn keys(domain: u8, count: u32) -> impl Iterator<Item = Key> {
        let keyer = Keyer::new(&[3; 16]);
        (0..count).map(move |n| keyer.key(domain, &[&n.to_be_bytes()]))
    }

    #[test]
    fn it_never_counts_too_little_and_seldom_too_much() {
        let mut sketch = CountMin::new(1 << 14, u16::MAX);
        for (n, key) in keys(1, 10_000).enumerate() {
            sketch.add(key, n as u32 % 7 + 1);
        }
        let mut exact = 0;
        for (n, key) in keys(1, 10_000).enumerate() {
            let (count, wanted) = (sketch.count(key), n as u16 % 7 + 1);
            assert!(count >= wanted);
            exact += usize::from(count == wanted);
        }
        assert!(exact > 9_500, "{exact}");
    }

    #[test]
    fn strangers_are_told_from_a_million_known() {
        let mut sketch = CountMin::new(1 << 21, 3);
        keys(1, 1_000_000).for_each(|key| {
            sketch.add(key, 1);
        });
        let wrong = keys(2, 10_000).filter(|key| sketch.count(*key) > 0).count();
        assert!(wrong < 500, "{wrong} of 10000 strangers look known");
    }

    #[test]
    fn what_is_saved_comes_back() {
        let mut sketch = CountMin::new(1 << 15, 3);
        keys(1, 500).for_each(|key| {
            sketch.add(key, 1);
        });
        let mut other = CountMin::new(1 << 15, 3);
        for (page, bytes) in sketch.take_dirty(usize::MAX) {
            other.restore(page, &bytes).unwrap();
        }
        assert!(keys(1, 500).all(|key| other.count(key) == sketch.count(key)));
        assert_eq!(other.used, sketch.used);
        assert!(sketch.take_dirty(usize::MAX).is_empty());
        sketch.add(keys(1, 1).next().unwrap(), 9);
        assert!(!sketch.take_dirty(usize::MAX).is_empty());
        assert_eq!(sketch.add(keys(1, 1).next().unwrap(), 9), 3);
        assert!(
            sketch.take_dirty(usize::MAX).is_empty(),
            "what stays is not written again"
        );
        assert!(other.restore(99, &[0; 4]).is_err());
        assert!(other.restore(0, &[0, 0]).is_err());
        sketch.age();
        assert_eq!(sketch.count(keys(1, 1).next().unwrap()), 2);
    }
}
