//! Every law of the CPU's suite, from the same source, for each thing that a frame may keep.

use super::Outcome;
use broadhead_device::{Context, DevicePolicy};
use broadhead_schur::cuda::{Keep, Placement};
use broadhead_schur::{EliminationKind, SolverOptions};
use broadhead_testkit::device::{Trial, on_device, stream};
use broadhead_testkit::laws::{self, Kind, Subject};

fn obey_core(context: &Context, law: fn(&Subject)) -> Outcome {
    law(&Subject {
        options: SolverOptions {
            elimination: Some(EliminationKind::Core),
            device: Some(Placement {
                stream: stream(context)?,
                keep: None,
            }),
            device_policy: DevicePolicy::Required,
            ..Default::default()
        },
        serves: &[Kind::Structured],
        stops_at: None,
    });
    Ok(())
}

fn obey(context: &Context, keep: Keep, law: fn(&Subject)) -> Outcome {
    law(&Subject {
        options: SolverOptions {
            elimination: Some(EliminationKind::Rows),
            device: Some(Placement {
                stream: stream(context)?,
                keep: Some(keep),
            }),
            device_policy: DevicePolicy::Required,
            ..Default::default()
        },
        serves: &[Kind::Dense],
        stops_at: None,
    });
    Ok(())
}

macro_rules! laws {
    ($($law:ident),+ $(,)?) => {
        vec![$(
            on_device(concat!("factor::", stringify!($law)), |context| {
                obey(context, Keep::Factor, laws::$law)
            }),
            on_device(concat!("inverse_factor::", stringify!($law)), |context| {
                obey(context, Keep::InverseFactor, laws::$law)
            }),
            on_device(concat!("core::", stringify!($law)), |context| {
                obey_core(context, laws::$law)
            }),
        )+]
    };
}

pub(super) fn tests() -> Vec<Trial> {
    laws![
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
    ]
}
