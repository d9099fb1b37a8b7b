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

  // `matrices`: where what follows from the matrices alone lies.
  InteriorPoint(const declarative::Quadratic& call, Arena& arena, Arena& matrices)
      : at(call, arena, matrices), best(at, arena), K(room(at, arena)), inverse(arena.take<V>(at.N + at.Q)),
        rows(at, arena), common(at, arena, matrices), range(at, factor_of_P(), inverse_diagonal(), arena, matrices),
        condensed(best, rows, arena, K, inverse), multipliers(best, range, arena),
        polish(rows, common, &range, arena, K, inverse) {}

  const KktPoint<V>& answer() const { return polish.answer; }
  V residual() const { return polish.residual; }
  Mask sensible;  // whether the answer is of the size of the data, and no ray that a relative residual takes for a point

  // Read the matrices of the instances from `first` on, whose entries are rounded to `eps`, and factor what does not change.
  template <class S> void prepare(const declarative::Quadratic& call, int64_t first, double eps) {
    at.template load_matrices<S>(call, first);
    at.scale_matrices();
    judge_curvature(eps);
    range.form();
    if constexpr (Common::POSSIBLE)
      if (common.serves()) common.factor_active();
  }

  // Read the rest and solve, once the matrices are prepared; `round`: to answer as float32 can hold it.
  template <class S> void run(const declarative::Quadratic& call, int64_t first, int64_t max_iterations, bool round) {
    at.template load_vectors<S>(call, first);
    polish.reset(), iterations = splat<V>(0), sensible = negate(everywhere<V>());
    at.scale_vectors();
    const Mask open = at.usable & (V{} + at.known->convex > splat<V>(0));
    if (!any(open)) return;
    condensed.linear = V{} + at.known->curvature == splat<V>(0);
    range.begin();
    // If the multipliers lead nowhere, half of the iterations are left.
    const Mask left = range.serves ? approach(multipliers, open, (max_iterations + 1) / 2) : open;
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
  typedef CommonFactor<V, M> Common;
  Iterate<V> best;
  V *K, *inverse;  // the factor of P, which `range` reads, then of whatever is factored once that is given up
  RowSystem<V, M> rows;
  Common common;
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
    steps.begin(iterations);
    for (double stop : Limits::STOPS) {
      steps.iterate(open, splat<V>(stop), max_iterations);
      steps.complete();
      polish.from(best, open);
      open = open & (polish.residual > splat<V>(Limits::AT_ONCE));
      if (!any(open)) break;
      steps.refine();
    }
    iterations = steps.iterations;
    return open;
  }

  const M* factor_of_P() const {
    if constexpr (Common::POSSIBLE) return common.K;
    else return K;
  }
  const M* inverse_diagonal() const {
    if constexpr (Common::POSSIBLE) return common.inverse;
    else return inverse;
  }

  // Whether P is positive semidefinite up to the rounding its entries came with. Its factor, with next to nothing on the
  // diagonal where that exists, is of use beyond this.
  void judge_curvature(double eps) {
    const double exact = 1e-11, share = larger(10 * (double)at.n * eps, exact);
    const M zero = splat<M>(0), one = splat<M>(1);
    M largest = zero;
    for (int64_t i = 0; i < at.n; i++) largest = magnitude(largest, at.P[at.known->diagonal ? i : cell<V>(i, i, at.N)]);
    largest = select(largest > zero, largest, one);
    M& convex = at.known->convex;
    convex = select(at.known->curvature == zero, one, zero);
    if (at.known->diagonal) {
      M least = at.P[0];
      for (int64_t i = 1; i < at.n; i++) least = smaller(least, at.P[i]);
      convex = select(least + largest * splat<M>(share) > zero, one, convex);
      return;
    }
    const double shifts[] = {exact, share};  // where one lane needs the second, the others are corrected for it
    for (int trial = range.pays && exact < share ? 0 : 1; trial < 2 && any(convex == zero); trial++)
      convex = select(definite(largest * splat<M>(shifts[trial])), one, convex);
  }

  // Whether P + shift is positive definite, by its factor.
  MaskOf<M> definite(M shift) {
    if constexpr (Common::POSSIBLE) {
      return common.definite(shift);
    } else {
      at.copy_curvature(K, splat<V>(1));
      for (int64_t i = 0; i < at.N; i++) K[on_diagonal<V>(i)] += i < at.n ? shift : splat<V>(1);
      return factor(K, inverse, at.N, (int64_t)0);
    }
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
