//! Nothing grows, nothing in flight is freed, and neighbours change no bit.

use crate::kernels::{add_one, fill_late};
use crate::oracle::Dense;
use broadhead_device::{ByteClass, Context, Ledger, Matrix, MatrixMut, Stream};
use broadhead_testkit::device::{
    Failed, Outcome, Trial, expect, expect_eq, on_device, record, stream,
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        on_device("lifetime::ten_thousand_cycles_leave_nothing", cycles),
        on_device(
            "lifetime::a_dropped_buffer_is_not_handed_out_in_flight",
            in_flight,
        ),
        on_device("lifetime::neighbours_change_no_bit", neighbours),
    ]
}

/// Bytes of host memory of this process that are resident.
fn resident() -> Result<u64, Failed> {
    let text = std::fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split_whitespace().nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}

/// Makes, uses and drops one of everything.
fn cycle(context: &Context, host: &[f64]) -> Result<(), Failed> {
    let stream = stream(context)?;
    let mut x = stream.upload(host, ByteClass::Operand, "cycle")?;
    let mut y = stream.zeros::<f64>(host.len(), "cycle")?;
    let matrix = Matrix::packed(x.view(), host.len(), 1)?;
    let one = stream.upload(&[2.0], ByteClass::Other, "cycle")?;
    stream.gemv(1.0, matrix, one.view(), 0.0, &mut y.view_mut())?;
    let mut graph = stream.capture(|s| add_one(s, x.view_mut()))?;
    graph.launch()?;
    let mark = stream.mark()?;
    let found = stream.download(y.view(), ByteClass::Gradient)?;
    mark.since(&mark)?;
    expect_eq(
        "the last number",
        found[host.len() - 1],
        2.0 * host[host.len() - 1],
    )?;
    expect_eq(
        "bytes held",
        stream.ledger().held_bytes(),
        16 * host.len() as u64 + 8,
    )
}

fn cycles(context: &Context) -> Outcome {
    let host: Vec<f64> = (0..1000).map(f64::from).collect();
    for _ in 0..200 {
        cycle(context, &host)?;
    }
    context.trim()?;
    let (before, resident_before) = (context.memory()?, resident()?);
    for _ in 0..10_000 {
        cycle(context, &host)?;
    }
    context.trim()?;
    let (after, resident_after) = (context.memory()?, resident()?);
    record(
        "ten-thousand-cycles",
        serde_json::json!({
            "device_before": before, "device_after": after,
            "resident_before": resident_before, "resident_after": resident_after,
        }),
    )?;
    expect_eq("device bytes in use", after.pool_used, before.pool_used)?;
    expect_eq("free device bytes", after.free, before.free)?;
    // Less than a hundred bytes a cycle: an object lost each time would be more.
    let grown = resident_after.saturating_sub(resident_before);
    expect(
        grown < 1_000_000,
        format!("the process grew by {grown} bytes"),
    )
}

fn in_flight(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let other = context.stream(&Ledger::new())?;
    let len = 1 << 16;
    for round in 0..20 {
        let mut late = stream.alloc::<f64>(len, "late")?;
        fill_late(&stream, late.view_mut(), f64::NAN, 5_000_000)?;
        drop(late);
        // The other stream must not get that memory while the kernel still writes it.
        let neighbour = other.upload(&vec![1.0; len], ByteClass::Other, "neighbour")?;
        stream.synchronize()?;
        let found = other.download(neighbour.view(), ByteClass::Other)?;
        let kept = found.iter().all(|&x| x == 1.0);
        expect(
            kept,
            format!("round {round}: memory in flight was handed out"),
        )?;
    }
    Ok(())
}

/// A factor and a product of it, as bits.
fn bits(stream: &Stream, n: usize, seed: u64) -> Result<Vec<u64>, Failed> {
    let values = Dense::positive(n, seed).values;
    let mut a = stream.upload(&values, ByteClass::Operand, "test")?;
    let mut info = stream.zeros::<i32>(1, "test")?;
    let mut matrix = MatrixMut::packed(a.view_mut(), n, n)?;
    let mut workspace = stream.alloc::<f64>(stream.potrf_workspace(&mut matrix)?, "test")?;
    stream.potrf(&mut matrix, workspace.view_mut(), info.view_mut())?;
    let mut c = stream.zeros::<f64>(n * n, "test")?;
    let l = Matrix::packed(a.view(), n, n)?;
    let mut into = MatrixMut::packed(c.view_mut(), n, n)?;
    stream.gemm(1.0, l, l.transposed(), 0.0, &mut into)?;
    let found = stream.download(c.view(), ByteClass::Operand)?;
    Ok(found.iter().map(|x| x.to_bits()).collect())
}

fn neighbours(context: &Context) -> Outcome {
    let n = 500;
    let alone: Vec<_> = (0..6)
        .map(|seed| bits(&stream(context)?, n, seed))
        .collect::<Result<_, _>>()?;
    let together: Vec<Result<Vec<u64>, Failed>> = std::thread::scope(|scope| {
        let fits: Vec<_> = (0..6)
            .map(|seed| {
                scope.spawn(move || {
                    let stream = stream(context)?;
                    for _ in 0..5 {
                        bits(&stream, n, seed)?;
                    }
                    bits(&stream, n, seed)
                })
            })
            .collect();
        let ended = fits.into_iter().map(|fit| match fit.join() {
            Ok(bits) => bits,
            Err(_) => Err("a thread panicked".into()),
        });
        ended.collect()
    });
    for (seed, (alone, together)) in alone.into_iter().zip(together).enumerate() {
        expect(
            alone == together?,
            format!("fit {seed} has other bits beside neighbours"),
        )?;
    }
    Ok(())
}
