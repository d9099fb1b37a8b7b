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

template <class V, class M> class Adjoint {
 public:
  typedef MaskOf<V> Mask;
  typedef SumOf<V> Sum;
  typedef PrecisionOf<V> Limits;
  Program<V, M> at;
  V *x, *nu, *lambda, *z;           // the point
  V *ux, *unu, *ulambda, *uz;       // the solution
  V *upper, *lower;                 // one where the variable is held there
  Mask trusted;

  // `matrices`: where what follows from the matrices alone lies.
  Adjoint(const declarative::Quadratic& call, Arena& arena, Arena& matrices)
      : at(call, arena, matrices), rows(at, arena), common(at, arena, matrices),
        system(rows, common, nullptr, arena, arena.take<V>(triangle<V>(at.N / Traits<V>::tile)), arena.take<V>(at.N)) {
    x = arena.take<V>(at.N), nu = arena.take<V>(at.Q), lambda = arena.take<V>(at.m), z = arena.take<V>(at.N);
    ux = arena.take<V>(at.N), unu = arena.take<V>(at.Q), ulambda = arena.take<V>(at.m), uz = arena.take<V>(at.N);
    upper = arena.take<V>(at.N), lower = arena.take<V>(at.N);
    rx = arena.take<V>(at.N), rnu = arena.take<V>(at.Q), rrow = arena.take<V>(at.m), rz = arena.take<V>(at.N);
    force = arena.take<V>(at.N), lift = arena.take<V>(at.N), gap_eq = arena.take<V>(at.Q), gap_row = arena.take<V>(at.m);
    force_sum = arena.take<Sum>(at.N), eq_sum = arena.take<Sum>(at.Q), row_sum = arena.take<Sum>(at.m);
    room = arena.take<V>(at.m), rise = arena.take<V>(at.Q);
  }

  // Read the matrices of the instances from `first` on and factor what does not change.
  template <class S> void prepare(const declarative::Quadratic& call, int64_t first) {
    at.template load_matrices<S>(call, first);
    at.scale_rows_together();
    at.known->convex = select(at.known->curvature >= splat<M>(0), splat<M>(1), splat<M>(0));  // as it was solved; no NaN
    if constexpr (CommonFactor<V, M>::POSSIBLE)
      if (common.serves()) common.factor_active();
  }

  template <class S> void load(const declarative::AdjointCall& call, int64_t first) {
    const int64_t batch = call.problem.batch;
    at.template load_vectors<S>(call.problem, first);
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
    const V curvature = V{} + at.known->curvature, in_rows = V{} + at.known->extent, one = splat<V>(1);
    at.cost = select(curvature > splat<V>(0), one / power_of_two(curvature), one);
    row_scale = select(in_rows > splat<V>(0), one / power_of_two(in_rows), one);
    read_active_set(splat<V>(weak), curvature, in_rows);
    const Mask vertex = (curvature == splat<V>(0)) & is_quiet();
    scale_cotangents();
    sweep();
    for (int64_t i = 0; i < at.N; i++) ux[i] = select(vertex, splat<V>(0), ux[i]);
  }

 private:
  RowSystem<V, M> rows;
  CommonFactor<V, M> common;
  ActiveSystem<V, M> system;
  Sum *force_sum, *eq_sum, *row_sum;
  V *rx, *rnu, *rrow, *rz, *force, *lift, *gap_eq, *gap_row, *room, *rise;
  V row_scale;
  V change;  // largest entry of the last correction of ux

  static V flag(Mask m) { return select(m, splat<V>(1), splat<V>(0)); }
  static Mask on(V flag) { return flag > splat<V>(0); }

  // `weak_force` and `weak_reach`: up to where multiplier and slack count as zero; `force` and `reach`: what they are
  // compared in.
  static Mask is_active(V multiplier, V slack, V weak_force, V weak_reach, V force, V reach) {
    const Mask weakly = (absolute(multiplier) <= weak_force) & (absolute(slack) <= weak_reach);
    return (multiplier * reach > slack * force) & negate(weakly);
  }

  // As `DenseQP.active_set` does.
  void read_active_set(V weak, V curvature, V in_rows) {
    const V zero = splat<V>(0), one = splat<V>(1);
    V size = zero, scale = zero;
    for (int64_t i = 0; i < at.N; i++)
      size = magnitude(size, x[i]), scale = magnitude(magnitude(scale, at.q[i]), z[i]);
    for (int64_t k = 0; k < at.m; k++) scale = magnitude(scale, lambda[k]);
    clear(room, at.m), clear(gap_row, at.m);
    for (int64_t i = 0; i < at.n; i++) {
      constexpr int T = Traits<V>::tile;
      const M* column = at.Gt + (i / T * at.m) * T + i % T;
      for (int64_t k = 0; k < at.m; k++)
        room[k] += column[k * T] * x[i], gap_row[k] += absolute(column[k * T]) * absolute(x[i]);
    }
    V most = zero, most_low = zero, most_high = zero, sides = zero, slope = zero;
    for (int64_t k = 0; k < at.m; k++) {
      room[k] /= row_scale, gap_row[k] /= row_scale;
      gap_row[k] += absolute(at.d[k]), most = larger(most, gap_row[k]), sides = magnitude(sides, at.d[k]);
    }
    for (int64_t r = 0; r < at.Q; r++) sides = magnitude(sides, at.b[r]);
    for (int64_t i = 0; i < at.N; i++) {
      slope = magnitude(slope, at.q[i]);
      if (at.lower_at >= 0) most_low = magnitude(most_low, at.d[at.lower_at + i]);
      if (at.upper_at >= 0) most_high = magnitude(most_high, at.d[at.upper_at + i]);
    }
    // What counts as one: the sizes that the data give, up to one.
    const auto unit = [&](V given) -> V { return select(given > zero, smaller(given, one), one); };
    const auto ratio = [&](V above, V below) -> V { return select(below > zero, above / below, zero); };
    V reach = larger(larger(ratio(sides, in_rows), ratio(slope, curvature)), larger(most_low, most_high));
    const V force_all = scale + unit(larger(slope, curvature * reach));
    most += unit(in_rows * reach), most_low += size + unit(reach), most_high += size + unit(reach);
    for (int64_t k = 0; k < at.m; k++) {
      const Mask active =
          on(at.live[k]) & is_active(lambda[k], at.d[k] - room[k], weak * scale, weak * gap_row[k], force_all, most);
      system.weight[k] = select(active, system.penalty(), zero);
    }
    for (int64_t r = 0; r < at.Q; r++) system.weight_eq[r] = r < at.p ? system.penalty() : zero;
    for (int64_t i = 0; i < at.N; i++) {
      Mask under = negate(everywhere<V>()), over = under;
      if (at.lower_at >= 0) {
        const V low = -at.d[at.lower_at + i];
        under = on(at.live[at.lower_at + i]) &
                is_active(-z[i], x[i] - low, weak * scale, weak * (absolute(low) + size), force_all, most_low);
      }
      if (at.upper_at >= 0) {
        const V high = at.d[at.upper_at + i];
        over = on(at.live[at.upper_at + i]) &
               is_active(z[i], high - x[i], weak * scale, weak * (absolute(high) + size), force_all, most_high);
      }
      const Mask fixed = negate(on(at.free[i]));
      over = (over & negate(under)) | (fixed & (z[i] >= zero));
      under = (under | fixed) & negate(over);
      upper[i] = flag(over), lower[i] = flag(under);
      system.free[i] = select(over | under, zero, at.free[i]);
    }
  }

  Mask is_quiet() const {
    V size = splat<V>(0);
    for (int64_t r = 0; r < at.Q; r++) size += absolute(rnu[r]);
    for (int64_t k = 0; k < at.m; k++) size += absolute(rrow[k]);
    for (int64_t i = 0; i < at.N; i++) size += absolute(rz[i]);
    return size == splat<V>(0);
  }

  // As P is scaled by one number, and A and G are by another.
  void scale_cotangents() {
    for (int64_t i = 0; i < at.N; i++) rx[i] *= at.cost;
    for (int64_t r = 0; r < at.Q; r++) rnu[r] *= row_scale;
    for (int64_t k = 0; k < at.m; k++) rrow[k] = select(on(system.weight[k]), rrow[k] * row_scale, splat<V>(0));
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
    rows.read();
    system.factor_active();
    V before = splat<V>(__builtin_inf()), size = before;
    Mask going = everywhere<V>();
    change = zero;
    for (int count = 0;; count++) {
      const V now = defect(count == 0);
      going = going & (now < before * splat<V>(0.5)) & (now > zero);
      size = now, change = select(now > zero, change, zero);
      if (count == ADJOINT_SWEEPS || !any(going)) break;
      before = now;
      correct(going);
    }
    V solution = given, length = zero;
    for (int64_t i = 0; i < at.N; i++) {
      solution = magnitude(solution, ux[i]), length = magnitude(length, ux[i]);
      uz[i] = select(on(upper[i]) | on(lower[i]), force[i] / at.cost, zero);
    }
    const V back = row_scale / at.cost;
    for (int64_t r = 0; r < at.Q; r++) solution = magnitude(solution, unu[r]), unu[r] *= back;
    for (int64_t k = 0; k < at.m; k++) solution = magnitude(solution, ulambda[k]), ulambda[k] *= back;
    trusted = defect_is_small(size, solution) & (change <= length * splat<V>(Limits::SETTLED)) &
              (change <= solution * splat<V>(Limits::STILL));
  }

  Mask defect_is_small(V size, V solution) const {
    const double share = Limits::TRUSTED[0] + Limits::TRUSTED[1] * (double)(at.n + at.p + at.m);
    return (size <= solution * splat<V>(share)) & finite(solution);
  }

  // force and gaps: right-hand side less the system's product; the largest entry of what the sweeps act on.
  // At the start that is the right-hand side itself, unless variables are held elsewhere than at zero.
  V defect(bool at_start) {
    for (int64_t r = 0; r < at.Q; r++) eq_sum[r] = Sum{};
    for (int64_t k = 0; k < at.m; k++) row_sum[k] = Sum{};
    if (at_start && at.count == at.m) {
      for (int64_t i = 0; i < at.N; i++) force_sum[i] = Sum{};
    } else {
      at.curvature_times(force_sum, ux);
      add_both_times(force_sum, eq_sum, at.At, unu, ux, at.N, at.p);
      add_both_times(force_sum, row_sum, at.Gt, ulambda, ux, at.N, at.m);
    }
    V size = splat<V>(0), poison = size;
    for (int64_t i = 0; i < at.N; i++) {
      force[i] = rounded<V>(widen<Sum>(rx[i]) - force_sum[i]);
      size = magnitude(size, force[i] * system.free[i]), poison += force[i] - force[i];
    }
    for (int64_t r = 0; r < at.Q; r++)
      gap_eq[r] = rounded<V>(widen<Sum>(rnu[r]) - eq_sum[r]), size = magnitude(size, gap_eq[r]);
    for (int64_t k = 0; k < at.m; k++) {
      gap_row[k] = rounded<V>(widen<Sum>(rrow[k]) - row_sum[k]);
      gap_row[k] = select(on(system.weight[k]), gap_row[k], splat<V>(0));
      size = magnitude(size, gap_row[k]);
    }
    return size + poison;
  }

  void correct(Mask going) {
    clear(lift, at.N), clear(rise, at.Q);
    for (int64_t k = 0; k < at.m; k++) room[k] = system.weight[k] * gap_row[k];
    for (int64_t r = 0; r < at.Q; r++) gap_eq[r] *= system.weight_eq[r];
    add_times(lift, at.Gt, room, at.N, at.m);
    add_times(lift, at.At, gap_eq, at.N, at.p);
    for (int64_t i = 0; i < at.N; i++) lift[i] += force[i];
    system.solve(lift);
    V moved = splat<V>(0);
    for (int64_t i = 0; i < at.N; i++)
      moved = magnitude(moved, lift[i]), ux[i] = select(going, ux[i] + lift[i], ux[i]);
    change = select(going, moved, change);
    clear(room, at.m);
    add_transposed_times(room, at.Gt, lift, at.N, at.m);
    for (int64_t k = 0; k < at.m; k++) {
      const V change = system.weight[k] * (room[k] - gap_row[k]);
      ulambda[k] = select(going, ulambda[k] + change, ulambda[k]);
    }
    add_transposed_times(rise, at.At, lift, at.N, at.p);
    for (int64_t r = 0; r < at.Q; r++) {
      const V change = system.weight_eq[r] * rise[r] - gap_eq[r];
      unu[r] = select(going, unu[r] + change, unu[r]);
    }
  }
};

}  // namespace DECLARATIVE_ISA
