#pragma once

#include <cstdint>

#if BRAID_OPENMP
#include <omp.h>
#endif

#include "tensor/tensor.h"

namespace braid::ops::cpu {

/// How many threads the next parallel region will have at most, and which of them the caller is.
inline int num_threads() {
#if BRAID_OPENMP
    return omp_get_max_threads();
#else
    return 1;
#endif
}
inline int thread_index() {
#if BRAID_OPENMP
    return omp_get_thread_num();
#else
    return 0;
#endif
}

/// Multiplications in all from which starting threads is worth its time, some microseconds.
constexpr int64_t kParallelWork = 1 << 18;

/// task(i) for i < count in any order, on all threads if `work`, the number of multiplications in all or what
/// takes as long, is large enough. Tasks must write different memory.
template <typename Task>
void for_each_task(int64_t count, int64_t work, const Task& task) {
#pragma omp parallel for schedule(dynamic) if (count > 1 && work >= kParallelWork)
    for (int64_t i = 0; i < count; ++i) task(i);
}

/// Working memory of a kernel, one part per thread, each part and each array in it on its own cache lines.
template <typename T>
class ThreadScratch {
  public:
    ThreadScratch(Allocator& allocator, int64_t elements_per_thread)
        : elements_(padded(elements_per_thread)),
          memory_(Tensor::empty(allocator, {num_threads(), elements_}, dtype_of<T>())) {}

    /// Hands out the calling thread's part from its beginning.
    class Arrays {
      public:
        explicit Arrays(const ThreadScratch& scratch)
            : next_(scratch.memory_.template data<T>() + thread_index() * scratch.elements_),
              end_(next_ + scratch.elements_) {}
        T* take(int64_t elements) {
            T* array = next_;
            next_ += padded(elements);
            check(next_ <= end_, "a kernel takes {} elements more scratch than it asked for", next_ - end_);
            return array;
        }

      private:
        T *next_, *end_;
    };
    Arrays arrays() const { return Arrays(*this); }

    /// What an array of this size takes.
    static int64_t padded(int64_t elements) {
        constexpr int64_t kLine = 64 / sizeof(T);
        return (elements + kLine - 1) / kLine * kLine;
    }

  private:
    int64_t elements_;
    Tensor memory_;
};

} // namespace braid::ops::cpu
