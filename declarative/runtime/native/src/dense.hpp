// Dense matrices over lanes: the symmetric product, the factorisation of a KKT matrix, triangular solves, products.
//
// A matrix is kept in panels of T rows (T = Traits<V>::tile), a panel as [column][row in panel], so that every kernel
// streams contiguous memory and all of them share one register tile. Sizes are padded to multiples of T. Where the
// instances share a matrix its elements M are single numbers in the same layout, else they are lanes as well, M = V.
//
// The factorisation is that of the regularised KKT matrix, which is quasidefinite, so that it exists in any order:
//
//     [H   A'    ]   [L11    ] [I   ] [L11' L21' ]
//     [A  -delta ] = [L21 L22] [  -I] [     L22' ],   L21 = A L11^-T,   L22 L22' = delta + L21 L21'.
//
// Reference: Golub and Van Loan, Matrix Computations, 4th ed., 2013, section 4.2; Vanderbei, Symmetric quasidefinite
// matrices, 1995.
#pragma once

#include "precision.hpp"

namespace DECLARATIVE_ISA {

template <class V> constexpr int64_t padded(int64_t n) {
  return (n + Traits<V>::tile - 1) / Traits<V>::tile * Traits<V>::tile;
}

// Index of element (row, column) of a matrix in panels with `columns` columns.
template <class V> static inline int64_t cell(int64_t row, int64_t column, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  return (row / T * columns + column) * T + row % T;
}

// Start of panel I of a lower triangle whose panel I has (I + 1) T columns.
template <class V> static inline int64_t triangle(int64_t panel) {
  constexpr int64_t T = Traits<V>::tile;
  return T * T * (panel * (panel + 1) / 2);
}

// Index of element (row, column) of a lower triangle, of which the diagonal tiles are whole; and of diagonal element i.
template <class V> static inline int64_t in_triangle(int64_t row, int64_t column) {
  constexpr int T = Traits<V>::tile;
  return triangle<V>(row / T) + column * T + row % T;
}
template <class V> static inline int64_t on_diagonal(int64_t i) { return in_triangle<V>(i, i); }

// C[b][a] +-= sum_k x[k][a] y[k][b] over panels x and y; C is [column][row].
template <int SIGN, class V, class M> static inline void multiply_add(V* C, const M* x, const V* y, int64_t count) {
  constexpr int COLUMNS = MANY_REGISTERS ? 4 : 2;
  for (int first = 0; first < 4; first += COLUMNS) {
    V c[COLUMNS][4];
#pragma GCC unroll 4
    for (int b = 0; b < COLUMNS; b++)
#pragma GCC unroll 4
      for (int a = 0; a < 4; a++) c[b][a] = C[(first + b) * 4 + a];
    for (int64_t k = 0; k < count; k++) {
      const M* xk = x + 4 * k;
      const V* yk = y + 4 * k + first;
#pragma GCC unroll 4
      for (int b = 0; b < COLUMNS; b++)
#pragma GCC unroll 4
        for (int a = 0; a < 4; a++) {
          if (SIGN > 0) c[b][a] += xk[a] * yk[b];
          else c[b][a] -= xk[a] * yk[b];
        }
    }
#pragma GCC unroll 4
    for (int b = 0; b < COLUMNS; b++)
#pragma GCC unroll 4
      for (int a = 0; a < 4; a++) C[(first + b) * 4 + a] = c[b][a];
  }
}

// The same for one instance: its numbers fill the registers along a panel.
template <int SIGN, class Row, class S>
static inline void multiply_add_one(S* C, const S* x, const S* y, int64_t count) {
  constexpr int T = Traits<S>::tile, COLUMNS = MANY_REGISTERS ? T : 4;
  for (int first = 0; first < T; first += COLUMNS) {
    Row c[COLUMNS];
#pragma GCC unroll 16
    for (int b = 0; b < COLUMNS; b++) c[b] = *(const Row*)(C + (first + b) * T);
    for (int64_t k = 0; k < count; k++) {
      const Row xk = *(const Row*)(x + T * k);
#pragma GCC unroll 16
      for (int b = 0; b < COLUMNS; b++) {
        if (SIGN > 0) c[b] += xk * y[T * k + first + b];
        else c[b] -= xk * y[T * k + first + b];
      }
    }
#pragma GCC unroll 16
    for (int b = 0; b < COLUMNS; b++) *(Row*)(C + (first + b) * T) = c[b];
  }
}

typedef double Eight __attribute__((vector_size(64), aligned(8), may_alias));
typedef float Sixteen __attribute__((vector_size(64), aligned(4), may_alias));

template <int SIGN> static inline void multiply_add(double* C, const double* x, const double* y, int64_t count) {
  multiply_add_one<SIGN, Eight>(C, x, y, count);
}
template <int SIGN> static inline void multiply_add(float* C, const float* x, const float* y, int64_t count) {
  multiply_add_one<SIGN, Sixteen>(C, x, y, count);
}

// y[a] +-= sum_k panel[k][a] x[k], summed in Y.
template <int SIGN, int T, class Y, class M, class V>
static inline void panel_times(Y* y, const M* panel, const V* x, int64_t count) {
  Y even[T], odd[T];
#pragma GCC unroll 16
  for (int a = 0; a < T; a++) even[a] = y[a], odd[a] = Y{};
  int64_t k = 0;
  for (; k + 1 < count; k += 2) {
    const Y now = widen<Y>(x[k]), next = widen<Y>(x[k + 1]);
#pragma GCC unroll 16
    for (int a = 0; a < T; a++) {
      if (SIGN > 0) even[a] += widen<Y>(panel[k * T + a]) * now, odd[a] += widen<Y>(panel[(k + 1) * T + a]) * next;
      else even[a] -= widen<Y>(panel[k * T + a]) * now, odd[a] -= widen<Y>(panel[(k + 1) * T + a]) * next;
    }
  }
  if (k < count) {
    const Y now = widen<Y>(x[k]);
    for (int a = 0; a < T; a++) {
      if (SIGN > 0) even[a] += widen<Y>(panel[k * T + a]) * now;
      else even[a] -= widen<Y>(panel[k * T + a]) * now;
    }
  }
#pragma GCC unroll 16
  for (int a = 0; a < T; a++) y[a] = even[a] + odd[a];
}

// y[k] +-= sum_a panel[k][a] x[a], summed in Y.
template <int SIGN, int T, class Y, class M, class V>
static inline void panel_transposed_times(Y* y, const M* panel, const V* x, int64_t count) {
  Y row[T];
#pragma GCC unroll 16
  for (int a = 0; a < T; a++) row[a] = widen<Y>(x[a]);
  for (int64_t k = 0; k < count; k++) {
    Y sum = widen<Y>(panel[k * T]) * row[0];
#pragma GCC unroll 16
    for (int a = 1; a < T; a++) sum += widen<Y>(panel[k * T + a]) * row[a];
    y[k] = SIGN > 0 ? y[k] + sum : y[k] - sum;
  }
}

// y += M x for M in row panels: y has rows entries (padded), x has columns.
template <class Y, class M, class V>
static void add_times(Y* y, const M* matrix, const V* x, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T) panel_times<+1, T>(y + first, matrix + first * columns, x, columns);
}

// y += M' x.
template <class Y, class M, class V>
static void add_transposed_times(Y* y, const M* matrix, const V* x, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T)
    panel_transposed_times<+1, T>(y, matrix + first * columns, x + first, columns);
}

// y += M x and z += M' w, reading each panel once.
template <class Y, class M, class V>
static void add_both_times(Y* y, Y* z, const M* matrix, const V* x, const V* w, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T) {
    panel_times<+1, T>(y + first, matrix + first * columns, x, columns);
    panel_transposed_times<+1, T>(z, matrix + first * columns, w + first, columns);
  }
}

// y += S x for a symmetric S of which the lower triangle is kept, its diagonal tiles whole.
template <class Y, class M, class V> static void add_symmetric_times(Y* y, const M* lower, const V* x, int64_t n) {
  constexpr int T = Traits<V>::tile;
  for (int64_t I = 0; I < n / T; I++) {
    const M* row = lower + triangle<V>(I);
    panel_times<+1, T>(y + I * T, row, x, (I + 1) * T);
    panel_transposed_times<+1, T>(y, row, x + I * T, I * T);
  }
}

// y += |M|' |x|.
template <class M, class V>
static void add_sizes(V* y, const M* matrix, const V* x, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T)
    for (int64_t j = 0; j < columns; j++) {
      V sum = splat<V>(0);
      for (int a = 0; a < T; a++) sum += absolute(matrix[first * columns + j * T + a]) * absolute(x[first + a]);
      y[j] += sum;
    }
}

// K += G' diag(w) G on the lower triangle, for G' (n, m) in row panels; `scratch` holds m T numbers.
template <class V, class M>
static void add_weighted_product(V* K, const M* Gt, const V* w, int64_t n, int64_t m, V* scratch) {
  constexpr int T = Traits<V>::tile;
  const int64_t panels = n / T;
  for (int64_t J = 0; J < panels; J++) {
    const M* GJ = Gt + J * m * T;
    for (int64_t k = 0; k < m; k++)
#pragma GCC unroll 16
      for (int b = 0; b < T; b++) scratch[k * T + b] = w[k] * GJ[k * T + b];
    for (int64_t I = J; I < panels; I++)
      multiply_add<+1>(K + triangle<V>(I) + J * T * T, Gt + I * m * T, scratch, m);
  }
}

// S = B B' on the lower triangle, for B (n, m) in row panels.
template <class M> static void gram_matrix(M* S, const M* B, int64_t n, int64_t m) {
  constexpr int T = Traits<M>::tile;
  for (int64_t I = 0; I < n / T; I++)
    for (int64_t J = 0; J <= I; J++) {
      M* C = S + triangle<M>(I) + J * T * T;
      for (int e = 0; e < T * T; e++) C[e] = M{};
      multiply_add<+1>(C, B + I * m * T, B + J * m * T, m);
    }
}

// Cholesky of one diagonal tile in place; `inverse` gets the reciprocals of the diagonal.
template <class V> static inline MaskOf<V> factor_tile(V* C, V* inverse) {
  constexpr int T = Traits<V>::tile;
  MaskOf<V> sound = everywhere<V>();
#pragma GCC unroll 16
  for (int c = 0; c < T; c++) {
    const auto positive = C[c * T + c] > splat<V>(PrecisionOf<V>::LEAST_PIVOT);
    sound = sound & positive;
    const V s = splat<V>(1) / root(select(positive, C[c * T + c], splat<V>(PrecisionOf<V>::OUT)));
    inverse[c] = s;
#pragma GCC unroll 16
    for (int a = c; a < T; a++) C[c * T + a] *= s;
#pragma GCC unroll 16
    for (int b = c + 1; b < T; b++)
#pragma GCC unroll 16
      for (int a = b; a < T; a++) C[b * T + a] -= C[c * T + a] * C[c * T + b];
  }
  return sound;
}

// C becomes C D^-T, for a factored diagonal tile D.
template <class V> static inline void solve_tile(V* C, const V* D, const V* inverse) {
  constexpr int T = Traits<V>::tile;
#pragma GCC unroll 4
  for (int b = 0; b < T; b++) {
#pragma GCC unroll 4
    for (int c = 0; c < b; c++)
#pragma GCC unroll 16
      for (int a = 0; a < T; a++) C[b * T + a] -= C[c * T + a] * D[c * T + b];
#pragma GCC unroll 16
    for (int a = 0; a < T; a++) C[b * T + a] *= inverse[b];
  }
}

// y becomes L^-1 y, and L^-T y, for the diagonal tile L in D.
template <class V, class M> static inline void solve_lower(V* y, const M* D, const M* inverse) {
  constexpr int T = Traits<M>::tile;
  V r[T];
#pragma GCC unroll 16
  for (int a = 0; a < T; a++) r[a] = y[a];
#pragma GCC unroll 16
  for (int c = 0; c < T; c++) {
    r[c] *= inverse[c];
#pragma GCC unroll 16
    for (int a = c + 1; a < T; a++) r[a] -= D[c * T + a] * r[c];
  }
#pragma GCC unroll 16
  for (int a = 0; a < T; a++) y[a] = r[a];
}
template <class V, class M> static inline void solve_upper(V* y, const M* D, const M* inverse) {
  constexpr int T = Traits<M>::tile;
  V r[T];
#pragma GCC unroll 16
  for (int a = 0; a < T; a++) r[a] = y[a];
#pragma GCC unroll 16
  for (int c = T - 1; c >= 0; c--) {
    r[c] *= inverse[c];
#pragma GCC unroll 16
    for (int a = 0; a < c; a++) r[a] -= D[a * T + c] * r[c];
  }
#pragma GCC unroll 16
  for (int a = 0; a < T; a++) y[a] = r[a];
}

// C becomes C L^-T, for C (rows, n) in row panels and the factored lower triangle L of order n.
template <class M> static void solve_rows(M* C, const M* L, const M* inverse, int64_t rows, int64_t n) {
  constexpr int T = Traits<M>::tile;
  for (int64_t first = 0; first < rows; first += T)
    for (int64_t I = 0; I < n / T; I++) {
      M *panel = C + first * n, *tile = panel + I * T * T;
      const M* LI = L + triangle<M>(I);
      multiply_add<-1>(tile, panel, LI, I * T);
      solve_tile(tile, LI + I * T * T, inverse + I * T);
    }
}

// Factor in place the lower triangle K of order n + p (both padded), the last p rows of the dual kind.
// Returns where every pivot was positive.
template <class V> static MaskOf<V> factor(V* K, V* inverse, int64_t n, int64_t p) {
  constexpr int T = Traits<V>::tile;
  MaskOf<V> sound = everywhere<V>();
  for (int64_t I = 0; I < (n + p) / T; I++) {
    V* KI = K + triangle<V>(I);
    for (int64_t J = 0; J <= I; J++) {
      const V* KJ = K + triangle<V>(J);
      V C[T * T];
      for (int e = 0; e < T * T; e++) C[e] = KI[J * T * T + e];
      const int64_t known = J * T;
      if (known < n) {
        multiply_add<-1>(C, KI, KJ, known);
      } else {
        multiply_add<+1>(C, KI, KJ, n);
        multiply_add<-1>(C, KI + n * T, KJ + n * T, known - n);
      }
      if (J < I) {
        solve_tile(C, KJ + known * T, inverse + known);
      } else {
        sound = sound & factor_tile(C, inverse + known);
      }
      for (int e = 0; e < T * T; e++) KI[J * T * T + e] = C[e];
    }
  }
  return sound;
}

// r becomes L^-1 r, and L^-T r, for the lower triangle L of n rows (padded), which is of lanes as r is, or in the tiles of
// one instance and common to the lanes.
template <class V, class M> static void solve_forward(V* r, const M* L, const M* inverse, int64_t n) {
  constexpr int T = Traits<M>::tile;
  for (int64_t I = 0; I < n / T; I++) {
    const M* LI = L + triangle<M>(I);
    panel_times<-1, T>(r + I * T, LI, r, I * T);
    solve_lower(r + I * T, LI + I * T * T, inverse + I * T);
  }
}
template <class V, class M> static void solve_back(V* r, const M* L, const M* inverse, int64_t n) {
  constexpr int T = Traits<M>::tile;
  for (int64_t I = n / T - 1; I >= 0; I--) {
    const M* LI = L + triangle<M>(I);
    solve_upper(r + I * T, LI + I * T * T, inverse + I * T);
    panel_transposed_times<-1, T>(r, LI, r + I * T, I * T);
  }
}

// r = (r_x, r_nu) becomes (x, nu) with the factors of K.
template <class V, class M> static void solve_factored(V* r, const M* K, const M* inverse, int64_t n, int64_t p) {
  constexpr int T = Traits<M>::tile;
  solve_forward(r, K, inverse, n);
  for (int64_t I = n / T; I < (n + p) / T; I++) {
    const M* KI = K + triangle<M>(I);
    V* y = r + I * T;
    for (int a = 0; a < T; a++) y[a] = -y[a];
    panel_times<+1, T>(y, KI, r, n);
    panel_times<-1, T>(y, KI + n * T, r + n, I * T - n);
    solve_lower(y, KI + I * T * T, inverse + I * T);
  }
  solve_back(r, K, inverse, n + p);
}

}  // namespace DECLARATIVE_ISA
