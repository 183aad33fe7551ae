//! How much is usual at which time: exponentially weighted means and deviations by hour of the day, on working days and on
//! the weekend apart. A sample counts for a tenth, so a change of habits is learned in about ten windows of its hour.

use crate::error::Error;
use crate::wire::{Reader, Writer};

/// Hours of a working day, then of a day of the weekend.
pub const SLOTS: usize = 48;
/// What a new sample counts for.
const WEIGHT: f32 = 0.1;

/// Usual numbers by hour.
#[derive(Clone, Copy, PartialEq)]
pub struct Rhythm {
    means: [f32; SLOTS],
    deviations: [f32; SLOTS],
    /// Samples of all hours together, for hours of which there are none.
    mean: f32,
    deviation: f32,
}

impl Default for Rhythm {
    fn default() -> Self {
        Self {
            means: [0.0; SLOTS],
            deviations: [0.0; SLOTS],
            mean: 0.0,
            deviation: 0.0,
        }
    }
}

impl Rhythm {
    /// Learns one sample of an hour.
    pub fn learn(&mut self, slot: usize, sample: f32) {
        if let (Some(mean), Some(deviation)) = (self.means.get_mut(slot), self.deviations.get_mut(slot)) {
            weigh(mean, deviation, sample);
        }
        weigh(&mut self.mean, &mut self.deviation, sample);
    }

    /// What is usual in an hour, and how far samples lie from it; of all hours together if nothing is known of this one.
    pub fn usual(&self, slot: usize) -> (f32, f32) {
        match (self.means.get(slot), self.deviations.get(slot)) {
            (Some(mean), Some(deviation)) if *mean > 0.0 => (*mean, *deviation),
            _ => (self.mean, self.deviation),
        }
    }

    pub(crate) fn write(&self, out: &mut Writer) {
        let all = self.means.iter().chain(&self.deviations);
        all.chain([&self.mean, &self.deviation])
            .for_each(|number| out.f32(*number));
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut rhythm = Self::default();
        for number in rhythm.means.iter_mut().chain(&mut rhythm.deviations) {
            *number = reader.f32()?;
        }
        (rhythm.mean, rhythm.deviation) = (reader.f32()?, reader.f32()?);
        Ok(rhythm)
    }
}

fn weigh(mean: &mut f32, deviation: &mut f32, sample: f32) {
    if *mean == 0.0 && *deviation == 0.0 {
        (*mean, *deviation) = (sample, sample / 2.0);
        return;
    }
    let off = (sample - *mean).abs();
    *deviation += WEIGHT * (off - *deviation);
    *mean += WEIGHT * (sample - *mean);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hour_has_its_own_mean() {
        let mut rhythm = Rhythm::default();
        for _ in 0..60 {
            rhythm.learn(9, 100.0);
            rhythm.learn(3, 10.0);
        }
        let (day, night) = (rhythm.usual(9), rhythm.usual(3));
        assert!((day.0 - 100.0).abs() < 1.0 && day.1 < 2.0, "{day:?}");
        assert!((night.0 - 10.0).abs() < 1.0, "{night:?}");
        assert!(
            rhythm.usual(5).0 > 10.0,
            "an hour without samples goes by all of them"
        );
        for _ in 0..30 {
            rhythm.learn(9, 200.0);
        }
        assert!((rhythm.usual(9).0 - 200.0).abs() < 10.0, "habits change");
    }
}
