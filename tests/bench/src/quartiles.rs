//! Medians and quartiles.

use std::fmt;

/// The three quartiles of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Quartiles {
    low: f64,
    median: f64,
    high: f64,
}

impl Quartiles {
    /// Of a sample that is not empty; between two values, in proportion.
    pub fn of(sample: impl IntoIterator<Item = f64>) -> Quartiles {
        let mut sorted: Vec<f64> = sample.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let place = part * (sorted.len() - 1) as f64;
            let below = sorted[place.floor() as usize];
            let above = sorted[place.ceil() as usize];
            below + (above - below) * place.fract()
        };
        Quartiles { low: at(0.25), median: at(0.5), high: at(0.75) }
    }
}

/// `median (low to high)`.
impl fmt::Display for Quartiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = f.precision().unwrap_or(2);
        let Quartiles { low, median, high } = self;
        write!(f, "{median:.places$} ({low:.places$} to {high:.places$})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_the_values_in_proportion() {
        assert_eq!(Quartiles::of([4.0, 1.0, 2.0, 3.0]), Quartiles { low: 1.75, median: 2.5, high: 3.25 });
        assert_eq!(Quartiles::of([5.0]), Quartiles { low: 5.0, median: 5.0, high: 5.0 });
    }
}
