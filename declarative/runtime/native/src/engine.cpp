// The C interface: chooses the kernels for this processor, deals the instances out to threads, and sums what they share.

#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <new>

#include "kernels.hpp"
#include "threads.hpp"

#if defined(__linux__)
#include <sys/mman.h>
#endif

#ifndef DECLARATIVE_SOURCES
#define DECLARATIVE_SOURCES ""
#endif

namespace declarative {
namespace {

#if defined(__x86_64__) || defined(__i386__)
#define DECLARATIVE_X86 1
#else
#define DECLARATIVE_X86 0
#endif

const Kernels* best_kernels() {
#if DECLARATIVE_X86
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
    return avx512_kernels();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return avx2_kernels();
#endif
  return baseline_kernels();
}

const Kernels* chosen = best_kernels();

// A worker's memory, aligned to a cache line and kept between calls unless it is large.
struct Memory {
  void* start = nullptr;
  int64_t size = 0;
  void* of(int64_t wanted) {
    if (wanted > size) {
      free(start);
      start = nullptr, size = 0;
      const int64_t rounded = (wanted + 4095) / 4096 * 4096;
      start = aligned_alloc(64, (size_t)rounded);
      if (!start) throw std::bad_alloc();
      size = rounded;
    }
    return start;
  }
  void trim() {
    if (size > (INT64_C(64) << 20)) free(start), start = nullptr, size = 0;
  }
  ~Memory() { free(start); }
};

thread_local Memory memory, common;

// Gives what is large back at the end of a call.
struct Trimmed {
  ~Trimmed() { memory.trim(), common.trim(); }
};

// How many lanes there are to a group, and the instances that a group takes as long as when they are solved one by one.
int64_t lanes_of(const Quadratic& problem) { return problem.single ? 2 * chosen->lanes : chosen->lanes; }
double break_even(const Quadratic& problem) {
  return 1 + (double)(problem.n + problem.p + problem.m) / (problem.single ? 80 : 105);  // as measured
}

// How a batch is dealt out: groups of lanes, and single instances where they are faster than a group of as many. It does
// not depend on the number of threads, nor do the results.
struct Deal {
  int64_t lanes, groups, singles;
  explicit Deal(const Quadratic& problem) : lanes(lanes_of(problem)) {
    const double least = break_even(problem);
    groups = (double)lanes > least ? problem.batch / lanes : 0;
    singles = problem.batch - groups * lanes;
    if (singles < lanes && (double)singles > least) groups++, singles = 0;
  }
  int64_t jobs() const { return groups + singles; }
  bool one(int64_t job) const { return job >= groups; }
  int64_t first(int64_t job) const { return one(job) ? groups * lanes + job - groups : job * lanes; }
};

// Floating-point operations of one instance, roughly.
double work(const Quadratic& q) {
  const double n = (double)q.n, rows = (double)(q.m + 2 * q.p);
  return n * n * (n / 3 + rows) + 100 * (n + rows);
}

int64_t useful_threads(int64_t threads, double operations) {
  const double most = operations / 2e5;  // a thread is worth waking for some tens of microseconds of work
  return std::max<int64_t>(1, std::min<int64_t>(threads, (int64_t)most + 1));
}

// Ask for large pages where a result is about to be written that is likely to be fresh memory: page by page the system takes
// longer to hand it out than the kernels to fill it.
void on_large_pages(const Batched& result, int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr int64_t LARGE = INT64_C(4) << 20, PAGE = 4096;  // where pages are larger the request may be refused
  if (!result.data || !result.stride || bytes < LARGE) return;
  const int64_t start = ((int64_t)result.data + PAGE - 1) / PAGE * PAGE;
  madvise((void*)start, (size_t)((int64_t)result.data + bytes - start) / PAGE * PAGE, MADV_HUGEPAGE);
#else
  (void)result, (void)bytes;
#endif
}

int64_t size_of(const Quadratic& q, int which) {
  const int64_t sizes[] = {q.n * q.n, q.n, q.p * q.n, q.p, q.m * q.n, q.m, q.n, q.n};
  return sizes[which];
}

// The shares, each with sums of its own, into which work is cut whose results are summed: their number does not depend on
// the threads, so that neither do the sums.
int64_t shares_of(int64_t jobs, int64_t apart) {
  return std::max<int64_t>(1, std::min<int64_t>({jobs, 16, (INT64_C(1) << 22) / apart}));
}

template <class S> void write_sum(Batched to, const double* sums, int64_t size, int64_t apart, int64_t parts) {
  for (int64_t e = 0; e < size; e++) {
    double sum = 0;
    for (int64_t t = 0; t < parts; t++) sum += sums[t * apart + e];
    ((S*)to.data)[e] = (S)sum;
  }
}

// What a call returns beside zero.
constexpr int OUT_OF_MEMORY = 1, LEFT = 2;

// What the groups of lanes of a call have in common, made by `make(room, common)`; null where that is nothing.
template <class Make> void* made_once(int64_t size, int64_t room, Make make) {
  if (!size) return nullptr;
  void* const made = common.of(size);
  make(memory.of(room), made);
  return made;
}

template <class Run> int within_memory(Run run) {
  try {
    return run();
  } catch (const std::bad_alloc&) {
    return OUT_OF_MEMORY;
  }
}

int solve(const SolveCall& call) {
  const Trimmed trimmed;
  const Kernels& kernels = *chosen;
  const Deal deal(call.problem);
  const int64_t in_lanes = deal.groups ? kernels.solve_room(call, false) : 0;
  const int64_t by_one = deal.singles ? kernels.solve_room(call, true) : 0;
  const int64_t threads = useful_threads(call.threads, 10 * work(call.problem) * (double)call.problem.batch);
  void* const shared = made_once(deal.groups ? kernels.solve_common(call) : 0, in_lanes,
                                 [&](void* room, void* made) { kernels.prepare_solve(call, room, made); });
  const int failed = parallel(deal.jobs(), threads, [&](int64_t job) {
    kernels.solve(call, deal.first(job), deal.one(job), memory.of(std::max(in_lanes, by_one)), shared);
    memory.trim();
  });
  const int8_t* const status = (const int8_t*)call.status.data;
  return failed ? OUT_OF_MEMORY : std::all_of(status, status + call.problem.batch, [](int8_t s) { return !s; }) ? 0 : LEFT;
}

int adjoint(const AdjointCall& call) {
  const Trimmed trimmed;
  const Kernels& kernels = *chosen;
  const Deal deal(call.problem);
  const int64_t in_lanes = deal.groups ? kernels.adjoint_room(call, false) : 0;
  const int64_t room = std::max(in_lanes, deal.singles ? kernels.adjoint_room(call, true) : 0);
  const Batched* gradients = &call.gradient.P;
  for (int g = 0; g < 8; g++)
    on_large_pages(gradients[g], call.problem.batch * size_of(call.problem, g) * (call.problem.single ? 4 : 8));
  int64_t apart = 0;
  for (int g = 0; g < 8; g++)
    if (gradients[g].data && !gradients[g].stride) apart += size_of(call.problem, g);
  const int64_t threads = useful_threads(call.threads, 2 * work(call.problem) * (double)call.problem.batch);
  const int64_t jobs = deal.jobs(), shares = apart ? shares_of(jobs, apart) : jobs;
  void* const matrices = made_once(deal.groups ? kernels.adjoint_common(call) : 0, in_lanes,
                                   [&](void* space, void* made) { kernels.prepare_adjoint(call, space, made); });
  double* shared = apart ? (double*)calloc((size_t)(apart * shares), sizeof(double)) : nullptr;
  if (apart && !shared) return OUT_OF_MEMORY;
  const int failed = parallel(shares, threads, [&](int64_t share) {
    void* const room_here = memory.of(room);
    for (int64_t job = jobs * share / shares; job < jobs * (share + 1) / shares; job++)
      kernels.adjoint(call, deal.first(job), deal.one(job), room_here, matrices, shared + share * apart);
    memory.trim();
  });
  double* sums = shared;
  for (int g = 0; g < 8; g++)
    if (gradients[g].data && !gradients[g].stride) {
      const int64_t size = size_of(call.problem, g);
      if (call.problem.single) write_sum<float>(gradients[g], sums, size, apart, shares);
      else write_sum<double>(gradients[g], sums, size, apart, shares);
      sums += size;
    }
  free(shared);
  const int8_t* const trusted = (const int8_t*)call.trusted.data;
  return failed ? OUT_OF_MEMORY : std::all_of(trusted, trusted + call.problem.batch, [](int8_t t) { return t; }) ? 0 : LEFT;
}

void deal_parts(int64_t jobs, int64_t threads, void (*job)(void*, int64_t), void* context) {
  parallel(jobs, threads, [=](int64_t i) { job(context, i); });
}

// run(first, last, deal) over all rows: to each thread its rows, or the parts of every row where rows are few and long.
template <class Call, class Run> int by_rows(const Call& call, double operations, Run run) {
  const int64_t threads = useful_threads(call.threads, operations * (double)call.count * (double)call.size);
  if (call.count < 4 * threads && call.size > 65536) return run(0, call.count, threads > 1 ? deal_parts : nullptr), 0;
  const int64_t jobs = std::min(call.count, 4 * threads);
  return parallel(jobs, threads, [&](int64_t job) {
    run(call.count * job / jobs, call.count * (job + 1) / jobs, nullptr);
  });
}

int coupling_row_pullback(const CouplingRowPullback& call) {
  const Kernels& kernels = *chosen;
  const Strided* const results[] = {&call.v_bar, &call.weights_bar, &call.slopes_bar, &call.lower_bar, &call.upper_bar};
  int64_t apart = 0;
  for (const Strided* to : results)
    if (is_shared(*to)) apart += call.size;
  if (!apart)
    return by_rows(call, 20, [&](int64_t first, int64_t last, DealParts deal) {
      kernels.coupling_row_pullback(call, first, last, deal, nullptr);
    });
  const int64_t shares = shares_of(call.count, apart);
  double* const sums = (double*)calloc((size_t)(apart * shares), sizeof(double));
  if (!sums) return OUT_OF_MEMORY;
  const auto run = [&](int64_t share, DealParts deal) {
    const int64_t first = call.count * share / shares, last = call.count * (share + 1) / shares;
    kernels.coupling_row_pullback(call, first, last, deal, sums + share * apart);
  };
  const int64_t threads = useful_threads(call.threads, 20.0 * (double)call.count * (double)call.size);
  int failed = 0;
  if (shares < threads)
    for (int64_t share = 0; share < shares; share++) run(share, deal_parts);
  else failed = parallel(shares, threads, [&](int64_t share) { run(share, nullptr); });
  double* from = sums;
  for (const Strided* to : results)
    if (is_shared(*to)) {
      const Batched into = {to->data, 0};
      if (call.single) write_sum<float>(into, from, call.size, apart, shares);
      else write_sum<double>(into, from, call.size, apart, shares);
      from += call.size;
    }
  free(sums);
  return failed;
}

template <class Call>
int each_row(const Call& call, double operations, void (*kernel)(const Call&, int64_t, int64_t, DealParts)) {
  return by_rows(call, operations,
                 [&](int64_t first, int64_t last, DealParts deal) { kernel(call, first, last, deal); });
}

}  // namespace
}  // namespace declarative

#define EXPORT extern "C" __attribute__((visibility("default")))

// All return zero, one where memory ran out, or two where instances are left that were not solved or not trusted.
EXPORT int declarative_solve(const declarative::SolveCall* call) {
  return declarative::within_memory([=] { return declarative::solve(*call); });
}
EXPORT int declarative_adjoint(const declarative::AdjointCall* call) {
  return declarative::within_memory([=] { return declarative::adjoint(*call); });
}
EXPORT int declarative_simplex(const declarative::SimplexCall* call) {
  return declarative::each_row(*call, 4, declarative::chosen->simplex);
}
EXPORT int declarative_simplex_pullback(const declarative::SimplexPullback* call) {
  return declarative::each_row(*call, 2, declarative::chosen->simplex_pullback);
}
EXPORT int declarative_coupling_row(const declarative::CouplingRowCall* call) {
  return declarative::each_row(*call, 40, declarative::chosen->coupling_row);
}
EXPORT int declarative_coupling_row_pullback(const declarative::CouplingRowPullback* call) {
  return declarative::coupling_row_pullback(*call);
}

// The fingerprint of the sources that this was built from.
EXPORT const char* declarative_sources() { return DECLARATIVE_SOURCES; }

// The instruction set in use, and a way to use a lesser one: 2 is AVX-512, 1 is AVX2, 0 the baseline.
EXPORT const char* declarative_instructions() { return declarative::chosen->name; }
EXPORT void declarative_limit_instructions(int level) {
  const declarative::Kernels* best = declarative::best_kernels();
#if DECLARATIVE_X86
  if (level < 2 && best == declarative::avx512_kernels()) best = declarative::avx2_kernels();
#endif
  declarative::chosen = level < 1 ? declarative::baseline_kernels() : best;
}
