// One instruction set's table of kernels. Included by a source file that is compiled for it and defines
// DECLARATIVE_ISA (a namespace), DECLARATIVE_LANES (doubles in a register) and DECLARATIVE_REGISTERS (how many there are).
#pragma once

#include "adjoint.hpp"
#include "gradients.hpp"
#include "interior_point.hpp"
#include "kernels.hpp"
#include "simplex.hpp"

namespace DECLARATIVE_ISA {

using declarative::AdjointCall;
using declarative::Batched;
using declarative::SolveCall;

constexpr double EPS_DOUBLE = 2.220446049250313e-16, EPS_SINGLE = 1.1920928955078125e-7;
constexpr double WEAK_DOUBLE = 3.6668528037325245e-11, WEAK_SINGLE = 2.4221477e-5;  // eps^(2/3)

template <class S, class V, class Scale>
static void store(Batched into, int64_t instance, const V* from, int l, int64_t size, Scale scale) {
  if (!into.data) return;
  S* out = (S*)into.data + instance * into.stride;
  for (int64_t i = 0; i < size; i++) out[i] = (S)lane(from[i] * scale(i), l);
}

template <class V> static int64_t solve_room_for(const SolveCall& call) {
  Arena<V> arena{nullptr};
  InteriorPoint<V> solver(call.problem, arena);
  return arena.used * (int64_t)sizeof(V);
}

template <class S, class V> static void solve_with(const SolveCall& call, int64_t first, void* room) {
  Arena<V> arena{(V*)room};
  InteriorPoint<V> solver(call.problem, arena);
  Program<V>& at = solver.at;
  at.template load<S>(call.problem, first);
  const bool single = sizeof(S) == 4;
  solver.run(call.max_iterations, single ? EPS_SINGLE : EPS_DOUBLE, single);
  const KktPoint<V>& answer = solver.answer();
  const V back = at.length / at.cost, sensible = select(solver.sensible, splat<V>(1), splat<V>(0));
  for (int l = 0; l < Traits<V>::lanes && first + l < call.problem.batch; l++) {
    const int64_t i = first + l;
    store<S>(call.point.x, i, answer.x, l, at.n, [&](int64_t e) { return at.length * at.D[e]; });
    store<S>(call.point.eq, i, answer.nu, l, at.p, [&](int64_t e) { return back * at.E[e]; });
    store<S>(call.point.ineq, i, answer.lambda, l, at.m, [&](int64_t e) { return back * at.F[e]; });
    store<S>(call.point.bounds, i, answer.z, l, at.n, [&](int64_t e) { return back / at.D[e]; });
    const double residual = lane(solver.residual(), l);
    const bool solved = residual <= (single ? ACCEPTED_SINGLE : ACCEPTED) && lane(sensible, l) > 0;
    ((int8_t*)call.status.data)[i] = solved ? 0 : 4;
    ((int32_t*)call.iterations.data)[i] = (int32_t)lane(solver.iterations, l);
    ((S*)call.residual.data)[i] = (S)residual;
  }
}

template <class V> static int64_t adjoint_room_for(const AdjointCall& call) {
  Arena<V> arena{nullptr};
  Adjoint<V> adjoint(call.problem, arena);
  return arena.used * (int64_t)sizeof(V) + Gathered::room(call.problem) * 8;
}

template <class S, class V> static void adjoint_with(const AdjointCall& call, int64_t first, void* room, double* shared) {
  double* const gathered = (double*)room;
  Arena<V> arena{(V*)(gathered + Gathered::room(call.problem))};
  Adjoint<V> solver(call.problem, arena);
  solver.template load<S>(call, first);
  solver.run(sizeof(S) == 4 ? WEAK_SINGLE : WEAK_DOUBLE);
  const V trusted = select(solver.trusted, splat<V>(1), splat<V>(0));
  for (int l = 0; l < Traits<V>::lanes && first + l < call.problem.batch; l++) {
    const int64_t i = first + l;
    const bool skip = ((const int8_t*)call.status.data)[i] != 0, good = lane(trusted, l) > 0;
    ((int8_t*)call.trusted.data)[i] = skip || good;
    const Gathered of(call.problem, gathered, solver, l, !skip && good);
    deliver<S>(call.gradient, of, i, shared);
  }
}

static int64_t solve_room(const SolveCall& call, bool one) {
  return one ? solve_room_for<double>(call) : solve_room_for<Pack>(call);
}

static int64_t adjoint_room(const AdjointCall& call, bool one) {
  return one ? adjoint_room_for<double>(call) : adjoint_room_for<Pack>(call);
}

static void solve(const SolveCall& call, int64_t first, bool one, void* room) {
  if (call.problem.single) one ? solve_with<float, double>(call, first, room) : solve_with<float, Pack>(call, first, room);
  else one ? solve_with<double, double>(call, first, room) : solve_with<double, Pack>(call, first, room);
}

static void adjoint(const AdjointCall& call, int64_t first, bool one, void* room, double* shared) {
  if (call.problem.single)
    one ? adjoint_with<float, double>(call, first, room, shared) : adjoint_with<float, Pack>(call, first, room, shared);
  else
    one ? adjoint_with<double, double>(call, first, room, shared) : adjoint_with<double, Pack>(call, first, room, shared);
}

static const declarative::Kernels TABLE = {DECLARATIVE_NAME, LANES,   solve_room, adjoint_room,
                                           solve,            adjoint, project,    pull_back};

}  // namespace DECLARATIVE_ISA
