// The linear system of an active set, by the method of multipliers, for any active set in each lane.
//
// With C the active rows of [A; G] and the held variables left out,
//
//     [P  C'] [x]   [r]
//     [C    ] [y] = [s]
//
// is solved by y += (Cx - s) / delta with (P + rho + C'C / delta) x = r - C'(y - s / delta): each sweep is a correction by
// the residual of the system itself, whose error shrinks by delta over the stiffness of the rows and by rho over the
// curvature. Rows that are not active have weight zero, so that all lanes run the same instructions. Started from zero,
// y stays in the range of C and x in that of [P C']: where rows are dependent or x is not unique, the answer is the
// least-norm one.
//
// Reference: Bertsekas, Constrained Optimization and Lagrange Multiplier Methods, 1982, chapter 2.
#pragma once

#include "range_space.hpp"
#include "row_system.hpp"

namespace DECLARATIVE_ISA {

template <class V, class M> struct ActiveSystem {
  typedef MaskOf<V> Mask;
  const Program<V, M>& at;
  RowSystem<V, M>& rows;  // in place of K where it serves
  CommonFactor<V, M>& common;  // likewise
  RangeSpace<V, M>* range;     // likewise; null where there is none
  V *K, *inverse, *scratch;
  V *weight_eq, *weight, *free;  // the penalty or zero per row; one or zero per variable
  M* chosen;         // of one instance the active rows of G alone, and their weights
  V* chosen_weight;
  V least;  // pivot of the last factorisation

  static V penalty() { return splat<V>(PrecisionOf<V>::PENALTY); }

  ActiveSystem(RowSystem<V, M>& small, CommonFactor<V, M>& shared, RangeSpace<V, M>* range_space, Arena& arena,
               V* triangle_room, V* inverse_room)
      : at(small.at), rows(small), common(shared), range(range_space), K(triangle_room), inverse(inverse_room) {
    scratch = arena.take<V>((at.m > at.p ? at.m : at.p) * Traits<V>::tile);
    if (Traits<V>::lanes == 1) chosen = arena.take<M>(at.N * at.m), chosen_weight = arena.take<V>(at.m);
    weight_eq = arena.take<V>(at.Q), weight = arena.take<V>(at.m), free = arena.take<V>(at.N);
  }

  // Whether it is solved for x and y at once.
  bool by_gram() const { return range && range->serves; }

  // Factor P + rho + C'C / delta over the free variables.
  void factor_active() {
    const V zero = splat<V>(0), one = splat<V>(1), proximal = splat<V>(PrecisionOf<V>::PROXIMAL);
    if (by_gram()) return factor_gram();
    if (rows.serves()) return factor_rows();
    if constexpr (CommonFactor<V, M>::POSSIBLE)
      if (common.serves()) {
        least = splat<V>(at.known->least);
        return;
      }
    at.copy_curvature(K, at.cost);
    add_rows();
    add_weighted_product(K, at.At, weight_eq, at.N, at.p, scratch);
    at.restrict_to(free, K);
    for (int64_t i = 0; i < at.N; i++)
      K[on_diagonal<V>(i)] += proximal + select(free[i] > zero, zero, one);
    const Mask sound = factor(K, inverse, at.N, (int64_t)0);
    V largest = zero;
    for (int64_t i = 0; i < at.N; i++) largest = larger(largest, inverse[i]);
    least = select(sound, one / (largest * largest), zero);
  }

  // x (N) in place of its right-hand side, over the free variables.
  void solve(V* x) const {
    if (rows.serves()) return rows.solve(x);
    if constexpr (CommonFactor<V, M>::POSSIBLE)
      if (common.serves()) return common.solve(x);
    for (int64_t i = 0; i < at.N; i++) x[i] *= free[i];
    solve_factored(x, K, inverse, at.N, (int64_t)0);
  }

  // x (N) and the rows' y in place of r and s, those of G (m) and of A; y is zero off the active rows.
  void solve(V* x, V* on_rows, V* on_eq) const {
    const auto active = [&](int64_t k) -> Mask { return weight[k] > splat<V>(0); };
    V* const y = range->step;
    for (int64_t k = 0; k < range->R; k++) y[k] = splat<V>(0);
    for (int64_t k = 0; k < at.m; k++) y[k] = select(active(k), on_rows[k], y[k]);
    for (int64_t r = 0; r < at.p; r++) y[at.m + r] = on_eq[r];
    range->solve(x, y);
    for (int64_t k = 0; k < at.m; k++) on_rows[k] = select(active(k), y[k], splat<V>(0));
    for (int64_t r = 0; r < at.p; r++) on_eq[r] = y[at.m + r];
  }

 private:
  // K += G' diag(weight) G: lanes have their rows in common, one instance reads no more than it needs.
  void add_rows() {
    if constexpr (Traits<V>::lanes > 1) {
      add_weighted_product(K, at.Gt, weight, at.N, at.m, scratch);
    } else {
      constexpr int T = Traits<V>::tile;
      int64_t count = 0;
      for (int64_t k = 0; k < at.m; k++) count += weight[k] > 0;
      for (int64_t k = 0, c = 0; k < at.m; k++) {
        if (!(weight[k] > 0)) continue;
        for (int64_t I = 0; I < at.N / T; I++)
          for (int a = 0; a < T; a++) chosen[(I * count + c) * T + a] = at.Gt[(I * at.m + k) * T + a];
        chosen_weight[c++] = weight[k];
      }
      add_weighted_product(K, chosen, chosen_weight, at.N, count, scratch);
    }
  }

  void factor_gram() {
    const V one = splat<V>(1), out = splat<V>(PrecisionOf<V>::OUT), slack = splat<V>(PrecisionOf<V>::SLACKNESS);
    for (int64_t k = 0; k < range->R; k++) {
      range->weight[k] = k < at.m + at.p ? slack : one;
      if (k < at.m) range->weight[k] = select(weight[k] > splat<V>(0), slack, out);
    }
    range->factor_weighted();
  }

  void factor_rows() {
    const V zero = splat<V>(0), one = splat<V>(1), proximal = splat<V>(PrecisionOf<V>::PROXIMAL);
    V largest = zero;
    for (int64_t i = 0; i < at.N; i++) {
      rows.inverse_h[i] = select(free[i] > zero, one / (at.cost * at.P[i] + proximal), zero);
      largest = larger(largest, rows.inverse_h[i]);
    }
    least = one / largest;
    for (int64_t k = 0; k < at.m; k++) rows.factors[k] = root(weight[k]), rows.own[k] = one;
    for (int64_t r = 0; r < at.p; r++) rows.factors[at.m + r] = root(weight_eq[r]), rows.own[at.m + r] = one;
    rows.factor_rows();
  }
};

}  // namespace DECLARATIVE_ISA
