//! Steps, log-determinants and pivots are those of the CPU, judged by residuals.

use super::case::{Case, Random, room};
use super::{Failed, Outcome, expect, expect_eq, on_device};
use broadhead_device::{DevicePolicy, Graph, Ledger, Stream};
use broadhead_schur::device::record::{RidgeRecord, StepTerms};
use broadhead_schur::device::{DeviceVector, Keep, Linearisation, Placement, WIDEST_ROW};
use broadhead_schur::{
    ArrowVector, CrossView, DenseSystem, EliminationKind, Gradient, Ridge, RowBlocks, Solver,
    SolverOptions, StepMut, SymmetricView,
};
use broadhead_testkit::beside::Beside;
use broadhead_testkit::device::{Trial, is_racechecked};
use faer::{MatMut, MatRef};

const KEEPS: [Keep; 2] = [Keep::Factor, Keep::InverseFactor];
/// The componentwise backward error that counts as parity.
const PARITY: f64 = 1e-13;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("steps_solve_their_systems_as_the_cpu_s_do", steps),
        on_device!("log_determinants_and_pivots_are_the_cpu_s", summaries),
        on_device!("many_right_hand_sides_solve_their_systems", many),
        on_device!("more_gradients_than_a_grid_has_columns_are_solved", columns),
        on_device!("any_layout_of_the_operands_gives_the_same_bits", layouts),
        on_device!("bits_are_the_same_run_to_run_and_beside_other_work", bits),
        on_device!("products_over_the_operands_are_the_cpu_s", products),
        on_device!("a_ridge_on_the_device_gives_the_bits_of_one_given", ridges),
        on_device!("a_graph_gives_the_bits_of_plain_launches", graphs),
        on_device!("a_solver_with_a_placement_works_on_the_device", placed),
        on_device!("ill_conditioned_borders_keep_small_residuals", hard),
    ]
}

/// Shapes at every edge that the kernels have: widths, paddings, strips, tiles, empty parts. Under
/// racecheck rows are fewer and the largest borders are left out.
fn cases() -> Vec<(&'static str, Vec<usize>, usize)> {
    let least = is_racechecked();
    let of = |all: usize, fewer: usize| if least { fewer } else { all };
    let ragged = (0..90).map(|i| [2, 0, 5, 1, 16, 3][i % 6]).collect();
    let wide = (0..40).map(|i| 17 + i % 16).collect();
    let mut cases = vec![
        ("width 1", vec![1; 50], 33),
        ("width 2", vec![2; 64], 64),
        ("width 3", vec![3; of(300, 100)], 200),
        ("width 8", vec![8; of(1000, 150)], 65),
        ("width 16", vec![16; of(700, 100)], 129),
        ("width 32", vec![WIDEST_ROW; 40], 100),
        ("ragged", ragged, 257),
        ("wide and ragged", wide, of(500, 130)),
        ("border of 1", vec![2; 700], 1),
        ("no border", vec![2; 7], 0),
        ("no rows", vec![], 40),
        ("rows without unknowns", vec![0; 9], 40),
        ("odd border", vec![2; 2000], 999),
        ("few rows", vec![2; 180], 1300),
        ("many rows", vec![2; of(20_000, 5000)], 40),
    ];
    cases.retain(|(.., k)| *k <= 500 || !least);
    cases
}

fn solver(case: &Case) -> Result<Solver, Box<dyn std::error::Error>> {
    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        ..Default::default()
    };
    Ok(Solver::new(&case.system()?.into(), options)?)
}

fn steps(stream: &Stream) -> Outcome {
    for (name, dims, k) in cases() {
        let case = Case::new(&dims, k, 7)?;
        for keep in KEEPS {
            let mut base = room(stream, &case.shape, keep)?;
            base.refresh(case.system()?)?;
            for ridge in [Ridge::ZERO, Ridge::new(0.3, 0.1)] {
                let mut x = ArrowVector::zeros(&case.shape);
                base.factor(ridge)?
                    .solve(case.g.as_gradient(), x.as_step())?;
                let omega = case.error(&x, ridge)?;
                let what = format!("{name}, {keep:?}, {ridge:?}: backward error {omega:e}");
                expect(omega <= PARITY, what)?;
            }
        }
    }
    Ok(())
}

fn summaries(stream: &Stream) -> Outcome {
    let ridge = Ridge::new(0.3, 0.1);
    for (name, dims, k) in cases() {
        let case = Case::new(&dims, k, 8)?;
        let mut base = room(stream, &case.shape, Keep::Factor)?;
        base.refresh(case.system()?)?;
        let frame = base.factor(ridge)?;
        let mut solver = solver(&case)?;
        let mut cpu = solver.refresh(case.system()?)?;
        let cpu = cpu.factor(ridge)?;
        let (got, want) = (frame.log_determinant()?, cpu.log_determinant()?);
        let error = (got.value - want.value).abs();
        let what = format!("{name}: log-determinant {got:?}, the CPU's {want:?}");
        expect(error <= 1e-13 * want.absolute.max(1.0), what)?;
        for (got, want) in [
            (frame.row_pivot(), cpu.row_pivot()),
            (frame.border_pivot(), cpu.border_pivot()),
        ] {
            expect_eq(name, got.map(|p| p.site), want.map(|p| p.site))?;
            if let (Some(got), Some(want)) = (got, want) {
                let error = (got.value - want.value).abs() / want.value;
                expect(error < 1e-12, format!("{name}: {got:?}, {want:?}"))?;
            }
        }
    }
    Ok(())
}

/// Gradients, `count` at once, of which each of `columns` is solved as well as one alone.
fn solves_columns(
    base: &mut Linearisation,
    (name, case): (&str, &mut Case),
    seed: u64,
    count: usize,
    columns: impl Iterator<Item = usize>,
) -> Outcome {
    let (n, k) = (case.shape.row_unknowns(), case.shape.border());
    let mut random = Random(seed);
    let (g_row, g_border) = (random.many(n * count, 1.0), random.many(k * count, 1.0));
    let (mut row, mut border) = (vec![0.0; n * count], vec![0.0; k * count]);
    base.factor(Ridge::ZERO)?.solve(
        Gradient::many(
            MatRef::from_column_major_slice(&g_row, n, count),
            MatRef::from_column_major_slice(&g_border, k, count),
        ),
        StepMut::many(
            MatMut::from_column_major_slice_mut(&mut row, n, count),
            MatMut::from_column_major_slice_mut(&mut border, k, count),
        ),
    )?;
    for j in columns {
        let part = |all: &[f64], len: usize| all[j * len..(j + 1) * len].to_vec();
        case.g = ArrowVector {
            row: part(&g_row, n),
            border: part(&g_border, k),
        };
        let x = ArrowVector {
            row: part(&row, n),
            border: part(&border, k),
        };
        let omega = case.error(&x, Ridge::ZERO)?;
        expect(omega <= PARITY, format!("{name}, column {j}: {omega:e}"))?;
    }
    Ok(())
}

fn many(stream: &Stream) -> Outcome {
    for (name, dims, k) in cases() {
        let mut case = Case::new(&dims, k, 9)?;
        let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
        base.refresh(case.system()?)?;
        solves_columns(&mut base, (name, &mut case), 1, 5, 0..5)?;
    }
    Ok(())
}

fn columns(stream: &Stream) -> Outcome {
    let mut case = Case::new(&[2, 0, 1], 4, 9)?;
    let mut base = room(stream, &case.shape, Keep::Factor)?;
    base.refresh(case.system()?)?;
    let count = 70_000;
    let some = (0..count).step_by(997);
    let edges = [65_534, 65_535, 65_536, count - 1];
    let named = ("more than a grid's columns", &mut case);
    solves_columns(&mut base, named, 2, count, some.chain(edges))
}

fn step(
    base: &mut Linearisation,
    case: &Case,
    system: &DenseSystem<'_>,
) -> Result<ArrowVector, Box<dyn std::error::Error>> {
    base.refresh(*system)?;
    let mut x = ArrowVector::zeros(&case.shape);
    base.factor(Ridge::ZERO)?
        .solve(case.g.as_gradient(), x.as_step())?;
    Ok(x)
}

fn layouts(stream: &Stream) -> Outcome {
    let case = Case::new(&[3; 120], 150, 2)?;
    let (n, k) = (case.shape.row_unknowns(), case.shape.border());
    let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
    let first = step(&mut base, &case, &case.system()?)?;
    let by_column = |from: &[f64], rows: usize, columns: usize| -> Vec<f64> {
        let entries = (0..columns).flat_map(|j| (0..rows).map(move |i| i * columns + j));
        entries.map(|at| from[at]).collect()
    };
    let (b, mut c) = (by_column(&case.b, n, k), by_column(&case.c, k, k));
    for j in 0..k {
        c[j * k..j * k + j].fill(f64::NAN);
    }
    let padded = ndarray::ArrayView3::from_shape((120, 3, 3), &case.d)?;
    let other = DenseSystem::new(
        &case.shape,
        RowBlocks::padded(padded),
        CrossView::stacked(MatRef::from_column_major_slice(&b, n, k)),
        SymmetricView::new(MatRef::from_column_major_slice(&c, k, k)),
    )?;
    expect_eq("a step", step(&mut base, &case, &other)?, first)
}

fn bits(stream: &Stream) -> Outcome {
    use broadhead_device::ByteClass::Gradient as Class;
    // The neighbour's Y is past what the second-level cache holds: its solves keep a share of it there.
    let (of, [rows, wide], rounds, solves) = match is_racechecked() {
        true => ((300, 320), [52_000, 64], 1, 1),
        false => ((900, 700), [2000, 1500], 3, 10),
    };
    let case = Case::new(&vec![2; of.0], of.1, 4)?;
    let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
    let first = step(&mut base, &case, &case.system()?)?;
    // Another stream keeps the device busy meanwhile.
    let other = stream.context().stream(&Ledger::new())?;
    let busy = Case::new(&vec![2; rows], wide, 5)?;
    let mut neighbour = room(&other, &busy.shape, Keep::InverseFactor)?;
    neighbour.refresh(busy.system()?)?;
    let mut frame = neighbour.factor(Ridge::ZERO)?;
    let (from, mut to) = (frame.vector()?, frame.vector()?);
    // Once plainly: a capture makes no handles.
    frame.solve_resident(&from, &mut to)?;
    let graph = captured(&other, || {
        (0..solves).try_for_each(|_| frame.solve_resident(&from, &mut to))
    })?;
    let mut beside = Beside::new(&other, graph)?;
    for round in 0..rounds {
        let again = beside.work(stream, || Ok(step(&mut base, &case, &case.system()?)?))?;
        expect_eq(&format!("round {round}"), again, first.clone())?;
    }
    // And a graph.
    let mut frame = base.factorization(Ridge::ZERO)?;
    let (mut gradient, mut plain, mut graphed) =
        (frame.vector()?, frame.vector()?, frame.vector()?);
    stream.upload_into(&case.g.row, gradient.row_mut(), Class)?;
    stream.upload_into(&case.g.border, gradient.border_mut()?, Class)?;
    frame.solve_resident(&gradient, &mut plain)?;
    let read = |from: &DeviceVector| -> Result<[Vec<f64>; 2], Failed> {
        let border = stream.download(from.border()?, Class)?;
        Ok([stream.download(from.row(), Class)?, border])
    };
    let first = read(&plain)?;
    let mut graph = captured(stream, || frame.solve_resident(&gradient, &mut graphed))?;
    let found = beside.work(stream, || {
        graph.launch()?;
        read(&graphed)
    })?;
    expect_eq("a graph", found, first)
}

/// What `body` submits to `stream`, as a graph.
fn captured<E: Into<Failed>>(
    stream: &Stream,
    body: impl FnOnce() -> Result<(), E>,
) -> Result<Graph, Failed> {
    let mut broken = None;
    let graph = stream.capture(|_| {
        broken = body().err();
        Ok(())
    })?;
    match broken {
        Some(error) => Err(error.into()),
        None => Ok(graph),
    }
}

fn ridges(stream: &Stream) -> Outcome {
    use broadhead_device::ByteClass::Gradient as Class;
    for (name, dims, k) in cases() {
        let case = Case::new(&dims, k, 8)?;
        let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
        base.refresh(case.system()?)?;
        let (mut gradient, mut step) = (base.vector()?, base.vector()?);
        stream.upload_into(&case.g.row, gradient.row_mut(), Class)?;
        stream.upload_into(&case.g.border, gradient.border_mut()?, Class)?;
        let mut answers = Vec::new();
        for resident in [true, false, true] {
            match resident {
                true => {
                    let (row, border) = (0.3, 0.1);
                    let at = stream.upload(&[RidgeRecord { row, border }], Class, "a ridge")?;
                    base.submit_factor_at(at.view())?;
                }
                false => {
                    base.factor(Ridge::new(0.3, 0.1))?;
                }
            }
            base.submit_solve(&gradient, &mut step)?;
            // The operands themselves are as they were.
            let (mut y, mut z, trial) = (base.vector()?, base.vector()?, base.vector()?);
            base.products([&gradient, &trial], [&mut y, &mut z])?;
            let mut all = Vec::new();
            for part in [step.row(), step.border()?, y.row(), y.border()?] {
                all.push(stream.download(part, Class)?);
            }
            let record = stream.download_record(base.factor_record()?, Class)?;
            let logs = [record.rows.log, record.border.log].map(f64::to_bits);
            answers.push((all, logs, record.border.info));
        }
        expect_eq(name, &answers[0], &answers[1])?;
        expect_eq(name, &answers[2], &answers[1])?;
    }
    Ok(())
}

fn graphs(stream: &Stream) -> Outcome {
    use broadhead_device::ByteClass::Gradient as Class;
    let case = Case::new(&[2; 180], if is_racechecked() { 320 } else { 1000 }, 6)?;
    let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
    base.refresh(case.system()?)?;
    let mut frame = base.factor(Ridge::ZERO)?;
    let (mut gradient, mut plain, mut graphed) =
        (frame.vector()?, frame.vector()?, frame.vector()?);
    stream.upload_into(&case.g.row, gradient.row_mut(), Class)?;
    stream.upload_into(&case.g.border, gradient.border_mut()?, Class)?;
    frame.solve_resident(&gradient, &mut plain)?;
    let mut graph = captured(stream, || frame.solve_resident(&gradient, &mut graphed))?;
    for _ in 0..2 {
        graph.launch()?;
        for (a, b) in [
            (plain.row(), graphed.row()),
            (plain.border()?, graphed.border()?),
        ] {
            let (a, b) = (stream.download(a, Class)?, stream.download(b, Class)?);
            expect_eq("a part", b, a)?;
        }
    }
    Ok(())
}

fn placed(stream: &Stream) -> Outcome {
    let case = Case::new(&[2; 300], 200, 12)?;
    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        device: Some(Placement::on(stream).keeping(Keep::InverseFactor)),
        device_policy: DevicePolicy::Required,
        ..Default::default()
    };
    let mut solver = Solver::new(&case.system()?.into(), options)?;
    let mut base = solver.refresh(case.system()?)?;
    let mut frame = base.factor(Ridge::ZERO)?;
    expect(frame.execution_path().is_device(), "the path is a device's")?;
    let mut x = ArrowVector::zeros(&case.shape);
    let report = frame.solve(case.g.as_gradient(), x.as_step())?;
    let omega = report.error.and_then(|error| error.componentwise);
    expect(
        omega.is_some_and(|omega| omega <= 1e-14),
        format!("after refinement: {report:?}"),
    )
}

/// A border with eigenvalues over nine decades: the solver refines what the frame answers.
fn hard(stream: &Stream) -> Outcome {
    let mut case = Case::new(&[2; 100], 240, 13)?;
    let k = case.shape.border();
    for j in 0..k {
        case.c[j * k + j] *= 10f64.powf(9.0 * j as f64 / k as f64);
    }
    let options = SolverOptions {
        elimination: Some(EliminationKind::Rows),
        device: Some(Placement::on(stream).keeping(Keep::InverseFactor)),
        device_policy: DevicePolicy::Required,
        ..Default::default()
    };
    let mut solver = Solver::new(&case.system()?.into(), options)?;
    let mut base = solver.refresh(case.system()?)?;
    let mut x = ArrowVector::zeros(&case.shape);
    base.factor(Ridge::ZERO)?
        .solve(case.g.as_gradient(), x.as_step())?;
    let omega = case.error(&x, Ridge::ZERO)?;
    expect(omega <= PARITY, format!("backward error {omega:e}"))
}

/// The terms of a step `d` to `t`, its residual `H d` and its gradient `t`, none of which is so small or
/// so large that squares would suffer.
fn judged(name: &str, [d, t, hd, ht]: [&[Vec<f64>; 2]; 4], terms: &[f64]) -> Outcome {
    let dot = |a: &[Vec<f64>; 2], b: &[Vec<f64>; 2]| {
        let products = a.iter().flatten().zip(b.iter().flatten());
        products.fold((0.0, 0.0), |(sum, size), (a, b)| {
            (sum + a * b, size + (a * b).abs())
        })
    };
    let squares = |part: usize| {
        let entries = ht[part].iter().zip(&t[part]);
        let sum = entries.map(|(h, g)| (h - g) * (h - g)).sum::<f64>();
        (sum, sum)
    };
    let nothing = (0.0, 0.0);
    let want = [
        dot(hd, d),
        dot(d, hd),
        dot(t, t),
        dot(t, ht),
        nothing,
        squares(0),
        nothing,
        nothing,
        squares(1),
        nothing,
    ];
    let blocks = terms.len() / StepTerms::TERMS;
    expect_eq(name, StepTerms::TERMS * blocks, terms.len())?;
    for (q, (of_blocks, (want, size))) in terms.chunks(blocks).zip(want).enumerate() {
        let got = of_blocks.iter().sum::<f64>();
        let what = format!("{name}, term {q}: {got}, the CPU's {want}");
        expect((got - want).abs() <= 1e-13 * size, what)?;
    }
    Ok(())
}

fn products(stream: &Stream) -> Outcome {
    use broadhead_device::ByteClass::Gradient as Class;
    use broadhead_schur::{ProductMut, System};
    for (name, dims, k) in cases() {
        let case = Case::new(&dims, k, 21)?;
        let mut base = room(stream, &case.shape, Keep::Factor)?;
        base.refresh(case.system()?)?;
        let (mut x0, mut x1) = (base.vector()?, base.vector()?);
        let (mut y0, mut y1) = (base.vector()?, base.vector()?);
        let doubled = |x: &[f64]| x.iter().map(|x| 2.0 * x).collect::<Vec<_>>();
        stream.upload_into(&case.g.row, x0.row_mut(), Class)?;
        stream.upload_into(&case.g.border, x0.border_mut()?, Class)?;
        stream.upload_into(&doubled(&case.g.row), x1.row_mut(), Class)?;
        stream.upload_into(&doubled(&case.g.border), x1.border_mut()?, Class)?;
        base.products([&x0, &x1], [&mut y0, &mut y1])?;
        // The trial of a step from itself is its double, and so is the product.
        let mut z = base.vector()?;
        stream.copy(x0.row(), z.row_mut())?;
        stream.copy(x0.border()?, z.border_mut()?)?;
        let (mut trial, mut product, mut terms) =
            (base.vector()?, base.vector()?, base.step_terms()?);
        let to = (&mut trial, &mut product);
        base.product_of_step((&z, &x0), (&y0, &x1), to, &mut terms)?;
        let parts = |v: &DeviceVector| -> Result<[Vec<f64>; 2], Failed> {
            let border = stream.download(v.border()?, Class)?;
            Ok([stream.download(v.row(), Class)?, border])
        };
        expect_eq(name, parts(&trial)?, parts(&x1)?)?;
        expect_eq(name, parts(&product)?, parts(&y1)?)?;
        let [d, t, hd, ht] = [&x0, &x1, &y0, &y1].map(parts);
        judged(
            name,
            [&d?, &t?, &hd?, &ht?],
            &stream.download(terms.view(), Class)?,
        )?;
        let (mut y, mut a) = (
            ArrowVector::zeros(&case.shape),
            ArrowVector::zeros(&case.shape),
        );
        let product = ProductMut {
            row: &mut y.row,
            border: &mut y.border,
            row_abs: &mut a.row,
            border_abs: &mut a.border,
        };
        let (row, border) = (&case.g.row, &case.g.border);
        System::Dense(case.system()?).product(row, border, Ridge::ZERO, product)?;
        for (got, twice, want, size) in [
            (y0.row(), y1.row(), &y.row, &a.row),
            (y0.border()?, y1.border()?, &y.border, &a.border),
        ] {
            let (got, twice) = (stream.download(got, Class)?, stream.download(twice, Class)?);
            for i in 0..want.len() {
                let error = (got[i] - want[i]).abs();
                let what = format!("{name}, entry {i}: {}, the CPU's {}", got[i], want[i]);
                expect(error <= 1e-14 * size[i], what)?;
                expect_eq(name, twice[i], 2.0 * got[i])?;
            }
        }
    }
    Ok(())
}
