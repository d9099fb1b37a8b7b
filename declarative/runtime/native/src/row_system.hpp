// The systems of a program with diagonal P and few rows, through a matrix of the order of the rows.
//
// With H diagonal, the rows C = [G; A], row factors S and row diagonals T >= 0, both diagonal,
//
//     [H   C'S] [x]   [r]
//     [SC  -T ] [y] = [s]
//
// is solved by (T + S C H^-1 C' S) y = S C H^-1 r - s and x = H^-1 (r - C'S y). The Newton matrix H + G'WG of an
// interior point is its elimination with S = W^1/2 and T = 1 on the rows of G, and so is the penalised matrix of an
// active set. Rows of weight zero then are rows of the identity, whereas T = W^-1 would be infinite there. A variable
// that is held has an infinite H.
//
// Eliminating H costs as many digits as its smallest entry lies below one: it is done in float64, and where no curvature
// is nearly zero.
//
// Reference: Boyd and Vandenberghe, Convex Optimization, 2004, appendix C.4 (block elimination).
#pragma once

#include "program.hpp"

namespace DECLARATIVE_ISA {

template <class V, class M> struct RowSystem {
  const Program<V, M>& at;
  bool few;          // whether this can pay: else there is no room for it
  bool fits;         // whether the program that was loaded is of this kind
  int64_t R;         // rows, padded
  M* C;              // panels of [G; A] (R, N)
  V* inverse_h;      // H^-1 (N)
  V *factors, *own;  // S and T (R); the rows of G first
  V *K, *inverse, *y, *scratch;

  RowSystem(const Program<V, M>& program, Arena& arena)
      : at(program), few(2 * (at.m + at.p) <= at.n), fits(false), R(few ? padded<V>(at.m + at.p) : 0) {
    C = arena.take<M>(R * at.N), inverse_h = arena.take<V>(few ? at.N : 0);
    factors = arena.take<V>(R), own = arena.take<V>(R), y = arena.take<V>(R), inverse = arena.take<V>(R);
    K = arena.take<V>(triangle<V>(R / Traits<V>::tile)), scratch = arena.take<V>(few ? at.N * Traits<V>::tile : 0);
  }

  // Whether to solve by it; in float32 what fits is left to float64.
  bool serves() const { return fits && sizeof(ScalarOf<V>) == 8; }

  // Read the rows of the program as they are scaled now.
  void read() {
    fits = few && at.known->diagonal && is_curved();
    if (!serves()) return;
    clear(C, R * at.N);
    for (int64_t i = 0; i < at.N; i++) {
      for (int64_t k = 0; k < at.m; k++) C[cell<V>(k, i, at.N)] = at.Gt[cell<V>(i, k, at.m)];
      for (int64_t r = 0; r < at.p; r++) C[cell<V>(at.m + r, i, at.N)] = at.At[cell<V>(i, r, at.p)];
    }
    for (int64_t k = 0; k < R; k++) factors[k] = splat<V>(0), own[k] = splat<V>(1);
  }

  // Factor for what `inverse_h`, `factors` and `own` hold.
  void factor_rows() {
    constexpr int T = Traits<V>::tile;
    clear(K, triangle<V>(R / T));
    add_weighted_product(K, C, inverse_h, R, at.N, scratch);
    for (int64_t I = 0; I < R / T; I++)
      for (int64_t j = 0; j < (I + 1) * T; j++)
        for (int64_t a = 0; a < T; a++) K[triangle<V>(I) + j * T + a] *= factors[I * T + a] * factors[j];
    for (int64_t k = 0; k < R; k++) K[on_diagonal<V>(k)] += own[k];
    factor(K, inverse, R, (int64_t)0);
  }

  // x (N) in place of r, and of s (p), the right-hand side of the rows of A, their y; without s it is zero.
  void solve(V* x, V* s = nullptr) const {
    for (int64_t i = 0; i < at.N; i++) x[i] *= inverse_h[i];
    clear(y, R);
    add_times(y, C, x, R, at.N);
    for (int64_t k = 0; k < R; k++) y[k] *= factors[k];
    for (int64_t r = 0; s && r < at.p; r++) y[at.m + r] -= s[r];
    solve_factored(y, K, inverse, R, (int64_t)0);
    for (int64_t r = 0; s && r < at.p; r++) s[r] = y[at.m + r];
    for (int64_t k = 0; k < R; k++) y[k] *= factors[k];
    V* const pull = scratch;
    clear(pull, at.N);
    add_transposed_times(pull, C, y, R, at.N);
    for (int64_t i = 0; i < at.N; i++) x[i] -= inverse_h[i] * pull[i];
  }

 private:
  // Whether the curvature is far from zero in every lane where P is convex at all.
  bool is_curved() const {
    V least = at.cost * at.P[0];
    for (int64_t i = 1; i < at.n; i++) least = smaller(least, at.cost * at.P[i]);
    return !any(negate(least > splat<V>(1e-4)) & (V{} + at.known->convex > splat<V>(0)));
  }
};

}  // namespace DECLARATIVE_ISA
