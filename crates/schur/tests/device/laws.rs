//! Every law of the CPU's suite, from the same source, for each thing that a frame may keep.

use super::Outcome;
use broadhead_device::{Context, DevicePolicy};
use broadhead_schur::cuda::{Keep, Placement};
use broadhead_schur::{EliminationKind, SolverOptions};
use broadhead_testkit::device::{Trial, on_device, stream};
use broadhead_testkit::laws::{self, Kind, Subject};

/// The law, by an elimination whose frames keep `keep`.
fn obey(
    context: &Context,
    elimination: EliminationKind,
    keep: Option<Keep>,
    law: fn(&Subject),
) -> Outcome {
    let options = SolverOptions {
        elimination: Some(elimination),
        device: Some(Placement {
            stream: stream(context)?,
            keep,
        }),
        device_policy: DevicePolicy::Required,
        ..Default::default()
    };
    law(&Subject {
        serves: match elimination {
            EliminationKind::Rows => &[Kind::Dense],
            _ => &[Kind::Structured],
        },
        stops_at: (elimination == EliminationKind::Iterative)
            .then_some(options.iterative.relative_residual),
        options,
    });
    Ok(())
}

/// Every law by one elimination.
macro_rules! by {
    ($name:literal, $kind:ident, $keep:expr, [$($law:ident),+ $(,)?]) => {
        vec![$(on_device(concat!($name, "::", stringify!($law)), |context| {
            obey(context, EliminationKind::$kind, $keep, laws::$law)
        })),+]
    };
}

macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        [
            by!("factor", Rows, Some(Keep::Factor), [$($law),+]),
            by!("inverse_factor", Rows, Some(Keep::InverseFactor), [$($law),+]),
            by!("core", Core, None, [$($law),+]),
            by!("border_factor", Border, Some(Keep::Factor), [$($law),+]),
            by!("border_inverse_factor", Border, Some(Keep::InverseFactor), [$($law),+]),
            by!("conjugate_gradients", Iterative, None, [$($law),+]),
        ]
    };
}

pub(super) fn tests() -> Vec<Trial> {
    let tests: [Vec<Trial>; 6] = laws![
        agrees_with_the_oracle_and_the_reference,
        answers_hard_systems_to_full_precision,
        answers_real_looking_systems,
        scaling_the_data_scales_nothing_but_the_scale,
        permuting_rows_permutes_the_step,
        many_right_hand_sides_equal_each,
        thread_counts_give_the_same_bits,
        any_layout_of_the_same_numbers_gives_the_same_step,
        upper_triangles_have_no_effect,
        refreshed_and_fresh_solvers_agree_bitwise,
        the_reported_bump_cures_and_is_at_most_four_times_the_least,
        unridged_factors_stand_beside_ridged_ones,
        quadratic_models_are_those_of_the_bare_operator,
        condition_estimates_are_close_and_never_above,
    ];
    tests.into_iter().flatten().collect()
}
