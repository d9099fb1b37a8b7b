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
  M *At, *K, *inverse, *weight, *scratch;
  V* x;

  CommonFactor(const Program<V, M>& program, Arena& arena) : at(program) {
    if (!POSSIBLE) return;
    N = padded<M>(at.n);
    At = arena.take<M>(N * at.p), K = arena.take<M>(triangle<M>(N / T));
    inverse = arena.take<M>(N), weight = arena.take<M>(at.p), scratch = arena.take<M>(at.p * T), x = arena.take<V>(N);
  }

  // Whether the lanes have one K: neither rows nor bounds tell them apart.
  bool serves() const { return POSSIBLE && !at.count && !at.diagonal; }

  // Factor K; the least pivot, or zero where K is not positive definite.
  M factor_all(double penalty, double proximal) {
    clear(At, N * at.p);
    for (int64_t i = 0; i < at.n; i++)
      for (int64_t r = 0; r < at.p; r++) At[cell<M>(i, r, at.p)] = at.At[cell<V>(i, r, at.p)];
    for (int64_t r = 0; r < at.p; r++) weight[r] = (M)penalty;
    take_curvature((M)lane(at.cost, 0));
    add_weighted_product(K, At, weight, N, at.p, scratch);
    if (!factor_shifted((M)proximal)) return 0;
    M largest = 0;
    for (int64_t i = 0; i < at.n; i++) largest = larger(largest, inverse[i]);
    return 1 / (largest * largest);
  }

  // Whether P + shift is positive definite.
  bool definite(M shift) {
    take_curvature(1);
    return factor_shifted(shift);
  }

  // r (n) becomes the solution.
  void solve(V* r) const {
    for (int64_t i = 0; i < N; i++) x[i] = i < at.n ? r[i] : splat<V>(0);
    for (int64_t I = 0; I < N / T; I++) {
      const M* row = K + triangle<M>(I);
      V* y = x + I * T;
      subtract(y, row, x, I * T);
      const M* D = row + I * T * T;
      for (int c = 0; c < T; c++) {
        y[c] *= inverse[I * T + c];
        for (int a = c + 1; a < T; a++) y[a] -= D[c * T + a] * y[c];
      }
    }
    for (int64_t I = N / T - 1; I >= 0; I--) {
      const M* row = K + triangle<M>(I);
      const M* D = row + I * T * T;
      V* y = x + I * T;
      for (int c = T - 1; c >= 0; c--) {
        for (int a = c + 1; a < T; a++) y[c] -= D[c * T + a] * y[a];
        y[c] *= inverse[I * T + c];
      }
      for (int64_t k = 0; k < I * T; k++) {
        V sum = row[k * T] * y[0];
#pragma GCC unroll 16
        for (int a = 1; a < T; a++) sum += row[k * T + a] * y[a];
        x[k] -= sum;
      }
    }
    for (int64_t i = 0; i < at.n; i++) r[i] = x[i];
  }

 private:
  // K = cost P.
  void take_curvature(M cost) {
    clear(K, triangle<M>(N / T));
    for (int64_t i = 0; i < at.n; i++)
      for (int64_t j = 0; j <= i; j++)
        K[triangle<M>(i / T) + j * T + i % T] = cost * at.P[cell<V>(i, j, at.N)];
  }

  bool factor_shifted(M shift) {
    for (int64_t i = 0; i < N; i++) K[on_diagonal<M>(i)] += i < at.n ? shift : 1;
    return factor(K, inverse, N, (int64_t)0);
  }

  // y[a] -= sum_k panel[k][a] v[k].
  static void subtract(V* y, const M* panel, const V* v, int64_t count) {
    V sum[T];
#pragma GCC unroll 16
    for (int a = 0; a < T; a++) sum[a] = y[a];
    for (int64_t k = 0; k < count; k++)
#pragma GCC unroll 16
      for (int a = 0; a < T; a++) sum[a] -= panel[k * T + a] * v[k];
#pragma GCC unroll 16
    for (int a = 0; a < T; a++) y[a] = sum[a];
  }
};

}  // namespace DECLARATIVE_ISA
