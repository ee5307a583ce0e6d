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

template <typename T, typename Wide = Accumulation<T>>
void rotate_head(const T* x, const Wide* cosine, const Wide* sine, Wide sign, int64_t half, int64_t size,
                 T* y) {
    for (int64_t i = 0; i < half; ++i) {
        const Wide first = static_cast<Wide>(x[i]), second = static_cast<Wide>(x[half + i]),
                   s = sign * sine[i];
        y[i] = static_cast<T>(first * cosine[i] - second * s);
        y[half + i] = static_cast<T>(second * cosine[i] + first * s);
    }
    std::copy(x + 2 * half, x + size, y + 2 * half);
}

} // namespace

void rope_table(double theta, int64_t first_position, const Tensor& table) {
    const int64_t count = table.dim(0), half = table.dim(2);
    std::vector<double> frequencies(static_cast<size_t>(half));
    for (int64_t i = 0; i < half; ++i)
        frequencies[static_cast<size_t>(i)] =
            std::pow(theta, -static_cast<double>(i) / static_cast<double>(half));
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
                    row[i] = static_cast<T>(coarse.cosine * step.cosine - coarse.sine * step.sine);
                    row[half + i] = static_cast<T>(coarse.sine * step.cosine + coarse.cosine * step.sine);
                }
            }
    });
}

void rope(const Tensor& x, std::span<const int32_t> offsets, const Tensor& table, bool inverse,
          const Tensor& y) {
    const int64_t heads = x.dim(1), size = x.dim(2), half = table.dim(2), tokens = x.dim(0);
    dispatch_storage(x.dtype(), [&]<typename T>() {
        using Wide = Accumulation<T>;
        const Wide sign = inverse ? Wide(-1) : Wide(1);
#pragma omp parallel for schedule(static) if (x.numel() > 1 << 14)
        for (int64_t t = 0; t < tokens; ++t) {
            const int64_t document_begin = *(std::upper_bound(offsets.begin(), offsets.end(), t) - 1);
            const Wide* cosine = table.data<Wide>() + (t - document_begin) * 2 * half;
            for (int64_t h = 0; h < heads; ++h)
                rotate_head(x.data<T>() + t * x.row_stride() + h * size, cosine, cosine + half, sign, half,
                            size, y.data<T>() + (t * heads + h) * size);
        }
    });
}

} // namespace braid::ops::cpu
