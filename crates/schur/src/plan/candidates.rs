//! The candidates: every elimination, the places that it has, and what its frames keep there.
//!
//! | elimination | CPU | device |
//! |---|---|---|
//! | rows first | dense | dense |
//! | border first | dense, structured | structured |
//! | core | structured | structured |
//! | conjugate gradients | all | structured |
//! | reference | dense, structured | |
//!
//! A line of the table says for which systems it is there, the bytes that it holds, the work that it does,
//! and how it is made. The planner and the solver read it and name no elimination themselves.

use super::{Plan, Workload};
use crate::device::{Keep, Linearisation, Placement};
use crate::elimination::{BorderFirst, Core, Elimination, Iterative, Reference, RowsFirst};
use crate::elimination::{border_first, conjugate_gradients, core, reference, rows_first};
use crate::solver::SolverOptions;
use crate::work::Counts;
use crate::{EliminationKind, Error, SystemShape};
use broadhead_device::{Absence, ExecutionPath};

/// One line of the table.
pub(crate) struct Candidate {
    /// Which elimination.
    pub(crate) elimination: EliminationKind,
    /// Where it runs.
    pub(crate) path: ExecutionPath,
    /// What its frames keep, where there is a choice.
    pub(crate) keep: Option<Keep>,
    /// The systems that the line is of.
    of: Systems,
    /// Bytes that it holds, or why it does not serve.
    bytes: fn(&Self, &SystemShape) -> Result<u64, Error>,
    /// What it does.
    work: fn(&Self, &SystemShape, &Workload) -> Result<Counts, Error>,
    /// Storage for systems of one shape.
    make: fn(&Self, &SystemShape, &SolverOptions) -> Result<Made, Error>,
}

type Made = Box<dyn Elimination>;

/// Systems that a line of the table is of. A line of a device is of some alone, since nothing is said of why it does
/// not serve the others.
#[derive(Clone, Copy)]
enum Systems {
    /// All; which are served, the bytes say.
    Any,
    Dense,
    Structured,
}

const CPU: ExecutionPath = ExecutionPath::Cpu;
const DEVICE: ExecutionPath = ExecutionPath::GpuResidentLinearization;

/// All of them: those of the CPU in the order of [`EliminationKind::ALL`], then those of a device.
static CANDIDATES: [Candidate; 11] = [
    Candidate {
        elimination: EliminationKind::Rows,
        path: CPU,
        keep: None,
        of: Systems::Any,
        bytes: |own, shape| Ok(RowsFirst::bytes_needed(shape.dense(own.elimination)?)),
        work: |own, shape, _| Ok(rows_first::work::on_host(shape.dense(own.elimination)?)),
        make: |own, shape, options| {
            let shape = shape.dense(own.elimination)?;
            boxed(RowsFirst::new(shape, options.memory_limit))
        },
    },
    Candidate {
        elimination: EliminationKind::Border,
        path: CPU,
        keep: None,
        of: Systems::Any,
        bytes: |_, shape| BorderFirst::bytes_needed(shape),
        work: |_, shape, _| Ok(border_first::work::on_host(shape)),
        make: |_, shape, options| boxed(BorderFirst::new(shape, options.memory_limit)),
    },
    Candidate {
        elimination: EliminationKind::Core,
        path: CPU,
        keep: None,
        of: Systems::Any,
        bytes: |_, shape| Core::bytes_needed(shape),
        work: |own, shape, _| {
            let (shape, density, pairs) = shape.structured_with_pairs(own.elimination)?;
            Ok(core::work::on_host(shape, density, pairs))
        },
        make: |_, shape, options| boxed(Core::new(shape, options.memory_limit)),
    },
    Candidate {
        elimination: EliminationKind::Iterative,
        path: CPU,
        keep: None,
        of: Systems::Any,
        bytes: |_, shape| Ok(Iterative::bytes_needed(shape)),
        work: |_, shape, asked| Ok(conjugate_gradients::work::on_host(shape, asked.iterations)),
        make: |_, shape, options| {
            let (how, limit) = (options.iterative, options.memory_limit);
            boxed(Iterative::new(shape, how, limit))
        },
    },
    Candidate {
        elimination: EliminationKind::Reference,
        path: CPU,
        keep: None,
        of: Systems::Any,
        bytes: |_, shape| Reference::bytes_needed(shape),
        work: |_, shape, _| Ok(reference::work(shape)),
        make: |_, shape, options| boxed(Reference::new(shape, options.memory_limit)),
    },
    rows_on_device(Keep::Factor),
    rows_on_device(Keep::InverseFactor),
    Candidate {
        elimination: EliminationKind::Core,
        path: DEVICE,
        keep: None,
        of: Systems::Structured,
        bytes: Candidate::structured_bytes,
        work: |own, shape, _| Ok(core::work::on_device(shape.structured(own.elimination)?)),
        make: Candidate::structured,
    },
    Candidate {
        elimination: EliminationKind::Iterative,
        path: DEVICE,
        keep: None,
        of: Systems::Structured,
        bytes: Candidate::structured_bytes,
        work: |own, shape, asked| {
            let shape = shape.structured(own.elimination)?;
            Ok(conjugate_gradients::work::on_device(
                shape,
                asked.iterations,
            ))
        },
        make: Candidate::structured,
    },
    border_on_device(Keep::Factor),
    border_on_device(Keep::InverseFactor),
];

const fn rows_on_device(keep: Keep) -> Candidate {
    Candidate {
        elimination: EliminationKind::Rows,
        path: DEVICE,
        keep: Some(keep),
        of: Systems::Dense,
        bytes: |own, shape| {
            let shape = shape.dense(own.elimination)?;
            Linearisation::bytes_of_dense(shape, own.kept())
        },
        work: |own, shape, _| {
            let shape = shape.dense(own.elimination)?;
            Ok(rows_first::work::on_device(shape, own.kept()))
        },
        make: |own, shape, options| {
            let shape = shape.dense(own.elimination)?;
            boxed(Linearisation::dense(&own.place(options)?, shape))
        },
    }
}

const fn border_on_device(keep: Keep) -> Candidate {
    Candidate {
        elimination: EliminationKind::Border,
        path: DEVICE,
        keep: Some(keep),
        of: Systems::Structured,
        bytes: Candidate::structured_bytes,
        work: |own, shape, _| {
            let shape = shape.structured(own.elimination)?;
            Ok(border_first::work::on_device(shape, own.kept()))
        },
        make: Candidate::structured,
    }
}

impl Candidate {
    /// Those of the CPU.
    pub(crate) fn of_the_cpu() -> impl Iterator<Item = &'static Self> {
        CANDIDATES.iter().filter(|own| !own.path.is_device())
    }

    /// Those of a device.
    pub(crate) fn of_a_device() -> impl Iterator<Item = &'static Self> {
        CANDIDATES.iter().filter(|own| own.path.is_device())
    }

    /// The one that was planned.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where there is none.
    fn planned(plan: &Plan, shape: &SystemShape) -> Result<&'static Self, Error> {
        let on_device = plan.path.is_device();
        let keep = plan.keep.unwrap_or_default();
        let found = CANDIDATES.iter().find(|own| {
            let there = own.path.is_device() == on_device;
            let so = own.elimination == plan.chosen && own.may_keep(Some(keep));
            there && so && own.is_of(shape)
        });
        found.ok_or(Error::Unsupported {
            elimination: plan.chosen,
            system: shape.kind(),
            why: "a device has no such elimination of it",
        })
    }

    /// Whether there is anything to say of it for `shape`.
    pub(crate) fn is_of(&self, shape: &SystemShape) -> bool {
        match self.of {
            Systems::Any => true,
            Systems::Dense => matches!(shape, SystemShape::Dense(_)),
            Systems::Structured => matches!(shape, SystemShape::Structured { .. }),
        }
    }

    /// Whether its frames keep what is asked, where it is asked and there is a choice.
    pub(crate) fn may_keep(&self, asked: Option<Keep>) -> bool {
        let same = |own| asked.is_none_or(|asked| asked == own);
        self.keep.is_none_or(same)
    }

    /// Bytes that it holds where it runs.
    ///
    /// # Errors
    /// Why it does not serve `shape`.
    pub(crate) fn bytes(&self, shape: &SystemShape) -> Result<u64, Error> {
        (self.bytes)(self, shape)
    }

    /// The work that it does.
    ///
    /// # Errors
    /// Why it does not serve `shape`.
    pub(crate) fn work(&self, shape: &SystemShape, asked: &Workload) -> Result<Counts, Error> {
        (self.work)(self, shape, asked)
    }

    fn kept(&self) -> Keep {
        self.keep.unwrap_or_default()
    }

    fn structured_bytes(&self, shape: &SystemShape) -> Result<u64, Error> {
        let shape = shape.structured(self.elimination)?;
        Linearisation::bytes_of_structured(shape, self.elimination, self.kept())
    }

    fn structured(&self, shape: &SystemShape, options: &SolverOptions) -> Result<Made, Error> {
        let shape = shape.structured(self.elimination)?;
        let (place, iterative) = (self.place(options)?, options.iterative);
        boxed(Linearisation::structured(
            &place,
            shape,
            self.elimination,
            iterative,
        ))
    }

    /// Where the options put it, keeping what is its own.
    fn place(&self, options: &SolverOptions) -> Result<Placement, Error> {
        let what = "a solver without a placement".to_owned();
        let absent = Error::Absent(Absence::NoBackend { what });
        let place = options.device.clone().ok_or(absent)?;
        Ok(place.keeping(self.kept()))
    }
}

fn boxed(made: Result<impl Elimination + 'static, Error>) -> Result<Made, Error> {
    Ok(Box::new(made?))
}

/// What was planned, made.
///
/// # Errors
/// Those of the elimination; [`Error::Unsupported`] where the place has no such elimination.
pub(crate) fn make(
    plan: &Plan,
    shape: &SystemShape,
    options: &SolverOptions,
) -> Result<Made, Error> {
    let own = Candidate::planned(plan, shape)?;
    (own.make)(own, shape, options)
}

/// Bytes that an elimination holds on the CPU.
///
/// # Errors
/// Why it does not serve `shape`.
pub(crate) fn bytes_on_cpu(
    elimination: EliminationKind,
    shape: &SystemShape,
) -> Result<u64, Error> {
    let own = Candidate::of_the_cpu().find(|own| own.elimination == elimination);
    let none = Error::Unsupported {
        elimination,
        system: shape.kind(),
        why: "the CPU has no such elimination",
    };
    own.ok_or(none)?.bytes(shape)
}

/// That no elimination serves a system.
pub(crate) fn none_serves() -> Error {
    Error::Unsupported {
        elimination: EliminationKind::Iterative,
        system: "empty",
        why: "no elimination serves it",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every elimination has a line of the CPU, in the order by which equal prices are told apart, and no two lines
    /// are of one thing.
    #[test]
    fn every_elimination_has_its_line_and_no_line_is_twice() {
        let of_the_cpu = Candidate::of_the_cpu().map(|own| own.elimination);
        assert!(of_the_cpu.eq(EliminationKind::ALL));
        let one = |own: &Candidate| (own.elimination, own.path, own.keep);
        for (i, own) in CANDIDATES.iter().enumerate() {
            let others = &CANDIDATES[i + 1..];
            assert!(others.iter().all(|other| one(other) != one(own)));
        }
    }
}
