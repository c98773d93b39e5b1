//! Comparing the fused form of an operation with the composed one, and both with PyTorch.

use candle_core::{Device, Result, Tensor, Var};

use crate::golden::{Golden, assert_close, relative_error};
use crate::noise::Noise;

/// Gaussian numbers, other ones for each `seed`.
pub(super) fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Noise::new(seed).normal(shape, &Device::Cpu).unwrap()
}

/// The result of `operation`, and the gradient of each of `tensors` under a random gradient of the result.
fn run(tensors: &[Tensor], operation: impl Fn(&[Tensor]) -> Result<Tensor>) -> Vec<Tensor> {
    let vars: Vec<Var> = tensors.iter().map(|tensor| Var::from_tensor(tensor).unwrap()).collect();
    let inputs: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
    let out = operation(&inputs).unwrap();
    let upstream = normal(99, out.dims());
    let gradients = (&out * upstream).unwrap().sum_all().unwrap().backward().unwrap();
    let found = vars.iter().map(|var| gradients.get(var).expect("no gradient").clone());
    std::iter::once(out.detach()).chain(found).collect()
}

/// Asserts that fused and composed give the same result and gradients, on `tensors` as they are and on ones that are not
/// contiguous, and that the fused form was taken.
pub(super) fn compare(tensors: &[Tensor], operation: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let composed = super::composed(|| run(tensors, &operation));
    // The same numbers, laid out the other way round.
    let turned = |tensors: &[Tensor]| -> Result<Vec<Tensor>> {
        tensors
            .iter()
            .map(|tensor| {
                if tensor.rank() < 2 {
                    Ok(tensor.clone())
                } else {
                    tensor.transpose(0, 1)?.contiguous()?.transpose(0, 1)
                }
            })
            .collect()
    };
    let plain = run(tensors, &operation);
    let strided = run(tensors, |tensors| operation(&turned(tensors)?));
    for (index, expected) in composed.iter().enumerate() {
        let name = if index == 0 { "result".to_owned() } else { format!("gradient of argument {index}") };
        assert_close(&name, &plain[index], expected, 1e-5);
        assert_close(&format!("{name}, strided"), &strided[index], expected, 1e-5);
    }
}

/// Asserts that fused and composed give what PyTorch gives in the golden `operations`, case `name`: the result, and the
/// gradient of each of `arguments` under the golden's gradient of the result.
pub(super) fn agrees_with_pytorch(name: &str, arguments: &[&str], operation: impl Fn(&[Tensor]) -> Result<Tensor>) {
    let golden = Golden::open("operations");
    let case = |key: &str| golden.case(&format!("{name}.{key}"));
    let work = || {
        let vars: Vec<Var> = arguments.iter().map(|key| Var::from_tensor(case(key)).unwrap()).collect();
        let inputs: Vec<Tensor> = vars.iter().map(|var| var.as_tensor().clone()).collect();
        let y = operation(&inputs).unwrap();
        let gradients = (&y * case("upstream")).unwrap().sum_all().unwrap().backward().unwrap();
        let of_arguments: Vec<Tensor> =
            vars.iter().map(|var| gradients.get(var).expect("no gradient").clone()).collect();
        (y, of_arguments)
    };
    for (form, (y, gradients)) in [("fused", work()), ("composed", super::composed(work))] {
        golden.assert_close(&format!("{name}.y"), &y);
        for (key, gradient) in arguments.iter().zip(&gradients) {
            let error = relative_error(gradient, case(&format!("grad_{key}")));
            println!("{form} {name}.grad_{key}: {error:.2e}");
            assert!(error <= 1e-4, "{form} {name}.grad_{key}: {error:e}");
        }
    }
}
