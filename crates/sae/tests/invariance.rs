//! What must change nothing: units, the order of rows, threads, neighbours.

mod common;

use broadhead_sae::*;
use common::{encode, few, made, one, quiet};
use ndarray::{Array2, Axis};

fn in_pool<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

fn bits(fit: &Fit) -> (Vec<u64>, Vec<u64>, Vec<u64>, u64, usize) {
    let of = |array: &Array2<f64>| array.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
    let trace = fit.trace.iter().map(|e| e.gain.to_bits()).collect();
    (
        of(&fit.model.decoder().to_owned()),
        of(&fit.coordinates()),
        trace,
        fit.objective.to_bits(),
        fit.start,
    )
}

fn three_circles() -> Dictionary {
    Dictionary::uniform(3, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap()
}

#[test]
fn units_change_no_decision_and_scale_the_objective_by_their_square() {
    for topology in [
        Topology::Circle,
        Topology::Cylinder,
        Topology::Euclidean { dimension: 1 },
    ] {
        let dictionary = one(topology);
        let made = made(&dictionary, 90, 8, None, 0.4);
        let base = quiet(&made.x, &dictionary, &few(2)).unwrap();
        for a in [1e-150, 1e-6, 1e6, 1e150] {
            let scaled = quiet(&made.x.mapv(|v| v * a), &dictionary, &few(2)).unwrap();
            assert_eq!(scaled.start, base.start, "{topology} {a:e}");
            let decisions = |fit: &Fit| -> Vec<(bool, u64)> {
                fit.trace
                    .iter()
                    .map(|e| (e.accepted, e.ridge.to_bits()))
                    .collect()
            };
            assert_eq!(decisions(&scaled), decisions(&base), "{topology} {a:e}");
            assert_eq!(scaled.status, base.status);
            let ratio = scaled.objective / a / a / base.objective;
            assert!((ratio - 1.0).abs() < 1e-10, "{topology} {a:e}: {ratio}");
            let shift = 2.0 * 90.0 * topology.local_dim() as f64 * a.ln();
            let (log, base_log) = (
                scaled.log_det_hessian.as_ref().unwrap(),
                base.log_det_hessian.as_ref().unwrap(),
            );
            assert!((log - shift - base_log).abs() < 1e-4 * base_log.abs().max(shift.abs()));
            assert!((scaled.explained_variance - base.explained_variance).abs() < 1e-10);
        }
    }
}

#[test]
fn permuting_rows_permutes_the_fit() {
    let dictionary = one(Topology::Circle);
    let made = made(&dictionary, 70, 9, None, 0.3);
    let order: Vec<usize> = (0..70).map(|i| (i * 11) % 70).collect();
    // The first start comes from principal components alone.
    let base = quiet(&made.x, &dictionary, &few(1)).unwrap();
    let permuted = quiet(&made.x.select(Axis(0), &order), &dictionary, &few(1)).unwrap();
    assert!((permuted.objective / base.objective - 1.0).abs() < 1e-9);
    for (to, &from) in order.iter().enumerate() {
        let ratio = permuted.squared_error[to] / base.squared_error[from];
        assert!((ratio - 1.0).abs() < 1e-3, "row {from}: {ratio}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    let dictionary = three_circles();
    let made = made(&dictionary, 400, 70, Some(1), 0.1);
    let options = FitOptions {
        gates: GatePolicy::TopK(1),
        ..few(3)
    };
    let mut screened = options.clone();
    screened.screening = Screening {
        budget: 0.0,
        rows: 150,
        ..Screening::default()
    };
    for options in [options, screened] {
        let run = |threads| {
            let fit = in_pool(threads, || quiet(&made.x, &dictionary, &options).unwrap());
            let encode_options = EncodeOptions {
                gates: Some(GatePolicy::TopK(1)),
                ..EncodeOptions::default()
            };
            let encoded = in_pool(threads, || {
                encode(
                    made.x.view(),
                    &dictionary,
                    fit.model.decoder(),
                    &encode_options,
                )
                .unwrap()
            });
            (bits(&fit), encoded.squared_error.mapv(f64::to_bits))
        };
        let one = run(1);
        assert!(one == run(2));
        assert!(one == run(5));
    }
}

#[test]
fn fits_beside_each_other_have_the_bits_and_errors_they_have_alone() {
    let (circle, line) = (
        one(Topology::Circle),
        one(Topology::Euclidean { dimension: 1 }),
    );
    let a = made(&circle, 60, 8, None, 0.2).x;
    let b = made(&line, 50, 6, None, 0.2).x;
    let mut broken = b.clone();
    broken[(7, 3)] = f64::NAN;
    let options = few(3);
    let job = |x, dictionary| FitJob {
        x,
        dictionary,
        options: &options,
    };
    let jobs = [
        job(a.view(), &circle),
        job(broken.view(), &line),
        job(b.view(), &line),
        job(a.view(), &circle),
    ];
    let together = fit_many(&jobs);
    assert!(matches!(
        together[1],
        Err(FitError::NotFinite {
            array: "X",
            row: 7,
            column: 3,
            ..
        })
    ));
    for (place, x, dictionary) in [(0, &a, &circle), (2, &b, &line), (3, &a, &circle)] {
        let alone = quiet(x, dictionary, &options).unwrap();
        assert!(
            bits(together[place].as_ref().unwrap()) == bits(&alone),
            "job {place}"
        );
    }
}
