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
// Records are those of record.rs, all of doubles; counts and the status are whole numbers, exact below
// 2^53.

__device__ bool finite(double x) { return x - x == 0.0; }

__device__ double gain_of(const RuleRecord &rule, const StateRecord &state, double predicted,
                          double objective) {
  double floor = rule.noise * state.scale;
  if (predicted < floor) return objective - state.objective <= floor ? 1.0 : -1.0;
  double gain = (state.objective - objective) / predicted;
  return finite(gain) ? gain : -1.0;
}

__device__ DecisionRecord decide(const RuleRecord &rule, const StateRecord &state,
                                  const TrialRecord &trial) {
  DecisionRecord d;
  StateRecord next = state;
  next.trials = state.trials + 1.0;
  double gain, bump;
  if (trial.kind != STEP) {
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

__device__ StateRecord settle(const RuleRecord &rule, const StateRecord &state, const double norms[2]) {
  StateRecord next = state;
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
extern "C" __global__ void __launch_bounds__(DECIDE_THREADS)
    lm_decide(const RuleRecord *rule, const StateRecord *states, const TrialRecord *trials, int count,
              DecisionRecord *out) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const TrialRecord &trial = trials[i];
  DecisionRecord d = decide(*rule, states[i], trial);
  if (d.accepted != 0.0) d.state = settle(*rule, d.state, trial.norms);
  out[i] = d;
}
