// The systems of a program of rows with a positive definite P, through the Gram matrix of its rows.
//
// With H = P = L L', the rows C = [G; A], B = C L^-T and a diagonal T >= 0,
//
//     [H  C'] [x]   [r]
//     [C  -T] [y] = [s]
//
// is solved by (B B' + T) y = B L^-1 r - s and x = L^-T (L^-1 r - B'y). L, B and B B' do not change from one iteration of
// a method to the next, nor from one active set to another, so that what is factored again and again is of the order of
// the rows. A row that takes no part has an infinite T.
//
// It costs as many digits as the smallest eigenvalue of H lies below one: where a pivot says that this is much, the rows
// are eliminated instead. Bounds would be rows too; with them H is not eliminated.
//
// Reference: Nocedal and Wright, Numerical Optimization, 2nd ed., 2006, section 16.2 (range-space method).
#pragma once

#include "common_factor.hpp"

namespace DECLARATIVE_ISA {

constexpr double USUAL_ITERATIONS = 10;  // that what is done once is weighed against

template <class V, class M> struct RangeSpace {
  static constexpr bool COMMON = CommonFactor<V, M>::POSSIBLE;  // L, B and B B' are of single numbers
  const Program<V, M>& at;
  bool pays;    // whether there is anything to gain: else there is no room for it
  bool serves;  // whether the program that was read is solved by it
  int64_t N, R;             // n and m + p, padded
  V *K, *inverse, *weight;  // the factor of B B' + T, and T
  V* step;                  // room for R numbers

  // `factor_of_P`, of order N, and the reciprocals of its diagonal: read where P is not diagonal, once they are there.
  RangeSpace(const Program<V, M>& program, const M* factor_of_P, const M* inverse_diagonal, Arena& arena, Arena& matrices)
      : at(program), pays(gains()), serves(false), N(pays ? padded<M>(at.n) : 0), R(pays ? padded<M>(at.m + at.p) : 0),
        L(factor_of_P), inverse_L(inverse_diagonal) {
    const int64_t panels = R / Traits<V>::tile;
    B = matrices.take<M>(R * N), gram = matrices.take<M>(triangle<V>(panels)), roots = matrices.take<M>(N);
    if (COMMON) B_of_one = matrices.take<M>(R * N), gram_of_one = matrices.take<M>(triangle<M>(R / Traits<M>::tile));
    K = arena.take<V>(triangle<V>(panels)), inverse = arena.take<V>(R), weight = arena.take<V>(R);
    u = arena.take<V>(N), pull = arena.take<V>(N), pulled = arena.take<V>(R), step = arena.take<V>(R);
  }

  // Form B and B B' of the matrices as they are scaled and factored now.
  void form() {
    at.known->ranged = pays && is_curved();
    if (!at.known->ranged) return;
    if constexpr (COMMON) {
      take_rows(B_of_one);
      gram_matrix(gram_of_one, B_of_one, R, N);
      for (int64_t k = 0; k < R; k++)
        for (int64_t i = 0; i < N; i++) B[cell<V>(k, i, N)] = B_of_one[cell<M>(k, i, N)];
      for (int64_t i = 0; i < R; i++)
        for (int64_t j = 0; j < (i / Traits<V>::tile + 1) * Traits<V>::tile; j++)
          gram[in_triangle<V>(i, j)] = gram_of_one[i < j ? in_triangle<M>(j, i) : in_triangle<M>(i, j)];
    } else {
      take_rows(B);
      gram_matrix(gram, B, R, N);
    }
  }

  // Take up what was formed, for the cost of each lane.
  void begin() {
    serves = at.known->ranged, by_cost = splat<V>(1) / at.cost;
  }

  // Factor B B' + T for the T in `weight`.
  void factor_weighted() {
    constexpr int T = Traits<V>::tile;
    for (int64_t e = 0; e < triangle<V>(R / T); e++) K[e] = by_cost * gram[e];
    for (int64_t k = 0; k < R; k++) K[on_diagonal<V>(k)] += weight[k];
    factor(K, inverse, R, (int64_t)0);
  }

  // v (R) becomes (B B' + T)^-1 v.
  void solve_gram(V* v) const { solve_factored(v, K, inverse, R, (int64_t)0); }

  // into (R) = C H^-1 C' v.
  void gram_times(V* into, const V* v) const {
    clear(into, R);
    add_symmetric_times(into, gram, v, R);
    for (int64_t k = 0; k < R; k++) into[k] *= by_cost;
  }

  // into (R) = C H^-1 r, and half (N) = L^-1 r over the cost, for r (n).
  void pull_forward(V* into, V* half, const V* r) const {
    for (int64_t i = 0; i < N; i++) half[i] = i < at.n ? r[i] * by_cost : splat<V>(0);
    if (at.known->diagonal)
      for (int64_t i = 0; i < N; i++) half[i] *= roots[i];
    else solve_forward(half, L, inverse_L, N);
    clear(into, R);
    add_times(into, B, half, R, N);
  }

  // x (n) = H^-1 (r - C'v), for what `pull_forward` left in `half` of r; `half` is lost.
  void push_back(V* x, V* half, const V* v) const {
    clear(pull, N);
    add_transposed_times(pull, B, v, R, N);
    for (int64_t i = 0; i < N; i++) half[i] -= by_cost * pull[i];
    if (at.known->diagonal)
      for (int64_t i = 0; i < N; i++) half[i] *= roots[i];
    else solve_back(half, L, inverse_L, N);
    for (int64_t i = 0; i < at.n; i++) x[i] = half[i];
  }

  // x (n) in place of r and y (R) in place of s.
  void solve(V* x, V* on_rows) const {
    pull_forward(pulled, u, x);
    for (int64_t k = 0; k < R; k++) on_rows[k] = pulled[k] - on_rows[k];
    solve_gram(on_rows);
    push_back(x, u, on_rows);
  }

 private:
  const M *L, *inverse_L;
  M *B, *gram, *roots;  // B in panels (R, N); B B' on the lower triangle; L^-1 where P is diagonal
  M *B_of_one, *gram_of_one;  // the same two in the tiles of one instance
  V *u, *pull, *pulled;
  V by_cost;            // what H^-1 is to (L L')^-1

  // By the operations; those of a factorisation of P, which tells whether it is convex, are spent either way.
  bool gains() const {
    const double n = (double)at.n, m = (double)at.m, k = n + (double)at.p, r = m + (double)at.p;
    const bool bounded = at.upper_at >= 0 || at.lower_at >= 0;
    return m > 0 && !bounded &&
           n * r * (n + r) < USUAL_ITERATIONS * (m * n * n + k * k * k / 3 - r * r * r / 3);
  }

  // Whether P is far from singular in every lane where it is convex at all.
  bool is_curved() {
    const M least = at.known->curvature * splat<M>(PrecisionOf<V>::CURVED), one = splat<M>(1);
    MaskOf<M> flat = least == splat<M>(0);
    for (int64_t i = 0; i < at.n; i++) {
      const M pivot = at.known->diagonal ? at.P[i] : one / (inverse_L[i] * inverse_L[i]);
      flat = flat | negate(pivot > least);
    }
    if (at.known->diagonal)
      for (int64_t i = 0; i < N; i++) roots[i] = one / root(i < at.n ? at.P[i] : one);
    return !any(flat & (at.known->convex > splat<M>(0)));
  }

  // into = C L^-T, in panels of the tiles of M.
  void take_rows(M* into) const {
    clear(into, R * N);
    for (int64_t i = 0; i < at.n; i++) {
      for (int64_t k = 0; k < at.m; k++) into[cell<M>(k, i, N)] = at.Gt[cell<V>(i, k, at.m)];
      for (int64_t r = 0; r < at.p; r++) into[cell<M>(at.m + r, i, N)] = at.At[cell<V>(i, r, at.p)];
    }
    if (!at.known->diagonal) return solve_rows(into, L, inverse_L, R, N);
    for (int64_t k = 0; k < R; k++)
      for (int64_t i = 0; i < N; i++) into[cell<M>(k, i, N)] *= roots[i];
  }
};

}  // namespace DECLARATIVE_ISA
