//! A system of more numbers than 32 bits count: right by its residual, or refused with its bytes.

use super::case::{Case, Random};
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::{ByteClass, DeviceError, Refusal, Stream};
use broadhead_schur::cuda::{Base, Keep};
use broadhead_schur::{
    ArrowVector, CrossView, DenseSystem, Error, ProductMut, Refinement, Ridge, RowBlocks,
    SymmetricView, System,
};
use broadhead_testkit::device::Trial;
use ndarray::{ArrayView2, ShapeBuilder};

/// The componentwise backward error that counts as parity.
const PARITY: f64 = 1e-13;

pub(super) fn tests() -> Vec<Trial> {
    vec![on_device!(
        "large::more_numbers_than_32_bits_count_are_solved_or_refused",
        huge
    )]
}

/// Every line of `B` is the one before it moved by an entry, so that 500,000 lines of 5,120 are as
/// many different numbers as they have places, and the host holds but 505,119.
fn huge(stream: &Stream) -> Outcome {
    let (n, k) = (500_000, 5120);
    // The rest of the system has few numbers: a case without a cross block's worth of them.
    let border = Case::new(&[], k, 61)?;
    let mut random = Random(62);
    let dims = vec![2; n / 2];
    let d: Vec<f64> = (0..2 * n)
        .map(|e| [3.0, f64::NAN, 0.02 * random.next(), 3.0][e % 4])
        .collect();
    let scale = 1e-2 / (n as f64).sqrt();
    let line = random.many(n + k - 1, scale);
    let rows = broadhead_schur::RowDims::ragged(&dims)?;
    let shape = broadhead_schur::ArrowShape::new(rows, k)?;
    let cross = ArrayView2::from_shape((n, k).strides((1, 1)), &line)?;
    let system = DenseSystem::new(
        &shape,
        RowBlocks::packed(&d),
        CrossView::stacked_ndarray(cross),
        SymmetricView::row_major(&border.c, k)?,
    )?;
    let g = ArrowVector {
        row: random.many(n, 1.0),
        border: random.many(k, 1.0),
    };
    let said = Base::bytes_needed(&shape, Keep::Factor)?.total();
    expect(said > 8 * (n * k) as u64, "the bytes count every number")?;
    let mut base = match Base::new(stream, &shape, Keep::Factor) {
        Err(Error::Device(DeviceError::Refusal(Refusal::Memory { needed, free, .. }))) => {
            expect_eq("bytes needed", needed, said)?;
            return expect(needed > free, "it would have fitted");
        }
        other => other?,
    };
    base.refresh(&system)?;
    base.factor(Ridge::ZERO)?;
    let (mut gradient, mut step) = (base.vector()?, base.vector()?);
    let class = ByteClass::Gradient;
    stream.upload_into(&g.row, gradient.row_mut(), class)?;
    stream.upload_into(&g.border, gradient.border_mut()?, class)?;
    let report = base.solve_measured(&gradient, &mut step, Refinement::Measure)?;
    let on_device = report.error.and_then(|error| error.componentwise);
    let small = on_device.is_some_and(|omega| omega <= PARITY);
    expect(small, format!("as the device sees it: {report:?}"))?;
    let x = ArrowVector {
        row: stream.download(step.row(), class)?,
        border: stream.download(step.border()?, class)?,
    };
    let (mut y, mut a) = (ArrowVector::zeros(&shape), ArrowVector::zeros(&shape));
    let product = ProductMut {
        row: &mut y.row,
        border: &mut y.border,
        row_abs: &mut a.row,
        border_abs: &mut a.border,
    };
    System::Dense(system).product(&x.row, &x.border, Ridge::ZERO, product)?;
    for (part, y, a, g) in [
        ("row", &y.row, &a.row, &g.row),
        ("border", &y.border, &a.border, &g.border),
    ] {
        for i in 0..y.len() {
            let (residual, size) = ((y[i] + g[i]).abs(), a[i] + g[i].abs());
            let what = format!("{part} {i}: {residual:e} of {size:e}");
            expect(residual <= PARITY * size, what)?;
        }
    }
    Ok(())
}
