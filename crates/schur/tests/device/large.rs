//! A system of more numbers than 32 bits count: right by its residual, or refused with its bytes.

use super::case::{Case, Random, room};
use super::{Failed, Outcome, expect, expect_eq, on_device};
use broadhead_device::{ByteClass, DeviceError, Refusal, Stream};
use broadhead_schur::device::{DeviceVector, Keep, Linearisation, Placement};
use broadhead_schur::{
    ArrowVector, CrossView, DenseSystem, EliminationKind, Error, Gradient, IterativeOptions,
    ProductMut, Refinement, Ridge, RowBlocks, StepMut, SymmetricView, System,
};
use broadhead_testkit::device::{Trial, record};
use broadhead_testkit::generate::{self, Structure};
use faer::Mat;
use ndarray::{ArrayView2, ShapeBuilder};

/// The componentwise backward error that counts as parity.
const PARITY: f64 = 1e-13;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!(
            "large::more_numbers_than_32_bits_count_are_solved_or_refused",
            huge
        ),
        on_device!("large::features_longer_than_a_piece_are_solved", long),
    ]
}

/// Every line of `B` is the one before it moved by an entry, so that 500,000 lines of 5,120 are as
/// many different numbers as they have places, and the host holds but 505,119. For each thing that a
/// frame may keep; what came of it is recorded.
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
    for keep in [Keep::Factor, Keep::InverseFactor] {
        let came = solved_or_refused(stream, &system, &g, keep)?;
        let what = serde_json::json!({
            "rows": n / 2, "unknowns_of_a_row": 2, "border": k, "numbers_of_the_cross_block": n * k,
            "keep": keep, "came": came,
        });
        record("more-numbers-than-32-bits", what)?;
        // What was held is there again for the next.
        stream.synchronize()?;
    }
    Ok(())
}

/// What came of the system with frames that keep `keep`: right by its residuals, or refused with the
/// bytes that it needs.
fn solved_or_refused(
    stream: &Stream,
    system: &DenseSystem<'_>,
    g: &ArrowVector,
    keep: Keep,
) -> Result<serde_json::Value, Failed> {
    let shape = system.shape();
    let (n, k) = (shape.row_unknowns(), shape.border());
    let said = Linearisation::bytes_of_dense(shape, keep)?;
    expect(said > 8 * (n * k) as u64, "the bytes count every number")?;
    let mut base = match room(stream, shape, keep) {
        Err(Error::Device(DeviceError::Refusal(Refusal::Memory { needed, free, .. }))) => {
            expect_eq("bytes needed", needed, said)?;
            expect(needed > free, "it would have fitted")?;
            return Ok(serde_json::json!({ "refused": { "needed": needed, "free": free } }));
        }
        other => other?,
    };
    base.refresh(*system)?;
    base.factor(Ridge::ZERO)?;
    let (mut gradient, mut step) = (base.vector()?, base.vector()?);
    let class = ByteClass::Gradient;
    stream.upload_into(&g.row, gradient.row_mut(), class)?;
    stream.upload_into(&g.border, gradient.border_mut()?, class)?;
    let report = base.factorization(Ridge::ZERO)?.solve_measured(
        &gradient,
        &mut step,
        Refinement::Measure,
    )?;
    let on_device = report.error.and_then(|error| error.componentwise);
    let small = on_device.is_some_and(|omega| omega <= PARITY);
    expect(
        small,
        format!("{keep:?}, as the device sees it: {report:?}"),
    )?;
    let x = ArrowVector {
        row: stream.download(step.row(), class)?,
        border: stream.download(step.border()?, class)?,
    };
    let of_many = many(stream, &mut base, (n, k))?;
    let omega = backward_error(system, g, &x)?;
    let what = format!("{keep:?}: a componentwise backward error of {omega:e}");
    expect(omega <= PARITY, what)?;
    Ok(serde_json::json!({ "solved": {
        "bytes": said,
        "componentwise_backward_error": omega,
        "as_the_device_measures_it": on_device,
        "relative_residuals_of_two_gradients_at_once": of_many,
    } }))
}

/// The componentwise backward error of a step, by the host's product over the operands; NaN where one
/// entry is.
fn backward_error(
    system: &DenseSystem<'_>,
    g: &ArrowVector,
    x: &ArrowVector,
) -> Result<f64, Failed> {
    let shape = system.shape();
    let (mut y, mut a) = (ArrowVector::zeros(shape), ArrowVector::zeros(shape));
    let product = ProductMut {
        row: &mut y.row,
        border: &mut y.border,
        row_abs: &mut a.row,
        border_abs: &mut a.border,
    };
    System::Dense(*system).product(&x.row, &x.border, Ridge::ZERO, product)?;
    let mut worst = 0.0_f64;
    for (y, a, g) in [(&y.row, &a.row, &g.row), (&y.border, &a.border, &g.border)] {
        for i in 0..y.len() {
            let omega = (y[i] + g[i]).abs() / (a[i] + g[i].abs());
            worst = if omega <= worst || worst.is_nan() {
                worst
            } else {
                omega
            };
        }
    }
    Ok(worst)
}

/// Two gradients at once, the second minus twice the first: the relative residual of each step,
/// `H x + g`, of which the device forms the product over the operands.
fn many(
    stream: &Stream,
    base: &mut Linearisation,
    (n, k): (usize, usize),
) -> Result<Vec<f64>, Failed> {
    let mut random = Random(63);
    let (row, border) = (random.many(n, 1.0), random.many(k, 1.0));
    let of = |g: &[f64]| Mat::from_fn(g.len(), 2, |i, j| [1.0, -2.0][j] * g[i]);
    let (g_row, g_border) = (of(&row), of(&border));
    let (mut x_row, mut x_border) = (Mat::zeros(n, 2), Mat::zeros(k, 2));
    base.factorization(Ridge::ZERO)?.solve(
        Gradient::many(g_row.as_ref(), g_border.as_ref()),
        StepMut::many(x_row.as_mut(), x_border.as_mut()),
    )?;
    let class = ByteClass::Gradient;
    let sent = |j: usize| -> Result<DeviceVector, Box<dyn std::error::Error>> {
        let mut x = base.vector()?;
        let part = |m: &Mat<f64>| m.col(j).iter().copied().collect::<Vec<f64>>();
        stream.upload_into(&part(&x_row), x.row_mut(), class)?;
        stream.upload_into(&part(&x_border), x.border_mut()?, class)?;
        Ok(x)
    };
    let (first, second) = (sent(0)?, sent(1)?);
    let (mut y, mut z) = (base.vector()?, base.vector()?);
    base.products([&first, &second], [&mut y, &mut z])?;
    let mut found = Vec::new();
    for (j, y) in [y, z].into_iter().enumerate() {
        let (hx_row, hx_border) = (
            stream.download(y.row(), class)?,
            stream.download(y.border()?, class)?,
        );
        let (mut residual, mut size) = (0.0, 0.0);
        let parts = [(&hx_row, &g_row), (&hx_border, &g_border)];
        for (hx, g) in parts {
            for (i, hx) in hx.iter().enumerate() {
                residual += (hx + g[(i, j)]).powi(2);
                size += g[(i, j)].powi(2);
            }
        }
        // H is within a small factor of 3 I, so |g| is the size of what was summed.
        let relative = f64::sqrt(residual / size);
        let what = format!("column {j} of many: a relative residual of {relative:e}");
        expect(relative <= PARITY, what)?;
        found.push(relative);
    }
    Ok(found)
}

/// More numbers of features than the library takes at once: the product, the triangular solve and the
/// sums over the rows are cut, by the core and by conjugate gradients.
fn long(stream: &Stream) -> Outcome {
    let (rows, features) = (2_850_000, 96);
    expect(rows * features > 1 << 28, "one piece would do")?;
    let of = Structure {
        dims: vec![1; rows],
        features,
        outputs: 3,
        density: 0.0,
        atoms: true,
        margin: 0.1,
    };
    let case = generate::structured(&of, &mut broadhead_testkit::random::Random::new(64));
    let arrow = case.shape.arrow();
    let g = generate::gradient(
        arrow.row_unknowns(),
        arrow.border(),
        &mut broadhead_testkit::random::Random::new(65),
    );
    let system = case.system();
    for kind in [EliminationKind::Core, EliminationKind::Iterative] {
        let (place, options) = (Placement::on(stream), IterativeOptions::default());
        let mut base = Linearisation::structured(&place, &case.shape, kind, options)?;
        base.refresh(case.structured())?;
        let mut x = ArrowVector::zeros(arrow);
        base.factor(Ridge::ZERO)?
            .solve(g.as_gradient(), x.as_step())?;
        let (mut y, mut a) = (ArrowVector::zeros(arrow), ArrowVector::zeros(arrow));
        let product = ProductMut {
            row: &mut y.row,
            border: &mut y.border,
            row_abs: &mut a.row,
            border_abs: &mut a.border,
        };
        system.product(&x.row, &x.border, Ridge::ZERO, product)?;
        let (mut residual, mut size) = (0.0, 0.0);
        for (y, a, g) in [(&y.row, &a.row, &g.row), (&y.border, &a.border, &g.border)] {
            for i in 0..y.len() {
                residual += (y[i] + g[i]).powi(2);
                size += (a[i] + g[i].abs()).powi(2);
            }
        }
        let relative = f64::sqrt(residual / size);
        // What conjugate gradients are asked for; the core is as good as rounding lets it be.
        let most = match kind {
            EliminationKind::Core => PARITY,
            _ => options.relative_residual,
        };
        let what = format!("{kind}: a relative residual of {relative:e}");
        expect(relative <= most, what)?;
    }
    Ok(())
}
