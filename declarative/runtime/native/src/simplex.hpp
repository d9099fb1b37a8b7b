// Projection of rows onto the simplex {y >= 0, sum(y) = total} without a sort, and its pullback.
//
// The threshold t solves sum(max(v - t, 0)) = total. From a lower bound of it, t <- (sum of v over {v >= t} - total) /
// |{v >= t}| is Newton's method on a convex decreasing function: it increases and ends, exactly, after a few passes.
//
// Where the row's largest entry is large beside the total, t is sought as an offset from it: there the entries that count
// are small and lose no digits. It is kept as an unevaluated sum: beside t (count) lies what t lacks by its rounding
// (count), and the support is where (v - t) - lack >= 0, forward and backward alike. An entry of minus infinity is masked:
// y = 0, no gradient.
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

// The largest entry, and how many are NaN or plus infinity.
struct Largest {
  double value = -__builtin_inf(), bad = 0;
  void operator+=(const Largest& o) { value = o.value > value ? o.value : value, bad += o.bad; }
};

// What the sum t of a number and the offset from it lacks by its rounding (Knuth).
template <class V> static inline V lack_of(V t, V from, V offset) {
  const V back = t - from;
  return (from - (t - back)) + (offset - back);
}

template <class S> struct SimplexRow {
  typedef typename Wide<S>::V V;
  static constexpr int64_t W = Wide<S>::size;
  static constexpr S UNBOUNDED = (S)__builtin_inf();

  const Parts parts;
  const DealParts deal;
  const int64_t threads;
  Operand<S> v;

  SimplexRow(int64_t size, DealParts deal, int64_t threads) : parts(size), deal(deal), threads(threads) {}

  // Beyond the end stands what is below every threshold.
  void bind(const Strided& from, int64_t row) { v.bind(from, row, parts.total, -UNBOUNDED); }

  static V load(const S* p) { return *(const V*)p; }

  Largest largest() const {
    return parts.sum<Largest>(deal, threads, [&](int64_t start, int64_t length) {
      const S* vs = v.strip(start);
      V most = V{} - UNBOUNDED, bad = {};
      for (int64_t i = 0; i < length; i += W)
        most = greater(load(vs + i), most), bad += load(vs + i) < UNBOUNDED ? V{} : V{} + 1;
      Largest found;
      found.bad = sum_of_lanes<S>(bad);
      for (int64_t l = 0; l < W; l++) found.value = most[l] > found.value ? most[l] : found.value;
      return found;
    });
  }

  // Sum over {v >= least} of w, which is v itself or another operand; `OFFSETS`: over {v - from >= least} of v - from.
  template <bool OFFSETS> Sums sum_above(S least, const Operand<S>& w, S from = 0) const {
    return parts.sum<Sums>(deal, threads, [&](int64_t start, int64_t length) {
      const S *vs = v.strip(start), *ws = w.strip(start);
      V total[2] = {}, count[2] = {};
      int64_t i = 0;
      for (; i + 2 * W <= length; i += 2 * W)
#pragma GCC unroll 2
        for (int k = 0; k < 2; k++) {
          const V x = OFFSETS ? load(vs + i + k * W) - from : load(vs + i + k * W);
          total[k] += x >= least ? (OFFSETS ? x : load(ws + i + k * W)) : V{}, count[k] += x >= least ? V{} + 1 : V{};
        }
      for (; i < length; i += W) {
        const V x = OFFSETS ? load(vs + i) - from : load(vs + i);
        total[0] += x >= least ? (OFFSETS ? x : load(ws + i)) : V{}, count[0] += x >= least ? V{} + 1 : V{};
      }
      Sums found;
      found.total = sum_of_lanes<S>(total[0] + total[1]), found.count = sum_of_lanes<S>(count[0] + count[1]);
      return found;
    });
  }

  struct Threshold {
    S t, lack;

    // The least number in the support, which is t or next to it.
    S least() const {
      if (t - t != 0) return t;
      const S under = next(t, -UNBOUNDED);
      return under - t >= lack ? under : lack > 0 ? next(t, UNBOUNDED) : t;
    }
    static float next(float x, float to) { return __builtin_nextafterf(x, to); }
    static double next(double x, double to) { return __builtin_nextafter(x, to); }
  };

  // A largest entry of so many totals costs the sums a digit.
  static constexpr double LARGE = 16;

  // NaN where the row holds NaN or plus infinity or nothing but minus infinity, or the total is negative.
  Threshold threshold(double total) const {
    const S nan = (S)__builtin_nan("");
    if (!(total >= 0)) return {nan, nan};
    const Largest found = largest();
    const bool large = !(__builtin_fabs(found.value) <= LARGE * total);
    const S from = large ? (S)found.value : 0, most = (S)found.value - from;
    S offset = found.bad ? nan : (S)(most - total);
    while (offset == offset) {
      const Sums sums = large ? sum_above<true>(offset, v, from) : sum_above<false>(offset, v);
      if (sums.count == 0) break;
      const S exact = (S)((sums.total - total) / sums.count);
      const S next = exact > most ? most : exact;
      // Exactly, the steps only go up. A step that does not is rounding, at a tie between the threshold and an entry.
      if (!(next > offset)) break;
      offset = next;
    }
    const S t = from + offset;
    return {t, lack_of(t, from, offset)};
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
    const auto found = row.threshold(of.data ? (double)((const S*)of.data)[i * of.row_stride] : of.number);
    const S t = found.t, lack = found.lack;
    ((S*)call.threshold)[i] = t, ((S*)call.threshold)[call.count + i] = lack;
    row.write((S*)call.y + i * call.size, [&](int64_t start) {
      return [=, vs = row.v.strip(start)](int64_t i) { return vs[i] - t <= lack ? 0 : (vs[i] - t) - lack; };
    });
    if (!call.rest) continue;
    row.write((S*)call.rest + i * call.size, [&](int64_t start) {
      return [=, vs = row.v.strip(start)](int64_t i) { return vs[i] - t > lack ? 0 : (vs[i] - t) - lack; };
    });
  }
}

template <class S>
static void pull_back_rows(const SimplexPullback& call, int64_t first, int64_t last, DealParts deal) {
  SimplexRow<S> row(call.size, deal, call.threads);
  Operand<S> bar;
  for (int64_t i = first; i < last; i++) {
    row.bind(call.v, i), bar.bind(call.y_bar, i, call.size, 0);
    const S* const from = (const S*)call.threshold + i;
    const S least = typename SimplexRow<S>::Threshold{from[0], from[call.count]}.least();
    const Sums sums = row.template sum_above<false>(least, bar);
    const double shift = call.t_bar ? (double)((const S*)call.t_bar)[i] : 0;
    const S mean = (S)((sums.total - shift) / (sums.count > 0 ? sums.count : 1));
    ((S*)call.total_bar)[i] = mean;
    row.write((S*)call.v_bar + i * call.size, [&](int64_t start) {
      const S *vs = row.v.strip(start), *bars = bar.strip(start);
      return [=](int64_t i) { return vs[i] >= least ? bars[i] - mean : 0; };
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
  constexpr S UNBOUNDED = SimplexRow<S>::UNBOUNDED;
  V v[SHORT], down[SHORT], total = {};
  for (int64_t i = first; i < last; i += Rows::W) {
    const int64_t rows = last - i < Rows::W ? last - i : Rows::W;
    Rows::load(v, call.v, n, i, rows), Rows::load(&total, call.total, 1, i, rows);
    V most = v[0], bad = V{};
    for (int64_t j = 0; j < n; j++) most = greater(v[j], most), bad += v[j] < UNBOUNDED ? V{} : V{} + 1;
    for (int64_t j = 0; j < n; j++) down[j] = v[j] - most;  // small where it counts, so that sums lose no digits
    V offset = (total >= 0) & (bad == 0) ? (most - most) - total : V{} + (S)__builtin_nan("");
    for (;;) {
      V sum = {}, count = {};
      for (int64_t j = 0; j < n; j++)
        sum += down[j] >= offset ? down[j] : V{}, count += down[j] >= offset ? V{} + 1 : V{};
      const V exact = (sum - total) / count, next = exact > 0 ? V{} : exact;
      const auto up = next > offset;  // as in `threshold`
      offset = up ? next : offset;
      if (!Rows::any(up)) break;
    }
    const V t = most + offset, lack = lack_of(t, most, offset);
    Rows::store(call.threshold, &t, 1, i, rows), Rows::store((S*)call.threshold + call.count, &lack, 1, i, rows);
    for (int64_t j = 0; j < n; j++) down[j] = v[j] - t <= lack ? V{} : (v[j] - t) - lack;
    Rows::store(call.y, down, n, i, rows);
    if (!call.rest) continue;
    for (int64_t j = 0; j < n; j++) down[j] = v[j] - t > lack ? V{} : (v[j] - t) - lack;
    Rows::store(call.rest, down, n, i, rows);
  }
}

template <class S> static void pull_back_short_rows(const SimplexPullback& call, int64_t first, int64_t last) {
  typedef ShortRows<S> Rows;
  typedef typename Rows::V V;
  const int64_t n = call.size;
  const Strided thresholds = {call.threshold, 1, 0, 0}, lacks = {(S*)call.threshold + call.count, 1, 0, 0};
  const Strided shifts = {call.t_bar, 1, 0, 0};
  V v[SHORT], bar[SHORT], t = {}, lack = {}, shift = {};
  for (int64_t i = first; i < last; i += Rows::W) {
    const int64_t rows = last - i < Rows::W ? last - i : Rows::W;
    Rows::load(v, call.v, n, i, rows), Rows::load(bar, call.y_bar, n, i, rows);
    Rows::load(&t, thresholds, 1, i, rows), Rows::load(&lack, lacks, 1, i, rows);
    Rows::load(&shift, shifts, 1, i, rows);
    V sum = {}, count = {};
    for (int64_t j = 0; j < n; j++)
      sum += v[j] - t >= lack ? bar[j] : V{}, count += v[j] - t >= lack ? V{} + 1 : V{};
    const V mean = (sum - shift) / (count > 0 ? count : V{} + 1);
    for (int64_t j = 0; j < n; j++) bar[j] = v[j] - t >= lack ? bar[j] - mean : V{};
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
