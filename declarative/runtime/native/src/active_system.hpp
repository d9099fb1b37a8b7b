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

#include "program.hpp"

namespace DECLARATIVE_ISA {

constexpr double PENALTY = 1e5;
constexpr double PROXIMAL = 1e-10;

template <class V> struct ActiveSystem {
  typedef MaskOf<V> Mask;
  const Program<V>& at;
  V *K, *inverse, *scratch;
  V *weight_eq, *weight, *free;  // PENALTY or zero per row; one or zero per variable

  ActiveSystem(const Program<V>& program, Arena<V>& arena, V* triangle_room, V* inverse_room)
      : at(program), K(triangle_room), inverse(inverse_room) {
    constexpr int T = Traits<V>::tile;
    scratch = arena.take((at.m > at.p ? at.m : at.p) * T + at.N);
    weight_eq = arena.take(at.Q), weight = arena.take(at.m), free = arena.take(at.N);
  }

  // Factor P + rho + C'C / delta over the free variables.
  void factor_active(V proximal) {
    constexpr int T = Traits<V>::tile;
    const int64_t N = at.N;
    for (int64_t I = 0; I < N / T; I++)
      for (int64_t e = 0; e < (I + 1) * T * T; e++) K[triangle<V>(I) + e] = at.P[I * T * N + e];
    add_weighted_product(K, at.Gt, weight, N, at.m, scratch);
    add_weighted_rows();
    for (int64_t I = 0; I < N / T; I++)
      for (int64_t j = 0; j < (I + 1) * T; j++)
        for (int64_t a = 0; a < T; a++) K[triangle<V>(I) + j * T + a] *= free[I * T + a] * free[j];
    for (int64_t i = 0; i < N; i++)
      K[triangle<V>(i / T) + i * T + i % T] += proximal + select(free[i] > splat<V>(0), splat<V>(0), splat<V>(1));
    factor(K, inverse, N, (int64_t)0);
  }

  // x (N) in place of its right-hand side, over the free variables.
  void solve(V* x) const {
    for (int64_t i = 0; i < at.N; i++) x[i] *= free[i];
    solve_factored(x, K, inverse, at.N, (int64_t)0);
  }

 private:
  // K += A' diag(weight_eq) A, one row at a time: there are few, and A lies in panels of rows.
  void add_weighted_rows() {
    constexpr int T = Traits<V>::tile;
    for (int64_t r = 0; r < at.p; r++) {
      V* row = scratch;
      for (int64_t j = 0; j < at.N; j++) row[j] = at.A[at_panel(r, j)];
      for (int64_t I = 0; I < at.N / T; I++)
        for (int64_t j = 0; j < (I + 1) * T; j++) {
          const V left = weight_eq[r] * row[j];
          for (int64_t a = 0; a < T; a++) K[triangle<V>(I) + j * T + a] += left * row[I * T + a];
        }
    }
  }

  int64_t at_panel(int64_t row, int64_t column) const {
    return cell<V>(row, column, at.N);
  }
};

}  // namespace DECLARATIVE_ISA
