//! A refresh allocates nothing, whatever the elimination and the layout.

use broadhead_schur::*;
use broadhead_testkit::cases::{Case, OperatorCase};
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::pools::in_pool;
use broadhead_testkit::random::Random;
use faer::Mat;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use std::alloc::System as Heap;

#[global_allocator]
static HEAP: &StatsAlloc<Heap> = &INSTRUMENTED_SYSTEM;

/// The least number of allocations of several refreshes: the thread pool's own queues may grow in
/// one of them, ours would in all.
fn allocations(solver: &mut Solver, system: System<'_>) -> usize {
    let count = |_| {
        let region = Region::new(HEAP);
        solver.refresh(system).unwrap();
        let change = region.change();
        change.allocations + change.reallocations
    };
    (0..8).map(count).min().unwrap()
}

fn check(what: &str, kind: EliminationKind, first: System<'_>, second: System<'_>) {
    let options = SolverOptions {
        elimination: Some(kind),
        ..Default::default()
    };
    let mut solver = Solver::new(&first, options).unwrap();
    let mut base = solver.refresh(first).unwrap();
    let mut frame = base.factor(Ridge::new(0.5, 0.5)).unwrap();
    frame.unridged().unwrap();
    let count = allocations(&mut solver, second);
    assert_eq!(count, 0, "{kind} on a {what} system");
}

// One test alone: the count is of the whole process.
#[test]
fn a_refresh_allocates_nothing() {
    use EliminationKind::{Border, Core, Iterative, Reference, Rows};
    let region = Region::new(HEAP);
    assert_eq!(vec![0_u8; 100].len(), 100);
    assert_eq!(region.change().allocations, 1, "the count counts");
    let mut random = Random::new(1);
    let dims: Vec<_> = (0..2500).map(|i| i % 2).collect();
    let dense = |random: &mut Random| generate::dense(&dims, 20, 0.5, random);
    let (a, b) = (dense(&mut random), dense(&mut random));
    let columns = Mat::from_fn(1250, 20, |u, c| b.row_cross[u * 20 + c]);
    let border = Mat::from_fn(20, 20, |i, j| b.border_hessian[i * 20 + j]);
    let by_columns: System<'_> = DenseSystem::new(
        &b.shape,
        RowBlocks::packed(&b.row_hessian),
        CrossView::stacked(columns.as_ref()),
        SymmetricView::new(border.as_ref().reverse_rows_and_cols()),
    )
    .unwrap()
    .into();
    let structured = |atoms: bool, random: &mut Random| {
        let of = Structure {
            dims: dims.clone(),
            features: 9,
            outputs: 5,
            density: 1.0,
            atoms,
            margin: 0.5,
        };
        Case::Structured(generate::structured(&of, random))
    };
    let full = [
        structured(false, &mut random),
        structured(false, &mut random),
    ];
    let sparse = structured(true, &mut Random::new(2));
    let operators = [&a, &b].map(|case| OperatorCase::new(case.clone()));
    for threads in [1, 2] {
        in_pool(threads, || {
            for kind in [Rows, Border, Iterative, Reference] {
                check("dense", kind, a.system(), b.system());
                check("column-major, reversed", kind, a.system(), by_columns);
            }
            for kind in [Border, Core, Iterative, Reference] {
                check("structured", kind, full[0].system(), full[1].system());
                check("sparse structured", kind, sparse.system(), sparse.system());
            }
            check(
                "operator",
                Iterative,
                operators[0].system(),
                operators[1].system(),
            );
        });
    }
}
