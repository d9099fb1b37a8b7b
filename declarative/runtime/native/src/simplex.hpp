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

// Short rows lie in the lanes of registers, as many rows side by side as a register has lanes.
constexpr int64_t SHORT = 64;

template <class S> struct ShortRows {
  typedef typename Wide<S>::V V;
  typedef decltype(V{} < V{}) Mask;
  static constexpr int64_t W = Wide<S>::size;
  static_assert(sizeof(V) == sizeof(S) * W, "rows lie side by side");

  // Entry j of rows first, first + 1, ..., of which the last is repeated in the lanes that are left over.
  static void load(V* into, const Strided& from, int64_t size, int64_t first, int64_t rows) {
    if (!from.data) {
      for (int64_t j = 0; j < size; j++) into[j] = V{} + (S)from.number;
      return;
    }
    S* const lanes = (S*)into;
    for (int64_t l = 0; l < W; l++) {
      const S* const row = (const S*)from.data + (first + (l < rows ? l : rows - 1)) * from.row_stride;
      for (int64_t j = 0; j < size; j++) lanes[j * W + l] = row[j * from.entry_stride];
    }
  }
  static void store(void* to, const V* from, int64_t size, int64_t first, int64_t rows) {
    const S* const lanes = (const S*)from;
    for (int64_t l = 0; l < rows; l++)
      for (int64_t j = 0; j < size; j++) ((S*)to)[(first + l) * size + j] = lanes[j * W + l];
  }
  static bool any(Mask m) {
    bool found = false;
    for (int64_t l = 0; l < W; l++) found |= m[l] != 0;
    return found;
  }
};

template <class S> static void project_short_rows(const SimplexCall& call, int64_t first, int64_t last) {
  typedef ShortRows<S> Rows;
  typedef typename Rows::V V;
  const int64_t n = call.size;
  V v[SHORT], down[SHORT], total = {}, t;
  for (int64_t i = first; i < last; i += Rows::W) {
    const int64_t rows = last - i < Rows::W ? last - i : Rows::W;
    Rows::load(v, call.v, n, i, rows), Rows::load(&total, call.total, 1, i, rows);
    V most = v[0], poison = V{};
    for (int64_t j = 0; j < n; j++) most = greater(v[j], most), poison += v[j] - v[j];
    for (int64_t j = 0; j < n; j++) down[j] = v[j] - most;  // small where it counts, so that sums lose no digits
    t = total >= 0 ? poison - total : V{} + (S)__builtin_nan("");
    for (;;) {
      V sum = {}, count = {};
      for (int64_t j = 0; j < n; j++) sum += down[j] >= t ? down[j] : V{}, count += down[j] >= t ? V{} + 1 : V{};
      const V exact = (sum - total) / count, next = exact > 0 ? V{} : exact;
      const auto up = next > t;  // as in `threshold`
      t = up ? next : t;
      if (!Rows::any(up)) break;
    }
    t += most;
    Rows::store(call.threshold, &t, 1, i, rows);
    for (int64_t j = 0; j < n; j++) down[j] = v[j] - t <= 0 ? V{} : v[j] - t;
    Rows::store(call.y, down, n, i, rows);
    if (!call.rest) continue;
    for (int64_t j = 0; j < n; j++) down[j] = v[j] - t > 0 ? V{} : v[j] - t;
    Rows::store(call.rest, down, n, i, rows);
  }
}

template <class S> static void pull_back_short_rows(const SimplexPullback& call, int64_t first, int64_t last) {
  typedef ShortRows<S> Rows;
  typedef typename Rows::V V;
  const int64_t n = call.size;
  const Strided thresholds = {call.threshold, 1, 0, 0}, shifts = {call.t_bar, 1, 0, 0};
  V v[SHORT], bar[SHORT], t = {}, shift = {};
  for (int64_t i = first; i < last; i += Rows::W) {
    const int64_t rows = last - i < Rows::W ? last - i : Rows::W;
    Rows::load(v, call.v, n, i, rows), Rows::load(bar, call.y_bar, n, i, rows);
    Rows::load(&t, thresholds, 1, i, rows), Rows::load(&shift, shifts, 1, i, rows);
    V sum = {}, count = {};
    for (int64_t j = 0; j < n; j++) sum += v[j] >= t ? bar[j] : V{}, count += v[j] >= t ? V{} + 1 : V{};
    const V mean = (sum - shift) / (count > 0 ? count : V{} + 1);
    for (int64_t j = 0; j < n; j++) bar[j] = v[j] >= t ? bar[j] - mean : V{};
    Rows::store(call.total_bar, &mean, 1, i, rows);
    Rows::store(call.v_bar, bar, n, i, rows);
  }
}

static void project(const SimplexCall& call, int64_t first, int64_t last, DealParts deal) {
  if (call.size <= SHORT)
    return call.single ? project_short_rows<float>(call, first, last) : project_short_rows<double>(call, first, last);
  call.single ? project_rows<float>(call, first, last, deal) : project_rows<double>(call, first, last, deal);
}

static void pull_back(const SimplexPullback& call, int64_t first, int64_t last, DealParts deal) {
  if (call.size <= SHORT)
    return call.single ? pull_back_short_rows<float>(call, first, last)
                       : pull_back_short_rows<double>(call, first, last);
  call.single ? pull_back_rows<float>(call, first, last, deal) : pull_back_rows<double>(call, first, last, deal);
}

}  // namespace DECLARATIVE_ISA
