//! Geometry of charts, in the units of their view boxes. The template makes SVG of it.

use serde::Serialize;

use super::figure;

/// A mark on an axis.
#[derive(Debug, Serialize)]
pub(super) struct Tick {
    /// Where, from the left or the top.
    pub(super) at: f64,
    pub(super) label: String,
}

/// A stretch of numbers laid out along a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Axis {
    from: f64,
    to: f64,
    /// Where `from` and `to` lie.
    start: f64,
    end: f64,
}

impl Axis {
    /// An axis over `values`, none of which needs to be there.
    pub(super) fn over(values: impl Iterator<Item = f64>, start: f64, end: f64) -> Self {
        let (from, to) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), value| (from.min(value), to.max(value)));
        let (from, to) = match from.partial_cmp(&to) {
            Some(std::cmp::Ordering::Less) => (from, to),
            // One value only, in the middle.
            Some(std::cmp::Ordering::Equal) => (from - 0.5, to + 0.5),
            _ => (0.0, 1.0),
        };
        Self { from, to, start, end }
    }

    /// Where `value` lies.
    pub(super) fn at(&self, value: f64) -> f64 {
        let share = ((value - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        rounded(self.start + share * (self.end - self.start))
    }

    /// The `n` equal parts, as their lower ends and the last one's upper end.
    pub(super) fn parts(&self, n: usize) -> Vec<f64> {
        (0..=n).map(|part| self.from + (self.to - self.from) * part as f64 / n as f64).collect()
    }

    /// The part of `n` that `value` falls into; the greatest belongs to the last.
    pub(super) fn part(&self, value: f64, n: usize) -> usize {
        let share = (value - self.from) / (self.to - self.from);
        // Negative and not a number become 0.
        ((share * n as f64) as usize).min(n.saturating_sub(1))
    }

    /// Some five round numbers of it.
    pub(super) fn ticks(&self) -> Vec<Tick> {
        let rough = (self.to - self.from) / 4.0;
        let magnitude = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|digit| digit * magnitude).find(|step| *step >= rough);
        let step = step.unwrap_or(rough);
        let first = (self.from / step).ceil();
        let labels = |index: f64| {
            // 0.1 + 0.2 is not 0.3: rounded to the step's own digits.
            let value = (first + index) * step;
            let value = (value / (step / 10.0)).round() * (step / 10.0);
            (value <= self.to + step * 1e-6).then(|| Tick { at: self.at(value), label: figure(value) })
        };
        (0..12).map_while(|index| labels(f64::from(index))).collect()
    }
}

/// A tenth of a unit is finer than a pixel.
pub(super) fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_laid_out_from_end_to_end() {
        let axis = Axis::over([0.2, 0.7, 0.4].into_iter(), 10.0, 110.0);
        assert_eq!((axis.at(0.2), axis.at(0.45), axis.at(0.7), axis.at(9.0)), (10.0, 60.0, 110.0, 110.0));
        assert_eq!((axis.part(0.2, 5), axis.part(0.69, 5), axis.part(0.7, 5)), (0, 4, 4));
        let labels: Vec<String> = axis.ticks().into_iter().map(|tick| tick.label).collect();
        assert_eq!(labels, ["0.200", "0.400", "0.600"]);
    }

    #[test]
    fn odd_extents_have_an_axis_too() {
        let single = Axis::over([3.0].into_iter(), 0.0, 100.0);
        assert_eq!(single.at(3.0), 50.0);
        let none = Axis::over(std::iter::empty(), 0.0, 100.0);
        assert!(none.ticks().len() >= 3 && none.part(f64::NAN, 4) == 0);
        let wide = Axis::over([-1e9, 1e9].into_iter(), 0.0, 100.0);
        assert!((3..=7).contains(&wide.ticks().len()), "{:?}", wide.ticks());
    }
}
