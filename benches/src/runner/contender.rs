//! A contender: one elimination with its solver, in a pool of threads of its own.
//!
//! Frames borrow bases, and bases solvers, so a frame that outlives a sample lives on the stack of a
//! thread: the contender's, a worker of its own pool, which takes one phase after another and times
//! the work itself.

use super::Options;
use super::product::Product;
use crate::case::Operands;
use crate::cell::{AUTO, AUTO_SHIPPED, Phase};
use crate::check::{self, Logarithm};
use broadhead_device::{ExecutionPath, LedgerSnapshot};
use broadhead_gate::Decline;
use broadhead_schur::{
    ArrowVector, Base, EliminationKind, Error, Failure, Frame, Gradient, Rates, Refinement, Ridge,
    Solver, SolverOptions, StepMut, Workload,
};
use faer::{Mat, MatRef};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;
use std::time::Instant;

/// One sample.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Seconds of the wall clock.
    pub seconds: f64,
    /// Where the work ran.
    pub execution_path: ExecutionPath,
    /// The elimination that ran.
    pub elimination: String,
    /// What this sample's work moved and did.
    pub ledger: LedgerSnapshot,
}

/// What the check before the first sample found.
#[derive(Clone, Debug)]
pub struct Ready {
    /// The elimination that ran.
    pub elimination: String,
    /// Componentwise backward error of the worst of all gradients.
    pub componentwise_error: f64,
    /// Its log-determinant, where it has one.
    pub logarithm: Option<Logarithm>,
}

/// A running contender. Dropping it ends its thread.
#[derive(Debug)]
pub struct Contender<'c> {
    requests: Sender<Phase>,
    answers: Receiver<Result<Answer, Decline>>,
    /// It borrows nothing that outlives its case.
    case: std::marker::PhantomData<&'c Operands>,
}

impl<'c> Contender<'c> {
    /// Starts `name` ([`AUTO`], [`AUTO_SHIPPED`] or an elimination) over `operands`, and checks it.
    ///
    /// # Errors
    /// Why it declines.
    pub fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        name: &str,
        operands: &Arc<Operands>,
        options: &Options,
        workload: Workload,
    ) -> Result<(Self, Ready), Decline> {
        let (elimination, rates) = match name {
            AUTO => (None, options.rates.clone()),
            AUTO_SHIPPED => (None, Rates::default()),
            name => {
                let parsed: Result<EliminationKind, _> = name.parse();
                let kind = parsed.map_err(|e| Decline::Failed {
                    error: e.to_string(),
                })?;
                (Some(kind), options.rates.clone())
            }
        };
        let gives_it = elimination.is_none_or(EliminationKind::gives_log_determinant);
        if workload.log_determinant && !gives_it {
            let why = "it gives no log-determinant, which this cell asks for".to_owned();
            return Err(Decline::Unsupported { why });
        }
        let solver_options = SolverOptions {
            elimination,
            memory_limit: options.memory_limit,
            workload,
            rates,
            ..SolverOptions::default()
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .build();
        let pool = pool.map_err(|e| Decline::Failed {
            error: e.to_string(),
        })?;
        let (requests, inbox) = channel();
        let (outbox, answers) = channel();
        let (ready_in, ready) = channel();
        let (operands, seed) = (Arc::clone(operands), options.seed);
        scope.spawn(move || {
            let options = (solver_options, seed);
            pool.install(move || serve(&operands, options, &inbox, &outbox, &ready_in));
        });
        let ended = |_| Decline::Failed {
            error: "the contender ended".to_owned(),
        };
        let ready: Ready = ready.recv().map_err(ended).flatten()?;
        let case = std::marker::PhantomData;
        Ok((
            Self {
                requests,
                answers,
                case,
            },
            ready,
        ))
    }

    /// One sample of `phase`.
    ///
    /// # Errors
    /// The work failed.
    pub fn sample(&self, phase: Phase) -> Result<Answer, Decline> {
        let ended = || Decline::Failed {
            error: "the contender ended".to_owned(),
        };
        self.requests.send(phase).map_err(|_| ended())?;
        self.answers.recv().map_err(|_| ended())?
    }
}

/// The contender's thread: the check, then samples until nobody asks.
fn serve(
    operands: &Operands,
    options: (SolverOptions, u64),
    inbox: &Receiver<Phase>,
    outbox: &Sender<Result<Answer, Decline>>,
    ready: &Sender<Result<Ready, Decline>>,
) {
    let outcome = Worker::new(operands, options).and_then(|mut worker| {
        let found = worker.check()?;
        Ok((worker, found))
    });
    // Nobody listens any more where a send fails: the thread just ends.
    let mut worker = match outcome {
        Ok((worker, found)) => {
            if ready.send(Ok(found)).is_err() {
                return;
            }
            worker
        }
        Err(declined) => {
            drop(ready.send(Err(declined)));
            return;
        }
    };
    let mut next = inbox.recv();
    while let Ok(phase) = next {
        next = match worker.phase(phase, inbox, outbox) {
            Ok(other) => other.ok_or(std::sync::mpsc::RecvError),
            Err(declined) => {
                if outbox.send(Err(declined)).is_err() {
                    return;
                }
                inbox.recv()
            }
        };
    }
}

struct Worker<'o> {
    operands: &'o Operands,
    options: SolverOptions,
    seed: u64,
    solver: Solver,
}

/// Gradients and steps of [`Phase::MANY`] columns.
struct Columns<'o> {
    row: MatRef<'o, f64>,
    border: MatRef<'o, f64>,
}

impl<'o> Columns<'o> {
    fn of(operands: &'o Operands) -> Self {
        let (n, k) = operands.sizes();
        let gradients = operands.gradients();
        Self {
            row: MatRef::from_column_major_slice(&gradients.row, n, Phase::MANY),
            border: MatRef::from_column_major_slice(&gradients.border, k, Phase::MANY),
        }
    }

    fn gradient(&self, j: usize) -> Gradient<'o> {
        Gradient::many(self.row.subcols(j, 1), self.border.subcols(j, 1))
    }
}

impl<'o> Worker<'o> {
    fn new(operands: &'o Operands, (options, seed): (SolverOptions, u64)) -> Result<Self, Decline> {
        let system = operands.system().map_err(|e| declined(e.into()))?;
        let solver = Solver::new(&system, options.clone()).map_err(declined)?;
        Ok(Self {
            operands,
            options,
            seed,
            solver,
        })
    }

    /// Factors and solves all gradients, together and the first one apart.
    fn check(&mut self) -> Result<Ready, Decline> {
        let operands = self.operands;
        let system = operands.system().map_err(|e| declined(e.into()))?;
        let (n, k) = operands.sizes();
        let mut base = self.solver.refresh(system).map_err(declined)?;
        let mut frame = base.factor(Ridge::ZERO).map_err(failed)?;
        let columns = Columns::of(operands);
        let mut row = Mat::<f64>::zeros(n, Phase::MANY);
        let mut border = Mat::<f64>::zeros(k, Phase::MANY);
        let gradients = Gradient::many(columns.row, columns.border);
        let step = StepMut::many(row.as_mut(), border.as_mut());
        frame.solve(gradients, step).map_err(failed)?;
        // The last column of many and a first one alone: both ways through the solve.
        let last = Phase::MANY - 1;
        let (r, b) = (row.col_as_slice(last), border.col_as_slice(last));
        let mut error = check::componentwise_error(operands, last, r, b);
        let mut one = ArrowVector {
            row: vec![0.0; n],
            border: vec![0.0; k],
        };
        frame
            .solve(columns.gradient(0), one.as_step())
            .map_err(failed)?;
        error = check::larger(
            error,
            check::componentwise_error(operands, 0, &one.row, &one.border),
        );
        let logarithm = frame.log_determinant().map(|l| Logarithm {
            value: l.value,
            absolute: l.absolute,
        });
        Ok(Ready {
            elimination: frame.elimination().to_string(),
            componentwise_error: error,
            // The iterative elimination's absence is no failure: the cell did not ask for one.
            logarithm: logarithm.ok(),
        })
    }

    /// Samples of `phase` until another is asked for, which is returned; `None` where nobody asks.
    fn phase(
        &mut self,
        phase: Phase,
        inbox: &Receiver<Phase>,
        outbox: &Sender<Result<Answer, Decline>>,
    ) -> Result<Option<Phase>, Decline> {
        let operands = self.operands;
        let system = operands.system().map_err(|e| declined(e.into()))?;
        let (n, k) = operands.sizes();
        let columns = Columns::of(operands);
        let mut one = ArrowVector {
            row: vec![0.0; n],
            border: vec![0.0; k],
        };
        let chosen = self.solver.plan().chosen;
        let before = self.solver.ledger();
        let mut turns = Turns {
            phase,
            inbox,
            outbox,
            before,
        };
        match phase {
            Phase::Refresh => turns.take(|| {
                let base = self.solver.refresh(system).map_err(declined)?;
                Ok((base.ledger(), (ExecutionPath::Cpu, chosen)))
            }),
            Phase::Step => turns.take(|| {
                let mut base = self.solver.refresh(system).map_err(declined)?;
                let mut frame = base.factor(Ridge::ZERO).map_err(failed)?;
                frame
                    .solve(columns.gradient(0), one.as_step())
                    .map_err(failed)?;
                let place = place(&frame);
                Ok((base.ledger(), place))
            }),
            Phase::Factor => {
                let mut base: Base<'_> = self.solver.refresh(system).map_err(declined)?;
                turns.take(|| {
                    let frame = base.factor(Ridge::ZERO).map_err(failed)?;
                    let place = place(&frame);
                    Ok((base.ledger(), place))
                })
            }
            Phase::Solve | Phase::SolveApart | Phase::SolveTogether => {
                let mut base = self.solver.refresh(system).map_err(declined)?;
                let ledger = base.ledger();
                turns.before = ledger;
                let mut frame = base.factor(Ridge::ZERO).map_err(failed)?;
                let mut row = Mat::<f64>::zeros(n, Phase::MANY);
                let mut border = Mat::<f64>::zeros(k, Phase::MANY);
                turns.take(|| {
                    match phase {
                        Phase::Solve => frame.solve(columns.gradient(0), one.as_step()).map(drop),
                        Phase::SolveTogether => {
                            let step = StepMut::many(row.as_mut(), border.as_mut());
                            frame
                                .solve(Gradient::many(columns.row, columns.border), step)
                                .map(drop)
                        }
                        _ => (0..Phase::MANY).try_for_each(|j| {
                            frame.solve(columns.gradient(j), one.as_step()).map(drop)
                        }),
                    }
                    .map_err(failed)?;
                    Ok((ledger, place(&frame)))
                })
            }
            Phase::SolveUnmeasured | Phase::SolveTogetherUnmeasured => {
                let unmeasured = SolverOptions {
                    refinement: Refinement::Off,
                    ..self.options.clone()
                };
                let mut solver = Solver::new(&system, unmeasured).map_err(declined)?;
                let mut base = solver.refresh(system).map_err(declined)?;
                let ledger = base.ledger();
                turns.before = ledger;
                let mut frame = base.factor(Ridge::ZERO).map_err(failed)?;
                // The step of this solver is another than the one that was checked.
                let solved = frame.solve(columns.gradient(0), one.as_step());
                solved.map_err(failed)?;
                let error = check::componentwise_error(operands, 0, &one.row, &one.border);
                let bound = match frame.elimination() {
                    EliminationKind::Iterative => check::ITERATIVE_BOUND,
                    _ => check::DIRECT_BOUND,
                };
                check::parity(error, bound, None, None)?;
                if phase == Phase::SolveUnmeasured {
                    return turns.take(|| {
                        let solved = frame.solve(columns.gradient(0), one.as_step());
                        solved.map_err(failed)?;
                        Ok((ledger, place(&frame)))
                    });
                }
                let mut row = Mat::<f64>::zeros(n, Phase::MANY);
                let mut border = Mat::<f64>::zeros(k, Phase::MANY);
                let mut all = |row: &mut Mat<f64>, border: &mut Mat<f64>| {
                    let step = StepMut::many(row.as_mut(), border.as_mut());
                    let gradients = Gradient::many(columns.row, columns.border);
                    frame.solve(gradients, step).map_err(failed)?;
                    Ok((ledger, place(&frame)))
                };
                all(&mut row, &mut border)?;
                for j in 0..Phase::MANY {
                    let (row, border) = (row.col_as_slice(j), border.col_as_slice(j));
                    let error = check::componentwise_error(operands, j, row, border);
                    check::parity(error, bound, None, None)?;
                }
                turns.take(|| all(&mut row, &mut border))
            }
            Phase::Product => {
                let mut product = Product::checked(self.seed)?;
                turns.take(|| {
                    product.run();
                    Ok((before, (ExecutionPath::Cpu, chosen)))
                })
            }
            other => Err(Decline::Unsupported {
                why: format!("no {other} on the host"),
            }),
        }
    }
}

/// Where a frame works and by which elimination.
fn place(frame: &Frame<'_>) -> (ExecutionPath, EliminationKind) {
    (frame.execution_path(), frame.elimination())
}

/// The samples of one phase.
struct Turns<'t> {
    phase: Phase,
    inbox: &'t Receiver<Phase>,
    outbox: &'t Sender<Result<Answer, Decline>>,
    /// The solver's ledger before the next sample.
    before: LedgerSnapshot,
}

/// The solver's ledger after a sample, and where its work ran.
type Done = (LedgerSnapshot, (ExecutionPath, EliminationKind));

impl Turns<'_> {
    /// Does and times `work` once for every request of this phase.
    fn take(
        &mut self,
        mut work: impl FnMut() -> Result<Done, Decline>,
    ) -> Result<Option<Phase>, Decline> {
        loop {
            let start = Instant::now();
            let (ledger, (execution_path, elimination)) = work()?;
            let seconds = start.elapsed().as_secs_f64();
            let answer = Answer {
                seconds,
                execution_path,
                elimination: elimination.to_string(),
                ledger: ledger.since(&self.before),
            };
            self.before = ledger;
            if self.outbox.send(Ok(answer)).is_err() {
                return Ok(None);
            }
            match self.inbox.recv() {
                Ok(phase) if phase == self.phase => {}
                Ok(other) => return Ok(Some(other)),
                Err(_) => return Ok(None),
            }
        }
    }
}

fn declined(error: Error) -> Decline {
    match error {
        Error::Memory { needed, limit, .. } => Decline::OutOfMemory {
            asked: needed,
            free: limit,
        },
        Error::Unsupported { .. } => Decline::Unsupported {
            why: error.to_string(),
        },
        other => Decline::Failed {
            error: other.to_string(),
        },
    }
}

fn failed(failure: Failure) -> Decline {
    match failure {
        Failure::Stop(error) => declined(error),
        other => Decline::Failed {
            error: other.to_string(),
        },
    }
}
