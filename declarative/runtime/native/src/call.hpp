// What crosses the C interface: every field is eight bytes wide, so that the caller writes one array of integers.
#pragma once

#include <stdint.h>

namespace declarative {

// A tensor of a batch: element e of instance i lies at data[i * stride + e]. A stride of zero shares it; a null pointer
// says that it is absent.
struct Batched {
  void* data;
  int64_t stride;
};

// minimise 1/2 x'Px + q'x  subject to  Ax = b, Gx <= h, lower <= x <= upper; row-major matrices, float or double.
struct Quadratic {
  int64_t single;  // float32 where not zero
  int64_t batch, n, p, m;
  Batched P, q, A, b, G, h, lower, upper;
};

// A KKT point: x (n), nu (p), lambda (m), z (n).
struct Point {
  Batched x, eq, ineq, bounds;
};

struct SolveCall {
  Quadratic problem;
  int64_t threads, max_iterations;
  Point point;
  Batched status, iterations, residual;  // int8, int32, and the problem's type
};

struct AdjointCall {
  Quadratic problem;
  int64_t threads;
  Point point, cotangent;
  Batched status;      // int8: instances where it is not zero have no gradient
  Quadratic gradient;  // where to write, null where not wanted; sums where the stride is zero
  Batched trusted;     // int8, out: zero where the system was not solved to working accuracy, and nothing delivered
};

// An operand of rows: entry e of row i at data[i * row_stride + e * entry_stride], the entry's stride being one or zero;
// a null pointer says `number` in its place. Where results go, a row's stride of zero means the sum over the rows, an
// entry's stride of zero one sum a row, and a null pointer that they are not wanted.
struct Strided {
  void* data;
  int64_t row_stride, entry_stride;
  double number;
};

// Whether a result is summed over the rows, entry by entry.
static inline bool is_shared(const Strided& to) { return to.data && !to.row_stride && to.entry_stride; }

// job(context, i) for every i below `jobs`, on several threads.
typedef void (*DealParts)(int64_t jobs, int64_t threads, void (*job)(void*, int64_t), void* context);

// Row by row, y = max(v - t, 0) with sum(y) = total, and rest = min(v - t, 0) unless null; y, rest (count, size),
// contiguous; threshold (2, count): t, and what t lacks by its rounding.
struct SimplexCall {
  int64_t single, threads, count, size;
  Strided v, total;
  void *y, *rest, *threshold;
};

// The pullback of y and t, threshold as above. With the support S = {v >= t} and a = (sum of y_bar over S - t_bar) / |S|:
// v_bar = y_bar - a on S and zero elsewhere, total_bar = a. A null t_bar is zero; v_bar (count, size), contiguous.
struct SimplexPullback {
  int64_t single, threads, count, size;
  Strided v, y_bar;
  void *threshold, *t_bar, *v_bar, *total_bar;
};

// Row by row, y = clip(v - t slopes, lower, upper) with weights'y = level (or <= level with t >= 0 for `at_most`), t NaN
// where no y does; y (count, size), contiguous; t (3, count): t, and the pivot and the offset from it that stand for it.
struct CouplingRowCall {
  int64_t single, threads, count, size, at_most;
  Strided v, weights, slopes, lower, upper, level;
  void *y, *t;
};

// The pullback of y and t; a null t_bar is zero, level_bar (count) null where not wanted.
struct CouplingRowPullback {
  int64_t single, threads, count, size, at_most;
  Strided v, weights, slopes, lower, upper;
  void* t;
  Strided y_bar;
  void* t_bar;
  Strided v_bar, weights_bar, slopes_bar, lower_bar, upper_bar;
  void* level_bar;
};

}  // namespace declarative
