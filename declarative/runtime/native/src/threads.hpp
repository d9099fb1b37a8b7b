// A pool of threads that lives as long as the process: waking one takes a few microseconds, starting one fifty.
#pragma once

#include <stdint.h>

#include <functional>

namespace declarative {

// Run job(index) for every index below `jobs`, on at most `threads` threads of which the caller is one. A thread takes the
// jobs of its own share first and then what is left of the others', and the caller waits for none that has not begun: on a
// busy machine it does the work itself. Returns one where a job ran out of memory, else zero. Where several threads call at
// once, one has the pool and the others work by themselves; a child process after fork starts with a pool of its own.
int parallel(int64_t jobs, int64_t threads, const std::function<void(int64_t)>& job);

}  // namespace declarative
