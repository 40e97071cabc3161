//! An elimination that is asked for a system of a kind that it does not serve, or was not made for, says
//! so by name: it never answers with what it was given.

use broadhead_schur::{
    BorderFirst, Core, Elimination, EliminationKind, Error, Failure, Iterative, Reference, RhsMut,
    Ridge, RowsFirst, System, SystemShape,
};
use broadhead_testkit::cases::{DenseCase, OperatorCase, StructuredCase};
use broadhead_testkit::generate::{self, Structure};
use broadhead_testkit::random::Random;

/// Three systems of one shape.
fn systems() -> (DenseCase, StructuredCase, OperatorCase) {
    let of = Structure {
        dims: vec![2, 0, 1, 3],
        features: 3,
        outputs: 4,
        density: 1.0,
        atoms: false,
        margin: 0.5,
    };
    let structured = generate::structured(&of, &mut Random::new(2));
    let dense = structured.expanded();
    (dense.clone(), structured, OperatorCase::new(dense))
}

/// Every elimination for systems of the kind of `system` that it serves.
fn engines(system: &System<'_>) -> Vec<Box<dyn Elimination>> {
    let (shape, limit) = (SystemShape::of(system), 1 << 30);
    let mut engines: Vec<Box<dyn Elimination>> = Vec::new();
    if let System::Dense(_) = system {
        engines.push(Box::new(RowsFirst::new(shape.arrow(), limit).unwrap()));
    }
    if let System::Structured(_) = system {
        engines.push(Box::new(Core::new(&shape, limit).unwrap()));
    }
    if !matches!(system, System::Operator(_)) {
        engines.push(Box::new(BorderFirst::new(&shape, limit).unwrap()));
        engines.push(Box::new(Reference::new(&shape, limit).unwrap()));
    }
    engines.push(Box::new(
        Iterative::new(&shape, Default::default(), limit).unwrap(),
    ));
    engines
}

fn assert_named<T>(what: &str, kind: EliminationKind, outcome: Result<T, Failure>) {
    match outcome {
        Err(Failure::Stop(
            Error::Unsupported { elimination, .. } | Error::ClosureOperand { elimination, .. },
        )) => assert_eq!(elimination, kind, "{what}"),
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: it was done"),
    }
}

#[test]
fn an_elimination_refuses_a_kind_of_system_that_it_was_not_made_for() {
    let (dense, structured, operator) = systems();
    let all = [dense.system(), structured.system(), operator.system()];
    let mut refused = 0;
    for made_for in &all {
        for other in &all {
            for mut engine in engines(made_for) {
                let kind = engine.kind();
                let what = format!("{kind} made for {}, {}", made_for.kind(), other.kind());
                // The reference has one storage for all whose entries are known.
                let same = made_for.kind() == other.kind();
                let known = !matches!(other, System::Operator(_));
                if same || kind == EliminationKind::Reference && known {
                    continue;
                }
                engine.refresh(made_for).unwrap();
                engine.factor(made_for, Ridge::ZERO).unwrap();
                let b = vec![3.0; 6 + 12];
                let mut x = b.clone();
                let (row, border) = x.split_at_mut(6);
                let rhs = RhsMut {
                    row,
                    border,
                    count: 1,
                };
                assert_named(&format!("{what}, solve"), kind, engine.solve(other, rhs));
                let factored = engine.factor(other, Ridge::ZERO);
                assert_named(&format!("{what}, factor"), kind, factored);
                let factors = engine.factors(other, Ridge::ZERO);
                assert_named(&what, kind, factors.map_err(Failure::from));
                let taken = engine.refresh(other);
                assert_named(
                    &format!("{what}, refresh"),
                    kind,
                    taken.map_err(Failure::from),
                );
                refused += 1;
            }
        }
    }
    assert!(refused >= 14, "{refused}");
}

#[test]
fn an_operator_has_no_direct_storage() {
    let (_, _, operator) = systems();
    let shape = SystemShape::of(&operator.system());
    let closures = |kind: EliminationKind, refused: Error| {
        assert_named("storage", kind, Err::<(), _>(Failure::from(refused)));
    };
    closures(
        EliminationKind::Border,
        BorderFirst::new(&shape, u64::MAX).unwrap_err(),
    );
    closures(
        EliminationKind::Reference,
        Reference::new(&shape, u64::MAX).unwrap_err(),
    );
    closures(
        EliminationKind::Core,
        Core::new(&shape, u64::MAX).unwrap_err(),
    );
}
