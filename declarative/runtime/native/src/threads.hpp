// A pool of threads that lives as long as the process: waking one takes a few microseconds, starting one fifty.
#pragma once

#include <stdint.h>

#include <functional>

namespace declarative {

enum class Order {
  any,    // threads take the next job when they are free
  fixed,  // thread t of T does the same share of the jobs in every call
};

// Run job(index, thread) for every index below `jobs`, on at most `threads` threads of which the caller is one.
// Returns one where a job ran out of memory, else zero. Calls from several threads at once run one after the other's
// pool is busy in their own thread; a child process after fork starts with a pool of its own.
int parallel(int64_t jobs, int64_t threads, Order order, const std::function<void(int64_t, int64_t)>& job);

}  // namespace declarative
