// An interior point over lanes, ended by the solution of the active set that it points at.
//
// It steps in the multipliers where the range-space method serves, and in the variables where it does not or has left
// something. A lane that is done, stalls or breaks is frozen.
//
// Reference: Stellato et al., OSQP, 2020, section 4 (polishing).
#pragma once

#include "condensed_steps.hpp"
#include "range_space_steps.hpp"

namespace DECLARATIVE_ISA {

template <class V, class M> class InteriorPoint {
 public:
  typedef MaskOf<V> Mask;
  typedef PrecisionOf<V> Limits;
  Program<V, M> at;
  V iterations;

  InteriorPoint(const declarative::Quadratic& call, Arena& arena)
      : at(call, arena), best(at, arena), K(room(at, arena)), inverse(arena.take<V>(at.N + at.Q)), rows(at, arena),
        common(at, arena), range(at, arena), condensed(best, rows, arena, K, inverse), multipliers(best, range, arena),
        polish(rows, common, &range, arena, K, inverse) {}

  const KktPoint<V>& answer() const { return polish.answer; }
  V residual() const { return polish.residual; }
  Mask sensible;  // whether the answer is of the size of the data, and no ray that a relative residual takes for a point

  // `eps`: the rounding that the data came with; `round`: to answer as float32 can hold it.
  void run(int64_t max_iterations, double eps, bool round) {
    polish.reset(), iterations = splat<V>(0), sensible = negate(everywhere<V>());
    at.scale_data();
    const Mask open = at.usable & convex(eps);
    if (!any(open)) return;
    if constexpr (CommonFactor<V, M>::POSSIBLE) range.read(common.K, common.inverse);
    else range.read(K, inverse);
    const Mask left = range.serves ? approach(multipliers, open, max_iterations) : open;
    if (any(left)) in_variables(left, max_iterations);
    sensible = in_proportion();
    if (!at.count) sensible = sensible & polish.determined();
    if (round) {
      const Mask exact = polish.residual <= splat<V>(Limits::ACCEPTED);
      sensible = sensible & (polish.residual <= splat<V>(ACCEPTED_BEFORE));
      polish.round_to_single();
      sensible = sensible & (exact | (polish.residual <= splat<V>(ACCEPTED_AFTER)));
    }
  }

 private:
  Iterate<V> best;
  V *K, *inverse;
  RowSystem<V, M> rows;
  CommonFactor<V, M> common;
  RangeSpace<V, M> range;
  CondensedSteps<V, M> condensed;
  RangeSpaceSteps<V, M> multipliers;
  Polish<V, M> polish;

  static V* room(const Program<V, M>& p, Arena& arena) {
    return arena.take<V>(triangle<V>((p.N + p.Q) / Traits<V>::tile));
  }

  void in_variables(Mask open, int64_t max_iterations) {
    range.serves = false, rows.read();
    if (rows.fits && !rows.serves()) return;
    if (at.count) {
      approach(condensed, open, max_iterations);
    } else {
      clear(best.x, at.N), clear(best.nu, at.Q);
      polish.from(best, open);  // the active set is known, and its system says all
    }
  }

  // Interior point and polishing, to one tolerance after the other; the lanes that are left.
  template <class Steps> Mask approach(Steps& steps, Mask open, int64_t max_iterations) {
    steps.begin();
    for (double stop : Limits::STOPS) {
      steps.iterate(open, splat<V>(stop), max_iterations);
      steps.complete();
      polish.from(best, open);
      open = open & (polish.residual > splat<V>(Limits::AT_ONCE));
      if (!any(open)) break;
      steps.refine();
    }
    iterations += steps.iterations;
    return open;
  }

  // Whether P is positive semidefinite up to the rounding its entries came with.
  Mask convex(double eps) {
    const V zero = splat<V>(0), one = splat<V>(1);
    const double exact = 1e-11, share = 10 * (double)at.n * eps > exact ? 10 * (double)at.n * eps : exact;
    const Mask linear = condensed.linear = everywhere<V>() & (V{} + at.largest_curvature() == zero);
    const auto entry = [&](int64_t i) -> V { return at.cost * at.P[at.diagonal ? i : cell<V>(i, i, at.N)]; };
    V largest = zero;
    for (int64_t i = 0; i < at.N; i++) largest = magnitude(largest, entry(i));
    largest = select(largest > zero, largest, one);
    if (at.diagonal) {
      V least = entry(0);
      for (int64_t i = 1; i < at.n; i++) least = smaller(least, entry(i));
      return (least + largest * splat<V>(share) > zero) | linear;
    }
    if constexpr (CommonFactor<V, M>::POSSIBLE) {
      const M size = at.largest_curvature();
      const bool definite = size > 0 && (common.definite(size * (M)exact) || common.definite(size * (M)share));
      return (definite ? everywhere<V>() : negate(everywhere<V>())) | linear;
    }
    // The factor of P itself, where there is one, is of use beyond this.
    const Mask definite = range.pays && share > exact ? factor_shifted(largest * splat<V>(exact)) : linear;
    return any(negate(definite | linear)) ? factor_shifted(largest * splat<V>(share)) | linear : definite | linear;
  }

  Mask factor_shifted(V shift) {
    at.copy_curvature(K);
    for (int64_t i = 0; i < at.N; i++) K[on_diagonal<V>(i)] += shift + splat<V>(i < at.n ? 0 : 1);
    return factor(K, inverse, at.N, (int64_t)0);
  }

  // Whether the answer, in the scaled units where the matrices are of size one, is not out of all proportion to the
  // right-hand sides, and its multipliers not to the objective's slope.
  Mask in_proportion() const {
    const KktPoint<V>& point = polish.answer;
    V reach = splat<V>(1), slope = reach, size = splat<V>(0), force = size;
    for (int64_t r = 0; r < at.Q; r++) reach = magnitude(reach, at.b[r]), force = magnitude(force, point.nu[r]);
    for (int64_t k = 0; k < at.count; k++) reach = magnitude(reach, at.d[k]);
    for (int64_t k = 0; k < at.m; k++) force = magnitude(force, point.lambda[k]);
    for (int64_t i = 0; i < at.N; i++) {
      reach = magnitude(reach, at.fixed[i]), slope = magnitude(slope, at.q[i]);
      size = magnitude(size, point.x[i]), force = magnitude(force, point.z[i]);
    }
    const V share = splat<V>(Limits::SENSIBLE);
    return (size <= reach * share) & (force <= larger(slope, reach) * share);
  }
};

}  // namespace DECLARATIVE_ISA
