// Rows for the kernels that work on one row at a time: operands brought to strips, and a row's parts dealt to threads.
//
// A strip is a few hundred entries of every operand, contiguous, a multiple of the registers' width. An operand that is
// one number stands in a strip of its own, and the last, partial strip is copied and filled up, so that no loop over
// vectors has a remainder and short rows are as fast as long ones. The parts of a row are the same however many threads
// there are, and so are the sums over them.
#pragma once

#include "call.hpp"
#include "lanes.hpp"

namespace DECLARATIVE_ISA {

using declarative::DealParts;
using declarative::Strided;

template <class S> struct Wide;
template <> struct Wide<float> {
  typedef float V __attribute__((vector_size(8 * DECLARATIVE_LANES), aligned(4)));
  static constexpr int64_t size = 2 * LANES;
};
template <> struct Wide<double> {
  typedef double V __attribute__((vector_size(8 * DECLARATIVE_LANES), aligned(8)));
  static constexpr int64_t size = LANES;
};

template <class V> static inline V lesser(V a, V b) { return a < b ? a : b; }
template <class V> static inline V greater(V a, V b) { return a > b ? a : b; }

// By value: a reference to a vector would promise the alignment that `Wide` takes back.
template <class S, class V> static inline double sum_of_lanes(V v) {
  double sum = 0;
  for (int64_t l = 0; l < Wide<S>::size; l++) sum += (double)v[l];
  return sum;
}

constexpr int64_t STRIP = 512, PARTS = 64;

// What a vector loop over a strip of `length` entries has to cover.
template <class S> static inline int64_t whole_vectors(int64_t length) {
  return (length + Wide<S>::size - 1) / Wide<S>::size * Wide<S>::size;
}

// One operand of one row.
template <class S> struct Operand {
  const S* entries;
  int64_t step, size;
  bool filled = false;  // `number` and `tail` with what `number` begins with
  S number[STRIP], tail[STRIP];

  // `filling`: what stands after the row's end.
  void bind(const Strided& from, int64_t row, int64_t n, S filling) {
    entries = from.data ? (const S*)from.data + row * from.row_stride : nullptr;
    step = entries && from.entry_stride, size = n;
    const int64_t whole = n / STRIP * STRIP, rest = n - whole;
    if (!step) {
      const S value = entries ? *entries : (S)from.number;
      entries = number;
      if (filled && value == number[0]) return;
      filled = true;
      for (int64_t i = 0; i < (whole ? STRIP : rest); i++) number[i] = value;
    }
    for (int64_t i = 0; i < rest; i++) tail[i] = entries[whole * step + i];
    for (int64_t i = rest; i < whole_vectors<S>(rest); i++) tail[i] = filling;
  }

  // The strip that starts there.
  const S* strip(int64_t start) const { return start + STRIP <= size ? entries + start * step : tail; }
};

// The parts of a row: `size` entries each but the last, a multiple of the strip.
struct Parts {
  int64_t total, size, count;
  explicit Parts(int64_t n) : total(n), size((n + PARTS - 1) / PARTS) {
    size = size < 32768 ? 32768 : (size + STRIP - 1) / STRIP * STRIP;
    count = (n + size - 1) / size;
  }
  int64_t start(int64_t part) const { return part * size; }
  int64_t end(int64_t part) const { return (part + 1) * size < total ? (part + 1) * size : total; }

  // job(part) for every part, by several threads where `deal` is given.
  template <class F> void each(DealParts deal, int64_t threads, F job) const {
    if (!deal || count < 2) {
      for (int64_t part = 0; part < count; part++) job(part);
      return;
    }
    deal(count, threads, [](void* of, int64_t part) { (*(F*)of)(part); }, &job);
  }

  // The sum of what job(start, length) returns for every strip; T{} is zero and T has +=.
  template <class T, class F> T sum(DealParts deal, int64_t threads, F job) const {
    const auto of_part = [&](int64_t part) {
      T here = {};
      for (int64_t i = start(part); i < end(part); i += STRIP)
        here += job(i, end(part) - i < STRIP ? end(part) - i : STRIP);
      return here;
    };
    if (count == 1) return of_part(0);
    T sums[PARTS];
    each(deal, threads, [&](int64_t part) { sums[part] = of_part(part); });
    for (int64_t part = 1; part < count; part++) sums[0] += sums[part];
    return sums[0];
  }
};

}  // namespace DECLARATIVE_ISA
