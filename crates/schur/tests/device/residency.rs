//! What moves, and what does not: the ledger of each residency.

use super::case::{Case, room};
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::{DeviceError, ExecutionPath, LedgerSnapshot, MatrixMut, Stream};
use broadhead_schur::device::{Keep, Linearisation, Placement};
use broadhead_schur::{ArrowShape, ArrowVector, Ridge, RowDims};
use broadhead_testkit::device::{Trial, is_racechecked};

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("a_new_ridge_moves_no_operand", ridges),
        on_device!(
            "refreshing_allocates_nothing_and_sends_each_operand_once",
            refreshes,
        ),
        on_device!(
            "a_resident_solve_moves_nothing_and_waits_for_nothing",
            solves,
        ),
        on_device!("a_host_solve_moves_one_gradient_and_one_step", host_solves),
        on_device!("a_frame_gives_its_operands_back", frames),
        on_device!("a_re_upload_sends_everything_for_every_solve", re_uploads),
        on_device!("the_bytes_said_are_the_bytes_held", bytes),
    ]
}

/// Bytes of the operands of a uniform dense system: lower triangles of the border alone.
fn operand_bytes(case: &Case) -> u64 {
    let k = case.shape.border();
    8 * (case.d.len() + case.b.len() + k * (k + 1) / 2) as u64
}

fn gradient_bytes(case: &Case) -> u64 {
    8 * case.shape.order() as u64
}

fn base(stream: &Stream, case: &Case) -> Result<Linearisation, Box<dyn std::error::Error>> {
    let mut base = room(stream, &case.shape, Keep::InverseFactor)?;
    base.refresh(case.system()?)?;
    Ok(base)
}

fn case() -> Result<Case, Box<dyn std::error::Error>> {
    let rows = if is_racechecked() { 50 } else { 200 };
    Case::new(&vec![2; rows], 300, 1)
}

fn ridges(stream: &Stream) -> Outcome {
    let mut base = base(stream, &case()?)?;
    base.factor(Ridge::ZERO)?;
    let before = base.ledger();
    for r in 1..4 {
        base.factor(Ridge::new(r as f64, 0.5 * r as f64))?;
    }
    let moved = base.ledger().since(&before);
    expect_eq("bytes in", moved.host_to_device.total(), 0)?;
    expect_eq("bytes out", moved.device_to_host.total(), 3 * 13 * 8)?;
    expect_eq("of records", moved.device_to_host.record, 3 * 13 * 8)?;
    expect_eq("allocations", moved.allocations, 0)?;
    expect_eq("factorizations", moved.factorizations, 3)
}

fn refreshes(stream: &Stream) -> Outcome {
    let case = case()?;
    let mut base = base(stream, &case)?;
    let before = base.ledger();
    base.refresh(case.system()?)?;
    let moved = base.ledger().since(&before);
    expect_eq("allocations", moved.allocations, 0)?;
    let bytes = moved.host_to_device;
    expect_eq("operands", bytes.operand, operand_bytes(&case))?;
    expect_eq("in all", bytes.total(), operand_bytes(&case))
}

fn solves(stream: &Stream) -> Outcome {
    let mut base = base(stream, &case()?)?;
    let mut frame = base.factor(Ridge::ZERO)?;
    let (mut a, mut b) = (frame.vector()?, frame.vector()?);
    let before = stream.ledger().snapshot();
    for _ in 0..3 {
        frame.solve_resident(&a, &mut b)?;
        frame.solve_resident(&b, &mut a)?;
    }
    let moved = stream.ledger().snapshot().since(&before);
    let still = LedgerSnapshot {
        submissions: 24,
        peak_bytes: moved.peak_bytes,
        ..Default::default()
    };
    expect_eq("six solves", moved, still)
}

fn host_solves(stream: &Stream) -> Outcome {
    let case = case()?;
    let mut base = base(stream, &case)?;
    let mut frame = base.factor(Ridge::ZERO)?;
    let before = stream.ledger().snapshot();
    let mut x = ArrowVector::zeros(&case.shape);
    frame.solve(case.g.as_gradient(), x.as_step())?;
    let moved = stream.ledger().snapshot().since(&before);
    let bytes = gradient_bytes(&case);
    expect_eq("in", moved.host_to_device.gradient, bytes)?;
    expect_eq("in all", moved.host_to_device.total(), bytes)?;
    expect_eq("out", moved.device_to_host.total(), bytes)?;
    expect_eq("allocations", moved.allocations, 0)
}

fn frames(stream: &Stream) -> Outcome {
    let case = case()?;
    let base = base(stream, &case)?;
    let (held, operands) = (stream.ledger().held_bytes(), base.summary().operand_bytes);
    let mut frame = base.into_factorization(Ridge::ZERO)?;
    expect_eq("bytes held", stream.ledger().held_bytes(), held - operands)?;
    let mut x = ArrowVector::zeros(&case.shape);
    frame.solve(case.g.as_gradient(), x.as_step())?;
    let path = frame.execution_path();
    expect_eq("path", path, ExecutionPath::GpuResidentLinearization)?;
    let omega = case.error(&x, Ridge::ZERO)?;
    expect(omega <= 1e-13, format!("backward error {omega:e}"))
}

fn re_uploads(stream: &Stream) -> Outcome {
    let case = case()?;
    let place = Placement::on(stream).keeping(Keep::Factor);
    let mut baseline = Linearisation::dense(&place, &case.shape)?;
    let mut x = ArrowVector::zeros(&case.shape);
    let before = stream.ledger().snapshot();
    for _ in 0..2 {
        let (_, path) = baseline.reupload_and_solve(
            case.system()?,
            Ridge::ZERO,
            case.g.as_gradient(),
            x.as_step(),
        )?;
        expect_eq("path", path, ExecutionPath::GpuReupload)?;
    }
    let moved = stream.ledger().snapshot().since(&before);
    let bytes = moved.host_to_device;
    expect_eq("operands", bytes.operand, 2 * operand_bytes(&case))?;
    expect_eq("gradients", bytes.gradient, 2 * gradient_bytes(&case))?;
    expect_eq("factorizations", moved.factorizations, 2)
}

/// Bytes that the library asks for to factor a matrix of `order`, which are its own affair.
pub(super) fn workspace(stream: &Stream, order: usize) -> Result<u64, DeviceError> {
    let mut matrix = stream.zeros::<f64>(order * order, "a matrix to ask about")?;
    let mut matrix = MatrixMut::packed(matrix.view_mut(), order, order)?;
    Ok(8 * stream.potrf_workspace(&mut matrix)? as u64)
}

/// Borders of an order that is not padded, so that the workspace is known: of whole tiles, of none, of
/// more than pay; and no border.
fn bytes(stream: &Stream) -> Outcome {
    for (dims, k) in [
        (vec![2; 200], 320),
        (vec![1, 4, 0, 7], 208),
        (vec![16; 40], 1024),
        (vec![40; 7], 16),
        (vec![1; 5], 7680),
        (vec![3; 20], 0),
    ] {
        let shape = ArrowShape::new(RowDims::ragged(&dims)?, k)?;
        let library = match k {
            0 => 0,
            k => workspace(stream, k)?,
        };
        for keep in [Keep::Factor, Keep::InverseFactor] {
            let said = Linearisation::bytes_of_dense(&shape, keep)?;
            let before = stream.ledger().held_bytes();
            let base = room(stream, &shape, keep)?;
            let held = stream.ledger().held_bytes() - before;
            expect_eq("bytes said again", base.bytes(), said)?;
            expect_eq(&format!("{k}, {keep:?}"), held, said + library)?;
        }
    }
    Ok(())
}
