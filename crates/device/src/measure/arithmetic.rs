//! Operations a second in FP64: the plain units, the library's matrix product and Cholesky.

use super::kernel::{THREADS, blocks, fma_chain};
use super::{Samples, Unit, timed};
use crate::{ByteClass, DeviceBuffer, Matrix, MatrixMut, Result, Stream};

/// Order of the matrix product.
const ORDER: usize = 4096;

/// Rounds of the chain: some ten milliseconds.
const ROUNDS: i32 = 20_000;

/// Operations of a thread in one round: eight chains, a product and a sum each.
const OPERATIONS: u64 = 16;

/// Samples of one window.
const REPEATS: usize = 9;

fn rates(operations: u64, seconds: Vec<f64>) -> Samples {
    Samples {
        unit: Unit::OperationsPerSecond,
        values: seconds.into_iter().map(|s| operations as f64 / s).collect(),
    }
}

/// Brings the clocks to where they stay under load.
pub(super) fn warm_up(stream: &Stream) -> Result<()> {
    for _ in 0..3 {
        gemm(stream)?;
    }
    Ok(())
}

/// Multiply-adds in registers.
pub(super) fn fma(stream: &Stream) -> Result<Samples> {
    let mut sums = stream.zeros::<f64>(blocks(stream) as usize, "sums")?;
    let seconds = timed(stream, REPEATS, || {
        fma_chain(stream, ROUNDS, sums.view_mut())
    })?;
    let threads = u64::from(blocks(stream)) * u64::from(THREADS);
    Ok(rates(OPERATIONS * ROUNDS as u64 * threads, seconds))
}

/// `C = A B` of order 4096 on data that is not zero.
pub(super) fn gemm(stream: &Stream) -> Result<Samples> {
    let a = operand(stream, 0.618_034)?;
    let b = operand(stream, 0.414_214)?;
    let mut c = stream.zeros::<f64>(ORDER * ORDER, "product")?;
    let seconds = timed(stream, REPEATS, || {
        let a = Matrix::packed(a.view(), ORDER, ORDER)?;
        let b = Matrix::packed(b.view(), ORDER, ORDER)?;
        let mut c = MatrixMut::packed(c.view_mut(), ORDER, ORDER)?;
        stream.gemm(1.0, a, b, 0.0, &mut c)
    })?;
    Ok(rates(2 * (ORDER as u64).pow(3), seconds))
}

/// Cholesky of order 4096, `n^3 / 3` operations, of a matrix that is made anew each time.
pub(super) fn cholesky(stream: &Stream) -> Result<Samples> {
    let mut values: Vec<f64> = vec![0.5; ORDER * ORDER];
    (0..ORDER).for_each(|i| values[i * (ORDER + 1)] = ORDER as f64);
    let source = stream.upload(&values, ByteClass::Other, "source")?;
    let mut factor = stream.zeros::<f64>(ORDER * ORDER, "factor")?;
    let mut info = stream.zeros::<i32>(1, "info")?;
    let mut matrix = MatrixMut::packed(factor.view_mut(), ORDER, ORDER)?;
    let length = stream.potrf_workspace(&mut matrix)?;
    let mut workspace = stream.alloc::<f64>(length, "workspace")?;
    let mut seconds = Vec::new();
    for _ in 0..=REPEATS {
        stream.copy(source.view(), factor.view_mut())?;
        let mut matrix = MatrixMut::packed(factor.view_mut(), ORDER, ORDER)?;
        let start = stream.mark()?;
        stream.potrf(&mut matrix, workspace.view_mut(), info.view_mut())?;
        seconds.push(stream.mark()?.since(&start)?.as_secs_f64());
    }
    Ok(rates((ORDER as u64).pow(3) / 3, seconds.split_off(1)))
}

fn operand(stream: &Stream, step: f64) -> Result<DeviceBuffer<f64>> {
    let values: Vec<f64> = (0..ORDER * ORDER)
        .map(|i| (i as f64 * step).fract() - 0.5)
        .collect();
    stream.upload(&values, ByteClass::Other, "operand")
}
