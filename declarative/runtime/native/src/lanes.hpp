// Lanes: one number of each of several instances in one SIMD register, and the same operations on a single number.
//
// An algorithm written over `V` runs on `Pack` (DECLARATIVE_LANES instances side by side, element (i, j) of all of them
// contiguous) or on `double` (one instance); on `Singles` or `float` it does so in float32, twice as many to a register.
// It has no branches on values: a lane that is done keeps its numbers by `select`, and a lane full of NaN cannot reach
// its neighbours.
//
// This header is compiled once for every instruction set, in a namespace of its own (DECLARATIVE_ISA), and includes no
// inline code of the standard library: the linker would keep one copy of it, for the wrong processor.
#pragma once

#include <stdint.h>

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace DECLARATIVE_ISA {

constexpr int LANES = DECLARATIVE_LANES;
constexpr bool MANY_REGISTERS = DECLARATIVE_REGISTERS >= 32;

typedef double Pack __attribute__((vector_size(8 * DECLARATIVE_LANES)));
typedef int64_t PackMask __attribute__((vector_size(8 * DECLARATIVE_LANES)));
typedef float Singles __attribute__((vector_size(8 * DECLARATIVE_LANES)));
typedef int32_t SinglesMask __attribute__((vector_size(8 * DECLARATIVE_LANES)));
typedef float Half __attribute__((vector_size(4 * DECLARATIVE_LANES), may_alias));

// The lanes of `Singles` in float64, for sums that are residuals: it can be multiplied, added and rounded, no more.
struct WidePack {
  Pack low, high;
};

// 0, 1, ..., N - 1, for the compiler.
template <int... J> struct Indices {};
template <int N, int... J> struct Count : Count<N - 1, N - 1, J...> {};
template <int... J> struct Count<0, J...> {
  typedef Indices<J...> Up;
};

template <class V> struct Traits;

template <> struct Traits<Pack> {
  typedef PackMask Mask;
  typedef double Scalar;
  typedef Pack Sum;  // what residuals are summed in
  static constexpr int lanes = LANES;
  static constexpr int tile = 4;  // rows and columns of the register tiles of the matrix kernels
};

template <> struct Traits<Singles> {
  typedef SinglesMask Mask;
  typedef float Scalar;
  typedef WidePack Sum;
  static constexpr int lanes = 2 * LANES;
  static constexpr int tile = 4;
};

template <> struct Traits<double> {
  typedef bool Mask;
  typedef double Scalar;
  typedef double Sum;
  static constexpr int lanes = 1;
  static constexpr int tile = 8;
};

template <> struct Traits<float> {
  typedef bool Mask;
  typedef float Scalar;
  typedef double Sum;
  static constexpr int lanes = 1;
  static constexpr int tile = 16;
};

template <class V> using MaskOf = typename Traits<V>::Mask;
template <class V> using ScalarOf = typename Traits<V>::Scalar;
template <class V> using SumOf = typename Traits<V>::Sum;

static inline double lane(float v, int) { return v; }
static inline double lane(double v, int) { return v; }
static inline double lane(const Pack& v, int l) { return v[l]; }
static inline double lane(const Singles& v, int l) { return v[l]; }
static inline void set_lane(float& v, int, float x) { v = x; }
static inline void set_lane(double& v, int, double x) { v = x; }
static inline void set_lane(Pack& v, int l, double x) { v[l] = x; }
static inline void set_lane(Singles& v, int l, float x) { v[l] = x; }

static inline float select(bool m, float a, float b) { return m ? a : b; }
static inline double select(bool m, double a, double b) { return m ? a : b; }
static inline Pack select(PackMask m, Pack a, Pack b) { return m ? a : b; }
static inline Singles select(SinglesMask m, Singles a, Singles b) { return m ? a : b; }

static inline bool negate(bool m) { return !m; }
static inline PackMask negate(PackMask m) { return ~m; }
static inline SinglesMask negate(SinglesMask m) { return ~m; }

static inline bool any(bool m) { return m; }
static inline bool any(PackMask m) {
  int64_t found = 0;
  for (int l = 0; l < LANES; l++) found |= m[l];
  return found != 0;
}
static inline bool any(SinglesMask m) { return any((PackMask)m); }

// A number in all lanes: one of the program text, or one that the lanes share.
template <class V> static inline V splat(double x) { return V{} + (ScalarOf<V>)x; }

template <class V> static inline MaskOf<V> everywhere() { return splat<V>(0) == splat<V>(0); }

static inline float absolute(float v) { return __builtin_fabsf(v); }
static inline double absolute(double v) { return __builtin_fabs(v); }
static inline Pack absolute(Pack v) { return (Pack)((PackMask)v & INT64_MAX); }
static inline Singles absolute(Singles v) { return (Singles)((SinglesMask)v & INT32_MAX); }

static inline float root(float v) { return __builtin_sqrtf(v); }
static inline double root(double v) { return __builtin_sqrt(v); }

// The largest power of two that is at most v > 0. Scaling by it rounds nothing.
static inline double power_of_two(double v) {
  int64_t bits;
  __builtin_memcpy(&bits, &v, 8);
  bits &= INT64_C(0x7ff0000000000000);
  __builtin_memcpy(&v, &bits, 8);
  return v;
}
static inline float power_of_two(float v) { return (float)power_of_two((double)v); }
static inline Pack power_of_two(Pack v) { return (Pack)((PackMask)v & INT64_C(0x7ff0000000000000)); }
static inline Singles power_of_two(Singles v) { return (Singles)((SinglesMask)v & 0x7f800000); }

// The larger and the smaller of two; b where either is NaN.
template <class V> static inline V larger(V a, V b) { return select(a > b, a, b); }
template <class V> static inline V smaller(V a, V b) { return select(a < b, a, b); }

// What is one instruction, where the compiler does not find it in a loop over lanes, a comparison or a conversion.
#if defined(__AVX512F__) && DECLARATIVE_LANES == 8
#define DECLARATIVE_INTRINSIC(name) _mm512_##name
#elif defined(__AVX2__) && DECLARATIVE_LANES == 4
#define DECLARATIVE_INTRINSIC(name) _mm256_##name
#elif defined(__SSE2__) && DECLARATIVE_LANES == 2
#define DECLARATIVE_INTRINSIC(name) _mm_##name
#endif
#ifdef DECLARATIVE_INTRINSIC
typedef decltype(DECLARATIVE_INTRINSIC(setzero_pd)()) Doubles;
typedef decltype(DECLARATIVE_INTRINSIC(setzero_ps)()) Floats;
static inline Pack larger(Pack a, Pack b) { return (Pack)DECLARATIVE_INTRINSIC(max_pd)((Doubles)a, (Doubles)b); }
static inline Pack smaller(Pack a, Pack b) { return (Pack)DECLARATIVE_INTRINSIC(min_pd)((Doubles)a, (Doubles)b); }
static inline Singles larger(Singles a, Singles b) {
  return (Singles)DECLARATIVE_INTRINSIC(max_ps)((Floats)a, (Floats)b);
}
static inline Singles smaller(Singles a, Singles b) {
  return (Singles)DECLARATIVE_INTRINSIC(min_ps)((Floats)a, (Floats)b);
}
static inline Pack root(Pack v) { return (Pack)DECLARATIVE_INTRINSIC(sqrt_pd)((Doubles)v); }
static inline Singles root(Singles v) { return (Singles)DECLARATIVE_INTRINSIC(sqrt_ps)((Floats)v); }
#else
static inline Pack root(Pack v) {
  for (int l = 0; l < LANES; l++) v[l] = __builtin_sqrt(v[l]);
  return v;
}
static inline Singles root(Singles v) {
  for (int l = 0; l < 2 * LANES; l++) v[l] = __builtin_sqrtf(v[l]);
  return v;
}
#endif
#if defined(DECLARATIVE_INTRINSIC) && DECLARATIVE_LANES > 2
typedef decltype(DECLARATIVE_INTRINSIC(cvtpd_ps)(Doubles{})) HalfFloats;
static inline Pack doubles(Half v) { return (Pack)DECLARATIVE_INTRINSIC(cvtps_pd)((HalfFloats)v); }
static inline Half singles(Pack v) { return (Half)DECLARATIVE_INTRINSIC(cvtpd_ps)((Doubles)v); }
#else
static inline Pack doubles(Half v) { return __builtin_convertvector(v, Pack); }
static inline Half singles(Pack v) { return __builtin_convertvector(v, Half); }
#endif
template <class V> static inline V magnitude(V m, V v) { return larger(m, absolute(v)); }

// True where v is neither NaN nor infinite.
template <class V> static inline MaskOf<V> finite(V v) {
  return absolute(v) <= splat<V>(sizeof(ScalarOf<V>) == 4 ? 3.4028234663852886e38 : 1.7976931348623157e308);
}

// Of two rows of a square of lanes, the blocks of `WIDTH` entries that change places in a transposition: the row that
// keeps its even blocks and gets the other's, or the one that keeps its odd ones.
template <int WIDTH, bool ODD, class V, int... J> static inline V exchanged(V a, V b, Indices<J...>) {
  constexpr int L = sizeof...(J);
#ifdef __clang__
  return __builtin_shufflevector(a, b, (ODD ? (J & WIDTH ? L + J : J + WIDTH) : (J & WIDTH ? L + J - WIDTH : J))...);
#else
  return __builtin_shuffle(
      a, b, MaskOf<V>{(ODD ? (J & WIDTH ? L + J : J + WIDTH) : (J & WIDTH ? L + J - WIDTH : J))...});
#endif
}

// As many rows as a row has lanes become the columns.
template <int WIDTH = 1, class V> static inline void transpose(V* rows) {
  constexpr int L = Traits<V>::lanes;
  if constexpr (WIDTH < L) {
#pragma GCC unroll 16
    for (int i = 0; i < L; i++) {
      if (i & WIDTH) continue;
      const V a = rows[i], b = rows[i + WIDTH];
      rows[i] = exchanged<WIDTH, false>(a, b, typename Count<L>::Up());
      rows[i + WIDTH] = exchanged<WIDTH, true>(a, b, typename Count<L>::Up());
    }
    transpose<2 * WIDTH>(rows);
  }
}

// v as a term of a sum of type Y, and the sum rounded back.
template <class Y, class V> struct Widen {
  static inline V of(const V& v) { return v; }
};
template <> struct Widen<double, float> {
  static inline double of(float v) { return v; }
};
template <> struct Widen<WidePack, float> {
  static inline double of(float v) { return v; }
};
template <> struct Widen<WidePack, Singles> {
  static inline WidePack of(const Singles& v) {
    const Half* halves = (const Half*)&v;
    return {doubles(halves[0]), doubles(halves[1])};
  }
};
template <class Y, class V> static inline auto widen(const V& v) { return Widen<Y, V>::of(v); }

static inline float narrow(double v, float) { return (float)v; }
static inline double narrow(double v, double) { return v; }
static inline float narrow(float v, float) { return v; }
static inline Pack narrow(const Pack& v, Pack) { return v; }
static inline Singles narrow(const Singles& v, Singles) { return v; }
static inline Singles narrow(const WidePack& v, Singles) {
  Singles r;
  Half* halves = (Half*)&r;
  halves[0] = singles(v.low), halves[1] = singles(v.high);
  return r;
}
template <class V> static inline V rounded(const SumOf<V>& v) { return narrow(v, V{}); }

static inline WidePack operator*(const WidePack& a, const WidePack& b) { return {a.low * b.low, a.high * b.high}; }
static inline WidePack operator*(double a, const WidePack& b) { return {a * b.low, a * b.high}; }
static inline WidePack operator+(const WidePack& a, const WidePack& b) { return {a.low + b.low, a.high + b.high}; }
static inline WidePack operator-(const WidePack& a, const WidePack& b) { return {a.low - b.low, a.high - b.high}; }
static inline void operator+=(WidePack& a, const WidePack& b) { a.low += b.low, a.high += b.high; }
static inline void operator-=(WidePack& a, const WidePack& b) { a.low -= b.low, a.high -= b.high; }

}  // namespace DECLARATIVE_ISA
