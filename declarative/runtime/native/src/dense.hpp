// Dense matrices over lanes: the symmetric product, the factorisation of a KKT matrix, triangular solves, products.
//
// A matrix is kept in panels of T rows (T = Traits<V>::tile), a panel as [column][row in panel], so that every kernel
// streams contiguous memory and all of them share one register tile. Sizes are padded to multiples of T.
//
// The factorisation is that of the regularised KKT matrix, which is quasidefinite, so that it exists in any order:
//
//     [H   A'    ]   [L11    ] [I   ] [L11' L21' ]
//     [A  -delta ] = [L21 L22] [  -I] [     L22' ],   L21 = A L11^-T,   L22 L22' = delta + L21 L21'.
//
// Reference: Golub and Van Loan, Matrix Computations, 4th ed., 2013, section 4.2; Vanderbei, Symmetric quasidefinite
// matrices, 1995.
#pragma once

#include "lanes.hpp"

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

// C[b][a] +-= sum_k x[k][a] y[k][b] over panels x and y; C is [column][row].
template <int SIGN> static inline void multiply_add(Pack* C, const Pack* x, const Pack* y, int64_t count) {
  constexpr int COLUMNS = MANY_REGISTERS ? 4 : 2;
  for (int first = 0; first < 4; first += COLUMNS) {
    Pack c[COLUMNS][4];
#pragma GCC unroll 4
    for (int b = 0; b < COLUMNS; b++)
#pragma GCC unroll 4
      for (int a = 0; a < 4; a++) c[b][a] = C[(first + b) * 4 + a];
    for (int64_t k = 0; k < count; k++) {
      const Pack* xk = x + 4 * k;
      const Pack* yk = y + 4 * k + first;
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

typedef double Eight __attribute__((vector_size(64), aligned(8)));

template <int SIGN> static inline void multiply_add(double* C, const double* x, const double* y, int64_t count) {
  constexpr int COLUMNS = MANY_REGISTERS ? 8 : 4;
  for (int first = 0; first < 8; first += COLUMNS) {
    Eight c[COLUMNS];
#pragma GCC unroll 8
    for (int b = 0; b < COLUMNS; b++) c[b] = *(const Eight*)(C + (first + b) * 8);
    for (int64_t k = 0; k < count; k++) {
      const Eight xk = *(const Eight*)(x + 8 * k);
#pragma GCC unroll 8
      for (int b = 0; b < COLUMNS; b++) {
        if (SIGN > 0) c[b] += xk * y[8 * k + first + b];
        else c[b] -= xk * y[8 * k + first + b];
      }
    }
#pragma GCC unroll 8
    for (int b = 0; b < COLUMNS; b++) *(Eight*)(C + (first + b) * 8) = c[b];
  }
}

// y[a] +-= sum_k panel[k][a] x[k].
template <int SIGN, class V> static inline void panel_times(V* y, const V* panel, const V* x, int64_t count) {
  constexpr int T = Traits<V>::tile;
  V even[T], odd[T];
#pragma GCC unroll 8
  for (int a = 0; a < T; a++) even[a] = y[a], odd[a] = splat<V>(0);
  int64_t k = 0;
  for (; k + 1 < count; k += 2) {
#pragma GCC unroll 8
    for (int a = 0; a < T; a++) {
      if (SIGN > 0) even[a] += panel[k * T + a] * x[k], odd[a] += panel[(k + 1) * T + a] * x[k + 1];
      else even[a] -= panel[k * T + a] * x[k], odd[a] -= panel[(k + 1) * T + a] * x[k + 1];
    }
  }
  if (k < count)
    for (int a = 0; a < T; a++) even[a] += (SIGN > 0 ? panel[k * T + a] : -panel[k * T + a]) * x[k];
#pragma GCC unroll 8
  for (int a = 0; a < T; a++) y[a] = even[a] + odd[a];
}

// y[k] +-= sum_a panel[k][a] x[a].
template <int SIGN, class V> static inline void panel_transposed_times(V* y, const V* panel, const V* x, int64_t count) {
  constexpr int T = Traits<V>::tile;
  for (int64_t k = 0; k < count; k++) {
    V sum = panel[k * T] * x[0];
#pragma GCC unroll 8
    for (int a = 1; a < T; a++) sum += panel[k * T + a] * x[a];
    y[k] = SIGN > 0 ? y[k] + sum : y[k] - sum;
  }
}

// y = M x for M in row panels: y has rows entries (padded), x has columns.
template <class V> static void times(V* y, const V* M, const V* x, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T) {
    for (int a = 0; a < T; a++) y[first + a] = splat<V>(0);
    panel_times<+1>(y + first, M + first * columns, x, columns);
  }
}

// y += M' x.
template <class V> static void add_transposed_times(V* y, const V* M, const V* x, int64_t rows, int64_t columns) {
  constexpr int T = Traits<V>::tile;
  for (int64_t first = 0; first < rows; first += T)
    panel_transposed_times<+1>(y, M + first * columns, x + first, columns);
}

// K += G' diag(w) G on the lower triangle, for G' (n, m) in row panels; `scratch` holds m T numbers.
template <class V>
static void add_weighted_product(V* K, const V* Gt, const V* w, int64_t n, int64_t m, V* scratch) {
  constexpr int T = Traits<V>::tile;
  const int64_t panels = n / T;
  for (int64_t J = 0; J < panels; J++) {
    const V* GJ = Gt + J * m * T;
    for (int64_t k = 0; k < m; k++)
#pragma GCC unroll 8
      for (int b = 0; b < T; b++) scratch[k * T + b] = w[k] * GJ[k * T + b];
    for (int64_t I = J; I < panels; I++)
      multiply_add<+1>(K + triangle<V>(I) + J * T * T, Gt + I * m * T, scratch, m);
  }
}

// A pivot at or below this is taken out of the system: its unknown becomes zero.
constexpr double LEAST_PIVOT = 1e-100;
constexpr double OUT = 1e200;

// Cholesky of one diagonal tile in place; `inverse` gets the reciprocals of the diagonal.
template <class V> static inline MaskOf<V> factor_tile(V* C, V* inverse) {
  constexpr int T = Traits<V>::tile;
  MaskOf<V> sound = everywhere<V>();
#pragma GCC unroll 8
  for (int c = 0; c < T; c++) {
    const auto positive = C[c * T + c] > splat<V>(LEAST_PIVOT);
    sound = sound & positive;
    const V s = splat<V>(1) / root(select(positive, C[c * T + c], splat<V>(OUT)));
    inverse[c] = s;
#pragma GCC unroll 8
    for (int a = c; a < T; a++) C[c * T + a] *= s;
#pragma GCC unroll 8
    for (int b = c + 1; b < T; b++)
#pragma GCC unroll 8
      for (int a = b; a < T; a++) C[b * T + a] -= C[c * T + a] * C[c * T + b];
  }
  return sound;
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
        const V* D = KJ + known * T;
        for (int b = 0; b < T; b++) {
          for (int c = 0; c < b; c++)
#pragma GCC unroll 8
            for (int a = 0; a < T; a++) C[b * T + a] -= C[c * T + a] * D[c * T + b];
#pragma GCC unroll 8
          for (int a = 0; a < T; a++) C[b * T + a] *= inverse[known + b];
        }
      } else {
        sound = sound & factor_tile(C, inverse + known);
      }
      for (int e = 0; e < T * T; e++) KI[J * T * T + e] = C[e];
    }
  }
  return sound;
}

// r = (r_x, r_nu) becomes (x, nu) with the factors of K.
template <class V> static void solve_factored(V* r, const V* K, const V* inverse, int64_t n, int64_t p) {
  constexpr int T = Traits<V>::tile;
  const int64_t panels = (n + p) / T;
  for (int64_t I = 0; I < panels; I++) {
    const V* KI = K + triangle<V>(I);
    V* y = r + I * T;
    if (I * T < n) {
      panel_times<-1>(y, KI, r, I * T);
    } else {
      for (int a = 0; a < T; a++) y[a] = -y[a];
      panel_times<+1>(y, KI, r, n);
      panel_times<-1>(y, KI + n * T, r + n, I * T - n);
    }
    const V* D = KI + I * T * T;
    for (int c = 0; c < T; c++) {
      y[c] *= inverse[I * T + c];
      for (int a = c + 1; a < T; a++) y[a] -= D[c * T + a] * y[c];
    }
  }
  for (int64_t I = panels - 1; I >= 0; I--) {
    const V* KI = K + triangle<V>(I);
    const V* D = KI + I * T * T;
    V* y = r + I * T;
    for (int c = T - 1; c >= 0; c--) {
      for (int a = c + 1; a < T; a++) y[c] -= D[c * T + a] * y[a];
      y[c] *= inverse[I * T + c];
    }
    panel_transposed_times<-1>(r, KI, y, I * T);
  }
}

}  // namespace DECLARATIVE_ISA
