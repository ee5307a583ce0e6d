#include "ops/attention/rope_kernels.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace braid::ops::cpu {
namespace {

// e^(i p w) is made as e^(i 64 a w) e^(i b w), p = 64 a + b, in f64: a sine and cosine cost more than all
// else here, and this needs 64 times fewer. The product errs by about 2e-16.
constexpr int64_t kFineSteps = 64;

struct Turn {
    double cosine, sine;
};

Turn turn(int64_t position, double frequency) {
    const double angle = static_cast<double>(position) * frequency;
    return {std::cos(angle), std::sin(angle)};
}

/// The pair of element i * step is `apart` further on.
template <typename T, typename Wide = Accumulation<T>>
void rotate_pairs(const T* x, const Wide* cosine, const Wide* sine, Wide sign, int64_t half, int64_t step,
                  int64_t apart, T* y) {
    for (int64_t i = 0; i < half; ++i) {
        const Wide first = static_cast<Wide>(x[i * step]), second = static_cast<Wide>(x[i * step + apart]),
                   s = sign * sine[i];
        y[i * step] = static_cast<T>(first * cosine[i] - second * s);
        y[i * step + apart] = static_cast<T>(second * cosine[i] + first * s);
    }
}

template <typename T, typename Wide = Accumulation<T>>
void rotate_head(const T* x, const Wide* cosine, int64_t half, int64_t size, const RopeTurn& turn, T* y) {
    const Wide sign = turn.inverse ? Wide(-1) : Wide(1);
    const int64_t begin = turn.offset, end = begin + 2 * half;
    if (turn.interleaved)
        rotate_pairs(x + begin, cosine, cosine + half, sign, half, 2, 1, y + begin);
    else
        rotate_pairs(x + begin, cosine, cosine + half, sign, half, 1, half, y + begin);
    std::copy(x, x + begin, y);
    std::copy(x + end, x + size, y + end);
}

} // namespace

void rope_table(std::span<const double> frequencies, double amplitude, int64_t first_position,
                const Tensor& table) {
    const int64_t count = table.dim(0), half = table.dim(2);
    std::vector<Turn> fine(static_cast<size_t>(kFineSteps * half));
    for (int64_t i = 0; i < kFineSteps * half; ++i)
        fine[static_cast<size_t>(i)] = turn(i / half, frequencies[static_cast<size_t>(i % half)]);

    const int64_t last_position = first_position + count - 1;
    dispatch_float(table.dtype(), [&]<typename T>() {
        T* out = table.data<T>();
#pragma omp parallel for schedule(static) if (count * half > 1 << 12)
        for (int64_t a = first_position / kFineSteps; a <= last_position / kFineSteps; ++a)
            for (int64_t i = 0; i < half; ++i) {
                const Turn coarse = turn(a * kFineSteps, frequencies[static_cast<size_t>(i)]);
                const int64_t first = std::max(first_position, a * kFineSteps);
                const int64_t last = std::min(last_position, a * kFineSteps + kFineSteps - 1);
                for (int64_t p = first; p <= last; ++p) {
                    const Turn& step = fine[static_cast<size_t>((p - a * kFineSteps) * half + i)];
                    T* row = out + (p - first_position) * 2 * half;
                    row[i] =
                        static_cast<T>(amplitude * (coarse.cosine * step.cosine - coarse.sine * step.sine));
                    row[half + i] =
                        static_cast<T>(amplitude * (coarse.sine * step.cosine + coarse.cosine * step.sine));
                }
            }
    });
}

void rope(const Tensor& x, std::span<const int32_t> offsets, const Tensor& table, const RopeTurn& turn,
          const Tensor& y) {
    const int64_t heads = x.dim(1), size = x.dim(2), half = table.dim(2), tokens = x.dim(0);
    dispatch_storage(x.dtype(), [&]<typename T>() {
        using Wide = Accumulation<T>;
#pragma omp parallel for schedule(static) if (x.numel() > 1 << 14)
        for (int64_t t = 0; t < tokens; ++t) {
            const int64_t document_begin = *(std::upper_bound(offsets.begin(), offsets.end(), t) - 1);
            const Wide* cosine = table.data<Wide>() + (t - document_begin) * 2 * half;
            for (int64_t h = 0; h < heads; ++h)
                rotate_head(x.data<T>() + t * x.row_stride() + h * size, cosine, half, size, turn,
                            y.data<T>() + (t * heads + h) * size);
        }
    });
}

} // namespace braid::ops::cpu
