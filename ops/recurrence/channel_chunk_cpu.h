#pragma once

#include "ops/cpu/vector_math.h"
#include "ops/recurrence/delta_view_cpu.h"

// What a chunk of a recurrence is whose decay is a number per channel: decays between rows are no matrix
// then, but factors of every number of the keys and queries.
namespace braid::ops::cpu {

/// y_i = e^x_i as exactly as T holds it: of float exponents the part that rounding took is put back.
template <typename T>
void exp_of_double(const double* x, int64_t n, T* y);

/// The sums b [L, d_k] of log decays from the start of one chunk of one head.
template <typename T>
class ChannelSums {
  public:
    /// `memory`: L d_k numbers, which hold b.
    ChannelSums(const DeltaView<T>& view, const Chunk& chunk, int64_t head, double* memory)
        : length_(chunk.length), size_(view.key_dim), sums_(memory) {
        for (int64_t i = 0; i < length_; ++i) {
            const T* g = view.g + (chunk.first_token + i) * view.g_stride + head * size_;
            double* const row = sums_ + i * size_;
            for (int64_t d = 0; d < size_; ++d)
                row[d] = (i > 0 ? row[d - size_] : 0) + static_cast<double>(g[d]);
        }
    }

    int64_t length() const { return length_; }
    int64_t size() const { return size_; }
    const double* row(int64_t i) const { return sums_ + i * size_; }

    /// out [end - first, d_k]: e^(b_i - ref), or e^b_i where ref is null.
    void since(const double* ref, int64_t first, int64_t end, T* out) const {
        write(ref, first, end, 1, out);
    }
    /// out [end - first, d_k]: e^(ref - b_i).
    void until(const double* ref, int64_t first, int64_t end, T* out) const {
        write(ref, first, end, -1, out);
    }

  private:
    void write(const double* ref, int64_t first, int64_t end, double sign, T* out) const {
        constexpr int64_t kBlock = 256;
        double exponents[kBlock];
        for (int64_t i = first; i < end; ++i)
            for (int64_t begin = 0; begin < size_; begin += kBlock) {
                const int64_t count = std::min(kBlock, size_ - begin);
                const double* const b = row(i) + begin;
                for (int64_t d = 0; d < count; ++d) exponents[d] = sign * (b[d] - (ref ? ref[begin + d] : 0));
                exp_of_double(exponents, count, out + (i - first) * size_ + begin);
            }
    }

    int64_t length_, size_;
    double* sums_;
};

/// A part of the lower triangle of a chunk whose decays are products: e^(b_i - b_j) = e^(b_i - ref) e^(ref -
/// b_j) for rows i and columns j <= i, both factors finite.
struct TriangleBlock {
    int64_t first_row, end_row, first_column, end_column;
    const double* ref; // [d_k]
    bool is_diagonal() const { return first_row == first_column; }
};

/// body(TriangleBlock) for blocks that cover the triangle of rows and columns [first, end). Where decays are
/// mild it is one, with its middle as reference; else the square below the diagonal, with the row above it as
/// reference, so that both factors are at most one however strong decays are, and the two triangles that are
/// left. `middle`: [d_k] numbers to work in.
template <typename T, typename Body>
void for_each_block(const ChannelSums<T>& b, int64_t first, int64_t end, double* middle, const Body& body) {
    constexpr double kMild = 60; // e^(kMild / 2) times any number of use is finite in f32
    const double *top = b.row(first), *bottom = b.row(end - 1);
    double range = 0;
    for (int64_t d = 0; d < b.size(); ++d) range = std::max(range, top[d] - bottom[d]);
    if (end - first == 1 || range <= kMild) {
        for (int64_t d = 0; d < b.size(); ++d) middle[d] = (top[d] + bottom[d]) / 2;
        return body(TriangleBlock{first, end, first, end, middle});
    }
    const int64_t half = first + (end - first) / 2;
    for_each_block(b, first, half, middle, body);
    for_each_block(b, half, end, middle, body);
    body(TriangleBlock{half, end, first, half, b.row(half - 1)});
}

/// x_i *= factor_i.
template <typename T>
void multiply_elements(int64_t n, const T* __restrict factor, T* __restrict x) {
    for (int64_t i = 0; i < n; ++i) x[i] *= factor[i];
}

} // namespace braid::ops::cpu
