//! Dense arrow systems on a device: the check, and every phase.
//!
//! # What is timed
//! A resident solve takes its gradient from the step before, so that no solve can be prepared
//! ahead; the chain begins anew every 24 solves, for the steps of a well-conditioned system shrink.
//! What must not be timed (putting a gradient back, driving everything out of L2) happens before a
//! sample begins.
//!
//! # Floors
//! The bytes that one unit of work must read, each counted as often as the algorithm must read it
//! from memory that other work has been through meanwhile:
//!
//! ```text
//! solve     Y twice: 16 N k        half of L_S, or of what stands for it, twice: 8 k (k + 1)
//! iterate   solve + B once: 8 N k  half of C once: 4 k (k + 1)
//! ```

use super::cell::Bench;
use super::clock::{Clock, Outcome, Taken, device};
use crate::case::{Arrow, Operands};
use crate::cell::Phase;
use crate::check::{self, Logarithm};
use crate::record::{L2, Parity, Timer};
use broadhead_device::{
    ByteClass, DeviceBuffer, DeviceError, ExecutionPath, Graph, Refusal, Stream,
};
use broadhead_gate::Decline;
use broadhead_sae::lm::device::{IterateGraph, ResidentQuadratic};
use broadhead_sae::lm::quadratic::QuadraticError;
use broadhead_sae::lm::{LmError, Rule};
use broadhead_schur::device::{DeviceVector, FrameSummary, Linearisation, Placement};
use broadhead_schur::{
    ArrowVector, DenseSystem, EliminationKind, Error, Failure, Ridge, Solver, SolverOptions, System,
};

/// One system, where it is factored and what is pinned there.
#[derive(Debug)]
pub(super) struct Rows<'o> {
    stream: Stream,
    operands: &'o Operands,
    arrow: &'o Arrow,
    place: Placement,
    gradient: ArrowVector,
}

impl<'o> Rows<'o> {
    pub(super) fn new(place: Placement, operands: &'o Operands) -> Outcome<Self> {
        let Operands::Arrow(arrow) = operands else {
            return Err(unsupported("frames of rows first serve dense arrows"));
        };
        let (n, k) = operands.sizes();
        let gradients = operands.gradients();
        Ok(Self {
            stream: place.stream.clone(),
            operands,
            arrow,
            place,
            gradient: ArrowVector {
                row: gradients.row[..n].to_vec(),
                border: gradients.border[..k].to_vec(),
            },
        })
    }

    /// Operands on the device, nothing factored yet.
    fn linearisation(&self, system: &DenseSystem<'_>) -> Outcome<Linearisation> {
        let mut made = Linearisation::dense(&self.place, system.shape()).map_err(schur)?;
        made.refresh(*system).map_err(schur)?;
        Ok(made)
    }

    fn system(&self) -> Outcome<DenseSystem<'o>> {
        self.arrow.system().map_err(|e| schur(e.into()))
    }

    fn refresh(&self, phase: Phase, clock: &Clock<'_>) -> Outcome<Taken> {
        let system = self.system()?;
        let mut there = self.linearisation(&system)?;
        let whole = |there: &mut Linearisation| {
            there.refresh(system).map_err(schur)?;
            self.stream.synchronize().map_err(device)
        };
        match phase {
            Phase::Pack => clock.reported(Timer::HostWallClock, &mut there, |l| {
                whole(l)?;
                Ok(l.system().packing().as_secs_f64())
            }),
            Phase::Upload => clock.reported(Timer::DeviceEvents, &mut there, |l| {
                whole(l)?;
                match l.system().sending() {
                    Some(sending) => Ok(sending.as_secs_f64()),
                    None => Err(unsupported(
                        "so little is sent without a time of the device",
                    )),
                }
            }),
            _ => clock.wall(&mut there, |_| Ok(()), whole),
        }
    }

    /// The loop and the baseline choose the ways themselves.
    fn expect_unpinned(&self) -> Outcome<()> {
        match (self.place.rows, self.place.border) == (None, None) {
            true => Ok(()),
            false => Err(unsupported("the loop and the baseline pin no way")),
        }
    }

    fn re_upload(&self, clock: &Clock<'_>) -> Outcome<Taken> {
        self.expect_unpinned()?;
        let system = self.system()?;
        let mut step = ArrowVector::zeros(system.shape());
        let mut baseline = Linearisation::dense(&self.place, system.shape()).map_err(schur)?;
        clock.wall(
            &mut (&mut baseline, &mut step),
            |_| Ok(()),
            |(baseline, step)| {
                let gradient = self.gradient.as_gradient();
                baseline
                    .reupload_and_solve(system, Ridge::ZERO, gradient, step.as_step())
                    .map(drop)
                    .map_err(failed)
            },
        )
    }

    fn row_blocks(&self, phase: Phase, clock: &Clock<'_>) -> Outcome<Taken> {
        let system = self.system()?;
        if phase == Phase::Copy {
            let len = system.shape().rows().rows() * self.arrow.block_len();
            let from = self.stream.zeros::<f64>(len, "copy").map_err(device)?;
            let mut to = self.stream.zeros::<f64>(len, "copy").map_err(device)?;
            let copy = |to: &mut DeviceBuffer<f64>| {
                self.stream.copy(from.view(), to.view_mut()).map_err(device)
            };
            return Ok(clock.events(&mut to, |_| Ok(()), copy)?.l2(L2::Warm));
        }
        let mut there = self.linearisation(&system)?;
        let rows = |there: &mut Linearisation| there.submit_rows(Ridge::ZERO).map_err(schur);
        Ok(clock.events(&mut there, |_| Ok(()), rows)?.l2(L2::Warm))
    }

    fn framed(&self, phase: Phase, clock: &Clock<'_>) -> Outcome<Taken> {
        let mut framed = Framed::new(self)?;
        let (n, k) = self.operands.sizes();
        let floor = solve_bytes(n, k);
        let nothing = |_: &mut Framed<'_>| Ok(());
        Ok(match phase {
            Phase::Factor => clock
                .events(&mut framed, nothing, |f| f.factor())?
                .l2(L2::Warm),
            Phase::Solve => clock
                .events(&mut framed, Framed::renew, Framed::solve)?
                .l2(L2::Warm)
                .floor(floor),
            Phase::SolveCold => {
                framed.make_flush()?;
                let prepare = |f: &mut Framed<'_>| f.renew().and_then(|()| f.flush());
                clock
                    .events(&mut framed, prepare, Framed::solve)?
                    .l2(L2::Cold)
                    .floor(floor)
            }
            Phase::SolveGraph => {
                framed.make_graph()?;
                clock
                    .events(&mut framed, Framed::begin, Framed::launch)?
                    .l2(L2::Warm)
                    .units(Phase::MANY as u32)
                    .floor(floor)
            }
            Phase::Build => {
                let work = |f: &mut Framed<'_>| {
                    f.factor()?;
                    (0..Phase::MANY).try_for_each(|_| f.solve())
                };
                clock.events(&mut framed, Framed::begin, work)?.l2(L2::Warm)
            }
            Phase::BuildGraph => {
                framed.make_graph()?;
                let work = |f: &mut Framed<'_>| f.factor().and_then(|()| f.launch());
                clock.events(&mut framed, Framed::begin, work)?.l2(L2::Warm)
            }
            Phase::Download => clock.wall(&mut framed, nothing, Framed::download)?,
            _ => clock.wall(&mut framed, nothing, |f| f.solve_host(&self.gradient))?,
        })
    }

    /// The loop on the device, with the problem sent.
    fn resident(&self) -> Outcome<ResidentQuadratic> {
        self.expect_unpinned()?;
        let system = self.system()?;
        let keep = self.place.keep.unwrap_or_default();
        let mut resident =
            ResidentQuadratic::new(&self.stream, system.shape(), keep).map_err(schur)?;
        resident
            .load(&system, self.gradient.as_gradient(), 1.0)
            .map_err(schur)?;
        Ok(resident)
    }

    /// Iterates from zero, where the residual is minus the gradient: an exact quadratic stops after
    /// one, so the loop is put back before each.
    fn iterate(&self, phase: Phase, clock: &Clock<'_>) -> Outcome<Taken> {
        let mut resident = self.resident()?;
        resident.start(&Rule::quadratic()).map_err(looped)?;
        let graph = resident.graph(Ridge::ZERO).map_err(failed)?;
        let mut state = Looped {
            resident,
            graph,
            turn: 0,
        };
        self.check_iterate(&mut state)?;
        let (n, k) = self.operands.sizes();
        let floor = solve_bytes(n, k) + 8 * (n * k) as u64 + 4 * (k * (k + 1)) as u64;
        match phase {
            Phase::Iterate => clock.events(&mut state, Looped::start, Looped::launch),
            Phase::IterateWall => clock.wall(&mut state, Looped::start, |s| {
                s.launch()?;
                s.resident.read().map(drop).map_err(schur)
            }),
            _ => clock.wall(&mut state, Looped::start, Looped::at_another_ridge),
        }
        .map(|taken| taken.l2(L2::Warm).floor(floor))
    }

    /// Whole fits, each one graph, that go on after the exact quadratic's one step; ridges are the
    /// device's to choose. Every fit takes as many iterates as the first.
    fn fit(&self, phase: Phase, clock: &Clock<'_>) -> Outcome<Taken> {
        let mut resident = self.resident()?;
        let rule = Rule {
            residual_tolerance: 0.0,
            initial_ridge: match phase {
                Phase::FitGraphChanging => 1e-3,
                _ => 0.0,
            },
            ..Rule::quadratic()
        };
        let first = resident.fit_in_one_graph(&rule).map_err(looped)?;
        self.check_point(&resident)?;
        if first.trials != first.iterations {
            return Err(Decline::Failed {
                error: format!("a trial was rejected: {first:?}"),
            });
        }
        let work = |resident: &mut ResidentQuadratic| {
            let report = resident.fit_in_one_graph(&rule).map_err(looped)?;
            match report == first && report.iterations > 1 {
                true => Ok(()),
                false => Err(Decline::Failed {
                    error: format!("a fit ended as {report:?}, the first as {first:?}"),
                }),
            }
        };
        let units =
            u32::try_from(first.trials).map_err(|_| unsupported("a fit of so many iterates"))?;
        clock
            .wall(&mut resident, |_| Ok(()), work)
            .map(|taken| taken.l2(L2::Warm).units(units))
    }

    /// The point after one iterate solves `H z = g0`.
    fn check_iterate(&self, state: &mut Looped) -> Outcome<()> {
        state.launch()?;
        state.resident.read().map_err(schur)?;
        self.check_point(&state.resident)
    }

    fn check_point(&self, resident: &ResidentQuadratic) -> Outcome<()> {
        let point = resident.point().map_err(schur)?;
        let negated = |x: &[f64]| x.iter().map(|x| -x).collect::<Vec<_>>();
        let (row, border) = (negated(&point.row), negated(&point.border));
        let error = check::componentwise_error(self.operands, 0, &row, &border);
        check::parity(error, check::DIRECT_BOUND, None, None).map(drop)
    }
}

impl Bench for Rows<'_> {
    /// A step's backward error is from the operands by plain loops.
    fn check(&self, known: Option<f64>) -> Outcome<(Parity, Option<FrameSummary>)> {
        let system = self.system()?;
        let shape = system.shape().clone();
        let mut there = self.linearisation(&system)?;
        let mut factors = there.factor(Ridge::ZERO).map_err(failed)?;
        let mut step = ArrowVector::zeros(&shape);
        factors
            .solve(self.gradient.as_gradient(), step.as_step())
            .map_err(failed)?;
        let error = check::componentwise_error(self.operands, 0, &step.row, &step.border);
        let summary = factors.summary();
        let own = factors.log_determinant().map(|l| Logarithm {
            value: l.value,
            absolute: l.absolute,
        });
        let own = own.map_err(|e| Decline::Failed {
            error: format!("no log-determinant: {e}"),
        })?;
        let cpu = match known {
            Some(value) => value,
            None => cpu_log_determinant(self.system()?.into())?,
        };
        let cpu = (super::cell::CPU.to_owned(), cpu);
        let parity = check::parity(error, check::DIRECT_BOUND, Some(own), Some(cpu))?;
        Ok((parity, Some(summary)))
    }

    fn phase(&self, phase: Phase, clock: &Clock<'_>) -> Outcome<(Taken, ExecutionPath)> {
        let resident = |taken| (taken, ExecutionPath::GpuResidentLinearization);
        match phase {
            Phase::Refresh | Phase::Pack | Phase::Upload => {
                self.refresh(phase, clock).map(resident)
            }
            Phase::ReUpload => self
                .re_upload(clock)
                .map(|t| (t, ExecutionPath::GpuReupload)),
            Phase::RowBlocks | Phase::Copy => self.row_blocks(phase, clock).map(resident),
            Phase::Iterate | Phase::IterateWall | Phase::IterateChanging => self
                .iterate(phase, clock)
                .map(|taken| (taken, ExecutionPath::GpuResidentFull)),
            Phase::FitGraph | Phase::FitGraphChanging => self
                .fit(phase, clock)
                .map(|taken| (taken, ExecutionPath::GpuResidentFull)),
            Phase::Factor
            | Phase::Solve
            | Phase::SolveCold
            | Phase::SolveGraph
            | Phase::SolveHost
            | Phase::Download
            | Phase::Build
            | Phase::BuildGraph => self.framed(phase, clock).map(resident),
            other => Err(unsupported(&format!("no {other} on a device"))),
        }
    }
}

/// The most row unknowns for which the CPU keeps a square of their order: 800 MB.
const MOST_SQUARED: usize = 10_000;

/// The log-determinant on the CPU: by rows first of dense systems, by border first of structured ones
/// of so few row unknowns that it serves, by what the planner takes of others.
pub(super) fn cpu_log_determinant(system: System<'_>) -> Outcome<f64> {
    let elimination = match &system {
        System::Dense(_) => Some(EliminationKind::Rows),
        System::Structured(s) if s.shape().row_unknowns() <= MOST_SQUARED => {
            Some(EliminationKind::Border)
        }
        _ => None,
    };
    let options = SolverOptions {
        elimination,
        memory_limit: u64::MAX,
        ..SolverOptions::default()
    };
    let mut solver = Solver::new(&system, options).map_err(schur)?;
    let mut base = solver.refresh(system).map_err(schur)?;
    let frame = base.factor(Ridge::ZERO).map_err(failed)?;
    let found = frame.log_determinant();
    found.map(|l| l.value).map_err(|e| Decline::Failed {
        error: format!("the CPU has no log-determinant: {e}"),
    })
}

/// Bytes that one solve must read: see the [module](self).
fn solve_bytes(n: usize, k: usize) -> u64 {
    let (n, k) = (n as u64, k as u64);
    16 * n * k + 8 * k * (k + 1)
}

/// A linearisation with its factors, and a chain of solves.
struct Framed<'b> {
    stream: Stream,
    there: Linearisation,
    /// The gradient of the next solve and the room of its step, which then change places.
    vectors: [DeviceVector; 2],
    step: ArrowVector,
    gradient: &'b ArrowVector,
    in_chain: usize,
    graph: Option<Graph>,
    flush: Option<DeviceBuffer<f64>>,
}

impl<'b> Framed<'b> {
    fn new(bench: &'b Rows<'_>) -> Outcome<Self> {
        let system = bench.system()?;
        let mut there = bench.linearisation(&system)?;
        there.factor(Ridge::ZERO).map_err(failed)?;
        let vectors = [
            there.vector().map_err(schur)?,
            there.vector().map_err(schur)?,
        ];
        let mut framed = Self {
            stream: bench.stream.clone(),
            there,
            vectors,
            step: ArrowVector::zeros(system.shape()),
            gradient: &bench.gradient,
            in_chain: 0,
            graph: None,
            flush: None,
        };
        framed.begin()?;
        Ok(framed)
    }

    /// Puts the gradient back.
    fn begin(&mut self) -> Outcome<()> {
        let class = ByteClass::Gradient;
        let to = &mut self.vectors[0];
        self.stream
            .upload_into(&self.gradient.row, to.row_mut(), class)
            .map_err(device)?;
        let border = to.border_mut().map_err(schur)?;
        self.stream
            .upload_into(&self.gradient.border, border, class)
            .map_err(device)?;
        self.in_chain = 0;
        Ok(())
    }

    /// Begins a chain anew where the present one is long.
    fn renew(&mut self) -> Outcome<()> {
        match self.in_chain < Phase::MANY {
            true => Ok(()),
            false => self.begin(),
        }
    }

    fn factor(&mut self) -> Outcome<()> {
        self.there.factor(Ridge::ZERO).map(drop).map_err(failed)
    }

    /// One solve, its gradient the step before.
    fn solve(&mut self) -> Outcome<()> {
        let [gradient, step] = &mut self.vectors;
        let mut factors = self.there.factorization(Ridge::ZERO).map_err(failed)?;
        factors.solve_resident(gradient, step).map_err(schur)?;
        self.vectors.swap(0, 1);
        self.in_chain += 1;
        Ok(())
    }

    fn make_graph(&mut self) -> Outcome<()> {
        let [a, b] = &mut self.vectors;
        let mut factors = self.there.factorization(Ridge::ZERO).map_err(failed)?;
        let graph = self.stream.capture(|_| {
            for _ in 0..Phase::MANY / 2 {
                factors.solve_resident(a, b).map_err(of_device)?;
                factors.solve_resident(b, a).map_err(of_device)?;
            }
            Ok(())
        });
        self.graph = Some(graph.map_err(device)?);
        Ok(())
    }

    fn launch(&mut self) -> Outcome<()> {
        match &mut self.graph {
            Some(graph) => graph.launch().map_err(device),
            None => Err(unsupported("no graph was made")),
        }
    }

    fn make_flush(&mut self) -> Outcome<()> {
        let l2 = self.stream.context().info().l2_bytes as usize;
        let buffer = self
            .stream
            .zeros(2 * l2 / size_of::<f64>(), "driving L2 out");
        self.flush = Some(buffer.map_err(device)?);
        Ok(())
    }

    fn flush(&mut self) -> Outcome<()> {
        match &mut self.flush {
            Some(buffer) => self.stream.zero(buffer.view_mut()).map_err(device),
            None => Err(unsupported("no buffer was made")),
        }
    }

    fn download(&mut self) -> Outcome<()> {
        let class = ByteClass::Gradient;
        let from = &self.vectors[1];
        let border = from.border().map_err(schur)?;
        self.stream
            .download_into(from.row(), &mut self.step.row, class)
            .map_err(device)?;
        self.stream
            .download_into(border, &mut self.step.border, class)
            .map_err(device)
    }

    fn solve_host(&mut self, gradient: &ArrowVector) -> Outcome<()> {
        let mut factors = self.there.factorization(Ridge::ZERO).map_err(failed)?;
        factors
            .solve(gradient.as_gradient(), self.step.as_step())
            .map(drop)
            .map_err(failed)
    }
}

/// The loop on the device.
struct Looped {
    resident: ResidentQuadratic,
    graph: IterateGraph,
    turn: u32,
}

impl Looped {
    fn start(&mut self) -> Outcome<()> {
        self.resident
            .start(&Rule::quadratic())
            .map(drop)
            .map_err(looped)
    }

    fn launch(&mut self) -> Outcome<()> {
        self.resident.launch(&mut self.graph).map_err(schur)
    }

    /// Factors at a ridge that no sample had, takes one iterate and reads its record.
    fn at_another_ridge(&mut self) -> Outcome<()> {
        self.turn += 1;
        let r = 1e-3 / f64::from(self.turn);
        self.resident.submit(Ridge::new(r, r)).map_err(failed)?;
        self.resident.read().map(drop).map_err(schur)
    }
}

/// The device's part of an error inside a capture; anything else cannot happen there.
pub(super) fn of_device(error: Error) -> DeviceError {
    match error {
        Error::Device(error) => error,
        other => Refusal::Capturing {
            what: "a solve".to_owned(),
            why: other.to_string(),
        }
        .into(),
    }
}

pub(super) fn unsupported(why: &str) -> Decline {
    Decline::Unsupported {
        why: why.to_owned(),
    }
}

pub(super) fn schur(error: Error) -> Decline {
    match error {
        Error::Device(DeviceError::Refusal(Refusal::Memory { needed, free, .. })) => {
            Decline::OutOfMemory {
                asked: needed,
                free,
            }
        }
        Error::Device(error) => device(error),
        Error::Absent(absence) => absence.into(),
        Error::Unsupported { .. } => unsupported(&error.to_string()),
        other => Decline::Failed {
            error: other.to_string(),
        },
    }
}

fn looped(error: QuadraticError) -> Decline {
    match error {
        LmError::Problem(error) => schur(error),
        other => Decline::Failed {
            error: other.to_string(),
        },
    }
}

pub(super) fn failed(failure: Failure) -> Decline {
    match failure {
        Failure::Stop(error) => schur(error),
        other => Decline::Failed {
            error: other.to_string(),
        },
    }
}
