// One instruction set's table of kernels. Included by a source file that is compiled for it and defines
// DECLARATIVE_ISA (a namespace), DECLARATIVE_LANES (doubles in a register) and DECLARATIVE_REGISTERS (how many there are).
#pragma once

#include "adjoint.hpp"
#include "coupling_row.hpp"
#include "gradients.hpp"
#include "interior_point.hpp"
#include "kernels.hpp"
#include "simplex.hpp"

namespace DECLARATIVE_ISA {

using declarative::AdjointCall;
using declarative::Batched;
using declarative::SolveCall;

template <class S> constexpr double ROUNDING = sizeof(S) == 4 ? 1.1920928955078125e-7 : 2.220446049250313e-16;
constexpr double WEAK_DOUBLE = 3.6668528037325245e-11, WEAK_SINGLE = 2.4221477e-5;  // eps^(2/3)

// Whether the batch has one P, one A and one G.
static bool shares_matrices(const declarative::Quadratic& problem) {
  return problem.batch > 1 && !problem.P.stride && (!problem.p || !problem.A.stride) &&
         (!problem.m || !problem.G.stride);
}

static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

// Bytes that a method over lanes of V and matrices of M takes of two arenas, or of one.
struct Rooms {
  int64_t own, matrices;
};

template <class Method> static Rooms rooms_for(const declarative::Quadratic& problem) {
  Arena own{nullptr}, matrices{nullptr};
  Method method(problem, own, matrices);
  return {own.used, matrices.used};
}

template <class Method> static int64_t room_for(const declarative::Quadratic& problem) {
  const Rooms rooms = rooms_for<Method>(problem);
  return rooms.own + rooms.matrices;
}

// Of a group that prepares its matrices itself, as one does that is done again in float64.
template <template <class, class> class Method, class V>
static int64_t room_over(const declarative::Quadratic& problem) {
  return shares_matrices(problem) ? room_for<Method<V, ScalarOf<V>>>(problem) : room_for<Method<V, V>>(problem);
}

// A float32 problem is solved in float32, and what that leaves in float64.
template <template <class, class> class Method>
static int64_t room_of(const declarative::Quadratic& problem, bool one) {
  const int64_t lone = room_for<Method<double, double>>(problem);
  if (one) return problem.single ? most(lone, room_for<Method<float, float>>(problem)) : lone;
  const int64_t lanes = room_over<Method, Pack>(problem);
  return problem.single ? most(most(lone, lanes), room_over<Method, Singles>(problem)) : lanes;
}

// Of what all groups of lanes of a call have in common, where they have anything.
template <template <class, class> class Method> static int64_t common_room(const declarative::Quadratic& problem) {
  if (!shares_matrices(problem)) return 0;
  return problem.single ? rooms_for<Method<Singles, float>>(problem).matrices
                        : rooms_for<Method<Pack, double>>(problem).matrices;
}

// The arenas of one group of lanes: apart where the matrices were prepared, else the same.
struct Arenas {
  Arena own, apart;
  const bool prepared;
  Arenas(void* room, void* matrices) : own{(char*)room}, apart{(char*)matrices}, prepared(matrices != nullptr) {}
  Arena& matrices() { return prepared ? apart : own; }
};

// How many lanes from `first` on are not done yet; `done`: true for an instance.
template <class Done> static int64_t left_over(int64_t first, int64_t lanes, int64_t batch, Done done) {
  int64_t count = 0;
  for (int64_t i = first; i < first + lanes && i < batch; i++) count += !done(i);
  return count;
}

// What `work(lanes of float32, first, again)` leaves is done by `work` in float64, in lanes or, where few are left, one
// by one. `again` says to keep what is done.
template <class Work, class Done>
static void in_both_precisions(int64_t first, bool one, int64_t batch, Work work, Done done) {
  one ? work(float(), first, false) : work(Singles(), first, false);
  const int64_t lanes = one ? 1 : 2 * LANES, left = left_over(first, lanes, batch, done);
  if (4 * left > lanes && !one) {
    for (int64_t at = first; at < first + lanes; at += LANES)
      if (left_over(at, LANES, batch, done)) work(Pack(), at, true);
  } else if (left) {
    for (int64_t i = first; i < first + lanes && i < batch; i++)
      if (!done(i)) work(double(), i, true);
  }
}

template <class S, class V, class M>
static void solve_with(const SolveCall& call, int64_t first, bool again, Arenas memory) {
  InteriorPoint<V, M> solver(call.problem, memory.own, memory.matrices());
  Program<V, M>& at = solver.at;
  constexpr bool single = sizeof(S) == 4, round = single && sizeof(ScalarOf<V>) == 8;
  constexpr double accepted = round ? ACCEPTED_SINGLE : PrecisionOf<V>::ACCEPTED;
  if (!memory.prepared) solver.template prepare<S>(call.problem, first, ROUNDING<S>);
  solver.template run<S>(call.problem, first, call.max_iterations, round);
  const KktPoint<V>& answer = solver.answer();
  const V back = at.length / at.cost, sensible = select(solver.sensible, splat<V>(1), splat<V>(0));
  int8_t* const status = (int8_t*)call.status.data;
  bool wanted[Traits<V>::lanes];
  for (int l = 0; l < Traits<V>::lanes; l++)
    wanted[l] = first + l < call.problem.batch && !(again && status[first + l] == 0);
  store<S>(call.point.x, first, wanted, answer.x, at.n, [&](int64_t e) { return at.length * at.D[e]; });
  store<S>(call.point.eq, first, wanted, answer.nu, at.p, [&](int64_t e) { return back * at.E[e]; });
  store<S>(call.point.ineq, first, wanted, answer.lambda, at.m, [&](int64_t e) { return back * at.F[e]; });
  store<S>(call.point.bounds, first, wanted, answer.z, at.n, [&](int64_t e) { return back / at.D[e]; });
  for (int l = 0; l < Traits<V>::lanes; l++) {
    if (!wanted[l]) continue;
    const int64_t i = first + l;
    const double residual = lane(solver.residual(), l);
    status[i] = residual <= accepted && lane(sensible, l) > 0 ? 0 : 4;
    ((int32_t*)call.iterations.data)[i] = (int32_t)lane(solver.iterations, l);
    ((S*)call.residual.data)[i] = (S)residual;
  }
}

template <class S, class V> static void solve_over(const SolveCall& call, int64_t first, bool again, Arenas memory) {
  if (Traits<V>::lanes > 1 && shares_matrices(call.problem)) solve_with<S, V, ScalarOf<V>>(call, first, again, memory);
  else solve_with<S, V, V>(call, first, again, memory);
}

static void solve(const SolveCall& call, int64_t first, bool one, void* room, void* common) {
  const Arenas alone(room, nullptr), memory(room, one ? nullptr : common);
  if (call.problem.single)
    in_both_precisions(
        first, one, call.problem.batch,
        [&](auto lanes, int64_t at, bool again) {
          solve_over<float, decltype(lanes)>(call, at, again, again ? alone : memory);
        },
        [&](int64_t i) { return ((const int8_t*)call.status.data)[i] == 0; });
  else
    one ? solve_over<double, double>(call, first, false, alone) : solve_over<double, Pack>(call, first, false, memory);
}

// Once for a call whose groups of lanes have their matrices in common.
static void prepare_solve(const SolveCall& call, void* room, void* common) {
  Arenas memory(room, common);
  const auto prepare = [&](auto lanes, auto given) {
    typedef decltype(lanes) V;
    InteriorPoint<V, ScalarOf<V>> solver(call.problem, memory.own, memory.apart);
    solver.template prepare<decltype(given)>(call.problem, 0, ROUNDING<decltype(given)>);
  };
  call.problem.single ? prepare(Singles(), float()) : prepare(Pack(), double());
}

template <class S, class V, class M>
static void adjoint_with(const AdjointCall& call, int64_t first, bool again, Arenas memory, double* shared) {
  const Gathered<S, Traits<V>::lanes> gathered(call.problem, memory.own);
  Adjoint<V, M> solver(call.problem, memory.own, memory.matrices());
  if (!memory.prepared) solver.template prepare<S>(call.problem, first);
  solver.template load<S>(call, first);
  solver.run(sizeof(S) == 4 ? WEAK_SINGLE : WEAK_DOUBLE);
  const V trusted = select(solver.trusted, splat<V>(1), splat<V>(0));
  int8_t* const verdict = (int8_t*)call.trusted.data;
  bool owned[Traits<V>::lanes], counts[Traits<V>::lanes];
  for (int l = 0; l < Traits<V>::lanes; l++) {
    const int64_t i = first + l;
    owned[l] = i < call.problem.batch && !(again && verdict[i]);
    const bool skip = owned[l] && ((const int8_t*)call.status.data)[i] != 0, good = lane(trusted, l) > 0;
    if (owned[l]) verdict[i] = skip || good;
    counts[l] = owned[l] && !skip && good;
  }
  gathered.gather(solver, counts);
  deliver(call.gradient, gathered, first, owned, shared);
}

template <class S, class V>
static void adjoint_over(const AdjointCall& call, int64_t first, bool again, Arenas memory, double* shared) {
  if (Traits<V>::lanes > 1 && shares_matrices(call.problem))
    adjoint_with<S, V, ScalarOf<V>>(call, first, again, memory, shared);
  else adjoint_with<S, V, V>(call, first, again, memory, shared);
}

static void adjoint(const AdjointCall& call, int64_t first, bool one, void* room, void* common, double* shared) {
  const Arenas alone(room, nullptr), memory(room, one ? nullptr : common);
  if (call.problem.single)
    in_both_precisions(
        first, one, call.problem.batch,
        [&](auto lanes, int64_t at, bool again) {
          adjoint_over<float, decltype(lanes)>(call, at, again, again ? alone : memory, shared);
        },
        [&](int64_t i) { return ((const int8_t*)call.trusted.data)[i] != 0; });
  else
    one ? adjoint_over<double, double>(call, first, false, alone, shared)
        : adjoint_over<double, Pack>(call, first, false, memory, shared);
}

static void prepare_adjoint(const AdjointCall& call, void* room, void* common) {
  Arenas memory(room, common);
  const auto prepare = [&](auto lanes, auto given) {
    typedef decltype(lanes) V;
    Adjoint<V, ScalarOf<V>> solver(call.problem, memory.own, memory.apart);
    solver.template prepare<decltype(given)>(call.problem, 0);
  };
  call.problem.single ? prepare(Singles(), float()) : prepare(Pack(), double());
}

static int64_t solve_room(const SolveCall& call, bool one) { return room_of<InteriorPoint>(call.problem, one); }

static int64_t adjoint_room(const AdjointCall& call, bool one) {
  Arena gathered{nullptr};
  if (one) Gathered<double, 1>(call.problem, gathered);
  else Gathered<double, 2 * LANES>(call.problem, gathered);
  return room_of<Adjoint>(call.problem, one) + gathered.used;
}

static int64_t solve_common(const SolveCall& call) { return common_room<InteriorPoint>(call.problem); }
static int64_t adjoint_common(const AdjointCall& call) { return common_room<Adjoint>(call.problem); }

static const declarative::Kernels TABLE = {
    DECLARATIVE_NAME, LANES,           solve_room, adjoint_room, solve_common, adjoint_common, prepare_solve,
    prepare_adjoint,  solve,           adjoint,    project,      pull_back,    coupling_row,   coupling_row_pullback};

}  // namespace DECLARATIVE_ISA
