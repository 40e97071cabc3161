//! Each wrapper does what its formula says, compared with the host by the bound of rounding.

use crate::oracle::{Dense, within};
use broadhead_device::{
    Batch, BatchMut, ByteClass, Context, DeviceBuffer, Matrix, MatrixMut, Side, Stream, Triangle,
};
use broadhead_testkit::device::{Failed, Outcome, Trial, expect, expect_eq, on_device, stream};

pub(crate) fn tests() -> Vec<Trial> {
    vec![
        on_device("library::gemm_is_the_product", gemm),
        on_device("library::gemm_batch_is_each_product", gemm_batch),
        on_device("library::gemv_is_the_product", gemv),
        on_device("library::symv_reads_one_triangle", symv),
        on_device("library::syrk_writes_one_triangle_of_the_product", syrk),
        on_device("library::trsm_solves_from_either_side", trsm),
        on_device("library::trsm_batch_solves_each", trsm_batch),
        on_device("library::potrf_times_its_transpose_is_the_matrix", potrf),
        on_device(
            "library::potrf_names_the_first_pivot_that_is_not_positive",
            potrf_fails,
        ),
        on_device("library::potrf_batch_factors_each", potrf_batch),
        on_device("library::trtri_times_the_matrix_is_the_identity", trtri),
        on_device(
            "library::an_inverse_by_doubling_times_its_matrix_is_the_identity",
            doubled,
        ),
        on_device("library::shapes_that_differ_are_refused", shapes),
    ]
}

fn put(stream: &Stream, a: &Dense) -> Result<DeviceBuffer<f64>, Failed> {
    Ok(stream.upload(&a.values, ByteClass::Operand, "test")?)
}

fn get(
    stream: &Stream,
    a: &DeviceBuffer<f64>,
    rows: usize,
    columns: usize,
) -> Result<Dense, Failed> {
    Ok(Dense {
        rows,
        columns,
        values: stream.download(a.view(), ByteClass::Operand)?,
    })
}

fn gemm(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (m, n, k) = (37, 23, 51);
    for (ta, tb) in [(false, false), (true, false), (false, true), (true, true)] {
        let (a, b) = (Dense::scattered(m, k, 1), Dense::scattered(k, n, 2));
        let c = Dense::scattered(m, n, 3);
        let stored_a = if ta { a.transposed() } else { a.clone() };
        let stored_b = if tb { b.transposed() } else { b.clone() };
        let (da, db) = (put(&stream, &stored_a)?, put(&stream, &stored_b)?);
        let mut dc = put(&stream, &c)?;
        let ma = Matrix::packed(da.view(), stored_a.rows, stored_a.columns)?;
        let mb = Matrix::packed(db.view(), stored_b.rows, stored_b.columns)?;
        let ma = if ta { ma.transposed() } else { ma };
        let mb = if tb { mb.transposed() } else { mb };
        stream.gemm(
            2.0,
            ma,
            mb,
            -3.0,
            &mut MatrixMut::packed(dc.view_mut(), m, n)?,
        )?;
        let (product, absolute) = a.times(&b);
        let wanted = product.map(|i, j, x| 2.0 * x - 3.0 * c.at(i, j));
        let absolute = absolute.map(|i, j, x| 2.0 * x + 3.0 * c.at(i, j).abs());
        within("gemm", &get(&stream, &dc, m, n)?, &wanted, &absolute, k)?;
    }
    Ok(())
}

fn gemm_batch(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (m, n, k, count) = (3, 4, 5, 17);
    let shared = Dense::scattered(m, k, 1);
    let each: Vec<_> = (0..count)
        .map(|i| Dense::scattered(k, n, i as u64))
        .collect();
    let flat: Vec<f64> = each.iter().flat_map(|b| b.values.clone()).collect();
    let a = put(&stream, &shared)?;
    let b = stream.upload(&flat, ByteClass::Operand, "test")?;
    let mut c = stream.zeros::<f64>(m * n * count, "test")?;
    let first = MatrixMut::packed(c.view_mut(), m, n)?;
    stream.gemm_batch(
        1.0,
        Batch::new(Matrix::packed(a.view(), m, k)?, 0, count)?,
        Batch::new(Matrix::packed(b.view(), k, n)?, k * n, count)?,
        0.0,
        &mut BatchMut::new(first, m * n, count)?,
    )?;
    let found = stream.download(c.view(), ByteClass::Operand)?;
    for (i, b) in each.iter().enumerate() {
        let (wanted, absolute) = shared.times(b);
        let values = found[i * m * n..(i + 1) * m * n].to_vec();
        let found = Dense {
            values,
            ..wanted.clone()
        };
        within("gemm_batch", &found, &wanted, &absolute, k)?;
    }
    Ok(())
}

fn gemv(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (m, n) = (70, 41);
    let (a, x) = (Dense::scattered(m, n, 1), Dense::scattered(n, 1, 2));
    let (da, dx) = (put(&stream, &a)?, put(&stream, &x)?);
    let mut dy = stream.zeros::<f64>(m, "test")?;
    let matrix = Matrix::packed(da.view(), m, n)?;
    stream.gemv(1.0, matrix, dx.view(), 0.0, &mut dy.view_mut())?;
    let (wanted, absolute) = a.times(&x);
    within("gemv", &get(&stream, &dy, m, 1)?, &wanted, &absolute, n)?;
    let y = Dense::scattered(m, 1, 3);
    let dy = put(&stream, &y)?;
    let mut dz = stream.zeros::<f64>(n, "test")?;
    stream.gemv(1.0, matrix.transposed(), dy.view(), 0.0, &mut dz.view_mut())?;
    let (wanted, absolute) = a.transposed().times(&y);
    within(
        "gemv transposed",
        &get(&stream, &dz, n, 1)?,
        &wanted,
        &absolute,
        m,
    )
}

fn symv(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let n = 53;
    let (a, x) = (Dense::positive(n, 4), Dense::scattered(n, 1, 2));
    // What stands above the diagonal must not matter.
    let stored = a.map(|i, j, v| if i >= j { v } else { f64::NAN });
    let (da, dx) = (put(&stream, &stored)?, put(&stream, &x)?);
    let mut dy = stream.zeros::<f64>(n, "test")?;
    let matrix = Matrix::packed(da.view(), n, n)?;
    stream.symv(
        Triangle::Lower,
        1.0,
        matrix,
        dx.view(),
        0.0,
        &mut dy.view_mut(),
    )?;
    let (wanted, absolute) = a.times(&x);
    within("symv", &get(&stream, &dy, n, 1)?, &wanted, &absolute, n)
}

fn syrk(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (n, k) = (33, 65);
    let (a, c) = (Dense::scattered(n, k, 1), Dense::scattered(n, n, 2));
    let (da, mut dc) = (put(&stream, &a)?, put(&stream, &c)?);
    let matrix = Matrix::packed(da.view(), n, k)?;
    let mut into = MatrixMut::packed(dc.view_mut(), n, n)?;
    stream.syrk(Triangle::Lower, -1.0, matrix, 1.0, &mut into)?;
    let (product, absolute) = a.times(&a.transposed());
    let wanted = product.map(|i, j, x| c.at(i, j) - if i >= j { x } else { 0.0 });
    // Above the diagonal nothing may change: a bound of zero.
    let absolute = absolute.map(|i, j, x| if i >= j { x + c.at(i, j).abs() } else { 0.0 });
    within("syrk", &get(&stream, &dc, n, n)?, &wanted, &absolute, k)
}

fn trsm(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (n, m) = (40, 7);
    let l = Dense::positive(n, 1).lower();
    let dl = put(&stream, &l)?;
    let matrix = Matrix::packed(dl.view(), n, n)?;
    for (side, transposed) in [
        (Side::Left, false),
        (Side::Left, true),
        (Side::Right, false),
        (Side::Right, true),
    ] {
        let (rows, columns) = if side == Side::Left { (n, m) } else { (m, n) };
        let b = Dense::scattered(rows, columns, 2);
        let mut db = put(&stream, &b)?;
        let a = if transposed {
            matrix.transposed()
        } else {
            matrix
        };
        let mut into = MatrixMut::packed(db.view_mut(), rows, columns)?;
        stream.trsm(side, Triangle::Lower, 1.0, a, &mut into)?;
        let x = get(&stream, &db, rows, columns)?;
        let a = if transposed {
            l.transposed()
        } else {
            l.clone()
        };
        let (residual, absolute) = if side == Side::Left {
            a.times(&x)
        } else {
            x.times(&a)
        };
        // The residual of substitution is bounded by n roundings of |A| |X| (Higham, 8.1).
        within("trsm residual", &residual, &b, &absolute, n)?;
    }
    Ok(())
}

fn trsm_batch(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (d, k, count) = (3, 5, 100);
    let blocks: Vec<_> = (0..count)
        .map(|i| Dense::positive(d, i as u64).lower())
        .collect();
    let rights: Vec<_> = (0..count)
        .map(|i| Dense::scattered(d, k, i as u64))
        .collect();
    let flat = |all: &[Dense]| {
        all.iter()
            .flat_map(|a| a.values.clone())
            .collect::<Vec<f64>>()
    };
    let a = stream.upload(&flat(&blocks), ByteClass::Operand, "test")?;
    let mut b = stream.upload(&flat(&rights), ByteClass::Operand, "test")?;
    let mut pointers = stream.alloc::<u64>(2 * count, "test")?;
    let first = MatrixMut::packed(b.view_mut(), d, k)?;
    stream.trsm_batch(
        Side::Left,
        Triangle::Lower,
        1.0,
        Batch::new(Matrix::packed(a.view(), d, d)?, d * d, count)?,
        &mut BatchMut::new(first, d * k, count)?,
        pointers.view_mut(),
    )?;
    let found = stream.download(b.view(), ByteClass::Operand)?;
    for (i, (block, right)) in blocks.iter().zip(&rights).enumerate() {
        let values = found[i * d * k..(i + 1) * d * k].to_vec();
        let x = Dense {
            values,
            ..right.clone()
        };
        let (residual, absolute) = block.times(&x);
        within("trsm_batch residual", &residual, right, &absolute, d)?;
    }
    Ok(())
}

/// Factors `a` in place of the buffer; answers `info`.
fn factor(stream: &Stream, a: &mut DeviceBuffer<f64>, n: usize) -> Result<i32, Failed> {
    let mut matrix = MatrixMut::packed(a.view_mut(), n, n)?;
    let mut workspace = stream.alloc::<f64>(stream.potrf_workspace(&mut matrix)?, "test")?;
    let mut info = stream.zeros::<i32>(1, "test")?;
    stream.potrf(&mut matrix, workspace.view_mut(), info.view_mut())?;
    Ok(stream.download(info.view(), ByteClass::Record)?[0])
}

fn potrf(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for n in [1, 2, 31, 150] {
        let a = Dense::positive(n, 5);
        let mut da = put(&stream, &a)?;
        expect_eq("info", factor(&stream, &mut da, n)?, 0)?;
        let found = get(&stream, &da, n, n)?;
        let (product, absolute) = found.lower().times(&found.lower().transposed());
        // |L L' - A| is bounded by n + 1 roundings of |L| |L'| (Higham, 10.3).
        within("L L'", &product, &a, &absolute, n + 1)?;
        let above = (0..n).flat_map(|j| (0..j).map(move |i| (i, j)));
        let kept = above.into_iter().all(|(i, j)| found.at(i, j) == a.at(i, j));
        expect(kept, "potrf wrote above the diagonal")?;
    }
    Ok(())
}

fn potrf_fails(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let n = 20;
    let a = Dense::positive(n, 5).map(|i, j, x| if (i, j) == (12, 12) { -1.0 } else { x });
    let mut da = put(&stream, &a)?;
    expect_eq("info", factor(&stream, &mut da, n)?, 13)
}

fn potrf_batch(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let (d, count, bad) = (4, 65, 7);
    let mut blocks: Vec<_> = (0..count).map(|i| Dense::positive(d, i as u64)).collect();
    blocks[bad] = blocks[bad].map(|i, j, x| if (i, j) == (2, 2) { -1.0 } else { x });
    let flat: Vec<f64> = blocks.iter().flat_map(|a| a.values.clone()).collect();
    let mut a = stream.upload(&flat, ByteClass::Operand, "test")?;
    let mut pointers = stream.alloc::<u64>(count, "test")?;
    let mut info = stream.zeros::<i32>(count, "test")?;
    let first = MatrixMut::packed(a.view_mut(), d, d)?;
    let mut batch = BatchMut::new(first, d * d, count)?;
    stream.potrf_batch(&mut batch, pointers.view_mut(), info.view_mut())?;
    let info = stream.download(info.view(), ByteClass::Record)?;
    let found = stream.download(a.view(), ByteClass::Operand)?;
    for (i, block) in blocks.iter().enumerate() {
        expect_eq("info", info[i], if i == bad { 3 } else { 0 })?;
        if i == bad {
            continue;
        }
        let values = found[i * d * d..(i + 1) * d * d].to_vec();
        let l = Dense {
            values,
            ..block.clone()
        }
        .lower();
        let (product, absolute) = l.times(&l.transposed());
        within("L L'", &product, block, &absolute, d + 1)?;
    }
    Ok(())
}

fn trtri(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let n = 100;
    let l = Dense::positive(n, 9).lower();
    let mut dl = put(&stream, &l)?;
    let mut matrix = MatrixMut::packed(dl.view_mut(), n, n)?;
    let needed = stream.trtri_workspace(Triangle::Lower, &mut matrix)?;
    let mut workspace = stream.alloc::<u8>(needed.device_bytes, "test")?;
    let mut info = stream.zeros::<i32>(1, "test")?;
    stream.trtri(
        Triangle::Lower,
        &mut matrix,
        workspace.view_mut(),
        info.view_mut(),
    )?;
    expect_eq(
        "info",
        stream.download(info.view(), ByteClass::Record)?[0],
        0,
    )?;
    let inverse = get(&stream, &dl, n, n)?.lower();
    let (product, absolute) = inverse.times(&l);
    let identity = Dense::from_fn(n, n, |i, j| f64::from(u8::from(i == j)));
    within("L^-1 L", &product, &identity, &absolute, n)
}

/// One tile, pairs of them, and blocks large enough that their zero quarters are skipped.
fn doubled(context: &Context) -> Outcome {
    let stream = stream(context)?;
    for (leaf, n) in [(1, 1), (7, 7), (5, 40), (64, 64), (16, 256), (64, 512)] {
        let l = Dense::positive(n, 9).lower();
        // What stands above is scratch.
        let above = l.map(|i, j, x| if i < j { f64::NAN } else { x });
        let mut left = put(&stream, &above)?;
        let mut inverse = stream.zeros::<f64>(n * n, "test")?;
        stream.triangular_inverse(
            &mut MatrixMut::packed(left.view_mut(), n, n)?,
            &mut MatrixMut::packed(inverse.view_mut(), n, n)?,
            leaf,
        )?;
        let found = get(&stream, &inverse, n, n)?;
        let mirrored = (0..n).all(|j| (0..j).all(|i| found.at(i, j) == found.at(j, i)));
        expect(mirrored, format!("{n}: no mirror image above the diagonal"))?;
        let lower = found.lower();
        let (product, absolute) = lower.times(&l);
        let identity = Dense::from_fn(n, n, |i, j| f64::from(u8::from(i == j)));
        within("L^-1 L by doubling", &product, &identity, &absolute, n)?;
    }
    Ok(())
}

fn shapes(context: &Context) -> Outcome {
    let stream = stream(context)?;
    let a = stream.zeros::<f64>(6, "test")?;
    let mut c = stream.zeros::<f64>(4, "test")?;
    let (wide, tall) = (
        Matrix::packed(a.view(), 2, 3)?,
        Matrix::packed(a.view(), 3, 2)?,
    );
    let mut into = MatrixMut::packed(c.view_mut(), 2, 2)?;
    let before = stream.ledger().snapshot();
    expect(
        stream.gemm(1.0, tall, tall, 0.0, &mut into).is_err(),
        "(3 x 2) (3 x 2)",
    )?;
    expect(
        stream
            .syrk(Triangle::Lower, 1.0, tall, 0.0, &mut into)
            .is_err(),
        "3 x 3 into 2 x 2",
    )?;
    expect(
        stream
            .trsm(Side::Left, Triangle::Lower, 1.0, wide, &mut into)
            .is_err(),
        "a triangle of 2 x 3",
    )?;
    expect(Matrix::packed(a.view(), 4, 2).is_err(), "8 entries in 6")?;
    expect_eq("submissions", stream.ledger().snapshot(), before)?;
    let mut info = stream.zeros::<i32>(1, "test")?;
    let mut short = stream.alloc::<f64>(0, "test")?;
    let answer = stream.potrf(&mut into, short.view_mut(), info.view_mut());
    let enough = stream.potrf_workspace(&mut into)? == 0;
    expect(
        answer.is_ok() == enough,
        format!("potrf without a workspace: {answer:?}"),
    )?;
    stream.gemm(1.0, wide, tall, 0.0, &mut into)?;
    Ok(())
}
