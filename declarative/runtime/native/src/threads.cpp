#include "threads.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#include <sched.h>
#endif

namespace declarative {
namespace {

// The jobs lie in as many shares as there are threads. A thread begins with its own, the same at every call, since the
// data of the last call are in its caches, and goes on with what is left of the others.
struct Task {
  static constexpr int64_t MOST = 64;
  struct alignas(64) Next {
    std::atomic<int64_t> job;
  };
  const std::function<void(int64_t)>* job;
  int64_t jobs, threads, shares;
  Next next[MOST];
  std::atomic<bool> failed{false};

  Task(const std::function<void(int64_t)>* job, int64_t jobs, int64_t threads)
      : job(job), jobs(jobs), threads(threads < jobs ? threads : jobs), shares(this->threads < MOST ? this->threads : MOST) {
    for (int64_t share = 0; share < shares; share++) next[share].job = jobs * share / shares;
  }

  void work(int64_t thread) {
    try {
      for (int64_t turn = 0; turn < shares; turn++) {
        const int64_t share = (thread + turn) % shares, end = jobs * (share + 1) / shares;
        for (int64_t i; (i = next[share].job.fetch_add(1)) < end;) (*job)(i);
      }
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  }
};

// The processor that this thread runs on, or -1.
int processor() {
#if defined(__linux__)
  return sched_getcpu();
#else
  return -1;
#endif
}

// Go to another processor, if there is one that this thread may use.
void leave(int taken) {
#if defined(__linux__)
  cpu_set_t mine, others;
  if (sched_getaffinity(0, sizeof mine, &mine) || !CPU_ISSET(taken, &mine)) return;
  others = mine;
  CPU_CLR(taken, &others);
  if (CPU_COUNT(&others) && !sched_setaffinity(0, sizeof others, &others)) sched_setaffinity(0, sizeof mine, &mine);
#else
  (void)taken;
#endif
}

class Pool {
 public:
  std::mutex in_use;

  void run(Task& task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      for (; workers_ < task.threads - 1; workers_++) std::thread([this, me = workers_ + 1] { serve(me); }).detach();
      task_ = &task;
      places_ = task.threads - 1;
      caller_ = processor();
      generation_.fetch_add(1, std::memory_order_release);
    }
    for (int64_t i = 1; i < task.threads; i++) wake_.notify_one();
    task.work(0);
    std::unique_lock<std::mutex> lock(mutex_);
    task_ = nullptr;  // whoever has not begun has nothing to do any more
    lock.unlock();
    await([this] { return !busy_.load(std::memory_order_acquire); });
    lock.lock();
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  // How long a thread that has nothing to do looks out for work before it sleeps: some hundreds of microseconds, which is
  // the time between the calls of a layer's two passes. To wake it takes about as long as a small call. It gives way to
  // any other thread that wants the processor.
  static constexpr int ROUNDS = 150, PAUSES = 50;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  alignas(64) std::atomic<int64_t> generation_{0};
  alignas(64) std::atomic<int64_t> busy_{0};
  int64_t workers_ = 0, places_ = 0;
  int caller_ = -1;  // processor of the thread that called last
  Task* task_ = nullptr;

  template <class Ready> static void await(Ready ready) {
    for (int round = 0; round < ROUNDS; round++) {
      for (int spin = 0; spin < PAUSES; spin++) {
        if (ready()) return;
#if defined(__x86_64__) || defined(__i386__)
        __builtin_ia32_pause();
#endif
      }
#if defined(__unix__) || defined(__APPLE__)
      sched_yield();
#endif
    }
  }

  void serve(int64_t me) {
    int64_t seen = 0;
    for (;;) {
      await([&] { return generation_.load(std::memory_order_acquire) != seen; });
      std::unique_lock<std::mutex> lock(mutex_);
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      // Two threads that wait for each other without sleeping may stay on one processor for many calls.
      const int taken = caller_;
      if (taken >= 0 && processor() == taken) {
        lock.unlock();
        leave(taken);
        lock.lock();
      }
      if (!task_ || places_ == 0) continue;
      Task* const task = task_;
      places_--, busy_++;
      lock.unlock();
      task->work(me);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }
};

// Never destroyed: its threads may outlive every other object of the process.
Pool* pool = nullptr;

Pool& the_pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    pool = new Pool;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });
#endif
  });
  return *pool;
}

}  // namespace

int parallel(int64_t jobs, int64_t threads, const std::function<void(int64_t)>& job) {
  Task task(&job, jobs, threads);
  std::unique_lock<std::mutex> free;
  if (task.threads > 1) free = std::unique_lock<std::mutex>(the_pool().in_use, std::try_to_lock);
  if (free.owns_lock()) the_pool().run(task);
  else task.work(0);
  return task.failed;
}

}  // namespace declarative
