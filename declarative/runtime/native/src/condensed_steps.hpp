// Mehrotra's predictor-corrector over lanes, on the variables and equalities.
//
// The Newton step on the perturbed KKT conditions, with W = diag(lambda / s), reduces to
//
//     [P + C'WC + rho   A'    ] [dx ]   [-r_dual - C'(r_comp + lambda r_slack) / s]
//     [A                -delta] [dnu] = [-r_primal                                ]
//
// and is corrected by its residual without rho and delta.
//
// References: Mehrotra, On the implementation of a primal-dual interior point method, 1992; Friedlander and Orban, A
// primal-dual regularized interior-point method, 2012.
#pragma once

#include "predictor_corrector.hpp"

namespace DECLARATIVE_ISA {

template <class V, class M> class CondensedSteps : public PredictorCorrector<CondensedSteps<V, M>, V> {
  typedef PredictorCorrector<CondensedSteps<V, M>, V> Base;

 public:
  typedef MaskOf<V> Mask;
  typedef PrecisionOf<V> Limits;
  Mask linear;  // where P = 0

  CondensedSteps(Iterate<V>& kept, RowSystem<V, M>& small, Arena& arena, V* triangle_room, V* inverse_room)
      : at(small.at), rows(small), now(at, arena), best(kept), step(at, arena), K(triangle_room), inverse(inverse_room) {
    r_dual = arena.take<V>(at.N), r_primal = arena.take<V>(at.Q), r_slack = arena.take<V>(at.count);
    comp = arena.take<V>(at.count), inverse_s = arena.take<V>(at.count), weight = arena.take<V>(at.count);
    rhs = arena.take<V>(at.N + at.Q), t = arena.take<V>(at.count), tx = arena.take<V>(at.N), tn = arena.take<V>(at.Q);
    px = arena.take<V>(at.N), anu = arena.take<V>(at.N), cl = arena.take<V>(at.N);
    scratch = arena.take<V>(at.m * Traits<V>::tile);
  }

  // The point of least squared slack, shifted into the interior.
  void start() {
    factor_newton(at.live);
    for (int64_t i = 0; i < at.N; i++) now.x[i] = at.fixed[i];
    forward(t, now.x);
    for (int64_t k = 0; k < at.count; k++) t[k] = at.d[k] - t[k];
    for (int64_t k = 0; k < at.count; k++) t[k] *= at.live[k];
    transposed(cl, t);
    at.curvature_times(px, now.x);
    clear(tn, at.Q);
    add_transposed_times(tn, at.At, now.x, at.N, at.p);
    for (int64_t i = 0; i < at.N; i++) rhs[i] = (cl[i] - at.q[i] - px[i]) * at.free[i];
    for (int64_t r = 0; r < at.Q; r++) rhs[at.N + r] = at.b[r] - tn[r];
    solve_newton();
    for (int64_t i = 0; i < at.N; i++) now.x[i] += rhs[i];
    for (int64_t r = 0; r < at.Q; r++) now.nu[r] = rhs[at.N + r];
    forward(t, now.x);
    V least = splat<V>(__builtin_inf()), most = splat<V>(-__builtin_inf());
    for (int64_t k = 0; k < at.count; k++) {
      t[k] = at.d[k] - t[k];
      const Mask alive = at.live[k] > splat<V>(0);
      least = smaller(least, select(alive, t[k], least)), most = larger(most, select(alive, t[k], most));
    }
    const V zero = splat<V>(0), one = splat<V>(1);
    const V up = select(least < splat<V>(0.1), one - least, zero);
    const V down = select(-most < splat<V>(0.1), one + most, zero);
    for (int64_t k = 0; k < at.count; k++) {
      const Mask alive = at.live[k] > zero;
      now.s[k] = select(alive, t[k] + up, one), now.l[k] = select(alive, down - t[k], zero);
      now.lean[k] = now.l[k] - now.s[k];
    }
  }

  void keep_best(Mask where) {
    keep(where, best.x, now.x, at.N), keep(where, best.nu, now.nu, at.Q);
    keep(where, best.s, now.s, at.count), keep(where, best.l, now.l, at.count);
    keep(where, best.lean, now.lean, at.count);
  }

  // Residuals of the perturbed KKT conditions; the sum of the largest relative ones.
  V measure() {
    at.curvature_times(px, now.x);
    clear(anu, at.N), clear(tn, at.Q);
    add_both_times(anu, tn, at.At, now.nu, now.x, at.N, at.p);
    transposed(cl, now.l);
    forward(t, now.x);
    V dual = splat<V>(0), terms = dual, primal = dual, rows = dual, slack = dual, reach = dual;
    V quadratic = dual, slope = dual, poison = dual;
    this->gap = dual;
    for (int64_t i = 0; i < at.N; i++) {
      r_dual[i] = (px[i] + at.q[i] + anu[i] + cl[i]) * at.free[i];
      dual = magnitude(dual, r_dual[i]), poison += r_dual[i] - r_dual[i];
      terms = magnitude(magnitude(magnitude(magnitude(terms, px[i]), at.q[i]), anu[i]), cl[i]);
      quadratic += now.x[i] * px[i], slope += now.x[i] * at.q[i];
    }
    for (int64_t r = 0; r < at.Q; r++) {
      r_primal[r] = tn[r] - at.b[r];
      primal = magnitude(primal, r_primal[r]), poison += r_primal[r] - r_primal[r];
      rows = magnitude(magnitude(rows, tn[r]), at.b[r]);
    }
    for (int64_t k = 0; k < at.count; k++) {
      r_slack[k] = (t[k] + now.s[k] - at.d[k]) * at.live[k];
      slack = magnitude(slack, r_slack[k]), poison += r_slack[k] - r_slack[k];
      reach = magnitude(magnitude(reach, t[k]), at.d[k]);
      this->gap += now.s[k] * now.l[k];
    }
    const V one = splat<V>(1);
    return dual / (terms + one) + primal / (rows + one) + slack / (reach + one) +
           this->gap / (absolute(quadratic) + absolute(slope) + one) + poison;
  }

  // Whether the iterate, scaled to length one, nearly proves that there is no solution. Uses what `measure` left.
  Mask on_a_ray() const {
    V separation = splat<V>(0), combination = separation, descent = separation, moved = separation;
    for (int64_t i = 0; i < at.N; i++) {
      combination = magnitude(combination, (anu[i] + cl[i]) * at.free[i]);
      descent -= at.q[i] * now.x[i];
      moved = magnitude(moved, px[i]);
    }
    for (int64_t r = 0; r < at.Q; r++) separation -= at.b[r] * now.nu[r], moved = magnitude(moved, tn[r]);
    for (int64_t k = 0; k < at.count; k++) separation -= at.d[k] * now.l[k], moved = larger(moved, t[k]);
    const V one = splat<V>(1), share = splat<V>(Limits::RAY);
    return ((separation > one) & (combination < separation * share)) | ((descent > one) & (moved < descent * share));
  }

  // One predictor-corrector step of the lanes that are going.
  void advance(Mask going) {
    const V zero = splat<V>(0), one = splat<V>(1);
    V alive = zero;
    for (int64_t k = 0; k < at.count; k++) {
      inverse_s[k] = one / now.s[k];
      weight[k] = now.l[k] * inverse_s[k];
      comp[k] = -now.s[k] * now.l[k];
      alive += at.live[k];
    }
    factor_newton(weight);
    direction(0);
    V along, across;
    lengths(one, along, across);
    V reached = zero;
    for (int64_t k = 0; k < at.count; k++)
      reached += (now.s[k] + along * step.s[k]) * (now.l[k] + across * step.l[k]) * at.live[k];
    const V centre = this->centre(reached, alive);
    for (int64_t k = 0; k < at.count; k++)
      comp[k] = (centre - now.s[k] * now.l[k] - step.s[k] * step.l[k]) * at.live[k];
    direction(this->refinements);
    lengths(splat<V>(STAY_INSIDE), along, across);
    for (int64_t i = 0; i < at.N; i++) now.x[i] = select(going, now.x[i] + along * step.x[i], now.x[i]);
    for (int64_t r = 0; r < at.Q; r++) now.nu[r] = select(going, now.nu[r] + across * step.nu[r], now.nu[r]);
    for (int64_t k = 0; k < at.count; k++) {
      now.lean[k] = select(going, now.s[k] * step.l[k] - now.l[k] * step.s[k], now.lean[k]);
      now.s[k] = select(going, now.s[k] + along * step.s[k], now.s[k]);
      now.l[k] = select(going, now.l[k] + across * step.l[k], now.l[k]);
    }
  }

  void complete() {}

 private:
  const Program<V, M>& at;
  RowSystem<V, M>& rows;  // in place of K where it serves
  Iterate<V> now, &best, step;
  V *K, *inverse;
  V *r_dual, *r_primal, *r_slack, *comp, *inverse_s, *weight, *rhs, *t, *tx, *tn, *px, *anu, *cl, *scratch;

  // Factor the Newton matrix with the diagonal of W.
  void factor_newton(const V* w) {
    constexpr int T = Traits<V>::tile;
    if (rows.serves()) return factor_newton_rows(w);
    const int64_t N = at.N, panels = N / T;
    const V zero = splat<V>(0), one = splat<V>(1), delta = splat<V>(Limits::DELTA);
    at.copy_curvature(K, at.cost);
    add_weighted_product(K, at.Gt, w, N, at.m, scratch);
    at.restrict_to(at.free, K);
    for (int64_t i = 0; i < N; i++) {
      V& pivot = K[on_diagonal<V>(i)];
      pivot = select(at.free[i] > zero, stiffened(pivot, w, i), one);
    }
    for (int64_t R = 0; R < at.Q / T; R++) {
      V* KR = K + triangle<V>(panels + R);
      clear(KR, (N + (R + 1) * T) * T);
      for (int64_t j = 0; j < N; j++)
        for (int64_t a = 0; a < T && R * T + a < at.p; a++)
          KR[j * T + a] = at.At[(j / T * at.p + R * T + a) * T + j % T] * at.free[j];
      for (int64_t a = 0; a < T; a++) KR[(N + R * T + a) * T + a] = R * T + a < at.p ? delta : one;
    }
    factor(K, inverse, N, at.Q);
  }

  // A diagonal entry of the Newton matrix with the weights of the variable's bounds, regularised.
  V stiffened(V entry, const V* w, int64_t i) const {
    if (at.upper_at >= 0) entry += w[at.upper_at + i];
    if (at.lower_at >= 0) entry += w[at.lower_at + i];
    return entry + absolute(entry) * splat<V>(Limits::RHO[0]) + splat<V>(Limits::RHO[1]);
  }

  void factor_newton_rows(const V* w) {
    const V zero = splat<V>(0), one = splat<V>(1), delta = splat<V>(Limits::DELTA);
    for (int64_t i = 0; i < at.N; i++)
      rows.inverse_h[i] = select(at.free[i] > zero, one / stiffened(at.cost * at.P[i], w, i), zero);
    for (int64_t k = 0; k < at.m; k++) rows.factors[k] = root(w[k]), rows.own[k] = one;
    for (int64_t r = 0; r < at.p; r++) rows.factors[at.m + r] = one, rows.own[at.m + r] = delta;
    rows.factor_rows();
  }

  // `rhs` (N + Q) becomes the solution of the Newton system.
  void solve_newton() {
    if (rows.serves()) rows.solve(rhs, rhs + at.N);
    else solve_factored(rhs, K, inverse, at.N, at.Q);
  }

  // y = Cx, zero where dead.
  void forward(V* y, const V* v) const {
    clear(y, at.m);
    add_transposed_times(y, at.Gt, v, at.N, at.m);
    for (int64_t k = 0; k < at.m; k++) y[k] *= at.live[k];
    for (int64_t i = 0; i < at.N; i++) {
      if (at.upper_at >= 0) y[at.upper_at + i] = v[i] * at.live[at.upper_at + i];
      if (at.lower_at >= 0) y[at.lower_at + i] = -v[i] * at.live[at.lower_at + i];
    }
  }

  // y = C'l.
  void transposed(V* y, const V* l) const {
    clear(y, at.N);
    add_times(y, at.Gt, l, at.N, at.m);
    for (int64_t i = 0; i < at.N; i++) {
      if (at.upper_at >= 0) y[i] += l[at.upper_at + i];
      if (at.lower_at >= 0) y[i] -= l[at.lower_at + i];
    }
  }

  // The Newton direction for the complementarity residual `comp`, corrected `refinements` times.
  void direction(int refinements) {
    for (int64_t k = 0; k < at.count; k++) t[k] = (comp[k] + now.l[k] * r_slack[k]) * inverse_s[k];
    transposed(tx, t);
    for (int64_t i = 0; i < at.N; i++) rhs[i] = (-r_dual[i] - tx[i]) * at.free[i];
    for (int64_t r = 0; r < at.Q; r++) rhs[at.N + r] = -r_primal[r];
    clear(step.x, at.N), clear(step.nu, at.Q);
    for (int64_t k = 0; k < at.count; k++) step.s[k] = -r_slack[k];
    for (int round = 0;; round++) {
      solve_newton();
      for (int64_t i = 0; i < at.N; i++) step.x[i] += rhs[i];
      for (int64_t r = 0; r < at.Q; r++) step.nu[r] += rhs[at.N + r];
      forward(t, rhs);
      for (int64_t k = 0; k < at.count; k++) {
        step.s[k] -= t[k];
        step.l[k] = (comp[k] - now.l[k] * step.s[k]) * inverse_s[k];
      }
      if (round == refinements) return;
      at.curvature_times(rhs, step.x);
      clear(rhs + at.N, at.Q);
      add_both_times(rhs, rhs + at.N, at.At, step.nu, step.x, at.N, at.p);
      transposed(tx, step.l);
      for (int64_t i = 0; i < at.N; i++) rhs[i] = (-r_dual[i] - rhs[i] - tx[i]) * at.free[i];
      for (int64_t r = 0; r < at.Q; r++) rhs[at.N + r] = -r_primal[r] - rhs[at.N + r];
    }
  }

  // Primal and dual steps that go this share of the way to the boundary; the same unless P = 0.
  void lengths(V share, V& along, V& across) {
    for (int64_t k = 0; k < at.count; k++) t[k] = select(at.live[k] > splat<V>(0), splat<V>(1) / now.l[k], splat<V>(0));
    along = Base::length(Base::reciprocal_length(step.s, inverse_s, at.count), share);
    across = Base::length(Base::reciprocal_length(step.l, t, at.count), share);
    const V both = smaller(along, across);
    along = select(linear, along, both), across = select(linear, across, both);
  }
};

}  // namespace DECLARATIVE_ISA
