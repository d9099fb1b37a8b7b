// The data of `lanes` quadratic programs side by side, equilibrated by powers of two, which round nothing.
//
// With diagonal D, E, F and numbers c and t the scaled program has
//
//     P^ = c D P D,  q^ = c D q / t,  A^ = E A D,  b^ = E b / t,  G^ = F G D,  h^ = F h / t,  bounds^ = bounds / (t D)
//
// and its solution returns as x = t D x^, nu = (t/c) E nu^, lambda = (t/c) F lambda^, z = (t/c) z^ / D.
//
// P^ is kept without the factor c, which may differ between instances that share P. Where it is diagonal in all lanes,
// only its diagonal is kept, and nothing below is of the order of N^2. What follows from the matrices alone lies apart
// from the rest: where the batch shares them, it is made once for all of its lanes.
//
// Without inequalities D = 1, E is one number and c depends on P alone: the shortest solution then is that of the data.
//
// All inequalities are Cx + s = d with C = [G; I; -I]: the rows, then the upper and the lower bounds where there are any.
//
// Reference: Ruiz, A scaling algorithm to equilibrate both rows and columns norms in matrices, 2001.
#pragma once

#include "call.hpp"
#include "dense.hpp"

namespace DECLARATIVE_ISA {

constexpr double UNBOUNDED = 1e20;  // a bound of this magnitude or more is no constraint
constexpr double FAR = 64;          // size of solutions above which they are scaled down

// Memory by bumping a pointer; with a null base it only counts.
struct Arena {
  char* base;
  int64_t used = 0;  // bytes, in whole cache lines
  template <class T> T* take(int64_t count) {
    T* start = base ? (T*)(base + used) : nullptr;
    used += (count * (int64_t)sizeof(T) + 63) / 64 * 64;
    return start;
  }
};

template <class V> static void clear(V* into, int64_t size) {
  for (int64_t i = 0; i < size; i++) into[i] = V{};
}

// What is known of the matrices as they are scaled.
template <class M> struct Known {
  bool diagonal;        // whether P is, in all lanes
  bool ranged;          // whether the range-space method serves
  M convex;             // one where P is positive semidefinite up to the rounding of its entries, else zero
  M curvature;          // the largest magnitude in P, as it is scaled by D
  M extent;             // and in A and G, before any scaling
  M least;              // pivot of the factor that all lanes have in common
};

// V: lanes of vectors. M: the elements of the matrices and of what scales them, lanes too or, where the instances share
// all matrices, single numbers.
template <class V, class M> struct Program {
  typedef MaskOf<V> Mask;
  int64_t n, p, m;  // as given
  int64_t N, Q;     // n and p padded
  int64_t count;    // rows of C
  int64_t upper_at, lower_at;  // where the bounds begin in C, or -1
  M *P, *At, *Gt;   // panels of P (N, N), or its diagonal (N), scaled by D only; of A' (N, p) and G' (N, m)
  Known<M>* known;
  V *q, *b, *d;     // d: right-hand side of C, zero where dead
  V *live;          // one where an inequality is finite, else zero
  M *D, *E, *F;
  M *full_eq, *full_row;  // not zero where the row has an entry
  V *fixed;         // the value of a fixed variable, else zero
  V *free;          // one for a variable that is not fixed, zero for a fixed one and for padding
  M *by_x, *by_eq, *by_row;  // room for one round of scaling
  V cost, length;
  Mask usable;      // no crossed or senseless bounds

  Program(const declarative::Quadratic& call, Arena& arena, Arena& matrices)
      : n(call.n), p(call.p), m(call.m), N(padded<V>(n)), Q(padded<V>(p)), upper_at(-1), lower_at(-1) {
    count = m;
    if (call.upper.data) upper_at = count, count += N;
    if (call.lower.data) lower_at = count, count += N;
    P = matrices.take<M>(N * N), At = matrices.take<M>(N * p), Gt = matrices.take<M>(N * m);
    D = matrices.take<M>(N), E = matrices.take<M>(Q), F = matrices.take<M>(m), known = matrices.take<Known<M>>(1);
    full_eq = matrices.take<M>(Q), full_row = matrices.take<M>(m);
    by_x = matrices.take<M>(N), by_eq = matrices.take<M>(Q), by_row = matrices.take<M>(m);
    q = arena.take<V>(N), b = arena.take<V>(Q), d = arena.take<V>(count), live = arena.take<V>(count);
    fixed = arena.take<V>(N), free = arena.take<V>(N);
  }

  // Read instances first, first + 1, ...; the last one of the batch again in the lanes that are left over.
  template <class S> void load_matrices(const declarative::Quadratic& call, int64_t first);
  template <class S> void load_vectors(const declarative::Quadratic& call, int64_t first);
  void scale_matrices();
  void scale_rows_together();
  void scale_vectors();

  // y = cost P x, summed in Y.
  template <class Y> void curvature_times(Y* y, const V* x) const {
    clear(y, N);
    if (known->diagonal)
      for (int64_t i = 0; i < N; i++) y[i] += widen<Y>(P[i]) * widen<Y>(x[i]);
    else add_times(y, P, x, N, N);
    for (int64_t i = 0; i < N; i++) y[i] = widen<Y>(cost) * y[i];
  }

  // K = factor P on the lower triangle.
  void copy_curvature(V* K, V factor) const {
    constexpr int T = Traits<V>::tile;
    if (known->diagonal) {
      clear(K, triangle<V>(N / T));
      for (int64_t i = 0; i < N; i++) K[on_diagonal<V>(i)] = factor * P[i];
      return;
    }
    for (int64_t I = 0; I < N / T; I++)
      for (int64_t e = 0; e < (I + 1) * T * T; e++) K[triangle<V>(I) + e] = factor * P[I * T * N + e];
  }

  // Take the variables out of K where `open` is zero; without bounds there is none. Padding is zero in P, A and G.
  void restrict_to(const V* open, V* K) const {
    constexpr int T = Traits<V>::tile;
    if (upper_at < 0 && lower_at < 0) return;
    for (int64_t I = 0; I < N / T; I++)
      for (int64_t j = 0; j < (I + 1) * T; j++)
        for (int64_t a = 0; a < T; a++) K[triangle<V>(I) + j * T + a] *= open[I * T + a] * open[j];
  }

 private:
  void equilibrate();
  void judge_empty_rows();
};

// Where the tensor of each lane's instance begins.
template <class S, class V> struct Sources {
  const S* of[Traits<V>::lanes];
  Sources(declarative::Batched from, int64_t first, int64_t batch) {
    for (int l = 0; l < Traits<V>::lanes; l++)
      of[l] = (const S*)from.data + (first + l < batch ? first + l : batch - 1) * from.stride;
  }
  V operator[](int64_t element) const {
    V v;
    for (int l = 0; l < Traits<V>::lanes; l++) set_lane(v, l, of[l][element]);
    return v;
  }
};

// into(e, element e of every lane's instance), for `size` elements that are next to each other in memory.
template <class S, class V, class Into>
static inline void load_elements(const Sources<S, V>& in, int64_t size, Into into) {
  int64_t e = 0;
  if constexpr (Traits<V>::lanes > 1 && sizeof(S) == sizeof(ScalarOf<V>)) {
    constexpr int L = Traits<V>::lanes;
    for (; e + L <= size; e += L) {
      V block[L];
#pragma GCC unroll 16
      for (int l = 0; l < L; l++) __builtin_memcpy(&block[l], in.of[l] + e, sizeof(V));
      transpose(block);
#pragma GCC unroll 16
      for (int k = 0; k < L; k++) into(e + k, block[k]);
    }
  }
  for (; e < size; e++) into(e, in[e]);
}

// to[l][e] = lane l of of(e), for `size` elements that are next to each other in memory, in the lanes that are wanted.
template <class V, class S, class Of>
static inline void store_elements(S* const* to, const bool* wanted, int64_t size, Of of) {
  constexpr int L = Traits<V>::lanes;
  int64_t e = 0;
  if constexpr (L > 1 && sizeof(S) == sizeof(ScalarOf<V>)) {
    for (; e + L <= size; e += L) {
      V block[L];
#pragma GCC unroll 16
      for (int k = 0; k < L; k++) block[k] = of(e + k);
      transpose(block);
      for (int l = 0; l < L; l++)
        if (wanted[l]) __builtin_memcpy(to[l] + e, &block[l], sizeof(V));
    }
  }
  for (; e < size; e++) {
    const V value = of(e);
    for (int l = 0; l < L; l++)
      if (wanted[l]) to[l][e] = (S)lane(value, l);
  }
}

// What lanes hold, times a scale, to the instances from `first` on.
template <class S, class V, class Scale>
static void store(declarative::Batched to, int64_t first, const bool* wanted, const V* from, int64_t size, Scale scale) {
  if (!to.data) return;
  S* starts[Traits<V>::lanes];
  for (int l = 0; l < Traits<V>::lanes; l++) starts[l] = (S*)to.data + (first + l) * to.stride;
  store_elements<V>(starts, wanted, size, [&](int64_t e) -> V { return from[e] * scale(e); });
}

// A vector of each instance into lanes.
template <class S, class V>
static void load_vector(V* into, declarative::Batched from, int64_t size, int64_t first, int64_t batch) {
  if (!from.data) return clear(into, size);
  load_elements(Sources<S, V>(from, first, batch), size, [=](int64_t i, const V& value) { into[i] = value; });
}

// A matrix of each instance into panels of its rows, or of its columns, with `across` entries per row of panels.
template <bool TRANSPOSED, class S, class V, class M>
static void load_matrix(M* into, declarative::Batched from, int64_t rows, int64_t columns, int64_t across, int64_t first,
                        int64_t batch) {
  int64_t i = 0, j = 0;
  load_elements(Sources<S, M>(from, first, batch), rows * columns, [&](int64_t, const M& value) {
    into[TRANSPOSED ? cell<V>(j, i, across) : cell<V>(i, j, across)] = value;
    if (++j == columns) j = 0, i++;
  });
}

// Whether P of every instance that the lanes read is diagonal, but for what is not a number: `broken` says where that is.
template <class S, class V>
static bool is_diagonal(declarative::Batched P, int64_t n, int64_t first, int64_t batch, bool* broken) {
  const Sources<S, V> in(P, first, batch);
  for (int l = 0; l < Traits<V>::lanes; l++) {
    broken[l] = false;
    for (int64_t i = 0; i < n && (l == 0 || P.stride); i++) {
      const S* row = in.of[l] + i * n;
      bool zero = true, entry = false;
      for (int64_t j = 0; j < i; j++) zero &= row[j] == 0;
      for (int64_t j = i + 1; j < n; j++) zero &= row[j] == 0;
      for (int64_t j = 0; j < n && !zero; j++) entry |= j != i && (row[j] < 0 || row[j] > 0);
      if (entry) return false;
      broken[l] |= !zero;
    }
  }
  return true;
}

// The largest magnitude; NaN where there is one.
template <class M> static M largest(const M* values, int64_t size) {
  M most = splat<M>(0), poison = most;
  for (int64_t e = 0; e < size; e++) most = magnitude(most, values[e]), poison += values[e] - values[e];
  return most + poison;
}

template <class V, class M> static void symmetrise(M* P, int64_t N) {
  const M half = splat<M>(0.5);
  for (int64_t i = 0; i < N; i++)
    for (int64_t j = 0; j < i; j++) {
      M& low = P[cell<V>(i, j, N)];
      M& high = P[cell<V>(j, i, N)];
      low = high = (low + high) * half;
    }
}

template <class V, class M>
template <class S>
void Program<V, M>::load_matrices(const declarative::Quadratic& call, int64_t first) {
  bool broken[Traits<M>::lanes];
  known->diagonal = is_diagonal<S, M>(call.P, n, first, call.batch, broken);
  const int64_t size = known->diagonal ? N : N * N;
  clear(P, size), clear(At, N * p), clear(Gt, N * m);
  if (known->diagonal) {
    const Sources<S, M> in(call.P, first, call.batch);
    for (int64_t i = 0; i < n; i++) P[i] = in[i * (n + 1)];
    for (int l = 0; l < Traits<M>::lanes; l++)
      if (broken[l]) set_lane(P[0], l, __builtin_nan(""));
  } else {
    load_matrix<false, S, V>(P, call.P, n, n, N, first, call.batch);
    symmetrise<V>(P, N);
  }
  if (p) load_matrix<true, S, V>(At, call.A, p, n, p, first, call.batch);
  if (m) load_matrix<true, S, V>(Gt, call.G, m, n, m, first, call.batch);
  for (int64_t i = 0; i < N; i++) D[i] = splat<M>(1);
  for (int64_t r = 0; r < Q; r++) E[r] = splat<M>(1);
  for (int64_t k = 0; k < m; k++) F[k] = splat<M>(1);
  known->curvature = largest(P, size);
  known->extent = larger(largest(At, N * p), largest(Gt, N * m));
}

template <class V, class M>
template <class S>
void Program<V, M>::load_vectors(const declarative::Quadratic& call, int64_t first) {
  const V zero = splat<V>(0), one = splat<V>(1);
  clear(q, N), clear(b, Q);
  load_vector<S>(q, call.q, n, first, call.batch);
  if (p) load_vector<S>(b, call.b, p, first, call.batch);
  if (m) load_vector<S>(d, call.h, m, first, call.batch);
  usable = everywhere<V>();
  for (int64_t k = 0; k < m; k++) {
    usable = usable & (d[k] > splat<V>(-__builtin_inf()));
    const Mask dead = d[k] >= splat<V>(UNBOUNDED);
    live[k] = select(dead, zero, one), d[k] = select(dead, zero, d[k]);
  }
  if (upper_at >= 0) load_vector<S>(d + upper_at, call.upper, n, first, call.batch);
  if (lower_at >= 0) load_vector<S>(d + lower_at, call.lower, n, first, call.batch);
  for (int64_t i = 0; i < N; i++) {
    const V high = upper_at >= 0 && i < n ? d[upper_at + i] : splat<V>(__builtin_inf());
    const V low = lower_at >= 0 && i < n ? d[lower_at + i] : splat<V>(-__builtin_inf());
    usable = usable & (low <= high) & (low < splat<V>(__builtin_inf())) & (high > splat<V>(-__builtin_inf()));
    const Mask held = low == high;
    fixed[i] = select(held, low, zero);
    free[i] = i < n ? select(held, zero, one) : zero;
    if (upper_at >= 0) {
      const Mask dead = held | (high >= splat<V>(UNBOUNDED));
      live[upper_at + i] = select(dead, zero, one), d[upper_at + i] = select(dead, zero, high);
    }
    if (lower_at >= 0) {
      const Mask dead = held | (low <= splat<V>(-UNBOUNDED));
      live[lower_at + i] = select(dead, zero, one), d[lower_at + i] = select(dead, zero, -low);
    }
  }
  cost = length = one;
}

// 2^-k near 1/sqrt(size), bounded; one where the size is zero.
template <class V> static inline V inverse_root(V size) {
  const V bounded = larger(smaller(size, splat<V>(1e8)), splat<V>(1e-8));
  return select(size > splat<V>(0), power_of_two(splat<V>(1) / root(bounded)), splat<V>(1));
}

// Multiply the rows of panels by `by_row`, and the columns by `by_column`.
template <class V, class M>
static void scale(M* matrix, const M* by_row, const M* by_column, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T)
    for (int64_t j = 0; j < columns; j++)
      for (int a = 0; a < T; a++) matrix[first * columns + j * T + a] *= by_row[first + a] * by_column[j];
}

// Largest magnitudes of the rows and of the columns of panels, on top of what is there.
template <class V, class M>
static void extents(const M* matrix, M* of_row, M* of_column, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T)
    for (int64_t j = 0; j < columns; j++)
      for (int a = 0; a < T; a++) {
        const M size = absolute(matrix[first * columns + j * T + a]);
        of_row[first + a] = larger(of_row[first + a], size);
        if (of_column) of_column[j] = larger(of_column[j], size);
      }
}

// A row of zeros says something of its right-hand side alone: that it is zero, or not negative, but for the rounding of the
// others.
template <class V, class M> void Program<V, M>::judge_empty_rows() {
  const V none = splat<V>(0), one = splat<V>(1);
  const auto judge = [&](const V* side, const M* full, int64_t rows, bool equal) {
    V most = one;
    for (int64_t r = 0; r < rows; r++) most = magnitude(most, side[r]);
    const V rounding = splat<V>(Precision<ScalarOf<V>>::EXACT) * most;
    for (int64_t r = 0; r < rows; r++) {
      const V off = equal ? absolute(side[r]) : -side[r];
      usable = usable & ((full[r] * one > none) | (off <= rounding));
    }
  };
  judge(b, full_eq, p, true), judge(d, full_row, m, false);
}

template <class V, class M> void Program<V, M>::equilibrate() {
  for (int round = 0; round < 3; round++) {
    clear(by_x, N), clear(by_eq, Q), clear(by_row, m);
    if (known->diagonal)
      for (int64_t i = 0; i < N; i++) by_x[i] = absolute(P[i]);
    else extents<V>(P, by_x, (M*)nullptr, N, N);
    extents<V>(At, by_x, by_eq, N, p);
    extents<V>(Gt, by_x, by_row, N, m);
    for (int64_t r = 0; r < Q && round == 0; r++) full_eq[r] = by_eq[r];
    for (int64_t k = 0; k < m && round == 0; k++) full_row[k] = by_row[k];
    MaskOf<M> moved = negate(everywhere<M>());
    const auto settle = [&](M* sizes, M* total, int64_t size) {
      for (int64_t i = 0; i < size; i++) {
        sizes[i] = inverse_root(sizes[i]);
        total[i] *= sizes[i];
        moved = moved | (sizes[i] != splat<M>(1));
      }
    };
    settle(by_x, D, N), settle(by_eq, E, Q), settle(by_row, F, m);
    if (!any(moved)) break;
    if (known->diagonal)
      for (int64_t i = 0; i < N; i++) P[i] *= by_x[i] * by_x[i];
    else scale<V>(P, by_x, by_x, N, N);
    scale<V>(At, by_x, by_eq, N, p), scale<V>(Gt, by_x, by_row, N, m);
  }
}

// The rows by one number, to a size of about one.
template <class V, class M> void Program<V, M>::scale_rows_together() {
  const M zero = splat<M>(0), one = splat<M>(1), size = known->extent;
  const M factor = select(size > zero, one / power_of_two(size), one);
  for (int64_t e = 0; e < N * p; e++) At[e] *= factor;
  for (int64_t e = 0; e < N * m; e++) Gt[e] *= factor;
  for (int64_t r = 0; r < Q; r++) E[r] = factor;
  for (int64_t k = 0; k < m; k++) F[k] = factor;
}

template <class V, class M> void Program<V, M>::scale_matrices() {
  if (!count) return scale_rows_together();
  equilibrate();
  known->curvature = largest(P, known->diagonal ? N : N * N);
}

template <class V, class M> void Program<V, M>::scale_vectors() {
  const V zero = splat<V>(0), one = splat<V>(1);
  if (count) judge_empty_rows();
  const V curvature = V{} + known->curvature;
  V slope = zero, held = zero, sides = zero;  // how far q leads, what has to hold, what may
  for (int64_t i = 0; i < N; i++) {
    q[i] *= D[i], fixed[i] /= D[i];
    if (upper_at >= 0) d[upper_at + i] /= D[i], sides = magnitude(sides, d[upper_at + i]);
    if (lower_at >= 0) d[lower_at + i] /= D[i], sides = magnitude(sides, d[lower_at + i]);
    slope = select(curvature > zero, magnitude(slope, q[i] / curvature), slope), held = magnitude(held, fixed[i]);
  }
  for (int64_t r = 0; r < Q; r++) b[r] *= E[r], held = magnitude(held, b[r]);
  for (int64_t k = 0; k < m; k++) d[k] *= F[k], sides = magnitude(sides, d[k]);
  const V reach = larger(larger(slope, held), sides);
  const V far = larger(held, smaller(slope, sides));  // a far bound alone makes no solution large
  const V most = select(far > splat<V>(FAR), far, one);
  length = select(reach > zero, power_of_two(smaller(larger(reach, splat<V>(1e-12)), most)), one);
  V steepness = curvature;
  for (int64_t i = 0; count && i < N; i++) steepness = magnitude(steepness, q[i] / length);
  cost = select(steepness > zero, one / power_of_two(steepness), one);
  for (int64_t i = 0; i < N; i++) q[i] *= cost / length, fixed[i] /= length;
  for (int64_t r = 0; r < Q; r++) b[r] /= length;
  for (int64_t k = 0; k < count; k++) d[k] /= length;
}

}  // namespace DECLARATIVE_ISA
