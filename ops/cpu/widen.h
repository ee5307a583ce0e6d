#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace braid::ops::cpu {

// Kernels compute on tensors stored in bf16 in f32: inputs are widened, which is exact, sums and everything
// in between stay in f32, and each element of a result is rounded once, to nearest even. The copies live as
// long as the kernel runs.

/// x as kernels read it that compute in f32 or f64: a packed f32 copy of a bf16 tensor, else x itself.
Tensor widened(const Tensor& x);

/// y as such kernels write it: y itself, or f32 memory of its shape (undefined contents) that is rounded into
/// a bf16 y when this goes.
class Rounded {
  public:
    explicit Rounded(const Tensor& y);
    ~Rounded();
    Rounded(const Rounded&) = delete;
    Rounded& operator=(const Rounded&) = delete;
    operator const Tensor&() const { return wide_; }
    template <typename T>
    T* data() const {
        return wide_.data<T>();
    }

  private:
    const Tensor y_, wide_;
};

/// n numbers from one dtype to the other, single-threaded.
void widen(const bf16* x, float* y, int64_t n);
void round(const float* x, bf16* y, int64_t n);

} // namespace braid::ops::cpu
