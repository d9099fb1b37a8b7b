// Lanes: one number of each of several instances in one SIMD register, and the same operations on a single number.
//
// An algorithm written over `V` runs on `Pack` (DECLARATIVE_LANES instances side by side, element (i, j) of all of them
// contiguous) or on `double` (one instance). It has no branches on values: a lane that is done keeps its numbers by
// `select`, and a lane full of NaN cannot reach its neighbours.
//
// This header is compiled once for every instruction set, in a namespace of its own (DECLARATIVE_ISA), and includes no
// inline code of the standard library: the linker would keep one copy of it, for the wrong processor.
#pragma once

#include <stdint.h>

namespace DECLARATIVE_ISA {

constexpr int LANES = DECLARATIVE_LANES;
constexpr bool MANY_REGISTERS = DECLARATIVE_REGISTERS >= 32;

typedef double Pack __attribute__((vector_size(8 * DECLARATIVE_LANES)));
typedef int64_t PackMask __attribute__((vector_size(8 * DECLARATIVE_LANES)));

template <class V> struct Traits;

template <> struct Traits<Pack> {
  typedef PackMask Mask;
  static constexpr int lanes = LANES;
  static constexpr int tile = 4;  // rows and columns of the register tiles of the matrix kernels
};

template <> struct Traits<double> {
  typedef bool Mask;
  static constexpr int lanes = 1;
  static constexpr int tile = 8;
};

template <class V> using MaskOf = typename Traits<V>::Mask;

static inline double lane(double v, int) { return v; }
static inline double lane(const Pack& v, int l) { return v[l]; }
static inline void set_lane(double& v, int, double x) { v = x; }
static inline void set_lane(Pack& v, int l, double x) { v[l] = x; }

static inline double select(bool m, double a, double b) { return m ? a : b; }
static inline Pack select(PackMask m, Pack a, Pack b) { return m ? a : b; }

static inline bool negate(bool m) { return !m; }
static inline PackMask negate(PackMask m) { return ~m; }

static inline bool any(bool m) { return m; }
static inline bool any(PackMask m) {
  int64_t found = 0;
  for (int l = 0; l < LANES; l++) found |= m[l];
  return found != 0;
}

template <class V> static inline V splat(double x) { return V{} + x; }
template <> inline double splat<double>(double x) { return x; }
template <class V> static inline MaskOf<V> everywhere() { return splat<V>(0) == splat<V>(0); }

static inline double absolute(double v) { return __builtin_fabs(v); }
static inline Pack absolute(Pack v) { return (Pack)((PackMask)v & INT64_MAX); }

static inline double root(double v) { return __builtin_sqrt(v); }
static inline Pack root(Pack v) {
  Pack r;
  for (int l = 0; l < LANES; l++) r[l] = __builtin_sqrt(v[l]);
  return r;
}

// The largest power of two that is at most v > 0. Scaling by it rounds nothing.
static inline double power_of_two(double v) {
  int64_t bits;
  __builtin_memcpy(&bits, &v, 8);
  bits &= INT64_C(0x7ff0000000000000);
  __builtin_memcpy(&v, &bits, 8);
  return v;
}
static inline Pack power_of_two(Pack v) { return (Pack)((PackMask)v & INT64_C(0x7ff0000000000000)); }

template <class V> static inline V larger(V a, V b) { return select(a > b, a, b); }
template <class V> static inline V smaller(V a, V b) { return select(a < b, a, b); }
template <class V> static inline V magnitude(V m, V v) { return larger(m, absolute(v)); }

// True where v is neither NaN nor infinite.
template <class V> static inline MaskOf<V> finite(V v) { return absolute(v) <= splat<V>(1.7976931348623157e308); }

}  // namespace DECLARATIVE_ISA
