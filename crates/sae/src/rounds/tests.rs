use super::*;
use crate::data::store::TileMemory;
use crate::encode::search::Arrangement;
use crate::lm::go_on;
use crate::model::basis::Basis;
use crate::model::topology::Topology;
use crate::rounds::relocate::rest;
use crate::rounds::round::{Choice, RoundState};
use ndarray::Array2;
use rand::{RngExt, SeedableRng};

/// Rows on three circles, in planes and at places of their own.
fn three_circles(rows: usize) -> Array2<f64> {
    let weight = |circle: usize, part: usize, c: usize| {
        ((1 + 5 * circle + part) as f64 * (0.7 + c as f64)).sin()
    };
    Array2::from_shape_fn((rows, 24), |(i, c)| {
        let (circle, angle) = (i % 3, 2.399_963 * i as f64);
        let own = |part| weight(circle, part, c);
        2.0 * angle.cos() * own(0) + 1.5 * angle.sin() * own(1)
    })
}

#[test]
fn an_atom_that_no_row_uses_is_brought_back_where_it_helps() {
    let dictionary =
        Dictionary::uniform(3, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
    let data = Data::normalised(three_circles(150).view()).unwrap();
    let arrangement = Arrangement::of(&dictionary);
    let ground = Ground::new(&data, &dictionary, &arrangement);
    // Circles 0 and 1 stand where two of the data's lie; the third has no lines, so no row can choose it.
    let mut gates = Gates::all_off(150, 3);
    (0..150).for_each(|i| gates.row_mut(i)[usize::from(i % 3 == 1)] = 1.0);
    let mut coordinates = Coordinates::origin(&dictionary, 150);
    for i in 0..150 {
        let angle = crate::model::factor::wrap_angle(2.399_963 * i as f64);
        coordinates.row_mut(i).fill(angle);
    }
    let layout = Layout::new(&dictionary, &gates, 24).unwrap();
    let penalty = penalty(&data, &dictionary, &layout, &coordinates, None).unwrap();
    let mut explorer = Explorer::new(ground, penalty, 1);
    let before = explorer.around(&coordinates, &gates).unwrap();
    assert_eq!(before.shares[2], 0.0);
    let solver = SolverOptions::default();
    let settings = Settings {
        data: &data,
        dictionary: &dictionary,
        rule: Rule::curved(),
        mode: BorderMode::Projected,
        solver: &solver,
        ledger: &Ledger::new(),
        choosing: Some(Choosing {
            slots: 1,
            ground,
            sample: None,
            relocation: true,
        }),
        max_rounds: 60,
        begun: std::time::Instant::now(),
        until: None,
    };
    let begin = Begin::Decoder(
        before.decoder.clone(),
        Vec::new(),
        ChaCha8Rng::seed_from_u64(0),
    );
    let tell = |_: &GateRound| ControlFlow::Continue(());
    let ended = run(&settings, begin, penalty, &tell, &mut go_on).unwrap();
    let used = |a: usize| (0..150).any(|i| ended.gates.get(i, a) != 0.0);
    assert!(ended.converged() && (0..3).all(used));
    let moved: usize = (ended.rounds.iter())
        .filter(|round| round.accepted)
        .map(|round| round.reseeded)
        .sum();
    assert!(moved >= 1);
    let (sse, from) = (ended.point.sse, 2.0 * before.objective);
    assert!(sse < 0.5 * from, "{sse} from {from}");
    // What was accepted never rose.
    let mut last = f64::INFINITY;
    for round in ended.rounds.iter().filter(|round| round.accepted) {
        assert!(round.objective < last, "{round:?} after {last}");
        last = round.objective;
    }
}

/// Rows by chance, and codes that they choose.
fn chosen(dictionary: &Dictionary, arrangement: &Arrangement, seed: u64) -> (Data, RoundState) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let x = Array2::from_shape_fn((200, 9), |_| rng.random::<f64>() - 0.5);
    let data = Data::normalised(x.view()).unwrap();
    let ground = Ground::new(&data, dictionary, arrangement);
    let penalty = Penalty {
        lambda: 0.3,
        kappa: 0.1,
    };
    let mut explorer = Explorer::new(ground, penalty, 2);
    let decoder = explorer.random_decoder(&mut rng);
    let mut state = explorer.state(decoder).unwrap();
    explorer.round(Choice::Anew, &mut state).unwrap();
    (data, state)
}

const MIXED: &str =
    "3*circle,torus,sphere/spherical:2,circle/harmonics:3,euclidean:2/monomials:2,euclidean:1";

#[test]
fn codes_come_back_from_places_as_they_were() {
    let dictionary: Dictionary = MIXED.parse().unwrap();
    let arrangement = Arrangement::of(&dictionary);
    for seed in 0..5 {
        let (_, state) = chosen(&dictionary, &arrangement, seed);
        let (coordinates, gates) = state.codes.places(&dictionary, &arrangement);
        let mut loaded = state.codes.clone();
        loaded.load(&dictionary, &arrangement, &coordinates, &gates);
        // Functions too, whatever slot an atom is in.
        for i in 0..200 {
            for (a, phi, _) in state.codes.row(i) {
                let (_, other, _) = loaded.row(i).find(|(b, ..)| *b == a).unwrap();
                let width = dictionary.atoms()[a].width();
                for (v, w) in phi[..width].iter().zip(&other[..width]) {
                    assert!((v - w).abs() < 1e-14 * (1.0 + v.abs()), "{i} {a}: {v} {w}");
                }
            }
        }
        let (again, same) = loaded.places(&dictionary, &arrangement);
        assert_eq!(gates, same);
        for (i, (t, s)) in coordinates.flat().iter().zip(again.flat()).enumerate() {
            assert!((t - s).abs() < 1e-15 * (1.0 + t.abs()), "{i}: {t} {s}");
        }
    }
}

#[test]
fn turning_circles_into_their_axes_keeps_what_they_say() {
    let dictionary: Dictionary = MIXED.parse().unwrap();
    let arrangement = Arrangement::of(&dictionary);
    let p = 9;
    let said = |state: &RoundState, i: usize| {
        let mut out = vec![0.0; p];
        for (a, phi, _) in state.codes.row(i) {
            for (&v, at) in phi.iter().zip(arrangement.place(a).all()) {
                crate::data::axpy(v, &state.decoder.lines[at * p..][..p], &mut out);
            }
        }
        out
    };
    for seed in 0..5 {
        let (_, mut state) = chosen(&dictionary, &arrangement, seed);
        // Any other lines: those of the state are in their axes already.
        let mut rng = ChaCha8Rng::seed_from_u64(100 + seed);
        (state.decoder.lines.iter_mut()).for_each(|w| *w = rng.random::<f64>() - 0.5);
        let before: Vec<Vec<f64>> = (0..200).map(|i| said(&state, i)).collect();
        let turns = arrangement.turn(&mut state.decoder.lines, p);
        state.codes.turn(&arrangement, &turns);
        for (i, before) in before.iter().enumerate() {
            for (v, w) in before.iter().zip(said(&state, i)) {
                assert!((v - w).abs() < 1e-14, "{i}: {v} {w}");
            }
        }
        // Orthogonal, the longer first.
        for &a in arrangement.circles() {
            let mut lines = arrangement.place(a).all();
            let mut line = || &state.decoder.lines[lines.next().unwrap() * p..][..p];
            let (first, second) = (line(), line());
            let dot = crate::data::dot;
            assert!(dot(first, second).abs() < 1e-14 && dot(first, first) >= dot(second, second));
        }
    }
}

/// What a new atom has to explain of a row: by hand, from the rows, the atoms on and their shares.
#[test]
fn a_row_has_left_what_a_new_atom_would_find() {
    let dictionary =
        Dictionary::uniform(3, Topology::Circle, Basis::Harmonics { highest: 1 }).unwrap();
    let data = Data::normalised(three_circles(150).view()).unwrap();
    let arrangement = Arrangement::of(&dictionary);
    let ground = Ground::new(&data, &dictionary, &arrangement);
    let none = Penalty {
        lambda: 0.0,
        kappa: 0.0,
    };
    let explorer = Explorer::new(ground, none, 2);
    let lines: Vec<f64> = (0..6 * 24).map(|at| (1.3 * at as f64).sin()).collect();
    let mut state = explorer
        .state(Arranged {
            lines,
            intercept: vec![0.0; 24],
        })
        .unwrap();
    // Rows of two atoms, of one, and of none.
    let mut gates = Gates::all_off(150, 3);
    for i in 0..150 {
        let on: &[usize] = [&[0, 1][..], &[2], &[]][i % 3];
        on.iter().for_each(|&a| gates.row_mut(i)[a] = 1.0);
    }
    let mut coordinates = Coordinates::origin(&dictionary, 150);
    (0..150).for_each(|i| coordinates.row_mut(i).fill(0.1 * (i % 20) as f64));
    (state.codes).load(&dictionary, &arrangement, &coordinates, &gates);
    let energy = |left: &[f64]| 0.5 * left.iter().map(|v| v * v).sum::<f64>();
    for i in 0..150 {
        let mut tile = TileMemory::default();
        let x = data.tile(i, 1, &mut tile).to_vec();
        // The row less these atoms.
        let less = |atoms: &[usize]| {
            let mut left = x.clone();
            for (a, phi, _) in state.codes.row(i).filter(|(a, ..)| atoms.contains(a)) {
                for (&v, at) in phi.iter().zip(arrangement.place(a).all()) {
                    let line = &state.decoder.lines[at * 24..][..24];
                    left.iter_mut().zip(line).for_each(|(l, w)| *l -= v * w);
                }
            }
            left
        };
        let rest = |moved: &[usize]| {
            let mut tile = TileMemory::default();
            rest(&ground, &state.decoder, &state.codes, moved, i, &mut tile)
        };
        let near = |(left, bar): (Vec<f64>, f64), want: &[f64], want_bar: f64| {
            let far = left.iter().zip(want).map(|(a, b)| (a - b).abs());
            assert!(far.fold(0.0, f64::max) < 1e-12, "row {i}");
            assert!(
                (bar - want_bar).abs() < 1e-12 * (1.0 + want_bar),
                "row {i}: {bar}"
            );
        };
        let all = less(&[0, 1, 2]);
        if i % 3 != 0 {
            // There is room.
            near(rest(&[]), &all, 0.0);
            near(rest(&[2]), &less(&[]), 0.0);
            continue;
        }
        near(rest(&[0]), &less(&[1]), 0.0);
        near(rest(&[2, 1]), &less(&[0]), 0.0);
        // No room: the one that is missed least goes.
        let gains = [less(&[1]), less(&[0])].map(|left| energy(&left) - energy(&all));
        let least = usize::from(gains[1] < gains[0]);
        near(rest(&[]), &less(&[1 - least]), gains[least].max(0.0));
    }
}
