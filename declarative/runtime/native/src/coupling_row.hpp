// Entries clipped to intervals and moved along one row until the row holds, and the pullback.
//
//   y_i = clip(v_i - t d_i, l_i, u_i),   sum_i a_i y_i = b  (or <= b with t >= 0),   a_i d_i >= 0
//
// The left side g(t) is piecewise linear and does not increase. With F the entries off their bounds at t, the root of the
// piece around t is
//
//   (sum of a v over F + sum of a y over the others - b) / sum of a d over F,
//
// which lies on the root's side of t. Newton's method takes it as the next t and ends, exactly, when it is t itself. As g
// is neither convex nor concave, the steps are kept in a bracket, which is halved when two of them did not. Where nothing
// moves, the next step is the nearest breakpoint on the root's side.
//
// The pullback of y and t, with m = (t_bar - sum of d y_bar over F) / sum of a d over F and w = y_bar + m a:
//
//   v_bar = w on F,  d_bar = -t w on F,  l_bar, u_bar = w where y is at that bound,  a_bar = m y,  b_bar = -m.
//
// An entry exactly at a bound belongs to F unless its bounds are equal. One whose v is minus infinity is masked: it is at
// its lower bound, whatever t.
//
// Where t is so large that its rounding moves the row's sum beyond the sum's own, the row is solved once more with
// v - pivot d in the place of v, the pivot being the v_i/d_i nearest to the first root, and t = pivot + offset. Beside t
// (count) lie the pivots (count), zero for the other rows, and the offsets (count).
//
// References: Kiwiel, Variable fixing algorithms for the continuous quadratic knapsack problem, 2008; Cominetti,
// Mascarenhas and Silva, A Newton's method for the continuous quadratic knapsack problem, 2014.
#pragma once

#include <stdlib.h>

#include "rows.hpp"

namespace DECLARATIVE_ISA {

using declarative::CouplingRowCall;
using declarative::CouplingRowPullback;

// What one pass over a row finds before the search.
struct Survey {
  double sum = 0, slope = 0;          // of a v and of a d
  double smallest = 0, largest = 0;   // limits of g for large and for small t
  double scale = 0;                   // sum of |a l| + |a u|, of the finite ones
  double bad = 0;                     // not zero where data are not finite or bounds crossed
  void operator+=(const Survey& o) {
    sum += o.sum, slope += o.slope, smallest += o.smallest, largest += o.largest, scale += o.scale, bad += o.bad;
  }
};

// One evaluation: the sum of a v over F and of a y over the others, and of a d over F.
struct Piece {
  double value = 0, slope = 0;
  void operator+=(const Piece& o) { value += o.value, slope += o.slope; }
};

// Of the entries the one that is the nearest to zero at some t, and its v/d.
struct Nearest {
  double distance = __builtin_inf(), ratio = 0;
  void operator+=(const Nearest& o) {
    if (o.distance < distance) *this = o;
  }
};

// The breakpoints nearest to some t on either side, and the outermost.
struct Neighbours {
  double before = -__builtin_inf(), after = __builtin_inf(), least = __builtin_inf(), most = -__builtin_inf();
  void operator+=(const Neighbours& o) {
    before = o.before > before ? o.before : before, after = o.after < after ? o.after : after;
    least = o.least < least ? o.least : least, most = o.most > most ? o.most : most;
  }
};

// One row. `UNIT`: all a and d are one.
template <class S, bool UNIT> struct CouplingRow {
  typedef typename Wide<S>::V V;
  static constexpr int64_t W = Wide<S>::size;
  static constexpr double EPS = sizeof(S) == 4 ? 1.1920928955078125e-7 : 2.220446049250313e-16;

  const Parts parts;
  const DealParts deal;
  const int64_t threads;
  Operand<S> v, a, d, l, u;
  S* moved = nullptr;  // v - pivot d, where a row needed it

  CouplingRow(int64_t size, DealParts deal, int64_t threads) : parts(size), deal(deal), threads(threads) {}
  CouplingRow(const CouplingRow&) = delete;
  ~CouplingRow() { free(moved); }

  // Beyond the end stands an entry that is fixed at zero.
  template <class Call> void bind(const Call& call, int64_t row) {
    v.bind(call.v, row, call.size, 0), l.bind(call.lower, row, call.size, 0), u.bind(call.upper, row, call.size, 0);
    if (!UNIT) a.bind(call.weights, row, call.size, 0), d.bind(call.slopes, row, call.size, 0);
  }

  static V load(const S* p) { return *(const V*)p; }

  Survey survey() const {
    return parts.sum<Survey>(deal, threads, [&](int64_t start, int64_t length) {
      const S *vs = v.strip(start), *ls = l.strip(start), *us = u.strip(start);
      const S *as = UNIT ? vs : a.strip(start), *ds = UNIT ? vs : d.strip(start);
      const S infinity = (S)__builtin_inf();
      V sum = {}, slope = {}, smallest = {}, largest = {}, scale = {}, bad = {};
      for (int64_t i = 0; i < length; i += W) {
        const V x = load(vs + i), low = load(ls + i), high = load(us + i);
        const V size_low = low < 0 ? -low : low, size_high = high < 0 ? -high : high;
        const auto given = x > -infinity;
        bad += low <= high && low < infinity && high > -infinity ? V{} : V{} + 1;
        bad += x < infinity && (given || low > -infinity) ? V{} : V{} + 1;
        if (UNIT) {
          sum += given ? x : V{}, smallest += low, largest += given ? high : low;
          scale += (size_low < infinity ? size_low : V{}) + (size_high < infinity ? size_high : V{});
          continue;
        }
        const V w = load(as + i), k = load(ds + i), size_w = w < 0 ? -w : w;
        const V still = greater(lesser(x, high), low);
        const V last = k < 0 && given ? high : k > 0 ? low : still, first = k > 0 && given ? high : k < 0 ? low : still;
        sum += given ? w * x : V{}, slope += w * k, bad += (w - w) + (k - k);
        smallest += w == 0 ? V{} : w * last, largest += w == 0 ? V{} : w * first;
        scale += size_w * ((size_low < infinity ? size_low : V{}) + (size_high < infinity ? size_high : V{}));
      }
      Survey found;
      found.sum = sum_of_lanes<S>(sum), found.slope = UNIT ? (double)length : sum_of_lanes<S>(slope);
      found.smallest = sum_of_lanes<S>(smallest), found.largest = sum_of_lanes<S>(largest);
      found.scale = sum_of_lanes<S>(scale), found.bad = sum_of_lanes<S>(bad);
      return found;
    });
  }

  Piece piece(S t) const {
    return parts.sum<Piece>(deal, threads, [&](int64_t start, int64_t length) {
      const S *vs = v.strip(start), *ls = l.strip(start), *us = u.strip(start);
      const S *as = UNIT ? vs : a.strip(start), *ds = UNIT ? vs : d.strip(start);
      V value = {}, slope = {};
#pragma GCC unroll 2
      for (int64_t i = 0; i < length; i += W) {
        const V x = load(vs + i), low = load(ls + i), high = load(us + i);
        const V at = UNIT ? x - t : x - load(ds + i) * t;
        const auto free = (at >= low) & (at <= high) & (low < high);
        const V part = free ? x : greater(lesser(at, high), low);
        if (UNIT) value += part, slope += free ? V{} + 1 : V{};
        else value += load(as + i) * part, slope += free ? load(as + i) * load(ds + i) : V{};
      }
      Piece found;
      found.value = sum_of_lanes<S>(value), found.slope = sum_of_lanes<S>(slope);
      return found;
    });
  }

  // `past`: the breakpoints moved away from t by what they may be off by, so that a step to one passes it.
  Neighbours neighbours(S t, bool past) const {
    return parts.sum<Neighbours>(deal, threads, [&](int64_t start, int64_t length) {
      const S *vs = v.strip(start), *bounds[2] = {l.strip(start), u.strip(start)};
      const S* ds = UNIT ? vs : d.strip(start);
      Neighbours found;
      for (int64_t i = 0; i < length; i++)
        for (const S* bound : bounds) {
          const double x = vs[i], limit = bound[i], slope = UNIT ? 1 : ds[i], end = (x - limit) / slope;
          if (!(__builtin_fabs(end) < __builtin_inf())) continue;
          const double room = past ? 4 * EPS * (__builtin_fabs(x) + __builtin_fabs(limit)) / __builtin_fabs(slope) : 0;
          const S under = (S)(end - room), over = (S)(end + room);
          found += {under < t ? under : -__builtin_inf(), over > t ? over : __builtin_inf(), end, end};
        }
      return found;
    });
  }

  // A root, how fast g falls there (of all entries where it does not), and where the search ended, before the end of a
  // plateau was taken, which rounding alone may have made one.
  struct Root {
    S t;
    double slope;
    S found;
  };

  // NaN where no y satisfies the row.
  Root root(double level, bool at_most) const {
    const Survey found = survey();
    const double allowance = 4 * EPS * (found.scale + __builtin_fabs(level));
    const bool feasible = found.bad == 0 && found.smallest <= level + allowance && level - level == 0;
    if (!feasible || !(at_most || found.largest >= level - allowance)) return {(S)__builtin_nan(""), 0, 0};
    S low = -(S)__builtin_inf();
    if (at_most) {
      if (piece(0).value <= level) return {0, 0, 0};
      low = 0;
    } else if (level >= found.largest) return at_end(neighbours(0, false).least, found);
    if (level <= found.smallest) return at_end(neighbours(0, false).most, found);
    const double start = found.slope > 0 ? (found.sum - level) / found.slope : 0;
    Root at = search(start > low ? (S)start : low, low, level, allowance);
    if (!(at.slope > 0)) at.slope = found.slope;
    return at;
  }

  static Root at_end(double t, const Survey& found) { return {finite_or_zero(t), found.slope, finite_or_zero(t)}; }

  // t rounded, and the pivot and the offset that it is the sum of.
  struct Multiplier {
    S t, pivot, offset;
  };

  // Leaves the row moved by the pivot. The first may be at the wrong end of a plateau, which the next one is not.
  template <class Call> Multiplier multiplier(const Call& call, int64_t row, double level) {
    Root at = root(level, call.at_most);
    S pivot = 0;
    for (int pivots = 0; pivots < 3 && loses_digits(at, level); pivots++) {
      v.bind(call.v, row, parts.total, 0);
      pivot = nearest(pivots ? pivot + at.t : at.found);
      if (!move(pivot)) return {at.t, 0, at.t};  // of the first root: there is room for all or for none
      at = root(level, false);
    }
    return {pivot + at.t, pivot, at.t};
  }

  // How many times the sum's own rounding that of t may move it.
  static constexpr double MUCH = 64;

  bool loses_digits(const Root& at, double level) const {
    const double off = __builtin_fabs((double)at.t) * at.slope / MUCH, size = __builtin_fabs(level);
    return off > size && off > size + size_at(at.t);
  }

  // The sum of |a y|.
  double size_at(S t) const {
    return parts.sum<Piece>(deal, threads, [&](int64_t start, int64_t length) {
      const S *vs = v.strip(start), *ls = l.strip(start), *us = u.strip(start);
      const S *as = UNIT ? vs : a.strip(start), *ds = UNIT ? vs : d.strip(start);
      Piece found;
      for (int64_t i = 0; i < length; i++) {
        const S at = UNIT ? vs[i] - t : vs[i] - ds[i] * t, below = at > us[i] ? us[i] : at;
        const double y = below < ls[i] ? ls[i] : below;
        found.value += __builtin_fabs(UNIT ? y : (double)as[i] * y);
      }
      return found;
    }).value;
  }

  S nearest(S t) const {
    return (S)parts.sum<Nearest>(deal, threads, [&](int64_t start, int64_t length) {
      const S *vs = v.strip(start), *ds = UNIT ? vs : d.strip(start);
      Nearest found;
      for (int64_t i = 0; i < length; i++) {
        const double x = vs[i], slope = UNIT ? 1 : ds[i], ratio = x / slope;
        if (__builtin_fabs(ratio) < __builtin_inf()) found += {__builtin_fabs(x - slope * t), ratio};
      }
      return found;
    }).ratio;
  }

  // v - pivot d in the place of v; false where there is no room for it.
  bool move(S pivot) {
    if (!moved) moved = (S*)malloc((size_t)parts.total * sizeof(S));
    if (!moved) return false;
    parts.each(deal, threads, [&](int64_t part) {
      for (int64_t start = parts.start(part); start < parts.end(part); start += STRIP) {
        const int64_t length = parts.end(part) - start < STRIP ? parts.end(part) - start : STRIP;
        const S *vs = v.strip(start), *ds = UNIT ? vs : d.strip(start);
        for (int64_t i = 0; i < length; i++) moved[start + i] = UNIT ? vs[i] - pivot : vs[i] - ds[i] * pivot;
      }
    });
    v.bind({moved, 0, 1, 0}, 0, parts.total, 0);
    return true;
  }

  static S finite_or_zero(double t) { return t - t == 0 ? (S)t : 0; }

  // Whether g falls just after t. If not, t begins a plateau, and the root that is taken is its end.
  bool falls_after(S t) const {
    for (int64_t start = 0; start < parts.total; start += STRIP) {
      const int64_t length = parts.total - start < STRIP ? parts.total - start : STRIP;
      const S *vs = v.strip(start), *ls = l.strip(start), *us = u.strip(start);
      const S *as = UNIT ? vs : a.strip(start), *ds = UNIT ? vs : d.strip(start);
      int falls = 0;
      for (int64_t i = 0; i < length; i++) {
        const S at = UNIT ? vs[i] - t : vs[i] - ds[i] * t;
        if (UNIT) falls |= (at > ls[i]) & (at <= us[i]);
        else falls |= (as[i] * ds[i] > 0) & (ds[i] > 0 ? (at > ls[i]) & (at <= us[i]) : (at >= ls[i]) & (at < us[i]));
      }
      if (falls) return true;
    }
    return false;
  }

  S end_of_plateau(S t) const {
    const double end = neighbours(t, false).after;
    return end < __builtin_inf() ? (S)end : t;
  }

  Root search(S t, S low, double level, double allowance) const {
    S high = (S)__builtin_inf(), width = high;
    for (int idle = 0, steps = 1; steps < 200; steps++) {
      const Piece here = piece(t);
      const double gap = here.value - level;
      S next;
      if (here.slope > 0) next = (S)(gap / here.slope);
      else {
        const bool held = __builtin_fabs(gap) <= allowance;  // any t here is a root: the last one where there is one
        const Neighbours near = neighbours(t, !held);
        if (held) return {near.after < __builtin_inf() ? (S)near.after : finite_or_zero(near.before), 0, t};
        next = (S)(gap > 0 ? near.after : near.before);
      }
      if (!(next < t || next > t)) return {falls_after(t) ? t : end_of_plateau(t), here.slope, t};
      (next > t ? low : high) = t;
      idle = high - low > width / 2 ? idle + 1 : 0, width = high - low;
      if (idle == 2 || !(next > low && next < high)) idle = 0, next = low + (high - low) / 2;
      if (steps % 24 == 0 && !(high - low < __builtin_inf())) {
        const Neighbours near = neighbours(t, false);  // beyond the outermost breakpoint one more step is exact
        const S end = (S)(high - high == 0 ? near.least : near.most);
        if (end > low && end < high) next = end;
      }
      if (!(next > low && next < high)) return {t, here.slope, t};
      t = next;
    }
    return {t, 0, t};
  }

  void write(S t, S* y) const {
    parts.each(deal, threads, [&](int64_t part) {
      for (int64_t start = parts.start(part); start < parts.end(part); start += STRIP) {
        const int64_t length = parts.end(part) - start < STRIP ? parts.end(part) - start : STRIP;
        const S *vs = v.strip(start), *ls = l.strip(start), *us = u.strip(start), *ds = UNIT ? vs : d.strip(start);
        S* __restrict out = y + start;
        for (int64_t i = 0; i < length; i++) {
          const S at = UNIT ? vs[i] - t : vs[i] - ds[i] * t, below = at > us[i] ? us[i] : at;
          out[i] = below < ls[i] ? ls[i] : below;
        }
      }
    });
  }
};

// Where the pullback writes one gradient: per entry and row, or sums over the rows, or one number a row.
template <class S> struct Gradient {
  S* entries = nullptr;
  double* shared = nullptr;
  S* number = nullptr;

  Gradient(const Strided& to, int64_t row, double* sums) {
    if (!to.data) return;
    if (!to.entry_stride) number = (S*)to.data + row * to.row_stride;
    else if (!to.row_stride) shared = sums;
    else entries = (S*)to.data + row * to.row_stride;
  }
  bool wanted() const { return entries || shared || number; }

  // value(i) for the entries of one strip; returns their sum where only that is wanted.
  template <class F> double deliver(int64_t start, int64_t length, F value) const {
    double sum = 0;
    if (entries) {
      S* __restrict out = entries + start;
      for (int64_t i = 0; i < length; i++) out[i] = value(i);
    } else if (shared) {
      double* __restrict out = shared + start;
      for (int64_t i = 0; i < length; i++) out[i] += (double)value(i);
    } else if (number) {
      S room[STRIP];
      for (int64_t i = 0; i < length; i++) room[i] = value(i);
      for (int64_t i = 0; i < length; i++) sum += (double)room[i];
    }
    return sum;
  }
};

// The sums of the gradients that are one number a row.
struct Numbers {
  double of[5] = {};
  void operator+=(const Numbers& o) {
    for (int g = 0; g < 5; g++) of[g] += o.of[g];
  }
};

template <class S, bool UNIT> struct CouplingRowAdjoint {
  typedef typename Wide<S>::V V;
  static constexpr int64_t W = Wide<S>::size;
  CouplingRow<S, UNIT> at;
  Operand<S> bar;

  CouplingRowAdjoint(int64_t size, DealParts deal, int64_t threads) : at(size, deal, threads) {}

  // The sums over F of d y_bar (as `value`) and of a d.
  Piece pull(S t) const {
    return at.parts.template sum<Piece>(at.deal, at.threads, [&](int64_t start, int64_t length) {
      const S *vs = at.v.strip(start), *ls = at.l.strip(start), *us = at.u.strip(start), *bars = bar.strip(start);
      const S *as = UNIT ? vs : at.a.strip(start), *ds = UNIT ? vs : at.d.strip(start);
      V value = {}, slope = {};
#pragma GCC unroll 2
      for (int64_t i = 0; i < length; i += W) {
        const V x = at.load(vs + i), low = at.load(ls + i), high = at.load(us + i);
        const V moved = UNIT ? x - t : x - at.load(ds + i) * t;
        const auto free = (moved >= low) & (moved <= high) & (low < high);
        if (UNIT) value += free ? at.load(bars + i) : V{}, slope += free ? V{} + 1 : V{};
        else
          value += free ? at.load(ds + i) * at.load(bars + i) : V{},
              slope += free ? at.load(as + i) * at.load(ds + i) : V{};
      }
      Piece found;
      found.value = sum_of_lanes<S>(value), found.slope = sum_of_lanes<S>(slope);
      return found;
    });
  }

  // Gradients in the order v, a, d, l, u, of a row moved by its pivot: `t` is the offset, `whole` both together.
  // `solved`: zero for a row without a solution, else one.
  Numbers write(S t, S whole, S m, bool solved, const Gradient<S> (&to)[5]) const {
    return at.parts.template sum<Numbers>(at.deal, at.threads, [&](int64_t start, int64_t length) {
      const S *vs = at.v.strip(start), *ls = at.l.strip(start), *us = at.u.strip(start), *bars = bar.strip(start);
      const S *as = UNIT ? vs : at.a.strip(start), *ds = UNIT ? vs : at.d.strip(start);
      Numbers sums;
      const auto moved = [=](int64_t i) { return UNIT ? vs[i] - t : vs[i] - ds[i] * t; };
      const auto free = [=](int64_t i) { return (moved(i) >= ls[i]) & (moved(i) <= us[i]) & (ls[i] < us[i]); };
      const auto pulled = [=](int64_t i) { return solved ? (UNIT ? bars[i] + m : bars[i] + m * as[i]) : 0; };
      const auto below = [=](int64_t i) { return moved(i) - ls[i] <= us[i] - moved(i); };
      if (to[0].wanted()) sums.of[0] = to[0].deliver(start, length, [=](int64_t i) { return free(i) ? pulled(i) : 0; });
      if (to[1].wanted()) sums.of[1] = to[1].deliver(start, length, [=](int64_t i) {
        const S down = moved(i) > us[i] ? us[i] : moved(i), y = down < ls[i] ? ls[i] : down;
        return solved ? m * y : 0;
      });
      if (to[2].wanted())
        sums.of[2] = to[2].deliver(start, length, [=](int64_t i) { return solved && free(i) ? -whole * pulled(i) : 0; });
      if (to[3].wanted())
        sums.of[3] = to[3].deliver(start, length, [=](int64_t i) { return !free(i) && below(i) ? pulled(i) : 0; });
      if (to[4].wanted())
        sums.of[4] = to[4].deliver(start, length, [=](int64_t i) { return free(i) || below(i) ? 0 : pulled(i); });
      return sums;
    });
  }
};

template <class S, bool UNIT>
static void solve_coupling_rows(const CouplingRowCall& call, int64_t first, int64_t last, DealParts deal) {
  CouplingRow<S, UNIT> row(call.size, deal, call.threads);
  for (int64_t i = first; i < last; i++) {
    row.bind(call, i);
    const Strided& b = call.level;
    const auto found = row.multiplier(call, i, b.data ? (double)((const S*)b.data)[i * b.row_stride] : b.number);
    S* const to = (S*)call.t + i;
    to[0] = found.t, to[call.count] = found.pivot, to[2 * call.count] = found.offset;
    row.write(found.offset, (S*)call.y + i * call.size);
  }
}

template <class S, bool UNIT>
static void pull_back_coupling_rows(const CouplingRowPullback& call, int64_t first, int64_t last, DealParts deal,
                                    double* sums) {
  CouplingRowAdjoint<S, UNIT> row(call.size, deal, call.threads);
  const Strided* const wanted[5] = {&call.v_bar, &call.weights_bar, &call.slopes_bar, &call.lower_bar, &call.upper_bar};
  double* shared[5];
  for (int g = 0; g < 5; g++) {
    shared[g] = sums;
    if (declarative::is_shared(*wanted[g])) sums += call.size;
  }
  for (int64_t i = first; i < last; i++) {
    row.at.bind(call, i), row.bar.bind(call.y_bar, i, call.size, 0);
    const S *const from = (const S*)call.t + i, t = from[0], pivot = from[call.count], offset = from[2 * call.count];
    if (pivot) row.at.move(pivot);
    const bool solved = t == t, active = solved && !(call.at_most && t <= 0);
    const Piece piece = active ? row.pull(offset) : Piece{};
    const double t_bar = call.t_bar ? (double)((const S*)call.t_bar)[i] : 0;
    const S m = piece.slope > 0 ? (S)((t_bar - piece.value) / piece.slope) : 0;
    const Gradient<S> to[5] = {{call.v_bar, i, shared[0]},
                               {call.weights_bar, i, shared[1]},
                               {call.slopes_bar, i, shared[2]},
                               {call.lower_bar, i, shared[3]},
                               {call.upper_bar, i, shared[4]}};
    const Numbers numbers = row.write(offset, t, m, solved, to);
    for (int g = 0; g < 5; g++)
      if (to[g].number) *to[g].number = (S)numbers.of[g];
    if (call.level_bar) ((S*)call.level_bar)[i] = -m;
  }
}

// All weights and slopes are one where they are absent and their number is.
template <class Call> static bool is_unit(const Call& call) {
  return !call.weights.data && call.weights.number == 1 && !call.slopes.data && call.slopes.number == 1;
}

static void coupling_row(const CouplingRowCall& call, int64_t first, int64_t last, DealParts deal) {
  const auto run = call.single ? is_unit(call) ? solve_coupling_rows<float, true> : solve_coupling_rows<float, false>
                   : is_unit(call) ? solve_coupling_rows<double, true>
                                   : solve_coupling_rows<double, false>;
  run(call, first, last, deal);
}

static void coupling_row_pullback(const CouplingRowPullback& call, int64_t first, int64_t last, DealParts deal,
                                  double* sums) {
  const bool unit = is_unit(call);
  const auto run = call.single ? unit ? pull_back_coupling_rows<float, true> : pull_back_coupling_rows<float, false>
                   : unit      ? pull_back_coupling_rows<double, true>
                               : pull_back_coupling_rows<double, false>;
  run(call, first, last, deal, sums);
}

}  // namespace DECLARATIVE_ISA
