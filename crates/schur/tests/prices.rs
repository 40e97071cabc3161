//! The planner's prices and choices at the rates that ship, on the shapes of its suite of benchmarks, held
//! against those in `prices.txt`. A change of them is meant, or a mistake: `prices.txt` says which.

use broadhead_schur::device::Keep;
use broadhead_schur::{
    ArrowShape, Price, RowDims, SolverOptions, StructuredShape, SystemShape, Workload,
    device_prices, plan,
};
use std::fmt::Write;

/// How far a number may be from the one of before, relatively: sums in another order.
const NEAR: f64 = 1e-12;

/// Rows, their unknowns, border, iterations where no log-determinant is wanted.
const ARROWS: [([usize; 3], Option<u32>); 10] = [
    ([20_000, 2, 128], None),
    ([7776, 3, 441], None),
    ([8000, 1, 400], None),
    ([500, 2, 1000], None),
    ([60, 2, 2000], None),
    ([1, 16, 1500], None),
    ([600, 16, 300], None),
    ([64, 2, 64], None),
    ([4000, 2, 1500], Some(10)),
    ([300, 2, 3000], Some(10)),
];

/// Rows, circles, circles on in a row, harmonics, outputs, and iterations likewise.
const CIRCLES: [([usize; 5], Option<u32>); 10] = [
    ([2000, 1, 1, 1, 2048], None),
    ([180, 1, 1, 1, 5120], None),
    ([2000, 1, 1, 5, 512], None),
    ([1000, 4, 4, 2, 384], None),
    ([4000, 16, 1, 1, 384], None),
    ([200, 48, 2, 1, 1024], None),
    ([140, 100, 4, 1, 384], None),
    ([40, 64, 8, 2, 768], None),
    ([3000, 32, 4, 1, 512], Some(51)),
    ([2000, 60, 2, 2, 384], Some(63)),
];

/// Circles of which a run of neighbours is on in every row, and every run in some row.
fn circles([rows, atoms, on, harmonics, outputs]: [usize; 5]) -> SystemShape {
    let features = 1 + 2 * harmonics * atoms;
    let dims = RowDims::uniform(rows, on).expect("rows");
    let density = (1 + 2 * harmonics * on) as f64 / features as f64;
    let together = 1 + 2 * harmonics * atoms.min(2 * on - 1);
    SystemShape::Structured {
        shape: StructuredShape::new(dims, features, outputs).expect("a shape"),
        density,
        pairs: match density < 0.5 {
            true => 2 * harmonics * atoms * together,
            false => features * features,
        },
    }
}

fn cases() -> Vec<(String, SystemShape, Option<u32>)> {
    let arrows = ARROWS.into_iter().map(|(sizes, iterations)| {
        let [rows, dim, border] = sizes;
        let shape = ArrowShape::uniform(rows, dim, border).expect("a shape");
        (format!("{sizes:?}"), SystemShape::Dense(shape), iterations)
    });
    let circles = CIRCLES
        .into_iter()
        .map(|(sizes, iterations)| (format!("{sizes:?}"), circles(sizes), iterations));
    arrows.chain(circles).collect()
}

fn options(solves: u32, iterations: Option<u32>) -> SolverOptions {
    let workload = Workload {
        solves,
        log_determinant: iterations.is_none(),
        iterations: iterations.unwrap_or(Workload::default().iterations),
    };
    SolverOptions {
        workload,
        memory_limit: 4 << 30,
        ..SolverOptions::default()
    }
}

/// Every price of a shape, the host's before the device's.
fn prices(shape: &SystemShape, options: &SolverOptions) -> Vec<Price> {
    let mut prices = plan(shape, options).expect("a plan").prices;
    prices.extend(device_prices(shape, options));
    prices
}

/// What the planner says, a shape's line and then a line a price: the operations of a factorization, those
/// of one with a solve, bytes, seconds of a refresh, of a factorization and of a solve.
fn said() -> String {
    let mut text = String::new();
    for (name, shape, iterations) in cases() {
        let chosen = plan(&shape, &options(1, iterations))
            .expect("a plan")
            .chosen;
        writeln!(text, "{name}: {chosen}").expect("a string grows");
        let factored = prices(&shape, &options(0, iterations));
        for (price, factored) in prices(&shape, &options(1, iterations)).iter().zip(factored) {
            let keep = match price.keep {
                None => "",
                Some(Keep::Factor) => "/factor",
                Some(Keep::InverseFactor) => "/inverse",
            };
            writeln!(
                text,
                "{}@{}{keep} {:e} {:e} {} {:e} {:e} {:e}",
                price.elimination,
                price.path,
                factored.operations,
                price.operations,
                price.bytes,
                price.refresh_seconds,
                price.factor_seconds,
                price.solve_seconds,
            )
            .expect("a string grows");
            let sum = price.refresh_seconds + price.factor_seconds + price.solve_seconds;
            assert!((price.seconds - sum).abs() <= NEAR * sum, "{price:?}");
        }
    }
    text
}

/// Whether two words are the same, or numbers that are near.
fn near(a: &str, b: &str) -> bool {
    match (a.parse::<f64>(), b.parse::<f64>()) {
        (Ok(a), Ok(b)) => (a - b).abs() <= NEAR * b.abs(),
        _ => a == b,
    }
}

#[test]
fn prices_and_choices_are_those_on_record() {
    let said = said();
    let recorded: Vec<&str> = include_str!("prices.txt")
        .lines()
        .filter(|line| !line.starts_with("//"))
        .collect();
    let same = |(said, recorded): (&str, &&str)| {
        let (a, b) = (said.split(' '), recorded.split(' '));
        a.clone().count() == b.clone().count() && a.zip(b).all(|(a, b)| near(a, b))
    };
    let lines = said.lines().count();
    let held = said.lines().zip(&recorded).filter(|pair| same(*pair));
    assert!(lines > 120, "{lines} lines");
    assert_eq!(
        (held.count(), recorded.len()),
        (lines, lines),
        "prices.txt has others than these:\n{said}"
    );
}
