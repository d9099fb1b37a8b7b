// Mehrotra's predictor-corrector over lanes, ended by the solution of the active set that it points at.
//
// The Newton step on the perturbed KKT conditions, with W = diag(lambda / s), reduces to
//
//     [P + C'WC + rho   A'    ] [dx ]   [-r_dual - C'(r_comp + lambda r_slack) / s]
//     [A                -delta] [dnu] = [-r_primal                                ]
//
// and is corrected once by its residual without rho and delta. A lane that is done, stalls or breaks is frozen.
//
// References: Mehrotra, On the implementation of a primal-dual interior point method, 1992; Friedlander and Orban, A
// primal-dual regularized interior-point method, 2012; Stellato et al., OSQP, 2020, section 4 (polishing).
#pragma once

#include "polish.hpp"

namespace DECLARATIVE_ISA {

constexpr double STOPS[] = {1e-7, 1e-10, 1e-13};  // relative residuals at which to try the active set
constexpr double ACCEPTED = 1e-11;  // relative residual of a point that is returned
constexpr double ACCEPTED_SINGLE = 2e-6;  // the same after rounding to float32
constexpr double ACCEPTED_BEFORE = 1e-7;  // and what it must be before it
constexpr double SENSIBLE = 1e6;    // size of a solution, relative to the scaled data, beyond which it may be a ray
constexpr double STAY_INSIDE = 0.995;
constexpr int PATIENCE = 10;        // iterations without progress after which a lane ends
constexpr double RHO[] = {1e-11, 1e-8}, DELTA[] = {1e-12, 1e-10};  // relative to the diagonal, and at least

template <class V> struct Iterate {
  V *x, *nu, *s, *l;
  Iterate(const Program<V>& p, Arena<V>& arena)
      : x(arena.take(p.N)), nu(arena.take(p.Q)), s(arena.take(p.count)), l(arena.take(p.count)) {}
};

template <class V> class InteriorPoint {
 public:
  typedef MaskOf<V> Mask;
  Program<V> at;
  V iterations;

  InteriorPoint(const declarative::Quadratic& call, Arena<V>& arena)
      : at(call, arena), now(at, arena), best(at, arena), step(at, arena), K(room(at, arena)),
        inverse(arena.take(at.N + at.Q)), polish(at, arena, K, inverse) {
    r_dual = arena.take(at.N), r_primal = arena.take(at.Q), r_slack = arena.take(at.count);
    comp = arena.take(at.count), inverse_s = arena.take(at.count), weight = arena.take(at.count);
    rhs = arena.take(at.N + at.Q), t = arena.take(at.count), tx = arena.take(at.N), tn = arena.take(at.Q);
    px = arena.take(at.N), anu = arena.take(at.N), cl = arena.take(at.N);
    scratch = arena.take(at.m * Traits<V>::tile);
  }

  const KktPoint<V>& answer() const { return polish.answer; }
  V residual() const { return polish.residual; }
  Mask sensible;  // whether the answer is of the size of the data, and no ray that a relative residual takes for a point

  void run(int64_t max_iterations, double eps, bool single) {
    polish.reset(), iterations = splat<V>(0), sensible = negate(everywhere<V>());
    at.equilibrate();
    Mask open = at.usable & convex(eps);
    if (!any(open)) return;
    start();
    for (double stop : STOPS) {
      iterate(open, splat<V>(stop), max_iterations);
      polish.from(best.x, best.nu, best.s, best.l, open);
      open = open & (polish.residual > splat<V>(ACCEPTED));
      if (!any(open)) break;
    }
    sensible = in_proportion();
    if (single) {
      sensible = sensible & (polish.residual <= splat<V>(ACCEPTED_BEFORE));
      polish.round_to_single();
    }
  }

 private:
  Iterate<V> now, best, step;
  V *K, *inverse;
  Polish<V> polish;
  V *r_dual, *r_primal, *r_slack, *comp, *inverse_s, *weight, *rhs, *t, *tx, *tn, *px, *anu, *cl, *scratch;
  V worst, age, gap;
  Mask linear;

  static V* room(const Program<V>& p, Arena<V>& arena) {
    return arena.take(triangle<V>((p.N + p.Q) / Traits<V>::tile));
  }

  // Whether P is positive semidefinite up to the rounding its entries came with.
  Mask convex(double eps) {
    constexpr int T = Traits<V>::tile;
    V diagonal = splat<V>(0);
    linear = everywhere<V>();
    for (int64_t i = 0; i < at.N; i++) diagonal = magnitude(diagonal, at.P[cell<V>(i, i, at.N)]);
    for (int64_t i = 0; i < at.N * at.N; i++) linear = linear & (at.P[i] == splat<V>(0));
    const double share = 10 * (double)at.n * eps > 1e-11 ? 10 * (double)at.n * eps : 1e-11;
    const V shift = select(diagonal > splat<V>(0), diagonal, splat<V>(1)) * share;
    for (int64_t I = 0; I < at.N / T; I++)
      for (int64_t e = 0; e < (I + 1) * T * T; e++) K[triangle<V>(I) + e] = at.P[I * T * at.N + e];
    for (int64_t i = 0; i < at.N; i++)
      K[triangle<V>(i / T) + i * T + i % T] += shift + (i < at.n ? splat<V>(0) : splat<V>(1));
    return factor(K, inverse, at.N, (int64_t)0) | linear;
  }

  // Factor the Newton matrix with the diagonal of W.
  void factor_newton(const V* w) {
    constexpr int T = Traits<V>::tile;
    const int64_t N = at.N, panels = N / T;
    for (int64_t I = 0; I < panels; I++)
      for (int64_t e = 0; e < (I + 1) * T * T; e++) K[triangle<V>(I) + e] = at.P[I * T * N + e];
    add_weighted_product(K, at.Gt, w, N, at.m, scratch);
    for (int64_t I = 0; I < panels; I++)
      for (int64_t j = 0; j < (I + 1) * T; j++)
        for (int64_t a = 0; a < T; a++) K[triangle<V>(I) + j * T + a] *= at.free[I * T + a] * at.free[j];
    for (int64_t i = 0; i < N; i++) {
      V& pivot = K[triangle<V>(i / T) + i * T + i % T];
      if (at.upper_at >= 0) pivot += w[at.upper_at + i];
      if (at.lower_at >= 0) pivot += w[at.lower_at + i];
      pivot += absolute(pivot) * RHO[0] + splat<V>(RHO[1]);
      pivot = select(at.free[i] > splat<V>(0), pivot, splat<V>(1));
    }
    for (int64_t R = 0; R < at.Q / T; R++) {
      V* KR = K + triangle<V>(panels + R);
      for (int64_t j = 0; j < N; j++)
        for (int64_t a = 0; a < T; a++) KR[j * T + a] = at.A[(R * N + j) * T + a] * at.free[j];
      for (int64_t j = 0; j < (R + 1) * T; j++)
        for (int64_t a = 0; a < T; a++)
          KR[(N + j) * T + a] = splat<V>(R * T + a == j ? (j < at.p ? DELTA[1] : 1.0) : 0.0);
    }
    factor(K, inverse, N, at.Q);
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
    times(y, at.Gt, l, at.N, at.m);
    for (int64_t i = 0; i < at.N; i++) {
      if (at.upper_at >= 0) y[i] += l[at.upper_at + i];
      if (at.lower_at >= 0) y[i] -= l[at.lower_at + i];
    }
  }

  // The point of least squared slack, shifted into the interior.
  void start() {
    factor_newton(at.live);
    for (int64_t i = 0; i < at.N; i++) now.x[i] = at.fixed[i];
    forward(t, now.x);
    for (int64_t k = 0; k < at.count; k++) t[k] = at.d[k] - t[k];
    for (int64_t k = 0; k < at.count; k++) t[k] *= at.live[k];
    transposed(cl, t);
    times(px, at.P, now.x, at.N, at.N);
    times(tn, at.A, now.x, at.Q, at.N);
    for (int64_t i = 0; i < at.N; i++) rhs[i] = (cl[i] - at.q[i] - px[i]) * at.free[i];
    for (int64_t r = 0; r < at.Q; r++) rhs[at.N + r] = at.b[r] - tn[r];
    solve_factored(rhs, K, inverse, at.N, at.Q);
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
    }
    worst = splat<V>(__builtin_inf()), age = zero;
    keep_best(everywhere<V>());
  }

  void keep_best(Mask where) {
    keep(where, best.x, now.x, at.N), keep(where, best.nu, now.nu, at.Q);
    keep(where, best.s, now.s, at.count), keep(where, best.l, now.l, at.count);
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
    return (size <= reach * SENSIBLE) & (force <= larger(slope, reach) * SENSIBLE);
  }

  // Step the open lanes until each has a relative residual of at most `stop`, stalls, breaks or runs along a ray.
  void iterate(Mask open, V stop, int64_t max_iterations) {
    Mask going = open;
    age = splat<V>(0);
    for (int64_t count = 0;; count++) {
      const V current = measure();
      const Mask better = going & (current < worst);
      age = select(going, select(current < worst * 0.9, splat<V>(0), age + 1.0), age);
      worst = select(better, current, worst);
      keep_best(better);
      going = going & (worst > stop) & (age < splat<V>(PATIENCE)) & finite(current) & negate(on_a_ray());
      going = going & (iterations < splat<V>((double)max_iterations));
      if (!any(going)) return;
      advance(going);
      iterations = select(going, iterations + 1.0, iterations);
    }
  }

  // Residuals of the perturbed KKT conditions; the sum of the largest relative ones.
  V measure() {
    times(px, at.P, now.x, at.N, at.N);
    clear(anu, at.N);
    add_transposed_times(anu, at.A, now.nu, at.Q, at.N);
    transposed(cl, now.l);
    times(tn, at.A, now.x, at.Q, at.N);
    forward(t, now.x);
    V dual = splat<V>(0), terms = dual, primal = dual, rows = dual, slack = dual, reach = dual;
    V quadratic = dual, slope = dual, poison = dual;
    gap = dual;
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
      gap += now.s[k] * now.l[k];
    }
    return dual / (terms + 1.0) + primal / (rows + 1.0) + slack / (reach + 1.0) +
           gap / (absolute(quadratic) + absolute(slope) + 1.0) + poison;
  }

  // Whether the iterate, scaled to length one, nearly proves that there is no solution. Uses what `measure` left.
  Mask on_a_ray() {
    V separation = splat<V>(0), combination = separation, descent = separation, moved = separation;
    for (int64_t i = 0; i < at.N; i++) {
      combination = magnitude(combination, (anu[i] + cl[i]) * at.free[i]);
      descent -= at.q[i] * now.x[i];
      moved = magnitude(moved, px[i]);
    }
    for (int64_t r = 0; r < at.Q; r++) separation -= at.b[r] * now.nu[r], moved = magnitude(moved, tn[r]);
    for (int64_t k = 0; k < at.count; k++) separation -= at.d[k] * now.l[k], moved = larger(moved, t[k]);
    const V one = splat<V>(1);
    return ((separation > one) & (combination < separation * 1e-8)) | ((descent > one) & (moved < descent * 1e-8));
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
    const V ratio = smaller(larger(reached / larger(gap, splat<V>(1e-300)), zero), one);
    const V centre = ratio * ratio * ratio * gap / larger(alive, one);
    for (int64_t k = 0; k < at.count; k++)
      comp[k] = (centre - now.s[k] * now.l[k] - step.s[k] * step.l[k]) * at.live[k];
    direction(1);
    lengths(splat<V>(STAY_INSIDE), along, across);
    for (int64_t i = 0; i < at.N; i++) now.x[i] = select(going, now.x[i] + along * step.x[i], now.x[i]);
    for (int64_t r = 0; r < at.Q; r++) now.nu[r] = select(going, now.nu[r] + across * step.nu[r], now.nu[r]);
    for (int64_t k = 0; k < at.count; k++) {
      now.s[k] = select(going, now.s[k] + along * step.s[k], now.s[k]);
      now.l[k] = select(going, now.l[k] + across * step.l[k], now.l[k]);
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
      solve_factored(rhs, K, inverse, at.N, at.Q);
      for (int64_t i = 0; i < at.N; i++) step.x[i] += rhs[i];
      for (int64_t r = 0; r < at.Q; r++) step.nu[r] += rhs[at.N + r];
      forward(t, rhs);
      for (int64_t k = 0; k < at.count; k++) {
        step.s[k] -= t[k];
        step.l[k] = (comp[k] - now.l[k] * step.s[k]) * inverse_s[k];
      }
      if (round == refinements) return;
      times(rhs, at.P, step.x, at.N, at.N);
      add_transposed_times(rhs, at.A, step.nu, at.Q, at.N);
      transposed(tx, step.l);
      for (int64_t i = 0; i < at.N; i++) rhs[i] = (-r_dual[i] - rhs[i] - tx[i]) * at.free[i];
      times(rhs + at.N, at.A, step.x, at.Q, at.N);
      for (int64_t r = 0; r < at.Q; r++) rhs[at.N + r] = -r_primal[r] - rhs[at.N + r];
    }
  }

  // Primal and dual steps that go this share of the way to the boundary; the same unless P = 0.
  void lengths(V share, V& along, V& across) {
    const V zero = splat<V>(0), one = splat<V>(1);
    V primal = zero, dual = zero;
    for (int64_t k = 0; k < at.count; k++) {
      const V inverse_l = select(at.live[k] > zero, one / now.l[k], zero);
      primal = larger(primal, -step.s[k] * inverse_s[k]), dual = larger(dual, -step.l[k] * inverse_l);
    }
    along = select(primal > share, share / primal, one), across = select(dual > share, share / dual, one);
    const V both = smaller(along, across);
    along = select(linear, along, both), across = select(linear, across, both);
  }
};

}  // namespace DECLARATIVE_ISA
