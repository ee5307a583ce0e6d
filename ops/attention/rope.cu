#include "ops/attention/rope_kernels.h"

#include "ops/cuda/row_math.h"

namespace braid::ops::cuda {
namespace {

template <typename T>
void make_table(const Tensor& frequencies, double amplitude, int64_t first_position, const Tensor& table) {
    const int64_t half = table.dim(2);
    const double* frequency = frequencies.data<double>();
    T* out = table.data<T>();
    for_each(table, table.dim(0) * half, [=] __device__(int64_t i) {
        const int64_t n = i / half, k = i % half;
        const double angle = static_cast<double>(first_position + n) * frequency[k];
        out[n * 2 * half + k] = static_cast<T>(amplitude * std::cos(angle));
        out[(n * 2 + 1) * half + k] = static_cast<T>(amplitude * std::sin(angle));
    });
}

template <typename S, typename T = Accumulation<S>>
void rotate(const Tensor& x, const Tensor& offsets, const Tensor& table, const RopeTurn& turn,
            const Tensor& y) {
    const int64_t heads = x.dim(1), size = x.dim(2), half = table.dim(2), stride = x.row_stride();
    const int64_t num_offsets = offsets.numel();
    const S* in = x.data<S>();
    S* out = y.data<S>();
    const T* turns = table.data<T>();
    const int32_t* starts = offsets.data<int32_t>();
    const T sign = turn.inverse ? T(-1) : T(1);
    const int64_t offset = turn.offset, step = turn.interleaved ? 2 : 1, apart = turn.interleaved ? 1 : half;
    for_each_row(y, x.dim(0) * heads, [=] __device__(int64_t row, int lane) {
        const int64_t t = row / heads;
        int64_t document = 0, end = num_offsets; // the last offset at or before t
        while (end - document > 1) {
            const int64_t middle = (document + end) / 2;
            (starts[middle] <= t ? document : end) = middle;
        }
        const T* cosine = turns + (t - starts[document]) * 2 * half;
        const S* from = in + t * stride + row % heads * size;
        S* to = out + row * size;
        for (int64_t j = lane; j < size; j += kWarp) {
            const int64_t place = j - offset;
            if (place < 0 || place >= 2 * half) {
                to[j] = from[j];
                continue;
            }
            const int64_t k = step == 2 ? place / 2 : place % half, at = offset + k * step;
            const T first = load(from[at]), second = load(from[at + apart]), c = cosine[k],
                    s = sign * cosine[half + k];
            to[j] = static_cast<S>(j == at ? first * c - second * s : second * c + first * s);
        }
    });
}

} // namespace

void rope_table(std::span<const double> frequencies, double amplitude, int64_t first_position,
                const Tensor& table) {
    const Tensor placed = upload(table.allocator(), frequencies);
    dispatch_float(table.dtype(),
                   [&]<typename T>() { make_table<T>(placed, amplitude, first_position, table); });
}

void rope(const Tensor& x, std::span<const int32_t> offsets, const Tensor& table, const RopeTurn& turn,
          const Tensor& y) {
    const Tensor starts = upload(y.allocator(), offsets);
    dispatch_storage(x.dtype(), [&]<typename S>() { rotate<S>(x, starts, table, turn, y); });
}

} // namespace braid::ops::cuda
