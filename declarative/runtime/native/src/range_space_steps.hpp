// Mehrotra's predictor-corrector over lanes, on the multipliers alone.
//
// With y = (lambda; nu) and x(y) = -P^-1 (q + C'y), the minimiser of the Lagrangian, the dual residual is zero throughout
// and the KKT conditions of a program of rows C = [G; A], e = [h; b] read
//
//     (S y + w)_A = 0,   (S y + w)_G = s >= 0,   lambda >= 0,   lambda's = 0,   S = C P^-1 C',   w = C P^-1 q + e.
//
// The Newton step solves (S + diag(s / lambda; delta)) dy = (r_comp / lambda; 0) - (S y + w - s), with s = 0 in A, and
// ds = (r_comp - s dlambda) / lambda.
//
// References: Mehrotra, On the implementation of a primal-dual interior point method, 1992; Boyd and Vandenberghe, Convex
// Optimization, 2004, section 5.2.4 (the dual of a quadratic program).
#pragma once

#include "predictor_corrector.hpp"

namespace DECLARATIVE_ISA {

template <class V, class M> class RangeSpaceSteps : public PredictorCorrector<RangeSpaceSteps<V, M>, V> {
  typedef PredictorCorrector<RangeSpaceSteps<V, M>, V> Base;

 public:
  typedef MaskOf<V> Mask;
  typedef PrecisionOf<V> Limits;

  RangeSpaceSteps(Iterate<V>& kept, RangeSpace<V, M>& range_space, Arena& arena)
      : at(range_space.at), range(range_space), best(kept) {
    const int64_t R = range.R, rows = R ? at.m : 0;
    y = arena.take<V>(R), sy = arena.take<V>(R), w = arena.take<V>(R), v = arena.take<V>(R), e = arena.take<V>(R);
    dy = arena.take<V>(R), rhs = arena.take<V>(R), lack = arena.take<V>(R), best_y = arena.take<V>(R);
    s = arena.take<V>(rows), ds = arena.take<V>(rows), lean = arena.take<V>(rows), comp = arena.take<V>(rows);
    inverse_s = arena.take<V>(rows), inverse_l = arena.take<V>(rows);
    half = arena.take<V>(range.N);
  }

  // The multipliers at the point of least squared slack, and that slack, both shifted into the interior.
  void start() {
    const V zero = splat<V>(0), one = splat<V>(1);
    range.pull_forward(v, half, at.q);
    own = zero;
    for (int64_t i = 0; i < range.N; i++) own += half[i] * half[i];
    own *= at.cost;
    for (int64_t k = 0; k < range.R; k++) {
      e[k] = k < at.m ? at.d[k] : k < at.m + at.p ? at.b[k - at.m] : zero;
      w[k] = v[k] + e[k], y[k] = -w[k];
      range.weight[k] = k < at.m ? select(is_live(k), one, splat<V>(Limits::OUT)) : weight_of_other(k);
      if (k < at.m) y[k] *= at.live[k];
    }
    range.factor_weighted();
    range.solve_gram(y);
    V least = splat<V>(__builtin_inf()), most = splat<V>(-__builtin_inf());
    for (int64_t k = 0; k < at.m; k++) {
      const Mask alive = is_live(k);
      least = smaller(least, select(alive, -y[k], least)), most = larger(most, select(alive, -y[k], most));
    }
    const V up = select(least < splat<V>(0.1), one - least, zero);
    const V down = select(-most < splat<V>(0.1), one + most, zero);
    for (int64_t k = 0; k < at.m; k++) {
      s[k] = select(is_live(k), up - y[k], one), y[k] = select(is_live(k), down + y[k], zero);
      lean[k] = y[k] - s[k];
    }
  }

  void keep_best(Mask where) {
    keep(where, best_y, y, range.R), keep(where, best.s, s, at.m), keep(where, best.lean, lean, at.m);
  }

  // Of the KKT conditions, the largest relative ones summed.
  V measure() {
    const V zero = splat<V>(0), one = splat<V>(1);
    range.gram_times(sy, y);
    V curvature = zero, linear = zero, slack = zero, primal = zero, reach = zero, rows = zero, poison = zero;
    this->gap = zero;
    for (int64_t k = 0; k < at.m; k++) {
      curvature += sy[k] * y[k], linear += v[k] * y[k];
      const V miss = (sy[k] + w[k] - s[k]) * at.live[k];
      slack = magnitude(slack, miss), poison += miss - miss;
      reach = magnitude(magnitude(reach, (sy[k] + v[k]) * at.live[k]), e[k]);
      this->gap += s[k] * y[k];
    }
    for (int64_t k = at.m; k < at.m + at.p; k++) {
      curvature += sy[k] * y[k], linear += v[k] * y[k];
      const V miss = sy[k] + w[k];
      primal = magnitude(primal, miss), poison += miss - miss;
      rows = magnitude(magnitude(rows, sy[k] + v[k]), e[k]);
    }
    squared = curvature;
    const V quadratic = own + linear + linear + curvature, slope = -own - linear;
    return primal / (rows + one) + slack / (reach + one) + this->gap / (absolute(quadratic) + absolute(slope) + one) +
           poison;
  }

  // Whether the multipliers, scaled to length one, nearly prove that there is no solution. Uses what `measure` left.
  Mask on_a_ray() const {
    V separation = splat<V>(0);
    for (int64_t k = 0; k < at.m + at.p; k++) separation -= e[k] * y[k];
    const V share = separation * splat<V>(10 * Limits::RAY);
    return (separation > splat<V>(1)) & (squared < share * share);
  }

  // One predictor-corrector step of the lanes that are going. Uses what `measure` left.
  void advance(Mask going) {
    const V zero = splat<V>(0), one = splat<V>(1);
    V alive = zero;
    for (int64_t k = 0; k < at.m; k++) {
      inverse_s[k] = one / s[k], inverse_l[k] = select(is_live(k), one / y[k], zero);
      range.weight[k] = select(is_live(k), s[k] * inverse_l[k], splat<V>(Limits::OUT));
      comp[k] = -s[k] * y[k], alive += at.live[k];
    }
    for (int64_t k = at.m; k < range.R; k++) range.weight[k] = weight_of_other(k);
    range.factor_weighted();
    direction(0);
    V along = length(one), reached = zero;
    for (int64_t k = 0; k < at.m; k++) reached += (s[k] + along * ds[k]) * (y[k] + along * dy[k]) * at.live[k];
    const V centre = this->centre(reached, alive);
    for (int64_t k = 0; k < at.m; k++) comp[k] = (centre - s[k] * y[k] - ds[k] * dy[k]) * at.live[k];
    direction(this->refinements);
    along = length(splat<V>(STAY_INSIDE));
    for (int64_t k = 0; k < at.m; k++) {
      lean[k] = select(going, s[k] * dy[k] - y[k] * ds[k], lean[k]);
      s[k] = select(going, s[k] + along * ds[k], s[k]);
    }
    for (int64_t k = 0; k < at.m + at.p; k++) y[k] = select(going, y[k] + along * dy[k], y[k]);
  }

  // The rest of the best iterate.
  void complete() {
    range.pull_forward(sy, half, at.q);
    for (int64_t i = 0; i < range.N; i++) half[i] = -half[i];
    clear(best.x, at.N);
    range.push_back(best.x, half, best_y);
    for (int64_t k = 0; k < at.m; k++) best.l[k] = best_y[k];
    for (int64_t r = 0; r < at.Q; r++) best.nu[r] = r < at.p ? best_y[at.m + r] : splat<V>(0);
  }

 private:
  const Program<V, M>& at;
  RangeSpace<V, M>& range;
  Iterate<V>& best;
  V *y, *sy, *w, *v, *e, *dy, *rhs, *lack, *best_y;  // sy: S y; v: C P^-1 q
  V *s, *ds, *lean, *comp, *inverse_s, *inverse_l;
  V* half;
  V own, squared;  // q'P^-1 q, y'S y

  Mask is_live(int64_t k) const { return at.live[k] > splat<V>(0); }

  // Of an equality, or of padding.
  V weight_of_other(int64_t k) const { return splat<V>(k < at.m + at.p ? Limits::DELTA : 1); }

  // The Newton direction for the complementarity residual `comp`, corrected `refinements` times.
  void direction(int refinements) {
    const V zero = splat<V>(0);
    for (int64_t k = 0; k < range.R; k++) {
      rhs[k] = zero;
      if (k < at.m) rhs[k] = comp[k] * inverse_l[k] - (sy[k] + w[k] - s[k]) * at.live[k];
      else if (k < at.m + at.p) rhs[k] = -(sy[k] + w[k]);
      dy[k] = rhs[k];
    }
    range.solve_gram(dy);
    for (int round = 0; round < refinements; round++) {
      range.gram_times(lack, dy);
      for (int64_t k = 0; k < range.R; k++) lack[k] = rhs[k] - lack[k] - (k < at.m ? range.weight[k] * dy[k] : zero);
      range.solve_gram(lack);
      for (int64_t k = 0; k < range.R; k++) dy[k] += lack[k];
    }
    for (int64_t k = 0; k < at.m; k++) ds[k] = (comp[k] - s[k] * dy[k]) * inverse_l[k];
  }

  V length(V share) const {
    return smaller(Base::length(Base::reciprocal_length(ds, inverse_s, at.m), share),
                   Base::length(Base::reciprocal_length(dy, inverse_l, at.m), share));
  }
};

}  // namespace DECLARATIVE_ISA
