// One factor for all lanes, where they have one matrix: programs without inequalities whose P and A the batch shares.
//
// K = P + rho + A'A / delta is then made of single numbers, and factored in the tiles of one instance; only right-hand sides
// are lanes.
#pragma once

#include "program.hpp"

namespace DECLARATIVE_ISA {

template <class V, class M> struct CommonFactor {
  static constexpr bool POSSIBLE = Traits<V>::lanes > 1 && Traits<M>::lanes == 1;
  static constexpr int T = Traits<M>::tile;
  const Program<V, M>& at;
  int64_t N = 0;
  M *At, *K = nullptr, *inverse = nullptr, *weight, *scratch;
  V* x;

  CommonFactor(const Program<V, M>& program, Arena& arena, Arena& matrices) : at(program) {
    if (!POSSIBLE) return;
    N = padded<M>(at.n);
    At = matrices.take<M>(N * at.p), K = matrices.take<M>(triangle<M>(N / T)), inverse = matrices.take<M>(N);
    weight = matrices.take<M>(at.p), scratch = matrices.take<M>(at.p * T), x = arena.take<V>(N);
  }

  // Whether the lanes have one K: neither rows nor bounds tell them apart.
  bool serves() const { return POSSIBLE && !at.count && !at.known->diagonal; }

  // Factor K; its least pivot, or zero where it is not positive definite, is `known->least`.
  void factor_active() {
    clear(At, N * at.p);
    for (int64_t i = 0; i < at.n; i++)
      for (int64_t r = 0; r < at.p; r++) At[cell<M>(i, r, at.p)] = at.At[cell<V>(i, r, at.p)];
    for (int64_t r = 0; r < at.p; r++) weight[r] = (M)PrecisionOf<V>::PENALTY;
    const M curvature = at.known->curvature;
    take_curvature(curvature > 0 ? 1 / power_of_two(curvature) : 1);
    add_weighted_product(K, At, weight, N, at.p, scratch);
    const bool sound = factor_shifted((M)PrecisionOf<V>::PROXIMAL);
    M largest = 0;
    for (int64_t i = 0; i < at.n; i++) largest = larger(largest, inverse[i]);
    at.known->least = sound ? 1 / (largest * largest) : 0;
  }

  // Whether P + shift is positive definite.
  bool definite(M shift) {
    take_curvature(1);
    return factor_shifted(shift);
  }

  // r (n) becomes the solution.
  void solve(V* r) const {
    for (int64_t i = 0; i < N; i++) x[i] = i < at.n ? r[i] : splat<V>(0);
    solve_factored(x, K, inverse, N, (int64_t)0);
    for (int64_t i = 0; i < at.n; i++) r[i] = x[i];
  }

 private:
  // K = cost P.
  void take_curvature(M cost) {
    clear(K, triangle<M>(N / T));
    for (int64_t i = 0; i < at.n; i++)
      for (int64_t j = 0; j <= i; j++) K[in_triangle<M>(i, j)] = cost * at.P[cell<V>(i, j, at.N)];
  }

  bool factor_shifted(M shift) {
    for (int64_t i = 0; i < N; i++) K[on_diagonal<M>(i)] += i < at.n ? shift : 1;
    return factor(K, inverse, N, (int64_t)0);
  }
};

}  // namespace DECLARATIVE_ISA
