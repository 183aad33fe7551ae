//! HyperLogLog (Flajolet and others 2007) with 256 registers: how many distinct keys, within about 6 %; small numbers by
//! linear counting, within about 3 up to a hundred.

use crate::error::Error;
use crate::key::Key;
use crate::wire::{Reader, Writer};

/// Registers; a byte each.
const REGISTERS: usize = 256;
/// Bits of a key that choose its register.
const INDEX_BITS: u32 = 8;

/// Counts distinct keys.
#[derive(Clone, PartialEq, Eq)]
pub struct HyperLogLog([u8; REGISTERS]);

impl Default for HyperLogLog {
    fn default() -> Self {
        Self([0; REGISTERS])
    }
}

impl HyperLogLog {
    /// Adds a key.
    pub fn add(&mut self, key: Key) {
        let (index, rest) = ((key & 0xff) as usize, key >> INDEX_BITS);
        let rank = (rest | 1 << (64 - INDEX_BITS)).trailing_zeros() + 1;
        if let Some(register) = self.0.get_mut(index) {
            *register = (*register).max(u8::try_from(rank).unwrap_or(u8::MAX));
        }
    }

    /// How many distinct keys were added.
    pub fn count(&self) -> u32 {
        estimate(self.0.iter().copied())
    }

    /// How many distinct keys were added to this or the other.
    pub fn count_with(&self, other: &Self) -> u32 {
        estimate(self.0.iter().zip(&other.0).map(|(a, b)| *a.max(b)))
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        out.bytes(&self.0);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let bytes = reader.bytes(REGISTERS)?;
        Ok(Self(bytes.try_into().map_err(|_| Error::Damaged("cut off"))?))
    }
}

fn estimate(registers: impl Iterator<Item = u8>) -> u32 {
    const M: f64 = REGISTERS as f64;
    let (mut sum, mut empty) = (0.0, 0u32);
    for register in registers {
        // Two to the minus that many, by its bits: registers end at 57.
        sum += f64::from_bits((1023 - u64::from(register.min(64))) << 52);
        empty += u32::from(register == 0);
    }
    // The constant of the paper for this many registers.
    let alpha = 0.7213 / (1.0 + 1.079 / M);
    let raw = alpha * M * M / sum;
    let estimate = match raw <= 2.5 * M && empty > 0 {
        true => M * (M / f64::from(empty)).ln(),
        false => raw,
    };
    estimate.round() as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keyer;

    #[test]
    fn distinct_keys_are_counted_about_right() {
        let keyer = Keyer::new(&[5; 16]);
        for wanted in [0u32, 1, 10, 50, 200, 1000, 20_000] {
            let mut sketch = HyperLogLog::default();
            for n in 0..wanted {
                let key = keyer.key(1, &[&n.to_be_bytes()]);
                sketch.add(key);
                sketch.add(key);
            }
            let (count, wanted) = (f64::from(sketch.count()), f64::from(wanted));
            assert!(
                (count - wanted).abs() <= 3.0 + wanted * 0.2,
                "{count} for {wanted}"
            );
            assert_eq!(sketch.count_with(&sketch), sketch.count());
        }
    }
}
