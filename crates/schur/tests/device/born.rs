//! Systems whose numbers a caller's kernels wrote where they lie: factored and solved as if they had been
//! sent, to the bit, and nothing travels.
#![allow(unsafe_code)] // Beside the kernels' typed launches alone.

use super::case::{Case, room};
use super::structured::{self, Method};
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::ByteClass::Other;
use broadhead_device::kernels::{Geometry, KernelSource};
use broadhead_device::{DeviceBuffer, DeviceError, Stream, ViewMut};
use broadhead_schur::device::{Keep, Linearisation};
use broadhead_schur::{ArrowVector, EliminationKind, Error, Failure, LogDeterminant, Ridge};
use broadhead_testkit::cases::StructuredCase;
use broadhead_testkit::device::{Trial, is_racechecked};
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::random::Random;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!(
            "born::a_dense_system_has_the_bits_of_one_that_was_sent",
            dense
        ),
        on_device!(
            "born::a_structured_system_has_the_bits_of_one_that_was_sent",
            sparse
        ),
        on_device!(
            "born::a_number_that_is_not_finite_is_named_and_there_is_no_system",
            not_finite
        ),
        on_device!("born::another_kind_of_system_is_refused", another_kind),
    ]
}

const BORN: KernelSource = KernelSource {
    name: "born.cu",
    text: include_str!("born.cu"),
    declares: &[],
    entries: &["born_all", "born_below"],
    options: &[],
};

const RIDGE: Ridge = Ridge {
    row: 0.25,
    border: 0.125,
};

/// Numbers of the test's, to be written by its kernels.
fn there(stream: &Stream, numbers: &[f64]) -> Result<DeviceBuffer<f64>, DeviceError> {
    stream.upload(numbers, Other, "a test's numbers")
}

fn write_all(from: &DeviceBuffer<f64>, to: ViewMut<'_, f64>) -> Result<(), DeviceError> {
    let (stream, len) = (from.stream(), to.len());
    assert_eq!(from.len(), len);
    let kernel = stream.context().module(&BORN)?.kernel("born_all")?.clone();
    let launch = kernel
        .launch(stream, Geometry::line(64, 256))
        .read(from.view())
        .write(to)
        .scalar(len as i64);
    // SAFETY: the arguments are those of the source, of one length.
    unsafe { launch.submit() }
}

fn write_below(
    from: &DeviceBuffer<f64>,
    to: ViewMut<'_, f64>,
    (ld, k): (usize, usize),
) -> Result<(), DeviceError> {
    let stream = from.stream();
    assert!(from.len() == k * k && to.len() == ld * ld);
    let kernel = stream
        .context()
        .module(&BORN)?
        .kernel("born_below")?
        .clone();
    let launch = kernel
        .launch(stream, Geometry::line(64, 256))
        .read(from.view())
        .write(to)
        .scalar(ld as i64)
        .scalar(k as i32);
    // SAFETY: the arguments are those of the source; k x k numbers and ld x ld.
    unsafe { launch.submit() }
}

type Solved = (ArrowVector, Option<LogDeterminant>);

fn solved(room: &mut Linearisation, g: &ArrowVector) -> Result<Solved, Failure> {
    let mut step = ArrowVector::zeros(room.shape());
    let mut factors = room.factor(RIDGE)?;
    factors.solve(g.as_gradient(), step.as_step())?;
    Ok((step, factors.log_determinant().ok()))
}

/// `H g`, over the operands.
fn products(room: &mut Linearisation, g: &ArrowVector) -> Result<[Vec<f64>; 2], Error> {
    let stream = room.stream().clone();
    let (mut x, mut y, mut other) = (room.vector()?, room.vector()?, room.vector()?);
    stream.upload_into(&g.row, x.row_mut(), Other)?;
    stream.upload_into(&g.border, x.border_mut()?, Other)?;
    room.products([&x, &x], [&mut y, &mut other])?;
    Ok([
        stream.download(y.row(), Other)?,
        stream.download(y.border()?, Other)?,
    ])
}

/// Writes `case` by kernels twice; the second time nothing is made and a record alone travels.
fn write_case(room: &mut Linearisation, case: &Case) -> Outcome {
    let stream = room.stream().clone();
    let arrays = [&case.d, &case.b, &case.c].map(|numbers| there(&stream, numbers));
    let [d, b, c] = arrays;
    let (d, b, c) = (d?, b?, c?);
    let of = (room.system().border_stride()?, case.shape.border());
    for again in [false, true] {
        let before = room.ledger();
        room.write_dense(|[rows, cross, border]| {
            write_all(&d, rows)?;
            write_all(&b, cross)?;
            write_below(&c, border, of)
        })?;
        let moved = room.ledger().since(&before);
        if again {
            expect_eq("allocations", moved.allocations, 0)?;
            expect_eq("bytes in", moved.host_to_device.total(), 0)?;
            expect_eq("bytes out", moved.device_to_host.total(), 40)?;
        }
    }
    Ok(())
}

fn dense(stream: &Stream) -> Outcome {
    let ragged: Vec<usize> = (0..40).map(|i| [2, 0, 3, 1, 7][i % 5]).collect();
    let rows = if is_racechecked() { 40 } else { 300 };
    for (dims, k) in [
        (vec![2; rows], 200),
        (ragged, 37),
        (vec![40; 5], 64),
        (vec![3; 9], 0),
    ] {
        for keep in [Keep::Factor, Keep::InverseFactor] {
            let case = Case::new(&dims, k, 7)?;
            let mut sent = room(stream, &case.shape, keep)?;
            sent.refresh(case.system()?)?;
            let wanted = solved(&mut sent, &case.g)?;
            let mut born = room(stream, &case.shape, keep)?;
            write_case(&mut born, &case)?;
            expect(
                solved(&mut born, &case.g)? == wanted,
                format!("{k}, {keep:?}: not the bits of a system that was sent"),
            )?;
            let product = products(&mut sent, &case.g)?;
            expect(products(&mut born, &case.g)? == product, "other products")?;
            // A system that is sent takes its place, and the other way about.
            born.refresh(case.system()?)?;
            expect(solved(&mut born, &case.g)? == wanted, "sent after written")?;
            expect(
                products(&mut born, &case.g)? == product,
                "other products, sent",
            )?;
            write_case(&mut born, &case)?;
            expect(solved(&mut born, &case.g)? == wanted, "written after sent")?;
        }
    }
    Ok(())
}

fn structured_case(dims: Vec<usize>, features: usize, outputs: usize) -> StructuredCase {
    let of = Structure {
        dims,
        features,
        outputs,
        density: 0.7,
        atoms: false,
        margin: 0.1,
    };
    generate::structured(&of, &mut Random::new(11))
}

/// Its arrays as they lie on a device: features that a row has not are zeros, `G` is whole.
fn lying(case: &StructuredCase) -> [Vec<f64>; 5] {
    let (m, rows) = (case.shape.features(), case.shape.arrow().rows());
    let (n, unknowns) = (rows.rows(), rows.unknowns());
    let (mut phi, mut psi) = (vec![0.0; n * m], vec![0.0; unknowns * m]);
    for i in 0..n {
        let on = case.offsets[i]..case.offsets[i + 1];
        for (o, entry) in on.clone().enumerate() {
            let f = case.indices[entry];
            phi[i * m + f] = case.phi[entry];
            for a in 0..rows.dim(i) {
                psi[(rows.offset(i) + a) * m + f] =
                    case.psi[case.psi_offsets[i] + a * on.len() + o];
            }
        }
    }
    let mut gram = case.gram.clone();
    for a in 0..m {
        for b in a + 1..m {
            gram[a * m + b] = gram[b * m + a];
        }
    }
    [
        case.row_hessian.clone(),
        phi,
        psi,
        gram,
        case.decoder.clone(),
    ]
}

fn write_structured(room: &mut Linearisation, arrays: &[Vec<f64>; 5]) -> Result<(), Error> {
    let stream = room.stream().clone();
    let numbers: Result<Vec<_>, _> = arrays.iter().map(|array| there(&stream, array)).collect();
    let numbers = numbers?;
    room.write_structured(|places| {
        let mut pairs = numbers.iter().zip(places);
        pairs.try_for_each(|(from, to)| write_all(from, to))
    })
}

const METHODS: [Method; 4] = [
    (EliminationKind::Core, Keep::Factor),
    (EliminationKind::Border, Keep::Factor),
    (EliminationKind::Border, Keep::InverseFactor),
    (EliminationKind::Iterative, Keep::Factor),
];

fn sparse(stream: &Stream) -> Outcome {
    let ragged: Vec<usize> = (0..60).map(|i| [2, 0, 4, 1, 3][i % 5]).collect();
    for (dims, m, p) in [(vec![1; 90], 3, 40), (ragged, 6, 9), (vec![2; 50], 9, 4)] {
        let case = structured_case(dims, m, p);
        let arrays = lying(&case);
        let mut random = super::case::Random(5);
        let g = ArrowVector {
            row: random.many(case.shape.arrow().row_unknowns(), 1.0),
            border: random.many(case.shape.arrow().border(), 1.0),
        };
        for method in METHODS {
            let mut sent = structured::room(stream, &case.shape, method)?;
            sent.refresh(case.structured())?;
            let wanted = solved(&mut sent, &g)?;
            let mut born = structured::room(stream, &case.shape, method)?;
            write_structured(&mut born, &arrays)?;
            expect(
                solved(&mut born, &g)? == wanted,
                format!("{m} x {p}, {method:?}: not the bits of a system that was sent"),
            )?;
        }
    }
    Ok(())
}

/// What there is no number at is named as the host names it, with its value; and nothing can be factored then.
fn not_finite(stream: &Stream) -> Outcome {
    let sound = Case::new(&[2, 0, 3], 4, 3)?;
    let mut at = room(stream, &sound.shape, Keep::default())?;
    type Spoil = fn(&mut Case);
    let spoil: [(&str, [usize; 3], f64, Spoil); 4] = [
        ("row_hessian", [2, 1, 0], f64::INFINITY, |c| {
            // Of two the first.
            (c.d[4 + 3], c.d[4 + 8]) = (f64::INFINITY, f64::NAN);
        }),
        ("row_cross", [0, 1, 2], f64::NEG_INFINITY, |c| {
            c.b[4 + 2] = f64::NEG_INFINITY
        }),
        ("border_hessian", [3, 1, 0], f64::INFINITY, |c| {
            c.c[3 * 4 + 1] = f64::INFINITY
        }),
        ("border_hessian", [2, 2, 0], f64::INFINITY, |c| {
            c.c[2 * 4 + 2] = f64::INFINITY
        }),
    ];
    for (array, place, value, spoil) in spoil {
        let mut case = Case::new(&[2, 0, 3], 4, 3)?;
        spoil(&mut case);
        let stride = at.system().border_stride()?;
        let (d, b, c) = (
            there(stream, &case.d)?,
            there(stream, &case.b)?,
            there(stream, &case.c)?,
        );
        let written = at.write_dense(|[rows, cross, border]| {
            write_all(&d, rows)?;
            write_all(&b, cross)?;
            write_below(&c, border, (stride, 4))
        });
        let indices = if array == "border_hessian" { 2 } else { 3 };
        let wanted = Error::NotFinite {
            array,
            index: place[..indices].to_vec(),
            value,
        };
        let named = matches!(&written, Err(found) if found.to_string() == wanted.to_string());
        expect(named, format!("{written:?}, not {wanted}"))?;
        expect(at.factor(RIDGE).is_err(), "what is no system was factored")?;
    }
    write_case(&mut at, &sound)?;
    solved(&mut at, &sound.g)?;
    let case = structured_case(vec![2, 0, 3, 1], 3, 4);
    let of = [
        ("row_hessian", 6, vec![2, 0, 2]),
        ("row_hessian", 9, vec![2, 1, 2]),
        ("row_hessian", 10, vec![2, 2, 0]),
        ("feature_phi", 7, vec![2, 1]),
        ("feature_psi", 10, vec![2, 1, 1]),
        ("gram", 5, vec![1, 2]),
        ("decoder", 6, vec![1, 2]),
    ];
    for (array, place, index) in of {
        let mut arrays = lying(&case);
        let names = [
            "row_hessian",
            "feature_phi",
            "feature_psi",
            "gram",
            "decoder",
        ];
        let which = names.iter().position(|name| *name == array);
        arrays[which.ok_or("no such array")?][place] = f64::NAN;
        let mut at = structured::room(stream, &case.shape, METHODS[0])?;
        let written = write_structured(&mut at, &arrays);
        // Above a diagonal of the rows' nothing is read.
        if array == "row_hessian" && index[2] > index[1] {
            written?;
            at.factor(RIDGE)?;
            continue;
        }
        let wanted = format!("{array}{index:?} is NaN: expected a finite number");
        let named = matches!(&written, Err(found) if found.to_string() == wanted);
        expect(named, format!("{written:?}, not {wanted}"))?;
        expect(at.factor(RIDGE).is_err(), "what is no system was factored")?;
    }
    Ok(())
}

fn another_kind(stream: &Stream) -> Outcome {
    let dense = Case::new(&[2; 5], 4, 3)?;
    let mut room = room(stream, &dense.shape, Keep::default())?;
    let refused = |written: Result<(), Error>| {
        let typed = matches!(written, Err(Error::Unsupported { .. }));
        expect(typed, "another kind of system was written")
    };
    refused(room.write_structured(|_| Ok(())))?;
    // It is as it was.
    write_case(&mut room, &dense)?;
    refused(room.write_structured(|_| Ok(())))?;
    solved(&mut room, &dense.g)?;
    let case = structured_case(vec![1; 9], 3, 4);
    let mut room = structured::room(stream, &case.shape, METHODS[0])?;
    room.refresh(case.structured())?;
    refused(room.write_dense(|_| Ok(())))?;
    room.factor(RIDGE)?;
    let stride = room.system().border_stride();
    expect(
        matches!(stride, Err(Error::Unsupported { .. })),
        format!("{stride:?}"),
    )?;
    // What the caller's kernels answer comes back, and there is no system.
    let mut room = super::case::room(stream, &dense.shape, Keep::default())?;
    room.refresh(dense.system()?)?;
    let failed = room.write_dense(|[rows, ..]| rows.slice(0..1 << 30).map(drop));
    expect(
        matches!(failed, Err(Error::Device(_))),
        format!("{failed:?}"),
    )?;
    expect(room.factor(RIDGE).is_err(), "half a system was factored")
}
