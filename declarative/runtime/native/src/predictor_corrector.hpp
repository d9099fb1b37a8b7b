// What the interior points have in common: when a lane stops, and how far it goes along a step.
#pragma once

#include "polish.hpp"

namespace DECLARATIVE_ISA {

constexpr double STAY_INSIDE = 0.995;

// A `Method` has `start()`, `measure()`: the relative residual of where it is, which sets `gap` too, `on_a_ray()`: whether
// that nearly proves that there is no solution, `advance(going)`, `keep_best(better)`, and `complete()`, after which the
// best iterate is whole.
template <class Method, class V> class PredictorCorrector {
 public:
  typedef MaskOf<V> Mask;
  typedef PrecisionOf<V> Limits;
  V iterations;

  // After `before` iterations of another method.
  void begin(V before) {
    refinements = 0, iterations = before, age = splat<V>(0), worst = splat<V>(__builtin_inf());
    method().start();
    method().keep_best(everywhere<V>());
  }

  // Step the open lanes until each has a relative residual of at most `stop`, stalls, breaks or runs along a ray.
  void iterate(Mask open, V stop, int64_t max_iterations) {
    const V zero = splat<V>(0), one = splat<V>(1);
    Mask going = open;
    age = zero;
    for (;;) {
      const V current = method().measure();
      const Mask better = going & (current < worst);
      age = select(going, select(current < worst * splat<V>(0.9), zero, age + one), age);
      worst = select(better, current, worst);
      method().keep_best(better);
      going = going & (worst > stop) & (age < splat<V>(Limits::PATIENCE)) & finite(current) & negate(method().on_a_ray());
      going = going & (iterations < splat<V>((double)max_iterations));
      if (!any(going)) return;
      method().advance(going);
      iterations = select(going, iterations + one, iterations);
    }
  }

  void refine() { refinements = 1; }

 protected:
  int refinements;  // of a step: none on the way to a first guess of the active set
  V gap;            // s'l

  // The share of a step that keeps the positive entries positive, for the entries' reciprocals; more than one where all of
  // it does.
  static V reciprocal_length(const V* step, const V* inverse, int64_t size) {
    V most = splat<V>(0);
    for (int64_t k = 0; k < size; k++) most = larger(most, -step[k] * inverse[k]);
    return most;
  }
  static V length(V reciprocal, V share) { return select(reciprocal > share, share / reciprocal, splat<V>(1)); }

  // Where Mehrotra's corrector aims at, for the s'l that the predictor would reach.
  V centre(V reached, V alive) const {
    const V zero = splat<V>(0), one = splat<V>(1);
    const V ratio = smaller(larger(reached / larger(gap, splat<V>(Limits::SMALLEST)), zero), one);
    return ratio * ratio * ratio * gap / larger(alive, one);
  }

 private:
  V worst, age;
  Method& method() { return *static_cast<Method*>(this); }
};

}  // namespace DECLARATIVE_ISA
