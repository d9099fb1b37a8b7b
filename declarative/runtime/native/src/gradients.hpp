// The gradient of every parameter of one instance, from its point and its adjoint solution.
#pragma once

#include "adjoint.hpp"

namespace DECLARATIVE_ISA {

using declarative::Batched;
using declarative::Quadratic;

// One lane's vectors as plain arrays; all zero where the instance contributes nothing.
template <class R> struct Gathered {
  int64_t n, p, m;
  R *x, *ux, *low, *high, *nu, *unu, *lambda, *ulambda;

  static int64_t room(const Quadratic& call) { return 4 * call.n + 2 * call.p + 2 * call.m; }

  template <class V, class M>
  Gathered(const Quadratic& call, R* room, const Adjoint<V, M>& from, int l, bool counts)
      : n(call.n), p(call.p), m(call.m) {
    const auto gather = [&](const V* source, int64_t size) {
      R* into = room;
      for (int64_t i = 0; i < size; i++) into[i] = counts ? (R)lane(source[i], l) : 0;
      room += size;
      return into;
    };
    x = gather(from.x, n), ux = gather(from.ux, n), low = gather(from.uz, n), high = gather(from.uz, n);
    nu = gather(from.nu, p), unu = gather(from.unu, p);
    lambda = gather(from.lambda, m), ulambda = gather(from.ulambda, m);
    for (int64_t i = 0; i < n; i++) {
      if (!(lane(from.lower[i], l) > 0)) low[i] = 0;
      if (!(lane(from.upper[i], l) > 0)) high[i] = 0;
    }
  }
};

// M (+)= scale (a b' + c d'), of shape (rows, columns).
template <bool ADD, class T, class R>
static void outer(T* M, R scale, const R* a, const R* b, const R* c, const R* d, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i++) {
    const R left = scale * a[i], right = scale * c[i];
    T* row = M + i * columns;
    for (int64_t j = 0; j < columns; j++) row[j] = (ADD ? row[j] : 0) + (T)(left * b[j] + right * d[j]);
  }
}

template <bool ADD, class T, class R> static void multiple(T* v, R scale, const R* a, int64_t size) {
  for (int64_t i = 0; i < size; i++) v[i] = (ADD ? v[i] : 0) + (T)(scale * a[i]);
}

// Write what the instance owns; add to `shared`, where the parameters of stride zero lie one after the other.
template <class S>
static void deliver(const Quadratic& to, const Gathered<S>& of, int64_t instance, double* shared) {
  const int64_t n = of.n, p = of.p, m = of.m;
  const auto matrix = [&](Batched gradient, S scale, const S* a, const S* b, const S* c, const S* d, int64_t rows) {
    if (!gradient.data) return;
    if (gradient.stride) {
      outer<false>((S*)gradient.data + instance * gradient.stride, scale, a, b, c, d, rows, n);
    } else {
      outer<true>(shared, scale, a, b, c, d, rows, n);
      shared += rows * n;
    }
  };
  const auto vector = [&](Batched gradient, S scale, const S* a, int64_t size) {
    if (!gradient.data) return;
    if (gradient.stride) {
      multiple<false>((S*)gradient.data + instance * gradient.stride, scale, a, size);
    } else {
      multiple<true>(shared, scale, a, size);
      shared += size;
    }
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
