// Projection of rows onto the simplex {y >= 0, sum(y) = total} without a sort, and its pullback.
//
// The threshold t solves sum(max(v - t, 0)) = total. From a lower bound of it, t <- (sum of v over {v >= t} - total) /
// |{v >= t}| is Newton's method on a convex decreasing function: it increases and ends, exactly, after a few passes.
//
// References: Michelot, A finite algorithm for finding the projection of a point onto the canonical simplex of R^n, 1986;
// Condat, Fast projection onto the simplex and the l1 ball, 2016.
#pragma once

#include "call.hpp"
#include "lanes.hpp"

namespace DECLARATIVE_ISA {

constexpr int64_t BLOCK = 2048;  // entries summed in the data's precision before the sum goes to double

template <class S> struct Wide;
template <> struct Wide<float> {
  typedef float V __attribute__((vector_size(8 * DECLARATIVE_LANES), aligned(4)));
  static constexpr int64_t size = 2 * LANES;
};
template <> struct Wide<double> {
  typedef double V __attribute__((vector_size(8 * DECLARATIVE_LANES), aligned(8)));
  static constexpr int64_t size = LANES;
};

template <class S> struct Sums {
  double total;  // of the chosen entries
  double count;  // how many they are
};

// Sum of w over the entries with v >= t, and their number.
template <class S> static inline Sums<S> sum_above(const S* v, const S* w, S t, int64_t size) {
  typedef typename Wide<S>::V V;
  constexpr int64_t W = Wide<S>::size;
  Sums<S> sums = {0, 0};
  for (int64_t start = 0; start < size; start += BLOCK) {
    const int64_t end = start + BLOCK < size ? start + BLOCK : size;
    V total[2] = {}, count[2] = {};
    int64_t i = start;
    for (; i + 2 * W <= end; i += 2 * W)
#pragma GCC unroll 2
      for (int u = 0; u < 2; u++) {
        const V x = *(const V*)(v + i + u * W), y = *(const V*)(w + i + u * W);
        total[u] += x >= t ? y : V{}, count[u] += x >= t ? V{} + 1 : V{};
      }
    total[0] += total[1], count[0] += count[1];
    for (int64_t l = 0; l < W; l++) sums.total += total[0][l], sums.count += count[0][l];
    for (; i < end; i++)
      if (v[i] >= t) sums.total += w[i], sums.count += 1;
  }
  return sums;
}

// Largest entry, NaN where any entry is not finite.
template <class S> static inline S largest(const S* v, int64_t size) {
  typedef typename Wide<S>::V V;
  constexpr int64_t W = Wide<S>::size;
  S most = v[0], poison = 0;
  V wide = V{} + v[0], bad = {};
  int64_t i = 0;
  for (; i + W <= size; i += W) {
    const V x = *(const V*)(v + i);
    wide = x > wide ? x : wide, bad += x - x;
  }
  for (int64_t l = 0; l < W; l++) most = wide[l] > most ? wide[l] : most, poison += bad[l];
  for (; i < size; i++) most = v[i] > most ? v[i] : most, poison += v[i] - v[i];
  return most + poison;
}

// The threshold of one row; NaN where the row is not finite or the total is negative.
template <class S> static inline S threshold_of(const S* v, int64_t size, double total) {
  if (!(total >= 0)) return (S)__builtin_nan("");
  const S most = largest(v, size);
  S t = most - (S)total;
  while (t == t) {
    const Sums<S> sums = sum_above(v, v, t, size);
    if (sums.count == 0) break;
    const S exact = (S)((sums.total - total) / sums.count);
    const S next = exact > most ? most : exact;
    // Exactly, the steps only go up. A step that does not is rounding, at a tie between the threshold and an entry.
    if (!(next > t)) break;
    t = next;
  }
  return t;
}

template <class S> static void project_rows(const declarative::SimplexCall& call, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; row++) {
    const S* v = (const S*)call.v + row * call.size;
    S* __restrict y = (S*)call.y + row * call.size;
    S* __restrict rest = (S*)call.rest + row * call.size;
    const S t = threshold_of(v, call.size, (double)((const S*)call.total.data)[row * call.total.stride]);
    ((S*)call.threshold)[row] = t;
    for (int64_t i = 0; i < call.size; i++) {
      const S excess = v[i] - t;
      y[i] = excess <= 0 ? 0 : excess;
      rest[i] = excess > 0 ? 0 : excess;
    }
  }
}

template <class S> static void pull_back_rows(const declarative::SimplexPullback& call, int64_t first, int64_t last) {
  for (int64_t row = first; row < last; row++) {
    const S* v = (const S*)call.v + row * call.size;
    const S* y_bar = (const S*)call.y_bar + row * call.size;
    S* __restrict v_bar = (S*)call.v_bar + row * call.size;
    const S t = ((const S*)call.threshold)[row];
    const Sums<S> sums = sum_above(v, y_bar, t, call.size);
    const double shift = call.t_bar ? (double)((const S*)call.t_bar)[row] : 0;
    const S mean = (S)((sums.total - shift) / (sums.count > 0 ? sums.count : 1));
    ((S*)call.total_bar)[row] = mean;
    for (int64_t i = 0; i < call.size; i++) v_bar[i] = v[i] >= t ? y_bar[i] - mean : 0;
  }
}

static void project(const declarative::SimplexCall& call, int64_t first, int64_t last) {
  call.single ? project_rows<float>(call, first, last) : project_rows<double>(call, first, last);
}

static void pull_back(const declarative::SimplexPullback& call, int64_t first, int64_t last) {
  call.single ? pull_back_rows<float>(call, first, last) : pull_back_rows<double>(call, first, last);
}

}  // namespace DECLARATIVE_ISA
