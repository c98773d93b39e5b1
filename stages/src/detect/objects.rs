//! From a detector's outputs to objects: what transformers' `post_process_object_detection` does.

/// How logits become scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scores {
    /// One of all classes or, last, "no object": DETR, YOLOS.
    Softmax,
    /// Each class by itself, and no class for "no object": Conditional DETR.
    Sigmoid,
}

/// An object that a detector found.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Object {
    /// Its class, as the detector numbers them.
    pub(crate) label: usize,
    /// 0 to 1.
    pub(crate) score: f32,
    /// Left, top, right, bottom, in widths and heights of the picture. Some reach a little over its borders.
    pub(crate) corners: [f32; 4],
}

impl Object {
    /// The share of the picture that its box covers, 0 to 1.
    pub(crate) fn share(&self) -> f32 {
        let [left, top, right, bottom] = self.corners.map(|corner| corner.clamp(0.0, 1.0));
        (right - left).max(0.0) * (bottom - top).max(0.0)
    }
}

/// The objects of one picture whose scores are at least `min_score`, in the order of the queries. `logits` has `n_logits` numbers for
/// each query, `boxes` four: the centre across and down, width and height, in widths and heights of the picture. A query is one object, of the class
/// with the highest score: of a query that is two classes for Conditional DETR, transformers makes two objects.
pub(super) fn objects(
    scores: Scores,
    (logits, n_logits): (&[f32], usize),
    boxes: &[f32],
    min_score: f64,
) -> Vec<Object> {
    let queries = logits.chunks_exact(n_logits.max(1)).zip(boxes.chunks_exact(4));
    let found = queries.filter_map(|(logits, sides)| {
        let (label, score) = scores.best(logits)?;
        let &[x, y, width, height] = sides else { return None };
        let (across, down) = (0.5 * width, 0.5 * height);
        let object = Object { label, score: score as f32, corners: [x - across, y - down, x + across, y + down] };
        (score >= min_score).then_some(object)
    });
    found.collect()
}

impl Scores {
    /// How many classes there are, where a query has `n_logits` numbers.
    pub(super) fn n_classes(self, n_logits: usize) -> usize {
        match self {
            Self::Softmax => n_logits.saturating_sub(1),
            Self::Sigmoid => n_logits,
        }
    }

    /// The class with the highest score, and that; `None` where there is no class.
    fn best(self, logits: &[f32]) -> Option<(usize, f64)> {
        let classes = logits.get(..self.n_classes(logits.len()))?;
        // Of equal ones the first.
        let (label, logit) =
            classes.iter().enumerate().reduce(|best, next| if next.1 > best.1 { next } else { best })?;
        let odds = |other: &f32| (f64::from(*other) - f64::from(*logit)).exp();
        let score = match self {
            Self::Softmax => 1.0 / logits.iter().map(odds).sum::<f64>(),
            Self::Sigmoid => 1.0 / (1.0 + (-f64::from(*logit)).exp()),
        };
        Some((label, score))
    }
}
