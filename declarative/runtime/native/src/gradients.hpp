// The gradient of every parameter, from the points of a group of lanes and their adjoint solutions.
#pragma once

#include "adjoint.hpp"

namespace DECLARATIVE_ISA {

using declarative::Batched;
using declarative::Quadratic;

// The vectors of every lane as plain arrays, lane after lane; all zero in a lane that contributes nothing.
template <class R, int L> struct Gathered {
  int64_t n, p, m;
  R *x, *ux, *low, *high, *nu, *unu, *lambda, *ulambda;

  Gathered(const Quadratic& call, Arena& arena) : n(call.n), p(call.p), m(call.m) {
    x = arena.take<R>(L * n), ux = arena.take<R>(L * n), low = arena.take<R>(L * n), high = arena.take<R>(L * n);
    nu = arena.take<R>(L * p), unu = arena.take<R>(L * p);
    lambda = arena.take<R>(L * m), ulambda = arena.take<R>(L * m);
  }

  template <class V, class M> void gather(const Adjoint<V, M>& from, const bool* counts) const {
    const V zero = splat<V>(0);
    V whole = zero;
    for (int l = 0; l < L; l++) set_lane(whole, l, counts[l] ? 1 : 0);
    const MaskOf<V> kept = whole > zero;
    const auto put = [&](R* into, int64_t size, auto of) {
      R* starts[L];
      bool all[L];
      for (int l = 0; l < L; l++) starts[l] = into + l * size, all[l] = true;
      store_elements<V>(starts, all, size, [&](int64_t i) -> V { return select(kept, of(i), zero); });
    };
    put(x, n, [&](int64_t i) { return from.x[i]; }), put(ux, n, [&](int64_t i) { return from.ux[i]; });
    put(nu, p, [&](int64_t r) { return from.nu[r]; }), put(unu, p, [&](int64_t r) { return from.unu[r]; });
    put(lambda, m, [&](int64_t k) { return from.lambda[k]; }), put(ulambda, m, [&](int64_t k) { return from.ulambda[k]; });
    put(low, n, [&](int64_t i) { return select(from.lower[i] > zero, from.uz[i], zero); });
    put(high, n, [&](int64_t i) { return select(from.upper[i] > zero, from.uz[i], zero); });
  }
};

// M = scale (a b' + c d'), of shape (rows, columns).
template <class R>
static void outer(R* M, R scale, const R* a, const R* b, const R* c, const R* d, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i++) {
    const R left = scale * a[i], right = scale * c[i];
    R* row = M + i * columns;
    for (int64_t j = 0; j < columns; j++) row[j] = left * b[j] + right * d[j];
  }
}

template <class R> struct RowOf;
template <> struct RowOf<double> {
  typedef Eight Row;
};
template <> struct RowOf<float> {
  typedef Sixteen Row;
};

// M += scale (a b' + c d') summed over the lanes, which is done in R.
template <int L, class R>
static void add_outer(double* M, R scale, const R* a, const R* b, const R* c, const R* d, int64_t rows, int64_t columns) {
  typedef typename RowOf<R>::Row Row;
  constexpr int TALL = 4, WIDE = sizeof(Row) / sizeof(R);
  for (int64_t j = 0; j < columns; j += WIDE) {
    const int64_t width = columns - j < WIDE ? columns - j : WIDE;
    Row bs[L], ds[L];
    for (int l = 0; l < L; l++) {
      bs[l] = ds[l] = Row{};
      for (int64_t w = 0; w < width; w++) bs[l][w] = b[l * columns + j + w], ds[l][w] = d[l * columns + j + w];
    }
    for (int64_t i = 0; i < rows; i += TALL) {
      Row sums[TALL] = {};
      const int64_t height = rows - i < TALL ? rows - i : TALL;
      for (int l = 0; l < L; l++)
#pragma GCC unroll 4
        for (int t = 0; t < TALL; t++) {
          const int64_t row = l * rows + (t < height ? i + t : i);
          sums[t] += a[row] * bs[l] + c[row] * ds[l];
        }
      for (int64_t t = 0; t < height; t++)
        for (int64_t w = 0; w < width; w++) M[(i + t) * columns + j + w] += scale * sums[t][w];
    }
  }
}

// Write what the instances own; add to `shared`, where the parameters of stride zero lie one after the other.
template <class S, int L>
static void deliver(const Quadratic& to, const Gathered<S, L>& of, int64_t first, const bool* owned, double* shared) {
  const int64_t n = of.n, p = of.p, m = of.m;
  const auto matrix = [&](Batched gradient, S scale, const S* a, const S* b, const S* c, const S* d, int64_t rows) {
    if (!gradient.data) return;
    if (!gradient.stride) {
      add_outer<L>(shared, scale, a, b, c, d, rows, n);
      shared += rows * n;
      return;
    }
    for (int l = 0; l < L; l++)
      if (owned[l])
        outer((S*)gradient.data + (first + l) * gradient.stride, scale, a + l * rows, b + l * n, c + l * rows, d + l * n,
              rows, n);
  };
  const auto vector = [&](Batched gradient, S scale, const S* a, int64_t size) {
    if (!gradient.data) return;
    for (int l = 0; l < L; l++) {
      const S* from = a + l * size;
      if (!gradient.stride) {
        for (int64_t i = 0; i < size; i++) shared[i] += scale * from[i];
      } else if (owned[l]) {
        S* into = (S*)gradient.data + (first + l) * gradient.stride;
        for (int64_t i = 0; i < size; i++) into[i] = scale * from[i];
      }
    }
    if (!gradient.stride) shared += size;
  };
  matrix(to.P, (S)-0.5, of.ux, of.x, of.x, of.ux, n);
  vector(to.q, -1, of.ux, n);
  matrix(to.A, -1, of.nu, of.ux, of.unu, of.x, p);
  vector(to.b, 1, of.unu, p);
  matrix(to.G, -1, of.lambda, of.ux, of.ulambda, of.x, m);
  vector(to.h, 1, of.ulambda, m);
  vector(to.lower, 1, of.low, n);
  vector(to.upper, 1, of.high, n);
}

}  // namespace DECLARATIVE_ISA
