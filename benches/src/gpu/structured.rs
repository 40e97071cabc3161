//! Structured systems on a device, by one of its eliminations: the check, and every phase.
//!
//! `factor-solve` is a graph that holds a factorization and a solve with its factors, on operands
//! and a gradient that are there: what one linearisation costs once its numbers are on the device.

use super::arrow::{cpu_log_determinant, failed, of_device, schur, unsupported};
use super::cell::Bench;
use super::clock::{Clock, Outcome, Taken, device};
use crate::case::{Circles, Operands};
use crate::cell::Phase;
use crate::check::{self, Logarithm};
use crate::record::{L2, Parity};
use broadhead_device::{ByteClass, ExecutionPath, Stream};
use broadhead_gate::Decline;
use broadhead_schur::device::{
    DeviceVector, Factorization, FrameSummary, Linearisation, Placement,
};
use broadhead_schur::{ArrowVector, EliminationKind, IterativeOptions, Ridge, StructuredSystem};

/// One system, and how it is eliminated.
#[derive(Debug)]
pub(super) struct Structured<'o> {
    stream: Stream,
    place: Placement,
    elimination: EliminationKind,
    operands: &'o Operands,
    circles: &'o Circles,
    gradient: ArrowVector,
}

impl<'o> Structured<'o> {
    pub(super) fn new(
        place: Placement,
        operands: &'o Operands,
        elimination: EliminationKind,
    ) -> Outcome<Self> {
        let Operands::Circles(circles) = operands else {
            return Err(unsupported("it serves structured systems"));
        };
        let (n, k) = operands.sizes();
        let gradients = operands.gradients();
        Ok(Self {
            stream: place.stream.clone(),
            place,
            elimination,
            operands,
            circles,
            gradient: ArrowVector {
                row: gradients.row[..n].to_vec(),
                border: gradients.border[..k].to_vec(),
            },
        })
    }

    /// What a step's backward error must satisfy.
    fn bound(&self) -> f64 {
        match self.elimination.gives_log_determinant() {
            true => check::DIRECT_BOUND,
            false => check::ITERATIVE_BOUND,
        }
    }

    fn system(&self) -> Outcome<StructuredSystem<'o>> {
        self.circles.system().map_err(|e| schur(e.into()))
    }

    fn zeros(&self) -> ArrowVector {
        let (n, k) = self.operands.sizes();
        ArrowVector {
            row: vec![0.0; n],
            border: vec![0.0; k],
        }
    }

    /// Operands on the device, nothing factored yet.
    fn linearisation(&self) -> Outcome<Linearisation> {
        let system = self.system()?;
        let (shape, iterative) = (system.structured_shape(), IterativeOptions::default());
        let mut made = Linearisation::structured(&self.place, shape, self.elimination, iterative)
            .map_err(schur)?;
        made.refresh(system).map_err(schur)?;
        Ok(made)
    }

    /// Puts the gradient into a vector of the device.
    fn put_gradient(&self, to: &mut DeviceVector) -> Outcome<()> {
        let class = ByteClass::Gradient;
        self.stream
            .upload_into(&self.gradient.row, to.row_mut(), class)
            .map_err(device)?;
        let border = to.border_mut().map_err(schur)?;
        self.stream
            .upload_into(&self.gradient.border, border, class)
            .map_err(device)
    }

    fn vectors(&self, there: &Linearisation) -> Outcome<[DeviceVector; 2]> {
        let mut vectors = [
            there.vector().map_err(schur)?,
            there.vector().map_err(schur)?,
        ];
        self.put_gradient(&mut vectors[0])?;
        Ok(vectors)
    }

    fn solve(&self, clock: &Clock<'_>) -> Outcome<Taken> {
        let mut there = self.linearisation()?;
        let vectors = self.vectors(&there)?;
        let mut state = Chain {
            bench: self,
            factors: there.factor(Ridge::ZERO).map_err(failed)?,
            vectors,
            done: 0,
        };
        clock.events(&mut state, Chain::renew, Chain::solve)
    }

    fn factor_and_solve(&self, clock: &Clock<'_>) -> Outcome<Taken> {
        let mut there = self.linearisation()?;
        let [gradient, mut step] = self.vectors(&there)?;
        // Once before, so that handles are there: a capture may not make them.
        there.factor(Ridge::ZERO).map_err(failed)?;
        let mut graph = self
            .stream
            .capture(|_| {
                there
                    .submit_factor(Ridge::ZERO)
                    .and_then(|()| there.submit_solve(&gradient, &mut step))
                    .map_err(of_device)
            })
            .map_err(device)?;
        graph.launch().map_err(device)?;
        there.factored(Ridge::ZERO).map_err(failed)?;
        let class = ByteClass::Gradient;
        let row = self.stream.download(step.row(), class).map_err(device)?;
        let border = step.border().map_err(schur)?;
        let border = self.stream.download(border, class).map_err(device)?;
        let error = check::componentwise_error(self.operands, 0, &row, &border);
        there.solved().map_err(failed)?;
        check::parity(error, self.bound(), None, None)?;
        clock.events(
            &mut graph,
            |_| Ok(()),
            |graph| graph.launch().map_err(device),
        )
    }
}

impl Bench for Structured<'_> {
    fn check(&self, known: Option<f64>) -> Outcome<(Parity, Option<FrameSummary>)> {
        let mut there = self.linearisation()?;
        let mut factors = there.factor(Ridge::ZERO).map_err(failed)?;
        let mut step = self.zeros();
        factors
            .solve(self.gradient.as_gradient(), step.as_step())
            .map_err(failed)?;
        let error = check::componentwise_error(self.operands, 0, &step.row, &step.border);
        // Conjugate gradients have no log-determinant to compare; what should have one has.
        let own = match (
            factors.log_determinant(),
            self.elimination.gives_log_determinant(),
        ) {
            (Ok(l), _) => Some(Logarithm {
                value: l.value,
                absolute: l.absolute,
            }),
            (Err(_), false) => None,
            (Err(error), _) => {
                let error = format!("no log-determinant: {error}");
                return Err(Decline::Failed { error });
            }
        };
        let cpu = match (own, known) {
            (None, _) => None,
            (_, Some(value)) => Some(value),
            (_, None) => Some(cpu_log_determinant(self.system()?.into())?),
        };
        let cpu = cpu.map(|value| (super::cell::CPU.to_owned(), value));
        let parity = check::parity(error, self.bound(), own, cpu)?;
        Ok((parity, Some(there.summary())))
    }

    fn phase(&self, phase: Phase, clock: &Clock<'_>) -> Outcome<(Taken, ExecutionPath)> {
        let taken = match phase {
            Phase::Refresh => {
                let system = self.system()?;
                let work = |there: &mut Linearisation| {
                    there.refresh(system).map_err(schur)?;
                    self.stream.synchronize().map_err(device)
                };
                clock.wall(&mut self.linearisation()?, |_| Ok(()), work)?
            }
            Phase::Factor => {
                let work =
                    |there: &mut Linearisation| there.factor(Ridge::ZERO).map(drop).map_err(failed);
                clock.events(&mut self.linearisation()?, |_| Ok(()), work)?
            }
            Phase::Solve => self.solve(clock)?,
            Phase::Core => self.factor_and_solve(clock)?,
            Phase::SolveHost => {
                let mut there = self.linearisation()?;
                let factors = there.factor(Ridge::ZERO).map_err(failed)?;
                let work = |(factors, step): &mut (Factorization<'_>, ArrowVector)| {
                    factors
                        .solve(self.gradient.as_gradient(), step.as_step())
                        .map(drop)
                        .map_err(failed)
                };
                clock.wall(&mut (factors, self.zeros()), |_| Ok(()), work)?
            }
            other => {
                return Err(unsupported(&format!(
                    "no {other} of a structured system on a device"
                )));
            }
        };
        Ok((taken.l2(L2::Warm), ExecutionPath::GpuResidentLinearization))
    }
}

/// Factors and a chain of solves, each gradient the step before.
struct Chain<'c> {
    bench: &'c Structured<'c>,
    factors: Factorization<'c>,
    vectors: [DeviceVector; 2],
    done: usize,
}

impl Chain<'_> {
    /// Begins the chain anew where it is long.
    fn renew(&mut self) -> Outcome<()> {
        if self.done < Phase::MANY {
            return Ok(());
        }
        self.done = 0;
        self.bench.put_gradient(&mut self.vectors[0])
    }

    fn solve(&mut self) -> Outcome<()> {
        let [gradient, step] = &mut self.vectors;
        self.factors.solve_resident(gradient, step).map_err(schur)?;
        self.vectors.swap(0, 1);
        self.done += 1;
        Ok(())
    }
}
