//! Bytes arrive as they were sent, and every one of them is in the account.

use crate::kernels::{add_one, fill_late};
use broadhead_device::{ByteClass, Context, DeviceError, Refusal, Uploader};
use broadhead_testkit::device::{Outcome, Trial, expect, expect_eq, on_device, stream};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        on_device(
            "transfers::every_length_comes_back_and_is_counted",
            every_length,
        ),
        on_device("transfers::pinned_memory_comes_back_and_is_counted", pinned),
        on_device("transfers::pieces_arrive_as_they_were_written", pieces),
        on_device(
            "transfers::a_piece_that_does_not_serve_is_refused",
            pieces_refused,
        ),
        on_device(
            "transfers::host_values_may_change_after_an_upload",
            changed_after_upload,
        ),
        on_device(
            "transfers::parts_come_once_beside_a_busy_stream",
            with_parts,
        ),
        on_device("transfers::pieces_are_lent_on", pieces_are_lent),
        on_device("transfers::a_view_reaches_its_part_alone", parts),
        on_device("transfers::lengths_that_differ_are_refused", lengths),
        on_device(
            "transfers::a_foreign_buffer_is_refused_until_it_is_moved",
            foreign,
        ),
    ]
}

fn numbers(len: usize) -> Vec<f64> {
    (0..len).map(|i| (i as f64 * 0.618).fract() - 0.5).collect()
}

fn every_length(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let staged = (1 << 20) / 8;
    let lengths = [
        0,
        1,
        2,
        1000,
        staged - 1,
        staged,
        staged + 1,
        3 * staged + 7,
        // More parts than travel at once.
        33 * staged + 5,
    ];
    let (mut up, mut down) = (0, 0);
    for len in lengths {
        let values = numbers(len);
        let buffer = stream.upload(&values, ByteClass::Operand, "test")?;
        let back = stream.download(buffer.view(), ByteClass::Gradient)?;
        expect(back == values, format!("{len} numbers came back different"))?;
        up += 8 * len as u64;
        down += 8 * len as u64;
        let account = stream.ledger().snapshot();
        expect_eq("operand bytes up", account.host_to_device.operand, up)?;
        expect_eq("all bytes up", account.host_to_device.total(), up)?;
        expect_eq("gradient bytes down", account.device_to_host.gradient, down)?;
        expect_eq("all bytes down", account.device_to_host.total(), down)?;
    }
    expect_eq("held after the drops", stream.ledger().held_bytes(), 0)?;
    let allocations = stream.ledger().snapshot().allocations;
    expect_eq("allocations", allocations, lengths.len() as u64)
}

fn pinned(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let values = numbers(100_000);
    let mut there = stream.pinned::<f64>(values.len(), "test")?;
    let mut back = stream.pinned::<f64>(values.len(), "test")?;
    let mut buffer = stream.alloc::<f64>(values.len(), "test")?;
    there.write(&values)?;
    stream.upload_pinned(&there, buffer.view_mut(), ByteClass::Operand)?;
    // Written again only after the copy has ended.
    there.write(&vec![0.0; values.len()])?;
    stream.download_pinned(buffer.view(), &mut back, ByteClass::Record)?;
    let mut found = vec![0.0; values.len()];
    back.read(&mut found)?;
    expect(found == values, "pinned numbers came back different")?;
    let account = stream.ledger().snapshot();
    let bytes = 8 * values.len() as u64;
    expect_eq("up", account.host_to_device.operand, bytes)?;
    expect_eq("down", account.device_to_host.record, bytes)?;
    expect_eq("submissions", account.submissions, 2)
}

/// Pieces of both kinds, on a stream that is busy, so that none has travelled when the next is written.
fn pieces(context: &Context) -> Outcome {
    for len in [1000, Uploader::<f64>::LONGEST] {
        let stream = stream(context)?;
        let mut uploader = stream.uploader::<f64>(len)?;
        expect_eq("longest", uploader.longest(), len)?;
        let wanted = numbers(4 * len + 3);
        let mut buffer = stream.alloc::<f64>(wanted.len(), "test")?;
        let mut busy = stream.alloc::<f64>(1, "test")?;
        fill_late(&stream, busy.view_mut(), 0.0, 50_000_000)?;
        let before = stream.ledger().snapshot();
        let mut sent = 0;
        for piece in wanted.chunks(len) {
            let to = buffer.slice_mut(sent..sent + piece.len())?;
            uploader.send(to, ByteClass::Operand, |out| out.copy_from_slice(piece))?;
            sent += piece.len();
        }
        let took = uploader.finish()?;
        let moved = stream.ledger().snapshot().since(&before);
        expect_eq("submissions", moved.submissions, 5)?;
        expect_eq(
            "bytes",
            moved.host_to_device.operand,
            8 * wanted.len() as u64,
        )?;
        expect(
            !took.is_zero(),
            "nothing that was sent took any time to send",
        )?;
        expect(uploader.finish()?.is_zero(), "a time was told twice")?;
        let found = stream.download(buffer.view(), ByteClass::Other)?;
        expect(
            found == wanted,
            format!("pieces of {len} came back different"),
        )?;
    }
    Ok(())
}

fn pieces_refused(context: &Context) -> Outcome {
    let (stream, other) = (stream(context)?, stream(context)?);
    let most = Uploader::<f64>::LONGEST;
    let mut uploader = stream.uploader::<f64>(2 * most)?;
    expect_eq("longest", uploader.longest(), most)?;
    let mut buffer = stream.zeros::<f64>(most + 1, "test")?;
    let mut written = false;
    let refused = uploader.send(buffer.view_mut(), ByteClass::Other, |_| written = true);
    expect(is_shape(&refused), format!("a long piece: {refused:?}"))?;
    let mut foreign = other.zeros::<f64>(1, "test")?;
    let refused = uploader.send(foreign.view_mut(), ByteClass::Other, |_| written = true);
    expect(
        matches!(
            refused,
            Err(DeviceError::Refusal(Refusal::ForeignStream { .. }))
        ),
        format!("a foreign buffer: {refused:?}"),
    )?;
    let captured = stream.capture(|_| {
        let to = buffer.slice_mut(0..1)?;
        uploader.send(to, ByteClass::Other, |_| written = true)
    });
    expect(
        matches!(
            captured.map(drop),
            Err(DeviceError::Refusal(Refusal::Capturing { .. }))
        ),
        "a piece went into a graph",
    )?;
    expect(!written, "a piece that was refused was written")
}

fn changed_after_upload(context: &Context) -> Outcome {
    // By staging, and by three pieces.
    for len in [1000, 3 << 19] {
        let stream = stream(context)?;
        // The stream is busy, so that no copy has begun when the values change.
        let mut busy = stream.alloc::<f64>(1, "test")?;
        let mut buffer = stream.alloc::<f64>(len, "test")?;
        fill_late(&stream, busy.view_mut(), 0.0, 50_000_000)?;
        let mut values = numbers(len);
        let wanted = values.clone();
        let before = stream.ledger().snapshot();
        stream.upload_into(&values, buffer.view_mut(), ByteClass::Other)?;
        let moved = stream.ledger().snapshot().since(&before);
        expect_eq("waits", moved.synchronisations, 0)?;
        values.fill(f64::NAN);
        let found = stream.download(buffer.view(), ByteClass::Other)?;
        expect(
            found == wanted,
            format!("the device saw values written after the upload of {len}"),
        )?;
    }
    Ok(())
}

/// Parts come once each, those of a download in order, and what is written to them is what travels; those of one
/// stream are not held up by another's, which is busy.
fn with_parts(context: &Context) -> Outcome {
    let busy = stream(context)?;
    let mut late = busy.alloc::<f64>(1 << 18, "test")?;
    // Half a second.
    fill_late(&busy, late.slice_mut(0..1)?, 0.0, 1_000_000_000)?;
    let begun = std::time::Instant::now();
    busy.upload_into(&numbers(1 << 18), late.view_mut(), ByteClass::Other)?;
    for len in [0, 1000, 33 << 17] {
        let stream = stream(context)?;
        let wanted = numbers(len);
        let mut buffer = stream.alloc::<f64>(len, "test")?;
        let written = AtomicUsize::new(0);
        stream.upload_with(buffer.view_mut(), ByteClass::Other, |part, out| {
            written.fetch_add(out.len(), Relaxed);
            let parts = out.iter_mut().zip(&wanted[part]);
            parts.for_each(|(out, x)| *out = -x);
        })?;
        expect_eq("numbers written", written.into_inner(), len)?;
        let (mut back, mut next) = (vec![f64::NAN; len], 0);
        stream.download_with(buffer.view(), ByteClass::Other, |part, found| {
            assert!(part.start == next && part.len() == found.len());
            next = part.end;
            back[part]
                .iter_mut()
                .zip(found)
                .for_each(|(out, x)| *out = -x);
        })?;
        expect_eq("numbers read", next, len)?;
        expect(back == wanted, format!("{len} numbers came back different"))?;
    }
    let took = begun.elapsed();
    busy.synchronize()?;
    let late = begun.elapsed();
    expect(
        2 * took < late,
        format!("a neighbour took {took:?} beside work that took {late:?}"),
    )
}

/// Uploaders borrow: what a finished one held serves the next.
fn pieces_are_lent(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let len = Uploader::<f64>::LONGEST;
    let mut buffer = stream.alloc::<f64>(len, "test")?;
    for round in 0..20 {
        let mut uploader = stream.uploader::<f64>(len)?;
        for _ in 0..4 {
            uploader.send(buffer.view_mut(), ByteClass::Other, |out| {
                out.fill(f64::from(round))
            })?;
        }
        // Every second one is dropped while what it sent is on its way.
        if round % 2 == 0 {
            uploader.finish()?;
        }
    }
    let found = stream.download(buffer.view(), ByteClass::Other)?;
    expect(
        found.iter().all(|&x| x == 19.0),
        "the last upload is not what is there",
    )
}

fn parts(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut wanted = numbers(1000);
    let mut buffer = stream.upload(&wanted, ByteClass::Other, "test")?;
    add_one(&stream, buffer.slice_mut(100..200)?)?;
    let (first, second) = buffer.view_mut().split_at(500)?;
    stream.copy(first.as_view().slice(0..50)?, second.slice(450..500)?)?;
    stream.zero(buffer.slice_mut(300..301)?)?;
    wanted[100..200].iter_mut().for_each(|x| *x += 1.0);
    wanted.copy_within(0..50, 950);
    wanted[300] = 0.0;
    let found = stream.download(buffer.view(), ByteClass::Other)?;
    expect(found == wanted, "a call reached beyond its view")
}

fn lengths(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let mut buffer = stream.alloc::<f64>(10, "test")?;
    let upload = stream.upload_into(&[0.0; 9], buffer.view_mut(), ByteClass::Other);
    expect(is_shape(&upload), format!("a short upload: {upload:?}"))?;
    let download = stream.download_into(buffer.view(), &mut [0.0; 11], ByteClass::Other);
    expect(
        is_shape(&download),
        format!("a long download: {download:?}"),
    )?;
    expect(buffer.slice(5..11).is_err(), "a slice beyond the end")?;
    let counted = stream.ledger().snapshot().submissions;
    expect_eq("submissions of refused calls", counted, 0)
}

fn is_shape<T>(answer: &Result<T, DeviceError>) -> bool {
    matches!(answer, Err(DeviceError::Refusal(Refusal::Shape { .. })))
}

fn foreign(context: &Context) -> Outcome {
    let (here, there) = (stream(context)?, stream(context)?);
    let mut buffer = here.alloc::<f64>(1000, "test")?;
    let zeroed = there.zero(buffer.view_mut());
    let refused = matches!(
        zeroed,
        Err(DeviceError::Refusal(Refusal::ForeignStream { .. }))
    );
    expect(refused, format!("a foreign buffer: {zeroed:?}"))?;
    fill_late(&here, buffer.view_mut(), 3.0, 20_000_000)?;
    let buffer = buffer.move_to(&there)?;
    let found = there.download(buffer.view(), ByteClass::Other)?;
    expect(
        found == vec![3.0; 1000],
        "the new stream did not wait for the old one",
    )?;
    expect_eq("held by the old", here.ledger().held_bytes(), 0)?;
    expect_eq("held by the new", there.ledger().held_bytes(), 8000)
}
