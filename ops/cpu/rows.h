#pragma once

#include <algorithm>
#include <cstdint>
#include <type_traits>
#include <vector>

#include "ops/cpu/widen.h"

namespace braid::ops::cpu {

/// The rows along the last dimension of a tensor whose dimension 0 may be strided: x [T, n] has T rows, x [T,
/// H, n] has T H. Rows of const elements are for reading: a tensor in bf16 is widened for them.
template <typename T>
class Rows {
  public:
    explicit Rows(const Tensor& x)
        : tensor_(std::is_const_v<T> ? widened(x) : x),
          data_(tensor_.data<std::remove_const_t<T>>()),
          width_(x.dim(-1)),
          per_token_(x.rank() > 2 ? x.numel() / std::max<int64_t>(x.dim(0) * x.dim(-1), 1) : 1),
          token_stride_(tensor_.row_stride()),
          count_(x.dim(0) * per_token_) {}

    int64_t count() const { return count_; }
    int64_t width() const { return width_; }
    T* operator[](int64_t row) const {
        return data_ + row / per_token_ * token_stride_ + row % per_token_ * width_;
    }

  private:
    Tensor tensor_;
    T* data_;
    int64_t width_, per_token_, token_stride_, count_;
};

/// Adds to out[width] the sum over all rows of what add_row(row, T* sum, T* scratch) adds to sum[width];
/// scratch[width] is its own to use. Blocks of rows are summed apart and then added in order, in double: the
/// bits do not depend on the number of threads.
template <typename T, typename AddRow>
void sum_rows(int64_t rows, int64_t width, T* out, const AddRow& add_row) {
    constexpr int64_t kBlockRows = 64;
    const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows;
    std::vector<T> sums(static_cast<size_t>(blocks * width));
#pragma omp parallel if (rows * width > 1 << 14)
    {
        std::vector<T> scratch(static_cast<size_t>(width));
#pragma omp for schedule(static)
        for (int64_t block = 0; block < blocks; ++block)
            for (int64_t row = block * kBlockRows; row < std::min(rows, (block + 1) * kBlockRows); ++row)
                add_row(row, sums.data() + block * width, scratch.data());
    }
    for (int64_t j = 0; j < width; ++j) {
        double total = 0;
        for (int64_t block = 0; block < blocks; ++block)
            total += static_cast<double>(sums[static_cast<size_t>(block * width + j)]);
        out[j] += static_cast<T>(total);
    }
}

} // namespace braid::ops::cpu
