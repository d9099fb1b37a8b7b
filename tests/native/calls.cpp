// Calls of the C interface over generated programs, to be run under the sanitizers: every instruction set, both types,
// sizes around the tiles, batches around the lanes, shared and absent tensors. Every buffer is exactly as long as the
// interface says, so that a read or write beyond one is seen; every output of an instance must be written.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "../../declarative/runtime/native/src/call.hpp"

using namespace declarative;

extern "C" {
// Of these two, 1 is failure and 2 says that instances are left to other means.
int declarative_solve(const SolveCall*);
int declarative_adjoint(const AdjointCall*);
int declarative_simplex(const SimplexCall*);
int declarative_simplex_pullback(const SimplexPullback*);
int declarative_coupling_row(const CouplingRowCall*);
int declarative_coupling_row_pullback(const CouplingRowPullback*);
void declarative_limit_instructions(int);
}

namespace {

constexpr double INF = std::numeric_limits<double>::infinity();

// Buffers of exact size on the heap, kept until the end of a case.
template <class S> struct Buffers {
  std::vector<std::unique_ptr<S[]>> kept;
  S* room(int64_t size, S fill = S(0)) {
    kept.emplace_back(new S[(size_t)size]);
    for (int64_t i = 0; i < size; i++) kept.back()[(size_t)i] = fill;
    return kept.back().get();
  }
};

struct Case {
  int64_t n, p, m, batch, threads;
  bool bounds, shared;
  int trouble;  // 0: none, 1: NaN in the first instance, 2: contradicting rows, 3: unbounded, 4: infinite sides
};

int failures = 0;

void expect(bool holds, const char* what, const Case& c) {
  if (holds) return;
  failures++;
  fprintf(stderr, "%s: n %ld p %ld m %ld batch %ld trouble %d\n", what, (long)c.n, (long)c.p, (long)c.m, (long)c.batch,
          c.trouble);
}

template <class S> void quadratic(const Case& c, std::mt19937& random) {
  std::normal_distribution<double> normal;
  Buffers<S> real;
  const int64_t n = c.n, copies = c.shared ? 1 : c.batch;
  const auto tensor = [&](int64_t size, auto entry) {
    if (!size) return Batched{nullptr, 0};
    S* data = real.room(copies * size);
    for (int64_t b = 0; b < copies; b++)
      for (int64_t e = 0; e < size; e++) data[b * size + e] = (S)entry(e);
    return Batched{data, c.shared ? 0 : size};
  };
  Quadratic q{};
  q.single = sizeof(S) == 4, q.batch = c.batch, q.n = n, q.p = c.p, q.m = c.m;
  q.P = tensor(n * n, [&](int64_t e) { return c.trouble == 3 ? 0.0 : e / n == e % n ? 2.0 + (double)(e % 3) : 0.1; });
  q.q = tensor(n, [&](int64_t) { return normal(random); });
  q.A = tensor(c.p * n, [&](int64_t) { return normal(random); });
  q.b = tensor(c.p, [&](int64_t) { return 0.1 * normal(random); });
  q.G = tensor(c.m * n, [&](int64_t e) { return c.trouble == 2 ? (e / n % 2 ? -1.0 : 1.0) : normal(random); });
  q.h = tensor(c.m, [&](int64_t) { return c.trouble == 4 ? INF : c.trouble == 2 ? -1.0 : std::abs(normal(random)); });
  if (c.bounds) {
    q.lower = tensor(n, [&](int64_t e) { return e % 3 == 0 ? -INF : e % 3 == 1 ? 0.0 : -1.0; });
    q.upper = tensor(n, [&](int64_t e) { return e % 4 == 0 ? INF : e % 3 == 1 ? 0.0 : 2.0; });
  }
  if (c.trouble == 1 && copies) ((S*)q.q.data)[0] = (S)NAN;

  Buffers<int8_t> bytes;
  Buffers<int32_t> words;
  const auto vector = [&](int64_t size) { return Batched{size ? real.room(c.batch * size) : nullptr, size}; };
  const Point point{vector(n), vector(c.p), vector(c.m), vector(n)};
  int8_t* status = bytes.room(c.batch, 77);
  int32_t* iterations = words.room(c.batch, -7);
  S* residual = real.room(c.batch, (S)-7);
  const SolveCall solve{q, c.threads, 40, point, {status, 1}, {iterations, 1}, {residual, 1}};
  expect(declarative_solve(&solve) != 1, "solve failed", c);
  for (int64_t i = 0; i < c.batch; i++) {
    expect(status[i] == 0 || status[i] == 4, "no status", c);
    expect(iterations[i] >= 0 && iterations[i] <= 40, "no iterations", c);
    expect(!(residual[i] < 0), "no residual", c);
  }

  for (const bool summed : {true, false}) {
    Quadratic gradient{};
    const int64_t sizes[] = {n * n, n, c.p * n, c.p, c.m * n, c.m, n, n};
    const Batched* given = &q.P;
    Batched* wanted = &gradient.P;
    for (int g = 0; g < 8; g++)
      if (given[g].data && (summed || g != 2))
        wanted[g] = {real.room((summed ? 1 : c.batch) * sizes[g], (S)7), summed ? 0 : sizes[g]};
    Point cotangent{vector(n), summed ? vector(c.p) : Batched{}, Batched{}, summed ? vector(n) : Batched{}};
    for (int64_t e = 0; e < c.batch * n; e++) ((S*)cotangent.x.data)[e] = (S)normal(random);
    int8_t* trusted = bytes.room(c.batch, 77);
    const AdjointCall adjoint{q, c.threads, point, cotangent, {status, 1}, gradient, {trusted, 1}};
    expect(declarative_adjoint(&adjoint) != 1, "adjoint failed", c);
    for (int64_t i = 0; i < c.batch; i++) expect(trusted[i] == 0 || trusted[i] == 1, "no trust", c);
  }
}

template <class S> void simplex(int64_t size, int64_t count, int64_t threads, std::mt19937& random) {
  std::normal_distribution<double> normal;
  Buffers<S> real;
  const int64_t all = count * size;
  S *v = real.room(all), *y = real.room(all, (S)-1), *rest = real.room(all), *total = real.room(1, (S)1);
  for (int64_t e = 0; e < all; e++) v[e] = (S)normal(random);
  S* threshold = real.room(2 * count);  // and what its rounding leaves
  const Strided points{v, size, 1, 0}, one{nullptr, 0, 0, 1};
  const SimplexCall call{sizeof(S) == 4, threads, count, size, points, {total, 0, 0, 0}, y, rest, threshold};
  const Case c{size, 0, 0, count, threads, false, false, 0};
  expect(declarative_simplex(&call) == 0, "simplex failed", c);
  for (int64_t i = 0; i < count; i++) {
    double sum = 0;
    for (int64_t e = 0; e < size; e++) sum += y[i * size + e];
    expect(std::abs(sum - 1) < 1e-4, "simplex does not sum to one", c);
  }
  const Strided bar{y, size, 1, 0};
  S *v_bar = real.room(all), *total_bar = real.room(count);
  const SimplexPullback back{sizeof(S) == 4, threads, count, size, points, bar, threshold, nullptr, v_bar, total_bar};
  expect(declarative_simplex_pullback(&back) == 0, "simplex pullback failed", c);

  // The same projection as a row with weights and slopes of one, its upper bound and level in one number each.
  const Strided lower{nullptr, 0, 0, 0}, upper{nullptr, 0, 0, INF};
  S* t = real.room(3 * count);  // and its pivot and offset
  for (const int64_t at_most : {0, 1}) {
    const CouplingRowCall row{sizeof(S) == 4, threads, count, size, at_most, points, one, one, lower, upper, one, rest, t};
    expect(declarative_coupling_row(&row) == 0, "coupling row failed", c);
    for (int64_t e = 0; e < all && !at_most; e++)
      expect(std::abs((double)rest[e] - (double)y[e]) < 1e-4, "coupling row is no projection on the simplex", c);
    S *weights_bar = real.room(size), *lower_bar = real.room(all), *level_bar = real.room(count);
    const Strided nowhere{nullptr, 0, 0, 0};
    const CouplingRowPullback pull{
        sizeof(S) == 4, threads, count, size, at_most, points, one, one, lower, upper, t, bar, nullptr,
        {v_bar, size, 1, 0}, {weights_bar, 0, 1, 0}, nowhere, {lower_bar, size, 1, 0}, nowhere, level_bar};
    expect(declarative_coupling_row_pullback(&pull) == 0, "coupling row pullback failed", c);
  }
}

void everything(unsigned seed) {
  std::mt19937 random(seed);
  for (const int64_t n : {1, 3, 4, 5, 8, 9, 17})
    for (const int64_t m : {0, 1, 7, 9})
      for (const int64_t p : {0, 2, 9}) {
        const int64_t batches[] = {0, 1, 3, 5, 8, 13}, batch = batches[random() % 6];
        const Case c{n, p, m, batch, 1 + (int64_t)(random() % 3), random() % 2 == 0, random() % 3 == 0, (int)(random() % 5)};
        quadratic<double>(c, random);
        quadratic<float>(c, random);
      }
  for (const int64_t size : {1, 2, 7, 8, 9, 33})
    for (const int64_t count : {0, 1, 9}) simplex<double>(size, count, 2, random), simplex<float>(size, count, 2, random);
}

}  // namespace

int main() {
  for (const int level : {2, 1, 0}) {
    declarative_limit_instructions(level);
    everything(1 + (unsigned)level);
  }
  std::vector<std::thread> callers;  // several threads call at once; the pool serves one of them
  for (unsigned t = 0; t < 3; t++) callers.emplace_back([t] {
    std::mt19937 random(t);
    for (int round = 0; round < 20; round++) quadratic<double>({6, 2, 5, 40, 3, true, round % 2 == 0, 0}, random);
  });
  for (std::thread& caller : callers) caller.join();
  printf("%d failures\n", failures);
  return failures ? 1 : 0;
}
