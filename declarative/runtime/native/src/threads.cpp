#include "threads.hpp"

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <new>
#include <thread>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace declarative {
namespace {

struct Task {
  const std::function<void(int64_t, int64_t)>* job;
  int64_t jobs, threads;
  Order order;
  std::atomic<int64_t> next{0};
  std::atomic<bool> failed{false};

  void work(int64_t thread) {
    try {
      if (order == Order::fixed) {
        for (int64_t i = jobs * thread / threads; i < jobs * (thread + 1) / threads; i++) (*job)(i, thread);
      } else {
        for (int64_t i; (i = next.fetch_add(1)) < jobs;) (*job)(i, thread);
      }
    } catch (const std::bad_alloc&) {
      failed = true;
    }
  }
};

class Pool {
 public:
  std::mutex in_use;

  void run(Task& task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      while (workers_ < task.threads - 1) {
        const int64_t number = ++workers_;
        std::thread([this, number] { serve(number); }).detach();
      }
      task_ = &task;
      pending_ = task.threads - 1;
      generation_.fetch_add(1, std::memory_order_release);
    }
    wake_.notify_all();
    task.work(0);
    for (int spin = 0; spin < SPINS && pending_.load(std::memory_order_acquire); spin++) pause();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
    task_ = nullptr;
  }

 private:
  static constexpr int SPINS = 2000;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::atomic<int64_t> generation_{0}, pending_{0};
  int64_t workers_ = 0;
  Task* task_ = nullptr;

  static void pause() {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
  }

  void serve(int64_t number) {
    int64_t seen = 0;
    for (;;) {
      Task* task;
      for (int spin = 0; spin < SPINS && generation_.load(std::memory_order_acquire) == seen; spin++) pause();
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        task = task_;
      }
      if (!task || number >= task->threads) continue;
      task->work(number);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--pending_ == 0) done_.notify_one();
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

int parallel(int64_t jobs, int64_t threads, Order order, const std::function<void(int64_t, int64_t)>& job) {
  Task task{&job, jobs, threads < jobs ? threads : jobs, order};
  if (task.threads > 1) {
    Pool& shared = the_pool();
    std::unique_lock<std::mutex> free(shared.in_use, std::try_to_lock);
    if (free.owns_lock()) {
      shared.run(task);
      return task.failed;
    }
  }
  for (int64_t thread = 0; thread < task.threads; thread++) task.work(thread);
  return task.failed;
}

}  // namespace declarative
