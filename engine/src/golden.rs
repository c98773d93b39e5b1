//! Goldens: inputs and outputs of the reference implementations, made by the scripts in `goldens/`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::backprop::GradStore;
use candle_core::{DType, Device, Tensor, Var};

use crate::weights::Weights;

/// A folder of `goldens/`: a model as `save_pretrained` writes it, and `cases.safetensors` beside it.
pub(crate) struct Golden {
    folder: PathBuf,
    cases: std::collections::HashMap<String, Tensor>,
}

impl Golden {
    pub(crate) fn open(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("goldens").join(name);
        let cases = candle_core::safetensors::load(folder.join("cases.safetensors"), &Device::Cpu).unwrap();
        Self { folder, cases }
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The model's weights.
    pub(crate) fn weights(&self) -> Weights {
        Weights::open(&self.folder).unwrap()
    }

    /// A tensor of `cases.safetensors`.
    pub(crate) fn case(&self, name: &str) -> &Tensor {
        self.cases.get(name).unwrap_or_else(|| panic!("{} has no case `{name}`", self.folder.display()))
    }

    /// Asserts that `actual` is the case `name`: max|a−b| ≤ 1e-4·max(1, max|b|).
    pub(crate) fn assert_close(&self, name: &str, actual: &Tensor) {
        assert_close(name, actual, self.case(name), 1e-4);
    }
}

impl Golden {
    /// Asserts that the gradient of each variable is the case `PREFIX` + its name, within 1e-3 of its norm, and that none of those
    /// is zero: a golden that leaves a variable out would prove nothing of it.
    #[track_caller]
    pub(crate) fn assert_gradients(&self, prefix: &str, variables: &BTreeMap<String, Var>, gradients: &GradStore) {
        let mut worst: (f64, &str) = (0.0, "");
        for (name, variable) in variables {
            let gradient = gradients.get(variable).unwrap_or_else(|| panic!("{name} has no gradient"));
            let expected = self.case(&format!("{prefix}{name}"));
            let norm = expected.sqr().unwrap().sum_all().unwrap().to_scalar::<f32>().unwrap().sqrt();
            assert!(norm > 1e-6, "{name}: the reference has no gradient either: {norm:e}");
            let error = relative_error(gradient, expected);
            assert!(error <= 1e-3, "{name}: relative error of the gradient {error:e}");
            if error > worst.0 {
                worst = (error, name);
            }
        }
        println!("{prefix}: {} variables, worst gradient {:.1e} ({})", variables.len(), worst.0, worst.1);
    }
}

/// Asserts that max|a−b| ≤ `tolerance`·max(1, max|b|).
#[track_caller]
pub(crate) fn assert_close(name: &str, actual: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(actual.dims(), expected.dims(), "shape of {name}");
    let numbers =
        |tensor: &Tensor| tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap().to_vec1::<f64>().unwrap();
    let (actual, expected) = (numbers(actual), numbers(expected));
    assert!(actual.iter().all(|value| value.is_finite()), "{name} is not finite");
    let largest = expected.iter().fold(1.0, |largest: f64, value| largest.max(value.abs()));
    let error = actual.iter().zip(&expected).fold(0.0, |error: f64, (a, b)| error.max((a - b).abs()));
    println!("{name}: max|a−b| = {error:.2e}, {:.2e} of the largest", error / largest);
    assert!(error <= tolerance * largest, "{name}: max|a−b| = {error:e}, allowed {:e}", tolerance * largest);
}

/// ‖a−b‖ / max(‖b‖, 1e-6).
#[track_caller]
pub(crate) fn relative_error(actual: &Tensor, expected: &Tensor) -> f64 {
    assert_eq!(actual.dims(), expected.dims());
    let norm = |tensor: &Tensor| {
        tensor.to_dtype(DType::F64).unwrap().sqr().unwrap().sum_all().unwrap().to_scalar::<f64>().unwrap().sqrt()
    };
    norm(&(actual - expected).unwrap()) / norm(expected).max(1e-6)
}
