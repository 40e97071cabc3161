//! The ledger and the witness, kept by different code, say the same to the byte.

use crate::kernels::{SOURCE, add_one, count_down};
use crate::oracle::Dense;
use broadhead_device::nvml::Nvml;
use broadhead_device::witness::{Agreement, Witness};
use broadhead_device::{
    ByteClass, Context, Matrix, MatrixMut, Phases, Side, Stream, Triangle, kernels,
};
use broadhead_testkit::device::{
    Failed, Outcome, Trial, expect, expect_eq, on_device, record, stream,
};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        on_device("evidence::ledger_and_witness_agree_to_the_byte", agree),
        on_device(
            "evidence::the_witness_sees_bytes_that_an_account_lacks",
            disagree,
        ),
        on_device(
            "evidence::the_management_library_reads_this_device",
            management,
        ),
        on_device("evidence::phases_add_up_to_the_whole", phases),
    ]
}

/// Copies of every kind and size, own kernels, library calls, a graph with a loop.
fn mixed_work(stream: &Stream) -> Result<(), Failed> {
    let mut pinned = stream.pinned::<f64>(5000, "test")?;
    for len in [1usize, 3, 127, 4096, 131_072, 131_073, 1_000_003] {
        let values: Vec<f64> = (0..len).map(|i| i as f64).collect();
        let mut buffer = stream.upload(&values, ByteClass::Operand, "test")?;
        add_one(stream, buffer.view_mut())?;
        let half = buffer.slice(0..len / 2)?;
        drop(stream.download(half, ByteClass::Gradient)?);
    }
    for _ in 0..50 {
        let mut small = stream.upload(&[1.0; 77], ByteClass::Gradient, "test")?;
        add_one(stream, small.view_mut())?;
        drop(stream.download(small.slice(0..5)?, ByteClass::Record)?);
    }
    let n = 64;
    let values = Dense::positive(n, 3).values;
    let mut a = stream.upload(&values, ByteClass::Operand, "test")?;
    let mut b = stream.upload(&values, ByteClass::Operand, "test")?;
    let mut info = stream.zeros::<i32>(1, "test")?;
    let mut matrix = MatrixMut::packed(a.view_mut(), n, n)?;
    let mut workspace = stream.alloc::<f64>(stream.potrf_workspace(&mut matrix)?, "test")?;
    stream.potrf(&mut matrix, workspace.view_mut(), info.view_mut())?;
    let l = Matrix::packed(a.view(), n, n)?;
    let mut x = MatrixMut::packed(b.view_mut(), n, n)?;
    stream.trsm(Side::Left, Triangle::Lower, 1.0, l, &mut x)?;
    let mut c = stream.zeros::<f64>(n * n, "test")?;
    let mut into = MatrixMut::packed(c.view_mut(), n, n)?;
    let x = Matrix::packed(b.view(), n, n)?;
    stream.syrk(Triangle::Lower, 1.0, x.transposed(), 0.0, &mut into)?;
    stream.gemm(1.0, x, l, 0.0, &mut into)?;
    let mut left = stream.upload(&[10], ByteClass::Other, "test")?;
    let mut rounds = stream.zeros::<i32>(1, "test")?;
    let mut small = stream.alloc::<f64>(5000, "test")?;
    let mut graph = stream.capture(|stream| {
        stream.upload_pinned(&pinned, small.view_mut(), ByteClass::Gradient)?;
        stream.while_loop(|stream, condition| {
            add_one(stream, small.view_mut())?;
            count_down(stream, left.view_mut(), rounds.view_mut(), condition)
        })?;
        stream.download_pinned(small.view(), &mut pinned, ByteClass::Record)
    })?;
    for _ in 0..3 {
        graph.launch()?;
    }
    stream.synchronize()?;
    Ok(())
}

fn agree(context: &Context) -> Outcome {
    // Once before, so that handles and modules are there: their own copies are not this work's.
    let warm = stream(context)?;
    mixed_work(&warm)?;
    drop(warm);
    let stream = stream(context)?;
    stream.prepare_handles()?;
    let sources = [&SOURCE, kernels::sources()[0]];
    let witness = Witness::start(context, &sources)?;
    mixed_work(&stream)?;
    let activity = witness.finish()?;
    let account = stream.ledger().snapshot();
    let agreement = activity.compare(&account);
    record(
        "ledger-and-witness",
        serde_json::json!({ "account": account, "activity": activity, "agreement": agreement }),
    )?;
    let equal = matches!(agreement, Agreement::Equal { .. });
    expect(equal, format!("{agreement:?}\n{account:?}\n{activity:?}"))?;
    let ours = activity.own_kernels.get("add_one").copied().unwrap_or(0);
    // 57 outside of the graph; inside, ten rounds at the first launch and one at each later.
    expect_eq("launches of add_one", ours, 57 + 12)?;
    let known = ["potrf", "trsm", "syrk", "gemm"];
    let seen: u64 = activity.library_kernels.values().sum();
    expect(
        seen >= 4,
        format!(
            "library kernels of {known:?}: {:?}",
            activity.library_kernels
        ),
    )
}

fn disagree(context: &Context) -> Outcome {
    let (counted, forgotten) = (stream(context)?, stream(context)?);
    let witness = Witness::start(context, &[])?;
    drop(counted.upload(&[0.0; 100], ByteClass::Other, "test")?);
    drop(forgotten.upload(&[0u8; 1], ByteClass::Other, "test")?);
    let second = Witness::start(context, &[]);
    expect(second.is_err(), "two passes at once")?;
    let activity = witness.finish()?;
    let agreement = activity.compare(&counted.ledger().snapshot());
    let wanted = Agreement::Different {
        host_to_device: (800, 801),
        device_to_host: (0, 0),
    };
    expect_eq("one byte too many", agreement, wanted)
}

fn management(context: &Context) -> Outcome {
    let reading = Nvml::start(context)?.read()?;
    record("management", serde_json::to_value(&reading)?)?;
    let total = reading.memory_total.unwrap_or(0);
    let said = context.info().memory_bytes;
    // The driver keeps some of the memory for itself.
    let near = total >= said && total - said < said / 20;
    expect(near, format!("memory: {total} by one, {said} by the other"))?;
    let clock = reading.sm_clock_mhz.unwrap_or(0);
    expect(
        clock > 0 && u64::from(clock) * 1000 <= 2 * context.info().clock_khz,
        reading.driver,
    )
}

fn phases(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut x = stream.zeros::<f64>(1 << 20, "test")?;
    add_one(&stream, x.view_mut())?;
    let start = stream.mark()?;
    let mut phases = Phases::start(&stream)?;
    for _ in 0..3 {
        crate::kernels::fill_late(&stream, x.view_mut(), 0.0, 2_000_000)?;
        phases.end("fill")?;
        add_one(&stream, x.view_mut())?;
        phases.end("add")?;
    }
    let whole = stream.mark()?.since(&start)?.as_secs_f64();
    let read = phases.read()?;
    let names: Vec<_> = read.iter().map(|(name, _)| *name).collect();
    expect_eq("names", names, vec!["fill", "add"])?;
    let sum: f64 = read.iter().map(|(_, s)| s).sum();
    // Two marks more, and the half microsecond by which each is read.
    expect(
        sum <= whole && whole - sum < 1e-4,
        format!("{sum} of {whole}"),
    )?;
    expect(read[0].1 > read[1].1, format!("{read:?}"))
}
