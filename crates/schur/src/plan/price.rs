//! Prices: what an elimination does, counted, at the rates of the place where it would run.

use super::candidates::Candidate;
use super::{HostCeilings, Workload};
use crate::EliminationKind;
use crate::device::Keep;
use crate::work::Counts;
use broadhead_device::ExecutionPath;
use serde::{Deserialize, Serialize};

/// The price of one elimination.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Which.
    pub elimination: EliminationKind,
    /// Where it would run.
    pub path: ExecutionPath,
    /// What a frame would keep, on a device.
    pub keep: Option<Keep>,
    /// FP64 operations of one factorization and its solves.
    pub operations: f64,
    /// Bytes to hold, where it would run.
    pub bytes: u64,
    /// Seconds expected of bringing new numbers there; on the CPU, which reads them where they are, of seeing
    /// that they are finite.
    pub refresh_seconds: f64,
    /// Seconds expected of one factorization.
    pub factor_seconds: f64,
    /// Seconds expected of one solve.
    pub solve_seconds: f64,
    /// Seconds of one refresh, one factorization and the solves expected of it.
    pub seconds: f64,
}

impl Price {
    /// Of a candidate that holds `bytes` and does what `counts` says, at `rates`.
    pub(super) fn of(
        candidate: &Candidate,
        bytes: u64,
        counts: &Counts,
        rates: &HostCeilings,
        workload: &Workload,
    ) -> Self {
        let solves = f64::from(workload.solves);
        let [refresh_seconds, factor_seconds, solve_seconds] =
            [counts.refresh, counts.factor, counts.solve].map(|work| work.seconds(rates));
        Self {
            elimination: candidate.elimination,
            path: candidate.path,
            keep: candidate.keep,
            operations: counts.factor.operations() + solves * counts.solve.operations(),
            bytes,
            refresh_seconds,
            factor_seconds,
            solve_seconds,
            seconds: refresh_seconds + factor_seconds + solves * solve_seconds,
        }
    }
}

/// What a frame on a device costs in operations, as the prices count them: a byte that is read or
/// written counts a quarter of one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FrameCost {
    /// FP64 operations of a build.
    pub build_operations: f64,
    /// FP64 operations of a solve; of conjugate gradients, in the iterations that
    /// [`Workload`](super::Workload) expects by default.
    pub solve_operations: f64,
}

impl FrameCost {
    /// Of what `counts` says.
    pub(crate) fn of(counts: &Counts) -> Self {
        Self {
            build_operations: counts.factor.operations(),
            solve_operations: counts.solve.operations(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::elimination::{border_first, conjugate_gradients, core, rows_first};
    use crate::{ArrowShape, Ceilings, RowDims, StructuredShape};

    const BOTH: [Keep; 2] = [Keep::Factor, Keep::InverseFactor];

    #[test]
    fn a_frame_s_cost_is_its_operations_and_grows_by_what_it_keeps() {
        let (n, d, k) = (2000, 2, 2048);
        let shape = ArrowShape::new(RowDims::uniform(n, d).unwrap(), k).unwrap();
        let [factor, inverse] =
            BOTH.map(|keep| FrameCost::of(&rows_first::work::on_device(&shape, keep)));
        let [unknowns, k] = [n * d, k].map(|n| n as f64);
        // The sum over the rows and the border's factor, and little besides.
        let least = unknowns * k * k + k * k * k / 3.0;
        assert!(
            (least..1.05 * least).contains(&factor.build_operations),
            "{factor:?}"
        );
        let more = inverse.build_operations - factor.build_operations;
        assert!((k * k * k / 3.0..k * k * k).contains(&more), "{more}");
        // A solve reads Y and half of the factor twice, two operations a number.
        let solve = 4.0 * unknowns * k + 2.0 * k * k;
        for cost in [factor, inverse] {
            assert!(
                (cost.solve_operations / solve - 1.0).abs() < 0.01,
                "{cost:?}, {solve}"
            );
        }
    }

    #[test]
    fn a_structured_frame_s_cost_is_work_and_no_waiting() {
        // Border first: T's products and its factor, and little besides.
        let (n, m, p) = (2000, 3, 2048);
        let shape = StructuredShape::new(RowDims::uniform(n, 1).unwrap(), m, p).unwrap();
        let border = FrameCost::of(&border_first::work::on_device(&shape, Keep::Factor));
        let [n, m, p] = [n, m, p].map(|n| n as f64);
        let least = n * n * n / 3.0 + n * n * m;
        assert!(
            (least..1.1 * least).contains(&border.build_operations),
            "{border:?}"
        );
        // Of one circle the core reads the decoder and the rows' features a few times.
        let core = FrameCost::of(&core::work::on_device(&shape));
        let read = m * (p + n);
        for operations in [core.build_operations, core.solve_operations] {
            assert!(
                (read..100.0 * read).contains(&operations),
                "{core:?}, {read}"
            );
        }
    }

    /// Seconds of a factorization, and of a solve.
    fn seconds(counts: &Counts) -> [f64; 2] {
        let rates = HostCeilings::of_a_device(&Ceilings::DEVICE);
        [counts.factor, counts.solve].map(|work| work.seconds(&rates))
    }

    #[test]
    fn an_inverse_pays_once_enough_solves_follow() {
        let shape = |k| ArrowShape::uniform(180, 2, k).expect("a shape");
        let of = |k| BOTH.map(|keep| seconds(&rows_first::work::on_device(&shape(k), keep)));
        let [factor, inverse] = of(5120);
        assert!(factor[0] + factor[1] < inverse[0] + inverse[1]);
        for k in [512, 2048, 5120] {
            let [factor, inverse] = of(k);
            assert!(factor[0] < inverse[0], "{k}");
            assert!(factor[1] > inverse[1], "{k}");
            assert!(
                factor[0] + 24.0 * factor[1] > inverse[0] + 24.0 * inverse[1],
                "{k}"
            );
        }
    }

    #[test]
    fn iterations_cost_their_number() {
        let rows = RowDims::uniform(2000, 2).expect("rows");
        let shape = StructuredShape::new(rows, 65, 2048).expect("a shape");
        let solve =
            |iterations| seconds(&conjugate_gradients::work::on_device(&shape, iterations))[1];
        let first = solve(10) - solve(0);
        assert!(first > 0.0);
        assert!(solve(20) - solve(10) >= first);
    }

    #[test]
    fn few_rows_are_eliminated_last_and_few_features_through_their_core() {
        let both = |rows, features| {
            let rows = RowDims::uniform(rows, 1).expect("rows");
            let shape = StructuredShape::new(rows, features, 2048).expect("a shape");
            let border = border_first::work::on_device(&shape, Keep::Factor);
            [core::work::on_device(&shape), border].map(|counts| seconds(&counts).iter().sum())
        };
        let [core, border]: [f64; 2] = both(2000, 3);
        assert!(core < border);
        let [core, border]: [f64; 2] = both(200, 80);
        assert!(core > border);
    }
}
