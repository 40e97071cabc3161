//! Every step of a factorization has two ways, each the other's check.

use super::case::Case;
use super::{Outcome, expect, expect_eq, on_device};
use broadhead_device::Stream;
use broadhead_schur::device::{FrameSummary, Keep, Linearisation, Placement, Way};
use broadhead_schur::{ArrowVector, Error, LogDeterminant, Ridge};
use broadhead_testkit::device::{Trial, is_racechecked};

/// The componentwise backward error that counts as parity.
const PARITY: f64 = 1e-13;

pub(super) fn tests() -> Vec<Trial> {
    vec![
        on_device!("the_library_s_rows_check_the_fused_ones", rows),
        on_device!("tiles_and_the_library_check_each_other", borders),
        on_device!("rows_past_the_fused_kernels_go_the_library_s_way", wide),
        on_device!("tiles_give_the_same_bits_run_to_run", bits),
        on_device!("a_way_that_does_not_serve_is_refused", refused),
    ]
}

/// Nothing pinned but what is kept.
fn place(stream: &Stream) -> Placement {
    Placement::on(stream).keeping(Keep::InverseFactor)
}

struct Answer {
    step: ArrowVector,
    log: LogDeterminant,
    summary: FrameSummary,
}

fn solve(
    place: &Placement,
    case: &Case,
    ridge: Ridge,
) -> Result<Answer, Box<dyn std::error::Error>> {
    let mut base = Linearisation::dense(place, &case.shape)?;
    base.refresh(case.system()?)?;
    let mut step = ArrowVector::zeros(&case.shape);
    let mut frame = base.factor(ridge)?;
    frame.solve(case.g.as_gradient(), step.as_step())?;
    let (log, summary) = (frame.log_determinant()?, frame.summary());
    let omega = case.error(&step, ridge)?;
    match omega <= PARITY {
        true => Ok(Answer { step, log, summary }),
        false => Err(format!("{summary:?}: backward error {omega:e}").into()),
    }
}

fn agree(a: &Answer, b: &Answer) -> Outcome {
    let error = (a.log.value - b.log.value).abs();
    let what = format!("log-determinants {:?} and {:?}", a.log, b.log);
    expect(error <= 1e-13 * a.log.absolute.max(1.0), what)
}

fn rows(stream: &Stream) -> Outcome {
    let of = |all: usize| if is_racechecked() { all / 8 } else { all };
    let ragged: Vec<usize> = (0..of(90)).map(|i| [2, 0, 5, 1, 16, 3][i % 6]).collect();
    for (dims, k) in [
        (vec![1; 50], 33),
        (vec![2; 333], 64),
        (vec![3; 100], 20),
        (vec![4; 1001], 10),
        (vec![8; of(999)], 65),
        (vec![16; of(203)], 129),
        (vec![32; 40], 100),
        (ragged, 257),
    ] {
        let case = Case::new(&dims, k, 31)?;
        for ridge in [Ridge::ZERO, Ridge::new(0.3, 0.1)] {
            let by = |way| Placement {
                rows: Some(way),
                ..place(stream)
            };
            let fused = solve(&by(Way::Fused), &case, ridge)?;
            let library = solve(&by(Way::Library), &case, ridge)?;
            expect_eq("the way", library.summary.rows, Way::Library)?;
            agree(&fused, &library)?;
        }
    }
    Ok(())
}

/// Orders of few and many tiles, padded and whole; rows within and past what tiles take in.
fn borders(stream: &Stream) -> Outcome {
    // All these orders are padded to whole tiles.
    let served = has_tiles(stream);
    let mut cases = vec![
        (vec![2; 30], 64),
        (vec![2; 7], 128),
        (vec![3; 50], 445),
        (vec![1; 300], 700),
        (vec![2; 180], 1000),
        (vec![], 1024),
        (vec![3; 500], 1500),
    ];
    let mut ridges = vec![Ridge::ZERO, Ridge::new(0.3, 0.1)];
    if is_racechecked() {
        cases.retain(|(_, k)| *k <= 500);
        ridges.truncate(1);
    }
    for (dims, k) in cases {
        let case = Case::new(&dims, k, 32)?;
        let by = |way| Placement {
            border: Some(way),
            ..place(stream)
        };
        for &ridge in &ridges {
            let library = solve(&by(Way::Library), &case, ridge)?;
            for way in [Way::Tiles, Way::SyrkAndTiles] {
                let tiles = match solve(&by(way), &case, ridge) {
                    Ok(tiles) => tiles,
                    // A device without the shared memory.
                    Err(error) if !served && refuses(error.as_ref()) => continue,
                    Err(error) => return Err(error.into()),
                };
                expect_eq("the way", tiles.summary.border, Some(way))?;
                agree(&library, &tiles)?;
            }
        }
    }
    Ok(())
}

/// Whether the device has the shared memory of compute capability 9.0: then it has no excuse.
fn has_tiles(stream: &Stream) -> bool {
    stream.context().info().shared_bytes_per_block >= 227 << 10
}

fn refuses(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(error.downcast_ref(), Some(Error::Unsupported { .. }))
}

fn wide(stream: &Stream) -> Outcome {
    let least = is_racechecked();
    let of = |all: usize, fewer: usize| if least { fewer } else { all };
    let ragged: Vec<usize> = (0..of(40, 12))
        .map(|i| [2, 0, 77, 1, 128, 33][i % 6])
        .collect();
    for (dims, k) in [
        (vec![33; of(50, 10)], 40),
        (vec![128; of(9, 3)], of(300, 130)),
        (ragged, 130),
    ] {
        let case = Case::new(&dims, k, 33)?;
        for ridge in [Ridge::ZERO, Ridge::new(0.3, 0.1)] {
            let answer = solve(&place(stream), &case, ridge)?;
            expect_eq("the way", answer.summary.rows, Way::Library)?;
        }
    }
    Ok(())
}

fn bits(stream: &Stream) -> Outcome {
    // Rows that the tiles sum over themselves, and rows past that.
    let (cases, rounds) = match is_racechecked() {
        true => ([(25, 253), (150, 189)], 2),
        false => ([(180, 2048), (900, 1100)], 4),
    };
    let served = has_tiles(stream);
    for (rows, k) in cases {
        let case = Case::new(&vec![2; rows], k, 34)?;
        let first = solve(&place(stream), &case, Ridge::ZERO)?;
        let tiled = first.summary.border != Some(Way::Library);
        expect_eq("by tiles", tiled, served)?;
        for round in 0..rounds {
            let again = solve(&place(stream), &case, Ridge::ZERO)?;
            expect_eq(&format!("round {round}"), again.step, first.step.clone())?;
        }
    }
    Ok(())
}

fn refused(stream: &Stream) -> Outcome {
    let case = Case::new(&[40; 3], 10, 35)?;
    let by = |rows, border| Placement {
        rows,
        border,
        ..place(stream)
    };
    for place in [
        by(Some(Way::Fused), None),
        // No order of whole tiles.
        by(None, Some(Way::Tiles)),
        // Ways of the other side.
        by(Some(Way::SyrkAndTiles), None),
        by(None, Some(Way::Fused)),
    ] {
        let answer = Linearisation::dense(&place, &case.shape).map(|_| ());
        let named = matches!(answer, Err(Error::Unsupported { .. }));
        expect(named, format!("{answer:?}"))?;
    }
    Ok(())
}
