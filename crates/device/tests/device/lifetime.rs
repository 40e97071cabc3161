//! Nothing grows, nothing in flight is freed, and neighbours change no bit.
//!
//! Host memory is counted twice: what the system shows of the process, the driver's own included,
//! and, by the allocator below, the live bytes of this program's Rust alone. The latter must not
//! grow by one byte.

use crate::kernels::{add_one, fill_late};
use crate::oracle::Dense;
use broadhead_device::{ByteClass, Context, Ledger, Matrix, MatrixMut, Memory, Stream};
use broadhead_testkit::device::{
    Failed, Outcome, Trial, expect, expect_eq, on_device, record, stream,
};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Instant;

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        on_device("lifetime::ten_thousand_cycles_leave_nothing", cycles),
        on_device(
            "lifetime::a_stream_s_first_small_upload_pins_nothing",
            first_upload,
        ),
        on_device(
            "lifetime::a_dropped_buffer_is_not_handed_out_in_flight",
            in_flight,
        ),
        on_device("lifetime::neighbours_change_no_bit", neighbours),
    ]
}

/// Live bytes of everything that Rust allocated in this process.
static LIVE_BYTES: AtomicI64 = AtomicI64::new(0);

/// The system's allocator, counted.
struct Counted;

#[global_allocator]
static ALLOCATOR: Counted = Counted;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size() as i64, Relaxed);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size() as i64, Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        LIVE_BYTES.fetch_add(size as i64 - layout.size() as i64, Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(pointer, layout, size) }
    }
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

/// What the process holds after some cycles.
#[derive(Clone, Copy, Debug, serde::Serialize)]
struct Held {
    cycles: u64,
    device: Memory,
    /// Live bytes of this program's Rust.
    rust_bytes: i64,
    /// Bytes that the system shows as resident.
    resident_bytes: u64,
}

impl Held {
    fn now(context: &Context, cycles: u64) -> Result<Self, Failed> {
        context.trim()?;
        Ok(Self {
            cycles,
            device: context.memory()?,
            rust_bytes: LIVE_BYTES.load(Relaxed),
            resident_bytes: resident()?,
        })
    }
}

fn cycles(context: &Context) -> Outcome {
    // Four times as many show whether what grows outside of Rust goes on growing.
    let most: u64 = match std::env::var("BROADHEAD_CYCLES") {
        Ok(text) => text.parse()?,
        Err(_) => 10_000,
    };
    let host: Vec<f64> = (0..1000).map(f64::from).collect();
    for _ in 0..200 {
        cycle(context, &host)?;
    }
    // Room for every point beforehand: the list itself is on the heap that is counted.
    let mut held = Vec::with_capacity(5);
    held.push(Held::now(context, 0)?);
    for quarter in 1..=4 {
        for _ in 0..most / 4 {
            cycle(context, &host)?;
        }
        held.push(Held::now(context, quarter * (most / 4))?);
    }
    record("create-use-drop", serde_json::to_value(&held)?)?;
    let (first, last) = (held[0], held[4]);
    let (before, after) = (first.device, last.device);
    expect_eq("device bytes in use", after.pool_used, before.pool_used)?;
    expect_eq("free device bytes", after.free, before.free)?;
    expect_eq("live bytes of Rust", last.rust_bytes, first.rust_bytes)?;
    // What is left is the driver's and the C allocator's: less than a hundred bytes a cycle.
    let grown = last.resident_bytes.saturating_sub(first.resident_bytes);
    expect(
        grown < 100 * most,
        format!("the process grew by {grown} bytes: {held:?}"),
    )
}

/// Only a stream beyond as many as lived at once pays for pinning its staging.
fn first_upload(context: &Context) -> Outcome {
    let upload = || -> Result<f64, Failed> {
        let stream = stream(context)?;
        let mut x = stream.zeros::<f64>(8, "test")?;
        stream.synchronize()?;
        let start = Instant::now();
        stream.upload_into(&[1.0; 8], x.view_mut(), ByteClass::Other)?;
        Ok(start.elapsed().as_secs_f64())
    };
    let pooled: Vec<f64> = (0..21).map(|_| upload()).collect::<Result<_, _>>()?;
    // Held together, each needs one of its own; beyond the pool's they are pinned anew.
    let mut held = Vec::new();
    let mut pinned = Vec::new();
    for _ in 0..20 {
        let stream = stream(context)?;
        let mut x = stream.zeros::<f64>(8, "test")?;
        stream.synchronize()?;
        let start = Instant::now();
        stream.upload_into(&[1.0; 8], x.view_mut(), ByteClass::Other)?;
        pinned.push(start.elapsed().as_secs_f64());
        held.push((stream, x));
    }
    let middle = |values: &[f64]| {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let what = serde_json::json!({ "pooled_seconds": pooled, "beyond_the_pool_seconds": pinned });
    record("first-small-upload", what)?;
    let (pooled, pinned) = (middle(&pooled), middle(&pinned));
    expect(
        pooled < pinned,
        format!("a first upload takes {pooled} s, with pinning {pinned} s"),
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
