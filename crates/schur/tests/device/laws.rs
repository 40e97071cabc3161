//! Every law of the CPU's suite, from the same source, for each thing that a frame may keep.

use super::Outcome;
use broadhead_device::{Context, DevicePolicy};
use broadhead_schur::device::{Keep, Placement};
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
            keep,
            ..Placement::on(&stream(context)?)
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

pub(super) fn tests() -> Vec<Trial> {
    use EliminationKind::{Border, Core, Iterative, Rows};
    let subjects = [
        ("factor", Rows, Some(Keep::Factor)),
        ("inverse_factor", Rows, Some(Keep::InverseFactor)),
        ("core", Core, None),
        ("border_factor", Border, Some(Keep::Factor)),
        ("border_inverse_factor", Border, Some(Keep::InverseFactor)),
        ("conjugate_gradients", Iterative, None),
    ];
    let each = subjects.iter().flat_map(|&(subject, elimination, keep)| {
        laws::ALL.iter().map(move |&(name, law)| {
            on_device(&format!("{subject}::{name}"), move |context| {
                obey(context, elimination, keep, law)
            })
        })
    });
    each.collect()
}
