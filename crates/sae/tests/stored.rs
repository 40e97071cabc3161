//! Rows in their own type, in memory or read tile by tile, give the bits that FP64 rows in memory give.

mod common;

use broadhead_sae::model::file::Note;
use broadhead_sae::*;
use common::{few, made, one};
use ndarray::Array2;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that are read as if they lay in a file; reads fail once `left` are done.
#[derive(Debug)]
struct Elsewhere {
    bytes: Arc<Vec<u8>>,
    left: AtomicUsize,
}

impl Stored for Elsewhere {
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                left.checked_sub(1)
            })
            .is_err()
        {
            return Err(io::Error::other("the disk is gone"));
        }
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn name(&self) -> String {
        "elsewhere".to_owned()
    }
}

/// `x` rounded to a type, its bytes, and the same numbers in FP64.
fn rounded(x: &Array2<f64>, element: ElementType) -> (Vec<u8>, Array2<f64>) {
    let half = |v: f64| {
        let bits = (v as f32).to_bits();
        (
            (bits >> 16) as u16,
            f64::from(f32::from_bits(bits & 0xffff_0000)),
        )
    };
    match element {
        ElementType::F64 => (x.iter().flat_map(|v| v.to_le_bytes()).collect(), x.clone()),
        ElementType::F32 => (
            x.iter().flat_map(|v| (*v as f32).to_le_bytes()).collect(),
            x.mapv(|v| f64::from(v as f32)),
        ),
        _ => (
            x.iter().flat_map(|v| half(*v).0.to_le_bytes()).collect(),
            x.mapv(|v| half(v).1),
        ),
    }
}

/// The same rows in memory and elsewhere.
fn places(bytes: &[u8], element: ElementType, shape: [usize; 2], reads: usize) -> [Rows; 2] {
    let order = ByteOrder::Little;
    let placement = Placement {
        element,
        bytes: order,
        order: MatrixOrder::RowMajor,
        shape,
        offset: 0,
    };
    let elsewhere = Elsewhere {
        bytes: Arc::new(bytes.to_vec()),
        left: AtomicUsize::new(reads),
    };
    [
        Rows::from_bytes(bytes.to_vec(), element, order, shape).unwrap(),
        Rows::stored(Box::new(elsewhere), placement),
    ]
}

fn bits(array: &Array2<f64>) -> Vec<u64> {
    array.iter().map(|v| v.to_bits()).collect()
}

#[track_caller]
fn expect_equal(a: &Fit, b: &Fit, what: &str) {
    assert_eq!(a.objective.to_bits(), b.objective.to_bits(), "{what}");
    assert_eq!(a.model, b.model, "{what}");
    assert_eq!(bits(&a.coordinates()), bits(&b.coordinates()), "{what}");
    assert_eq!(a.gates(), b.gates(), "{what}");
    assert_eq!(a.squared_error, b.squared_error, "{what}");
    assert_eq!(a.variation, b.variation, "{what}");
    assert_eq!(a.gate_rounds.len(), b.gate_rounds.len(), "{what}");
}

fn circles(count: usize) -> Dictionary {
    Dictionary::uniform(count, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap()
}

/// Rows that choose, rows that do not, atoms with a scale of their own, and rows of which a sample ranks starts.
fn cases() -> Vec<(Dictionary, FitOptions, Array2<f64>)> {
    let top = |k, starts| FitOptions {
        gates: GatePolicy::TopK(k),
        ..few(starts)
    };
    let mixed: Dictionary = "2*circle,euclidean:1,sphere".parse().unwrap();
    let circle = one(Topology::Circle);
    let one_start = FitOptions {
        starts: 1,
        ..few(1)
    };
    vec![
        (
            circles(5),
            top(2, 3),
            made(&circles(5), 700, 20, Some(2), 0.1).x,
        ),
        (
            mixed.clone(),
            top(2, 2),
            made(&mixed, 300, 9, Some(2), 0.1).x,
        ),
        (circle.clone(), few(3), made(&circle, 1100, 7, None, 0.1).x),
        (mixed.clone(), one_start, made(&mixed, 150, 9, None, 0.1).x),
        (
            circles(3),
            top(1, 2),
            made(&circles(3), 2300, 6, Some(1), 0.1).x,
        ),
    ]
}

#[test]
fn a_fit_has_the_same_bits_of_any_place_of_its_rows() {
    for (case, (dictionary, options, x)) in cases().into_iter().enumerate() {
        let element = [ElementType::F32, ElementType::F64, ElementType::Bf16][case % 3];
        let (bytes, wide) = rounded(&x, element);
        let want = fit(wide.view(), &dictionary, &options, &go_on).unwrap();
        for rows in places(&bytes, element, x.dim().into(), usize::MAX) {
            let got = fit(&rows, &dictionary, &options, &go_on).unwrap();
            expect_equal(&want, &got, &format!("case {case}, {element:?}"));
        }
    }
}

/// So many numbers that in memory too they are normalised tile by tile, and multiplied block by block.
#[test]
fn many_rows_have_the_same_bits_in_memory_and_elsewhere() {
    let circle = one(Topology::Circle);
    let wave: Vec<[f32; 2]> = (0..128)
        .map(|c| [(c as f32).sin(), (2.0 * c as f32).cos()])
        .collect();
    let x = Array2::from_shape_fn((66_000, 128), |(i, c)| {
        let (sin, cos) = (2.399_963 * i as f32).sin_cos();
        let noise = ((i * 128 + c) as f32 * 0.618_034).fract() - 0.5;
        f64::from(3.0 + cos * wave[c][0] + sin * wave[c][1] + 0.1 * noise)
    });
    let options = FitOptions {
        rule: lm::Rule::curved().with_max_iterations(2),
        ..few(1)
    };
    let (bytes, _) = rounded(&x, ElementType::F32);
    let fits = places(&bytes, ElementType::F32, x.dim().into(), usize::MAX)
        .map(|rows| fit(&rows, &circle, &options, &go_on).unwrap());
    expect_equal(&fits[0], &fits[1], "many rows");
    assert!(fits[0].explained_variance > 0.9);
}

#[test]
fn rows_held_out_and_rows_encoded_have_the_same_bits_of_any_place() {
    for (dictionary, options, x) in cases().into_iter().step_by(2) {
        let (bytes, wide) = rounded(&x, ElementType::F32);
        let of = |rows: Rows| {
            let place = Place::default();
            let found = fit_holding_out(&place, rows, &dictionary, &options, 0.2, &go_on);
            let (fit, held) = found.unwrap();
            (fit, held.unwrap())
        };
        let (want, held) = of(wide.view().into());
        let model = &want.model;
        let encoded = model
            .encode(wide.view(), &EncodeOptions::default())
            .unwrap();
        for rows in places(&bytes, ElementType::F32, x.dim().into(), usize::MAX) {
            let (got, of_it) = of(rows.clone());
            expect_equal(&want, &got, "held out");
            assert_eq!(held, of_it);
            let again = model.encode(rows, &EncodeOptions::default()).unwrap();
            assert_eq!(bits(&encoded.coordinates), bits(&again.coordinates));
            assert_eq!(encoded.gates, again.gates);
            assert_eq!(encoded.squared_error, again.squared_error);
            assert_eq!(encoded.converged, again.converged);
            assert_eq!(encoded.variation, again.variation);
        }
    }
}

#[test]
fn blocks_of_encoded_rows_are_the_whole_encoding_in_order() {
    let dictionary = circles(40);
    let x = made(&dictionary, 14_000, 6, Some(1), 0.1).x;
    let decoder = Array2::from_shape_fn((dictionary.features(), 6), |(m, c)| {
        ((m * 7 + c * 3) as f64 * 0.7).sin()
    });
    for k in [1, 40] {
        let note = Note {
            dictionary: dictionary.clone(),
            gates: "all".to_owned(),
            kappa: 0.0,
            lambda: None,
        };
        let model = Model::new(note, decoder.clone()).unwrap();
        let options = EncodeOptions {
            gates: Some(GatePolicy::TopK(k)),
            max_iterations: 3,
        };
        let rows = if k == 1 { 14_000 } else { 200 };
        let x = x.slice(ndarray::s![..rows, ..]);
        let whole = model.encode(x, &options).unwrap();
        let (mut next, mut blocks) = (0, 0);
        let explained = model.encode_blocks(x, &options, |block| {
            assert_eq!(block.rows.start, next);
            next = block.rows.end;
            blocks += 1;
            let part = ndarray::s![block.rows.clone(), ..];
            let same = bits(&block.coordinates) == bits(&whole.coordinates.slice(part).to_owned());
            assert!(same && block.gates == whole.gates.slice(part));
            assert_eq!(
                block.squared_error,
                whole.squared_error.slice(ndarray::s![block.rows])
            );
            Ok::<(), FitError>(())
        });
        assert_eq!(explained.unwrap(), whole.variation);
        assert_eq!(next, rows);
        assert_eq!(blocks > 1, k == 1, "{blocks}");
    }
}

#[test]
fn what_stops_the_reader_of_blocks_stops_the_encoding() {
    let circle = one(Topology::Circle);
    let x = made(&circle, 60, 5, None, 0.1).x;
    let model = fit(x.view(), &circle, &few(2), &go_on).unwrap().model;
    let ended = model.encode_blocks(x.view(), &EncodeOptions::default(), |_| {
        Err(FitError::Cancelled)
    });
    assert!(matches!(ended, Err(FitError::Cancelled)));
}

#[test]
fn rows_that_cannot_be_read_any_more_end_a_fit_and_an_encoding_with_their_name() {
    let (dictionary, options, x) = cases().swap_remove(0);
    let circle = one(Topology::Circle);
    let (bytes, _) = rounded(&x, ElementType::F32);
    let after = |reads: usize| {
        let [_, rows] = places(&bytes, ElementType::F32, x.dim().into(), reads);
        rows
    };
    let is_gone = |error: FitError, reads: usize| {
        let read = matches!(error, FitError::Rows(RowsError::Read { .. }));
        assert!(
            read && error.to_string().starts_with("elsewhere: row "),
            "{reads}: {error}"
        );
    };
    for reads in [0, 2, 9, 40, 200] {
        is_gone(
            fit(after(reads), &dictionary, &options, &go_on).unwrap_err(),
            reads,
        );
    }
    for reads in [1, 7, 25] {
        is_gone(
            fit(after(reads), &circle, &few(2), &go_on).unwrap_err(),
            reads,
        );
        let place = Place::default();
        let held = fit_holding_out(&place, after(reads), &circle, &few(2), 0.2, &go_on);
        is_gone(held.unwrap_err(), reads);
    }
    let model = fit(x.view(), &dictionary, &few(1), &go_on).unwrap().model;
    for reads in [0, 3, 8] {
        let encoded = model.encode(after(reads), &EncodeOptions::default());
        is_gone(encoded.unwrap_err(), reads);
    }
}

#[test]
fn an_entry_that_is_not_finite_is_located_wherever_it_is() {
    let circle = one(Topology::Circle);
    let mut x = made(&circle, 500, 4, None, 0.1).x;
    (x[(321, 2)], x[(400, 0)]) = (f64::NAN, f64::INFINITY);
    let (bytes, _) = rounded(&x, ElementType::F32);
    for rows in places(&bytes, ElementType::F32, [500, 4], usize::MAX) {
        for share in [0.0, 0.5] {
            let place = Place::default();
            let found = fit_holding_out(&place, &rows, &circle, &few(1), share, &go_on);
            assert!(matches!(
                found.unwrap_err(),
                FitError::NotFinite {
                    array: "X",
                    row: 321,
                    column: 2,
                    ..
                }
            ));
        }
    }
}
