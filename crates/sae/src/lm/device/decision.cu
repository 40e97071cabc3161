// The Levenberg-Marquardt decision: the device's text of decision.rs, line by line.
//
//   gain  = (f - f_trial) / q                           where q >= noise s
//         = 1 if f_trial - f <= noise s else -1         where q <  noise s
//   accept iff gain > 0 and f_trial, q are finite
//   ridge: accepted  r decrease, and 0 below the floor
//          else      increase r (from_zero from 0), at least r + bump
//
// Only + - * / and comparisons, in the order of that file, compiled without contraction
// (--fmad=false): the same bits.
//
// Layouts, all doubles; counts and the status are whole numbers, exact below 2^53.
//   rule   initial_ridge, ridge_decrease, ridge_increase, ridge_floor, ridge_from_zero,
//          ridge_ceiling, noise, residual_tolerance, decrease_tolerance, stall_turns, max_iterations,
//          max_trials
//   state  ridge, objective, scale, largest[0], largest[1], anchor, turns, iterations, trials,
//          last_accepted, status
//   trial  kind (0: a step, 1: not positive definite), predicted, objective, scale, bump,
//          norms[0], norms[1]
//   out    state, gain, accepted

struct Rule {
  double initial_ridge, ridge_decrease, ridge_increase, ridge_floor, ridge_from_zero, ridge_ceiling,
      noise, residual_tolerance, decrease_tolerance, stall_turns, max_iterations,
      max_trials;
};
struct State {
  double ridge, objective, scale, largest[2], anchor, turns, iterations, trials, last_accepted, status;
};
struct Trial {
  double kind, predicted, objective, scale, bump, norms[2];
};
struct Decision {
  State state;
  double gain, accepted;
};

#define RUNNING 0.0
#define CONVERGED_RESIDUAL 1.0
#define CONVERGED_DECREASE 2.0
#define CONVERGED_STALL 3.0
#define ITERATION_LIMIT 4.0
#define TRIAL_LIMIT 5.0
#define RIDGE_CEILING 6.0

__device__ bool finite(double x) { return x - x == 0.0; }

__device__ double gain_of(const Rule &rule, const State &state, double predicted,
                          double objective) {
  double floor = rule.noise * state.scale;
  if (predicted < floor) return objective - state.objective <= floor ? 1.0 : -1.0;
  double gain = (state.objective - objective) / predicted;
  return finite(gain) ? gain : -1.0;
}

__device__ Decision decide(const Rule &rule, const State &state, const Trial &trial) {
  Decision d;
  State next = state;
  next.trials = state.trials + 1.0;
  double gain, bump;
  if (trial.kind != 0.0) {
    gain = -1.0;
    bump = trial.bump;
  } else {
    gain = finite(trial.predicted) && finite(trial.objective) && finite(trial.scale)
               ? gain_of(rule, state, trial.predicted, trial.objective)
               : -1.0;
    if (gain > 0.0) {
      double lowered = state.objective - trial.objective;
      next.objective = trial.objective;
      next.scale = trial.scale;
      next.iterations = state.iterations + 1.0;
      next.last_accepted = 1.0;
      double halved = state.ridge * rule.ridge_decrease;
      next.ridge = halved < rule.ridge_floor ? 0.0 : halved;
      double least = rule.decrease_tolerance * state.scale;
      if (state.anchor - trial.objective >= least) {
        next.anchor = trial.objective;
        next.turns = 0.0;
      }
      if (rule.decrease_tolerance > 0.0 && lowered < least && state.ridge <= rule.initial_ridge)
        next.status = CONVERGED_DECREASE;
      else if (rule.stall_turns > 0.0 && next.turns >= rule.stall_turns)
        next.status = CONVERGED_STALL;
      d.state = next;
      d.gain = gain;
      d.accepted = 1.0;
      return d;
    }
    bump = 0.0;
  }
  double grown = state.ridge > 0.0 ? state.ridge * rule.ridge_increase : rule.ridge_from_zero;
  double bumped = state.ridge + bump;
  if (bumped > grown) grown = bumped;
  next.ridge = grown;
  next.turns = state.turns + state.last_accepted;
  next.last_accepted = 0.0;
  if (grown > rule.ridge_ceiling)
    next.status = RIDGE_CEILING;
  else if (next.trials >= rule.max_trials)
    next.status = TRIAL_LIMIT;
  d.state = next;
  d.gain = gain;
  d.accepted = 0.0;
  return d;
}

__device__ State settle(const Rule &rule, const State &state, const double norms[2]) {
  State next = state;
  bool small = true;
  for (int b = 0; b < 2; ++b) {
    if (norms[b] > next.largest[b]) next.largest[b] = norms[b];
    small = small && norms[b] <= rule.residual_tolerance * next.largest[b];
  }
  if (next.status != RUNNING) return next;
  if (small)
    next.status = CONVERGED_RESIDUAL;
  else if (next.iterations >= rule.max_iterations)
    next.status = ITERATION_LIMIT;
  else if (next.trials >= rule.max_trials)
    next.status = TRIAL_LIMIT;
  return next;
}

// One decision a thread, settled where it was accepted: a table of states at once.
extern "C" __global__ void __launch_bounds__(128)
    lm_decide(const double *rule, const double *states, const double *trials, int count,
              double *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const Rule &r = *(const Rule *)rule;
  const Trial &trial = ((const Trial *)trials)[i];
  Decision d = decide(r, ((const State *)states)[i], trial);
  if (d.accepted != 0.0) d.state = settle(r, d.state, trial.norms);
  ((Decision *)out)[i] = d;
}
