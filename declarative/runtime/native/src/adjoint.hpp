// The backward pass over lanes: the transposed KKT system of the active set, and the gradient of every parameter.
//
// With the residual F of `DenseQP`, (dF/dw)' u = w_bar is the active system with right-hand side (x_bar, nu_bar,
// lambda_bar on active rows, z_bar on held variables), and theta_bar = -(dF/dtheta)' u reads
//
//     P: -(u_x x' + x u_x') / 2    A: -(nu u_x' + u_nu x')    G: -(lambda u_x' + u_lambda x')    q: -u_x
//     b: u_nu                      h: u_lambda                lower, upper: u_z where held there,
//
// with u_lambda zero off the active rows. Which inequalities are active is decided as `DenseQP.active_set` decides it.
// The data is scaled by two numbers only, so that the least-norm solution of a singular system is the one of the data.
#pragma once

#include "active_system.hpp"

namespace DECLARATIVE_ISA {

constexpr int ADJOINT_SWEEPS = 8;
constexpr double TRUSTED = 1e-12;  // residual of a trusted solution, relative to it and to its right-hand side

template <class V> class Adjoint {
 public:
  typedef MaskOf<V> Mask;
  Program<V> at;
  V *x, *nu, *lambda, *z;           // the point
  V *ux, *unu, *ulambda, *uz;       // the solution
  V *upper, *lower;                 // one where the variable is held there
  Mask trusted;

  Adjoint(const declarative::Quadratic& call, Arena<V>& arena)
      : at(call, arena),
        system(at, arena, arena.take(triangle<V>(at.N / Traits<V>::tile)), arena.take(at.N)) {
    x = arena.take(at.N), nu = arena.take(at.Q), lambda = arena.take(at.m), z = arena.take(at.N);
    ux = arena.take(at.N), unu = arena.take(at.Q), ulambda = arena.take(at.m), uz = arena.take(at.N);
    upper = arena.take(at.N), lower = arena.take(at.N);
    rx = arena.take(at.N), rnu = arena.take(at.Q), rrow = arena.take(at.m), rz = arena.take(at.N);
    force = arena.take(at.N), lift = arena.take(at.N), gap_eq = arena.take(at.Q), gap_row = arena.take(at.m);
    room = arena.take(at.m), rise = arena.take(at.Q);
  }

  template <class S> void load(const declarative::AdjointCall& call, int64_t first) {
    const int64_t batch = call.problem.batch;
    at.template load<S>(call.problem, first);
    const auto put = [&](V* into, declarative::Batched from, int64_t size, int64_t whole) {
      clear(into, whole);
      load_vector<S>(into, from, size, first, batch);
    };
    put(x, call.point.x, at.n, at.N), put(nu, call.point.eq, at.p, at.Q);
    put(lambda, call.point.ineq, at.m, at.m), put(z, call.point.bounds, at.n, at.N);
    put(rx, call.cotangent.x, at.n, at.N), put(rnu, call.cotangent.eq, at.p, at.Q);
    put(rrow, call.cotangent.ineq, at.m, at.m), put(rz, call.cotangent.bounds, at.n, at.N);
  }

  // `weak`: share of the scale of a multiplier and of its row up to which both count as zero.
  void run(double weak) {
    read_active_set(splat<V>(weak));
    const Mask vertex = is_linear() & is_quiet();
    scale_data();
    sweep();
    for (int64_t i = 0; i < at.N; i++) ux[i] = select(vertex, splat<V>(0), ux[i]);
  }

 private:
  ActiveSystem<V> system;
  V *rx, *rnu, *rrow, *rz, *force, *lift, *gap_eq, *gap_row, *room, *rise;
  V row_scale;

  static V flag(Mask m) { return select(m, splat<V>(1), splat<V>(0)); }
  static Mask on(V flag) { return flag > splat<V>(0); }

  static Mask is_active(V multiplier, V slack, V weak_multiplier, V weak_slack) {
    const Mask weakly = (absolute(multiplier) <= weak_multiplier) & (absolute(slack) <= weak_slack);
    return (multiplier > slack) & negate(weakly);
  }

  void read_active_set(V weak) {
    const V zero = splat<V>(0);
    V size = zero, scale = zero;
    for (int64_t i = 0; i < at.N; i++)
      size = magnitude(size, x[i]), scale = magnitude(magnitude(scale, at.q[i]), z[i]);
    for (int64_t k = 0; k < at.m; k++) scale = magnitude(scale, lambda[k]);
    clear(room, at.m), clear(gap_row, at.m);
    for (int64_t i = 0; i < at.n; i++) {
      constexpr int T = Traits<V>::tile;
      const V* column = at.Gt + (i / T * at.m) * T + i % T;
      for (int64_t k = 0; k < at.m; k++)
        room[k] += column[k * T] * x[i], gap_row[k] += absolute(column[k * T]) * absolute(x[i]);
    }
    for (int64_t k = 0; k < at.m; k++) {
      const Mask active = on(at.live[k]) & is_active(lambda[k], at.d[k] - room[k], scale * weak,
                                                     weak * (absolute(at.d[k]) + gap_row[k]));
      system.weight[k] = select(active, splat<V>(PENALTY), zero);
    }
    for (int64_t r = 0; r < at.Q; r++) system.weight_eq[r] = splat<V>(r < at.p ? PENALTY : 0.0);
    for (int64_t i = 0; i < at.N; i++) {
      Mask under = negate(everywhere<V>()), over = under;
      if (at.lower_at >= 0) {
        const V low = -at.d[at.lower_at + i];
        under = on(at.live[at.lower_at + i]) & is_active(-z[i], x[i] - low, scale * weak, weak * (absolute(low) + size));
      }
      if (at.upper_at >= 0) {
        const V high = at.d[at.upper_at + i];
        over = on(at.live[at.upper_at + i]) & is_active(z[i], high - x[i], scale * weak, weak * (absolute(high) + size));
      }
      const Mask fixed = negate(on(at.free[i]));
      over = (over & negate(under)) | (fixed & (z[i] >= zero));
      under = (under | fixed) & negate(over);
      upper[i] = flag(over), lower[i] = flag(under);
      system.free[i] = select(over | under, zero, at.free[i]);
    }
  }

  Mask is_linear() const {
    Mask linear = everywhere<V>();
    for (int64_t i = 0; i < at.N * at.N; i++) linear = linear & (at.P[i] == splat<V>(0));
    return linear;
  }

  Mask is_quiet() const {
    V size = splat<V>(0);
    for (int64_t r = 0; r < at.Q; r++) size += absolute(rnu[r]);
    for (int64_t k = 0; k < at.m; k++) size += absolute(rrow[k]);
    for (int64_t i = 0; i < at.N; i++) size += absolute(rz[i]);
    return size == splat<V>(0);
  }

  // P by one number, A and G by another, to a size of about one; right-hand sides with them.
  void scale_data() {
    const V zero = splat<V>(0), one = splat<V>(1);
    V curvature = zero, rows = zero;
    for (int64_t i = 0; i < at.N * at.N; i++) curvature = magnitude(curvature, at.P[i]);
    for (int64_t i = 0; i < at.Q * at.N; i++) rows = magnitude(rows, at.A[i]);
    for (int64_t i = 0; i < at.N * at.m; i++) rows = magnitude(rows, at.Gt[i]);
    at.cost = select(curvature > zero, one / power_of_two(curvature), one);
    row_scale = select(rows > zero, one / power_of_two(rows), one);
    for (int64_t i = 0; i < at.N * at.N; i++) at.P[i] *= at.cost;
    for (int64_t i = 0; i < at.Q * at.N; i++) at.A[i] *= row_scale;
    for (int64_t i = 0; i < at.N * at.m; i++) at.Gt[i] *= row_scale;
    for (int64_t i = 0; i < at.N; i++) rx[i] *= at.cost;
    for (int64_t r = 0; r < at.Q; r++) rnu[r] *= row_scale;
    for (int64_t k = 0; k < at.m; k++) rrow[k] = select(on(system.weight[k]), rrow[k] * row_scale, zero);
  }

  void sweep() {
    const V zero = splat<V>(0);
    V given = zero;
    for (int64_t i = 0; i < at.N; i++) {
      const Mask held = on(upper[i]) | on(lower[i]);
      ux[i] = select(held, rz[i], zero);
      given = magnitude(magnitude(given, rx[i]), ux[i]);
    }
    for (int64_t r = 0; r < at.Q; r++) unu[r] = zero, given = magnitude(given, rnu[r]);
    for (int64_t k = 0; k < at.m; k++) ulambda[k] = zero, given = magnitude(given, rrow[k]);
    system.factor_active(splat<V>(PROXIMAL));
    V before = splat<V>(__builtin_inf()), size = before;
    Mask going = everywhere<V>();
    for (int count = 0;; count++) {
      const V now = defect();
      going = going & (now < before * 0.5) & (now > zero);
      size = now;
      if (count == ADJOINT_SWEEPS || !any(going)) break;
      before = now;
      correct(going);
    }
    V solution = given;
    for (int64_t i = 0; i < at.N; i++) {
      solution = magnitude(solution, ux[i]);
      uz[i] = select(on(upper[i]) | on(lower[i]), force[i] / at.cost, zero);
    }
    const V back = row_scale / at.cost;
    for (int64_t r = 0; r < at.Q; r++) solution = magnitude(solution, unu[r]), unu[r] *= back;
    for (int64_t k = 0; k < at.m; k++) solution = magnitude(solution, ulambda[k]), ulambda[k] *= back;
    trusted = defect_is_small(size, solution);
  }

  Mask defect_is_small(V size, V solution) const {
    return (size <= solution * (TRUSTED * (double)(at.n + at.p + at.m))) & finite(solution);
  }

  // force and gaps: right-hand side less the system's product; the largest entry of what the sweeps act on.
  V defect() {
    times(force, at.P, ux, at.N, at.N);
    add_transposed_times(force, at.A, unu, at.Q, at.N);
    for (int64_t first = 0; first < at.N; first += Traits<V>::tile)
      panel_times<+1>(force + first, at.Gt + first * at.m, ulambda, at.m);
    clear(gap_row, at.m);
    add_transposed_times(gap_row, at.Gt, ux, at.N, at.m);
    times(gap_eq, at.A, ux, at.Q, at.N);
    V size = splat<V>(0), poison = size;
    for (int64_t i = 0; i < at.N; i++) {
      force[i] = rx[i] - force[i];
      size = magnitude(size, force[i] * system.free[i]), poison += force[i] - force[i];
    }
    for (int64_t r = 0; r < at.Q; r++) gap_eq[r] = rnu[r] - gap_eq[r], size = magnitude(size, gap_eq[r]);
    for (int64_t k = 0; k < at.m; k++) {
      gap_row[k] = select(on(system.weight[k]), rrow[k] - gap_row[k], splat<V>(0));
      size = magnitude(size, gap_row[k]);
    }
    return size + poison;
  }

  void correct(Mask going) {
    for (int64_t k = 0; k < at.m; k++) room[k] = system.weight[k] * gap_row[k];
    times(lift, at.Gt, room, at.N, at.m);
    for (int64_t r = 0; r < at.Q; r++) gap_eq[r] *= system.weight_eq[r];
    add_transposed_times(lift, at.A, gap_eq, at.Q, at.N);
    for (int64_t i = 0; i < at.N; i++) lift[i] += force[i];
    system.solve(lift);
    for (int64_t i = 0; i < at.N; i++) ux[i] = select(going, ux[i] + lift[i], ux[i]);
    clear(room, at.m);
    add_transposed_times(room, at.Gt, lift, at.N, at.m);
    for (int64_t k = 0; k < at.m; k++) {
      const V change = system.weight[k] * (room[k] - gap_row[k]);
      ulambda[k] = select(going, ulambda[k] + change, ulambda[k]);
    }
    times(rise, at.A, lift, at.Q, at.N);
    for (int64_t r = 0; r < at.Q; r++) {
      const V change = system.weight_eq[r] * rise[r] - gap_eq[r];
      unu[r] = select(going, unu[r] + change, unu[r]);
    }
  }
};

}  // namespace DECLARATIVE_ISA
