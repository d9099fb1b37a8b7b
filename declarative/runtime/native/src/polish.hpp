// From a point near a solution to the solution itself: read the active set off it and solve its linear system.
//
// With the right active set the KKT conditions are linear equations, solved to rounding. Where the guess was wrong, rows
// with a negative multiplier are let go, violated ones are taken up, and it is tried again. The best trial of a lane is
// its answer, measured as `DenseQP.relative_residual` measures it: on the data as it was given.
//
// The guess: near a solution a step (ds, dl) of the interior point has dl/l near 0 and ds/s near -1 on a row that will be
// active, and the other way round on one that will not, whatever the rows' scales. A row is taken for active where
// dl/l > ds/s, unless the multiplier is far larger or smaller than the slack.
//
// Reference: El-Bakry, Tapia and Zhang, A study of indicators for identifying zero variables in interior-point methods,
// 1994.
#pragma once

#include "active_system.hpp"

namespace DECLARATIVE_ISA {

constexpr double DECISIVE = 1e3;  // ratio of multiplier and slack that no step is asked about
constexpr int TRIALS = 5;        // active sets tried in a row
constexpr int SWEEPS = 8;        // corrections of one active system

template <class V> static inline void keep(MaskOf<V> where, V* into, const V* from, int64_t size) {
  for (int64_t i = 0; i < size; i++) into[i] = select(where, from[i], into[i]);
}

// An interior point, with slacks s and multipliers l of all inequalities, and `lean`: above zero where the last step led
// to a multiplier rather than to a slack.
template <class V> struct Iterate {
  V *x, *nu, *s, *l, *lean;
  template <class M>
  Iterate(const Program<V, M>& p, Arena& arena)
      : x(arena.take<V>(p.N)), nu(arena.take<V>(p.Q)), s(arena.take<V>(p.count)), l(arena.take<V>(p.count)),
        lean(arena.take<V>(p.count)) {}
};

// x, nu, lambda and z, the multiplier of the upper bound minus the one of the lower, of a scaled program.
template <class V> struct KktPoint {
  V *x, *nu, *lambda, *z;
  template <class M>
  KktPoint(const Program<V, M>& p, Arena& arena)
      : x(arena.take<V>(p.N)), nu(arena.take<V>(p.Q)), lambda(arena.take<V>(p.m)), z(arena.take<V>(p.N)) {}
};

template <class V, class M> class Polish {
 public:
  typedef MaskOf<V> Mask;
  typedef SumOf<V> Sum;
  typedef PrecisionOf<V> Limits;
  KktPoint<V> answer;
  V residual;

  Polish(RowSystem<V, M>& rows, CommonFactor<V, M>& common, RangeSpace<V, M>* range, Arena& arena, V* triangle_room,
         V* inverse_room)
      : answer(rows.at, arena), at(rows.at), system(rows, common, range, arena, triangle_room, inverse_room),
        now(rows.at, arena) {
    px = arena.take<Sum>(at.N), anu = arena.take<Sum>(at.N), gl = arena.take<Sum>(at.N);
    over_eq = arena.take<Sum>(at.Q), over_row = arena.take<Sum>(at.m);
    force = arena.take<V>(at.N), lift = arena.take<V>(at.N), gap_eq = arena.take<V>(at.Q), gap_row = arena.take<V>(at.m);
    room = arena.take<V>(at.m), rise = arena.take<V>(at.Q), upper = arena.take<V>(at.N), lower = arena.take<V>(at.N);
  }

  void reset() {
    clear(answer.x, at.N), clear(answer.nu, at.Q), clear(answer.lambda, at.m), clear(answer.z, at.N);
    residual = splat<V>(__builtin_inf()), system.least = splat<V>(0);
  }

  // Try active sets in the open lanes, starting from the one that `point` points at.
  void from(const Iterate<V>& point, Mask open) {
    guess(point);
    for (int trial = 0; trial < TRIALS; trial++) {
      solve_on_active_set(open);
      // `evaluate` was there last. A point that was still moving has no residual to trust.
      const V value = select(settled(), relative_residual(now), splat<V>(__builtin_inf()));
      const Mask better = open & (value < residual);
      keep(better, answer.x, now.x, at.N), keep(better, answer.nu, now.nu, at.Q);
      keep(better, answer.lambda, now.lambda, at.m), keep(better, answer.z, now.z, at.N);
      residual = select(better, value, residual);
      open = open & (value > splat<V>(Limits::EXACT)) & corrected();
      if (!any(open)) return;
    }
  }

  // Whether the last active set leaves no direction in which x is not held to rounding.
  Mask determined() const { return system.least > splat<V>(Limits::DETERMINED); }

  // The answer as float32 can hold it, and its residual; lanes without an answer keep having none.
  void round_to_single() {
    const Mask found = finite(residual);
    round(answer.x, at.N, [&](int64_t i) { return at.length * at.D[i]; });
    round(answer.nu, at.Q, [&](int64_t r) { return at.length / at.cost * at.E[r]; });
    round(answer.lambda, at.m, [&](int64_t k) { return at.length / at.cost * at.F[k]; });
    round(answer.z, at.N, [&](int64_t i) { return at.length / at.cost / at.D[i]; });
    evaluate(answer);
    residual = select(found, relative_residual(answer), residual);
  }

 private:
  const Program<V, M>& at;
  ActiveSystem<V, M> system;
  KktPoint<V> now;
  Sum *px, *anu, *gl, *over_eq, *over_row;  // what `evaluate` sums up: Px, A'nu, G'lambda, Ax - b, Gx - d
  V *force, *lift, *gap_eq, *gap_row, *room, *rise;
  V *upper, *lower;  // one where the variable is held there

  V change;          // largest entry of the last correction of x

  static V flag(Mask m) { return select(m, splat<V>(1), splat<V>(0)); }
  static Mask on(V flag) { return flag > splat<V>(0); }

  template <class Scale> static void round(V* values, int64_t size, Scale scale) {
    for (int64_t i = 0; i < size; i++) {
      const V factor = scale(i);
      V value = values[i] * factor;
      for (int l = 0; l < Traits<V>::lanes; l++) {
        volatile float narrow = (float)lane(value, l);  // volatile: GCC 12 at -O3 drops a rounding that is undone at once
        set_lane(value, l, (double)narrow);
      }
      values[i] = value / factor;
    }
  }

  void guess(const Iterate<V>& point) {
    const V zero = splat<V>(0), decisive = splat<V>(DECISIVE);
    const V *s = point.s, *l = point.l;
    const auto active = [&](int64_t k) -> Mask {
      return on(at.live[k]) & (on(point.lean[k]) | (l[k] > s[k] * decisive)) & (l[k] * decisive > s[k]);
    };
    for (int64_t k = 0; k < at.m; k++) {
      const Mask held = active(k);
      system.weight[k] = select(held, system.penalty(), zero), now.lambda[k] = select(held, l[k], zero);
    }
    for (int64_t r = 0; r < at.Q; r++) {
      system.weight_eq[r] = r < at.p ? system.penalty() : zero;
      now.nu[r] = point.nu[r];
    }
    for (int64_t i = 0; i < at.N; i++) {
      V high = zero, low = zero, over = zero, under = zero;
      if (at.upper_at >= 0) high = l[at.upper_at + i], over = flag(active(at.upper_at + i));
      if (at.lower_at >= 0) low = l[at.lower_at + i], under = flag(active(at.lower_at + i));
      upper[i] = flag(on(over) & negate(on(under) & (low > high)));
      lower[i] = flag(on(under) & negate(on(over) & (high >= low)));
      now.x[i] = point.x[i];
      now.z[i] = select(on(upper[i]) | on(lower[i]), high - low, zero);
    }
  }

  // The point moved, by the least-norm step, to where the conditions of the active set hold.
  void solve_on_active_set(Mask open) {
    const V zero = splat<V>(0);
    for (int64_t i = 0; i < at.N; i++) {
      if (at.upper_at >= 0) now.x[i] = select(on(upper[i]), at.d[at.upper_at + i], now.x[i]);
      if (at.lower_at >= 0) now.x[i] = select(on(lower[i]), -at.d[at.lower_at + i], now.x[i]);
      system.free[i] = select(on(upper[i]) | on(lower[i]), zero, at.free[i]);
      now.x[i] = select(on(at.free[i]), now.x[i], at.fixed[i]);
    }
    system.factor_active();
    V before = splat<V>(__builtin_inf());
    Mask going = open;
    change = splat<V>(0);
    evaluate_roughly(now);
    correct(going);
    for (int sweep = 1; sweep <= SWEEPS; sweep++) {
      evaluate(now);
      const V size = defect();
      going = going & (size < before * splat<V>(0.5)) & (size > largest_term() * splat<V>(Limits::DONE));
      before = size;
      if (sweep == SWEEPS || !any(going)) break;
      correct(going);
    }
    for (int64_t i = 0; i < at.N; i++) now.z[i] = select(on(system.free[i]), zero, -force[i]);
  }

  // The largest entry of what `evaluate` left of the active set's equations.
  V defect() const {
    V size = splat<V>(0), poison = size;
    for (int64_t i = 0; i < at.N; i++) size = magnitude(size, force[i] * system.free[i]), poison += force[i] - force[i];
    for (int64_t r = 0; r < at.Q; r++) size = magnitude(size, gap_eq[r]);
    for (int64_t k = 0; k < at.m; k++) size = magnitude(size, select(on(system.weight[k]), gap_row[k], splat<V>(0)));
    return size + poison;
  }

  // Of the sums that `evaluate` formed.
  V largest_term() const {
    V size = splat<V>(0);
    for (int64_t i = 0; i < at.N; i++) {
      size = magnitude(magnitude(size, rounded<V>(px[i])), at.q[i]);
      size = magnitude(magnitude(size, rounded<V>(anu[i])), rounded<V>(gl[i]));
    }
    for (int64_t r = 0; r < at.Q; r++) size = magnitude(size, at.b[r]);
    for (int64_t k = 0; k < at.m; k++) size = magnitude(size, select(on(system.weight[k]), at.d[k], splat<V>(0)));
    return size;
  }

  // force = Px + q + A'nu + G'lambda, gap_eq = Ax - b and gap_row = Gx - d at a point.
  void evaluate(const KktPoint<V>& point) { sum_up(point, px, anu, gl, over_eq, over_row); }

  // The same at the lanes' own precision, as will do for a point that is far from where the conditions hold.
  void evaluate_roughly(const KktPoint<V>& point) {
    sum_up(point, (V*)px, (V*)anu, (V*)gl, (V*)over_eq, (V*)over_row);
  }

  template <class Y> void sum_up(const KktPoint<V>& point, Y* px, Y* anu, Y* gl, Y* over_eq, Y* over_row) {
    at.curvature_times(px, point.x);
    for (int64_t i = 0; i < at.N; i++) anu[i] = gl[i] = Y{};
    for (int64_t r = 0; r < at.Q; r++) over_eq[r] = Y{} - widen<Y>(at.b[r]);
    for (int64_t k = 0; k < at.m; k++) over_row[k] = Y{} - widen<Y>(at.d[k]);
    add_both_times(anu, over_eq, at.At, point.nu, point.x, at.N, at.p);
    add_both_times(gl, over_row, at.Gt, point.lambda, point.x, at.N, at.m);
    for (int64_t i = 0; i < at.N; i++) force[i] = narrow(px[i] + widen<Y>(at.q[i]) + anu[i] + gl[i], V{});
    for (int64_t r = 0; r < at.Q; r++) gap_eq[r] = narrow(over_eq[r], V{});
    for (int64_t k = 0; k < at.m; k++) gap_row[k] = narrow(over_row[k], V{});
  }

  Mask settled() const {
    V size = splat<V>(0);
    for (int64_t i = 0; i < at.N; i++) size = magnitude(size, now.x[i]);
    return change <= size * splat<V>(Limits::SETTLED) + splat<V>(Limits::EXACT);
  }

  // One sweep of the method of multipliers.
  void correct(Mask going) {
    for (int64_t i = 0; i < at.N; i++) lift[i] = -force[i];
    if (system.by_gram()) {
      for (int64_t k = 0; k < at.m; k++) room[k] = -gap_row[k];
      for (int64_t r = 0; r < at.Q; r++) rise[r] = -gap_eq[r];
      system.solve(lift, room, rise);
    } else {
      solve_for_x();
    }
    V moved = splat<V>(0);
    for (int64_t i = 0; i < at.N; i++)
      moved = magnitude(moved, lift[i]), now.x[i] = select(going, now.x[i] + lift[i], now.x[i]);
    change = select(going, moved, change);
    for (int64_t k = 0; k < at.m; k++) now.lambda[k] = select(going, now.lambda[k] + room[k], now.lambda[k]);
    for (int64_t r = 0; r < at.Q; r++) now.nu[r] = select(going, now.nu[r] + rise[r], now.nu[r]);
  }

  // lift, room and rise: what x and the multipliers change by, the latter from the rows at the new x.
  void solve_for_x() {
    for (int64_t k = 0; k < at.m; k++) gap_row[k] *= system.weight[k], room[k] = -gap_row[k];
    for (int64_t r = 0; r < at.Q; r++) gap_eq[r] *= system.weight_eq[r], rise[r] = -gap_eq[r];
    add_times(lift, at.Gt, room, at.N, at.m);
    add_times(lift, at.At, rise, at.N, at.p);
    system.solve(lift);
    clear(room, at.m), clear(rise, at.Q);
    add_transposed_times(room, at.Gt, lift, at.N, at.m);
    add_transposed_times(rise, at.At, lift, at.N, at.p);
    for (int64_t k = 0; k < at.m; k++) room[k] = system.weight[k] * room[k] + gap_row[k];
    for (int64_t r = 0; r < at.Q; r++) rise[r] = system.weight_eq[r] * rise[r] + gap_eq[r];
  }

  // Where another active set is wanted; it is set up for the next trial. Uses what `evaluate` left.
  Mask corrected() {
    const V zero = splat<V>(0), penalty = system.penalty();
    Mask changed = negate(everywhere<V>());
    for (int64_t k = 0; k < at.m; k++) {
      const Mask was = on(system.weight[k]);
      const Mask wanted = on(at.live[k]) & ((was & (now.lambda[k] >= zero)) | (negate(was) & (gap_row[k] > zero)));
      changed = changed | (was & negate(wanted)) | (wanted & negate(was));
      system.weight[k] = select(wanted, penalty, zero);
      now.lambda[k] = select(wanted, now.lambda[k], zero);
    }
    for (int64_t i = 0; i < at.N; i++) {
      if (at.upper_at >= 0) {
        const Mask was = on(upper[i]), alive = on(at.live[at.upper_at + i]);
        const Mask wanted =
            alive & ((was & (now.z[i] >= zero)) | (negate(was) & (now.x[i] > at.d[at.upper_at + i])));
        changed = changed | (was & negate(wanted)) | (wanted & negate(was));
        upper[i] = flag(wanted);
      }
      if (at.lower_at >= 0) {
        const Mask was = on(lower[i]), alive = on(at.live[at.lower_at + i]);
        const Mask wanted =
            alive & ((was & (now.z[i] <= zero)) | (negate(was) & (-now.x[i] > at.d[at.lower_at + i])));
        changed = changed | (was & negate(wanted)) | (wanted & negate(was));
        lower[i] = flag(wanted & negate(on(upper[i])));
      }
    }
    return changed;
  }

  // Largest entry of the KKT residual, each part relative to the terms it is a sum of, on the given data, at the point
  // that `evaluate` was at. What counts as one is one of the scaled program, and no more than one of the given.
  V relative_residual(const KktPoint<V>& point) {
    const V zero = splat<V>(0), one = splat<V>(1), infinite = splat<V>(__builtin_inf()), back = at.length / at.cost;
    V worst_dual = zero, dual = zero, primal = zero, poison = zero, unit = zero, across = zero;
    for (int64_t i = 0; i < at.n; i++) {
      const V out = back / at.D[i], whole = at.length * at.D[i];
      worst_dual = magnitude(worst_dual, (force[i] + point.z[i]) * out), poison += force[i] - force[i];
      dual = magnitude(magnitude(dual, rounded<V>(px[i]) * out), rounded<V>(anu[i]) * out);
      dual = magnitude(magnitude(dual, rounded<V>(gl[i]) * out), at.q[i] * out);
      dual = magnitude(dual, point.z[i] * out), primal = magnitude(primal, point.x[i] * whole);
      unit = larger(unit, out), across = larger(across, whole);
    }
    dual += smaller(unit, one), primal += smaller(across, one);
    V worst_eq = zero, rows = zero, inequalities = zero, negative = zero, unit_eq = zero, unit_row = zero;
    clear(rise, at.Q), clear(room, at.m);
    add_sizes(rise, at.At, point.x, at.N, at.p);
    add_sizes(room, at.Gt, point.x, at.N, at.m);
    for (int64_t r = 0; r < at.p; r++) {
      const V whole = at.length / at.E[r];
      worst_eq = magnitude(worst_eq, gap_eq[r] * whole), poison += gap_eq[r] - gap_eq[r];
      rows = magnitude(magnitude(rows, at.b[r] * whole), rise[r] * whole), unit_eq = larger(unit_eq, whole);
    }
    rows += smaller(unit_eq, one);
    for (int64_t k = 0; k < at.m; k++) {
      const V whole = at.length / at.F[k];
      inequalities = magnitude(magnitude(inequalities, at.d[k] * whole), room[k] * whole);
      unit_row = larger(unit_row, whole);
    }
    inequalities += smaller(unit_row, one);
    // The lesser of multiplier and slack, each in its unit.
    const auto miss = [&](V multiplier, V slack) -> V { return select(multiplier > slack, slack, multiplier); };
    V worst = worst_eq / rows, worst_box = zero;
    const V by_dual = one / dual, by_row = one / inequalities, by_x = one / primal;
    for (int64_t k = 0; k < at.m; k++) {
      const V multiplier = point.lambda[k] * back * at.F[k] * by_dual;
      const V slack = select(on(at.live[k]), -gap_row[k] * (at.length / at.F[k]) * by_row, infinite);
      worst = magnitude(worst, miss(multiplier, slack));
      negative = larger(negative, -multiplier), poison += gap_row[k] - gap_row[k];
    }
    for (int64_t i = 0; i < at.n; i++) {
      const V whole = at.length * at.D[i] * by_x, x = point.x[i], own = point.z[i] * (back / at.D[i]) * by_dual;
      V high = infinite, low = infinite;  // room below the upper and above the lower bound
      if (at.upper_at >= 0)
        high = select(on(at.live[at.upper_at + i]), (at.d[at.upper_at + i] - x) * whole, high);
      if (at.lower_at >= 0)
        low = select(on(at.live[at.lower_at + i]), (at.d[at.lower_at + i] + x) * whole, low);
      const V over = select(own > high, high, select(-own > low, low, own));
      worst_box = magnitude(worst_box, select(on(at.free[i]), over, (x - at.fixed[i]) * whole));
    }
    return larger(larger(larger(worst, worst_dual * by_dual), worst_box), negative) + poison;
  }
};

}  // namespace DECLARATIVE_ISA
