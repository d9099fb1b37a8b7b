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

// Row by row, y = max(v - t, 0) with sum(y) = total, and rest = min(v - t, 0); v, y, rest (count, size), contiguous;
// threshold t (count); total (count), or one number for all rows.
struct SimplexCall {
  int64_t single, threads, count, size;
  void *v, *y, *rest, *threshold;
  Batched total;
};

// The pullback of y and t. With the support S = {v >= t} and a = (sum of y_bar over S - t_bar) / |S|:
// v_bar = y_bar - a on S and zero elsewhere, total_bar = a. A null t_bar is zero.
struct SimplexPullback {
  int64_t single, threads, count, size;
  void *v, *threshold, *y_bar, *t_bar, *v_bar, *total_bar;
};

}  // namespace declarative
