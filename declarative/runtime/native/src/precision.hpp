// The thresholds of the method in each of the two number formats, for data scaled to a size of about one.
#pragma once

#include "lanes.hpp"

namespace DECLARATIVE_ISA {

constexpr double ACCEPTED_SINGLE = 1e-5;  // relative residual of a point found in float64 and rounded to float32
constexpr double ACCEPTED_AFTER = 2e-6;   // and where rounding is not all that it is
constexpr double ACCEPTED_BEFORE = 1e-7;  // and what it must be before it

template <class Scalar> struct Precision;

template <> struct Precision<double> {
  static constexpr double STOPS[] = {1e-4, 1e-6, 1e-9, 1e-12};  // relative residuals at which to try the active set
  static constexpr int PATIENCE = 10;        // iterations without progress after which a lane ends
  static constexpr double EXACT = 1e-14;     // relative residual at which nothing is left to improve
  static constexpr double ACCEPTED = 1e-11;  // relative residual of a point that is returned
  static constexpr double AT_ONCE = 1e-13;   // and of one before the last of the stops: a nearer start may do better
  static constexpr double DONE = 9e-16;      // residual of a linear system that is rounding, of the largest term
  static constexpr double SETTLED = __builtin_inf();  // last correction of a trusted point, of the point's own size
  static constexpr double STILL = 1e-10;     // last correction of a trusted adjoint, of the size of all that was solved for
  static constexpr double RHO[] = {1e-11, 1e-8}, DELTA = 1e-10;  // of the Newton matrix: relative and at least; rows
  static constexpr double PENALTY = 1e5, PROXIMAL = 1e-10;       // of the active system
  static constexpr double SLACKNESS = 1e-10;  // of its rows, where they are what is factored
  static constexpr double DETERMINED = 1e-5;  // pivot of it above which its solution is unique beyond doubt
  static constexpr double RAY = 1e-8;        // how nearly an iterate proves that there is no solution
  static constexpr double SENSIBLE = 1e4;    // size of a solution, relative to the scaled data, beyond it a ray perhaps
  static constexpr double CURVED = 1e-4;     // pivot of P, relative to its size, from which its inverse is used
  static constexpr double SMALLEST = 1e-300;
  static constexpr double LEAST_PIVOT = 1e-100, OUT = 1e200;  // a pivot up to this is taken out: its unknown is zero
  static constexpr double TRUSTED[] = {0, 1e-12};  // residual of a trusted adjoint: at least, and times its size
};

// Residuals are summed in float64, so that a correction is as good as the point that it corrects is rounded. What these
// thresholds leave is done again in float64.
template <> struct Precision<float> {
  static constexpr double STOPS[] = {1e-4, 2e-5, 2e-6};
  static constexpr int PATIENCE = 4;
  static constexpr double EXACT = 1e-7;
  static constexpr double ACCEPTED = 1e-6;
  static constexpr double AT_ONCE = 1e-6;
  static constexpr double DONE = 2e-8;
  static constexpr double SETTLED = 1e-4;  // a curvature near PROXIMAL shows here and hardly in the residual
  static constexpr double STILL = __builtin_inf();
  static constexpr double RHO[] = {1e-6, 1e-6}, DELTA = 1e-6;
  static constexpr double PENALTY = 1e3, PROXIMAL = 1e-6;
  static constexpr double SLACKNESS = 1e-4;
  static constexpr double DETERMINED = 1e-3;
  static constexpr double RAY = 1e-5;
  static constexpr double SENSIBLE = 1e3;
  static constexpr double CURVED = 1e-2;
  static constexpr double SMALLEST = 1e-35;
  static constexpr double LEAST_PIVOT = 1e-25, OUT = 1e30;
  static constexpr double TRUSTED[] = {4e-7, 1e-8};
};

template <class V> using PrecisionOf = Precision<ScalarOf<V>>;

}  // namespace DECLARATIVE_ISA
