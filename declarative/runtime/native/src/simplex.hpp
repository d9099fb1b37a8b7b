// Projection of rows onto the simplex {y >= 0, sum(y) = total} without a sort, and its pullback.
//
// The threshold t solves sum(max(v - t, 0)) = total. From a lower bound of it, t <- (sum of v over {v >= t} - total) /
// |{v >= t}| is Newton's method on a convex decreasing function: it increases and ends, exactly, after a few passes.
//
// References: Michelot, A finite algorithm for finding the projection of a point onto the canonical simplex of R^n, 1986;
// Condat, Fast projection onto the simplex and the l1 ball, 2016.
#pragma once

#include "rows.hpp"

namespace DECLARATIVE_ISA {

using declarative::SimplexCall;
using declarative::SimplexPullback;

// The sum of chosen entries, and how many they are.
struct Sums {
  double total = 0, count = 0;
  void operator+=(const Sums& o) { total += o.total, count += o.count; }
};

// The largest entry, NaN where any entry is not finite.
struct Largest {
  double value = -__builtin_inf(), poison = 0;
  void operator+=(const Largest& o) { value = o.value > value ? o.value : value, poison += o.poison; }
};

template <class S> struct SimplexRow {
  typedef typename Wide<S>::V V;
  static constexpr int64_t W = Wide<S>::size;
  static constexpr S LEAST = sizeof(S) == 4 ? (S)-3.40282347e38f : (S)-1.7976931348623157e308;

  const Parts parts;
  const DealParts deal;
  const int64_t threads;
  Operand<S> v;

  SimplexRow(int64_t size, DealParts deal, int64_t threads) : parts(size), deal(deal), threads(threads) {}

  // Beyond the end stands what is below every threshold.
  void bind(const Strided& from, int64_t row) { v.bind(from, row, parts.total, LEAST); }

  static V load(const S* p) { return *(const V*)p; }

  Largest largest() const {
    return parts.sum<Largest>(deal, threads, [&](int64_t start, int64_t length) {
      const S* vs = v.strip(start);
      V most = V{} + LEAST, bad = {};
      for (int64_t i = 0; i < length; i += W) most = greater(load(vs + i), most), bad += load(vs + i) - load(vs + i);
      Largest found;
      found.poison = sum_of_lanes<S>(bad);
      for (int64_t l = 0; l < W; l++) found.value = most[l] > found.value ? most[l] : found.value;
      return found;
    });
  }

  // Sum over {v >= t} of w, which is v itself or another operand.
  Sums sum_above(const Operand<S>& w, S t) const {
    return parts.sum<Sums>(deal, threads, [&](int64_t start, int64_t length) {
      const S *vs = v.strip(start), *ws = w.strip(start);
      V total[2] = {}, count[2] = {};
      int64_t i = 0;
      for (; i + 2 * W <= length; i += 2 * W)
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
          const V x = load(vs + i + k * W);
          total[k] += x >= t ? load(ws + i + k * W) : V{}, count[k] += x >= t ? V{} + 1 : V{};
        }
      for (; i < length; i += W) {
        const V x = load(vs + i);
        total[0] += x >= t ? load(ws + i) : V{}, count[0] += x >= t ? V{} + 1 : V{};
      }
      Sums found;
      found.total = sum_of_lanes<S>(total[0] + total[1]), found.count = sum_of_lanes<S>(count[0] + count[1]);
      return found;
    });
  }

  // NaN where the row is not finite or the total is negative.
  S threshold(double total) const {
    if (!(total >= 0)) return (S)__builtin_nan("");
    const Largest most = largest();
    S t = (S)(most.value - total + most.poison);
    while (t == t) {
      const Sums sums = sum_above(v, t);
      if (sums.count == 0) break;
      const S exact = (S)((sums.total - total) / sums.count);
      const S next = exact > (S)most.value ? (S)most.value : exact;
      // Exactly, the steps only go up. A step that does not is rounding, at a tie between the threshold and an entry.
      if (!(next > t)) break;
      t = next;
    }
    return t;
  }

  // value(i) of every strip's entries to `out`.
  template <class F> void write(S* out, F of_strip) const {
    parts.each(deal, threads, [&](int64_t part) {
      for (int64_t start = parts.start(part); start < parts.end(part); start += STRIP) {
        const int64_t length = parts.end(part) - start < STRIP ? parts.end(part) - start : STRIP;
        S* __restrict to = out + start;
        const auto value = of_strip(start);
        for (int64_t i = 0; i < length; i++) to[i] = value(i);
      }
    });
  }
};

template <class S> static void project_rows(const SimplexCall& call, int64_t first, int64_t last, DealParts deal) {
  SimplexRow<S> row(call.size, deal, call.threads);
  for (int64_t i = first; i < last; i++) {
    row.bind(call.v, i);
    const Strided& of = call.total;
    const S t = row.threshold(of.data ? (double)((const S*)of.data)[i * of.row_stride] : of.number);
    ((S*)call.threshold)[i] = t;
    row.write((S*)call.y + i * call.size, [&](int64_t start) {
      return [=, vs = row.v.strip(start)](int64_t i) { return vs[i] - t <= 0 ? 0 : vs[i] - t; };
    });
    if (!call.rest) continue;
    row.write((S*)call.rest + i * call.size, [&](int64_t start) {
      return [=, vs = row.v.strip(start)](int64_t i) { return vs[i] - t > 0 ? 0 : vs[i] - t; };
    });
  }
}

template <class S>
static void pull_back_rows(const SimplexPullback& call, int64_t first, int64_t last, DealParts deal) {
  SimplexRow<S> row(call.size, deal, call.threads);
  Operand<S> bar;
  for (int64_t i = first; i < last; i++) {
    row.bind(call.v, i), bar.bind(call.y_bar, i, call.size, 0);
    const S t = ((const S*)call.threshold)[i];
    const Sums sums = row.sum_above(bar, t);
    const double shift = call.t_bar ? (double)((const S*)call.t_bar)[i] : 0;
    const S mean = (S)((sums.total - shift) / (sums.count > 0 ? sums.count : 1));
    ((S*)call.total_bar)[i] = mean;
    row.write((S*)call.v_bar + i * call.size, [&](int64_t start) {
      const S *vs = row.v.strip(start), *bars = bar.strip(start);
      return [=](int64_t i) { return vs[i] >= t ? bars[i] - mean : 0; };
    });
  }
}

static void project(const SimplexCall& call, int64_t first, int64_t last, DealParts deal) {
  call.single ? project_rows<float>(call, first, last, deal) : project_rows<double>(call, first, last, deal);
}

static void pull_back(const SimplexPullback& call, int64_t first, int64_t last, DealParts deal) {
  call.single ? pull_back_rows<float>(call, first, last, deal) : pull_back_rows<double>(call, first, last, deal);
}

}  // namespace DECLARATIVE_ISA
