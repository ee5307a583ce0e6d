#pragma once

#if BRAID_OPENMP
#include <omp.h>
#endif

namespace braid::ops::cpu {

/// While one lives, libraries that the calling thread calls find one OpenMP thread, so that they start none
/// of their own: OpenBLAS and oneDNN look at omp_get_max_threads(), a thread's own setting. Threads of a
/// parallel region need it too where the region has but one of them.
class OneThread {
  public:
#if BRAID_OPENMP
    OneThread() {
        omp_set_num_threads(1);
    }
    ~OneThread() {
        omp_set_num_threads(before_);
    }
#else
    OneThread() {}
#endif
    OneThread(const OneThread&) = delete;
    OneThread& operator=(const OneThread&) = delete;

  private:
#if BRAID_OPENMP
    const int before_ = omp_get_max_threads();
#endif
};

} // namespace braid::ops::cpu
