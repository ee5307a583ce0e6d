#include "ops/basic/elementwise_kernels.h"

namespace braid::ops::cpu {
namespace {

int64_t row_count(const Tensor& x) {
    return x.rank() ? x.dim(0) : 1;
}

} // namespace

void add(const Tensor& a, const Tensor& b, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() {
        using Wide = Accumulation<T>;
        const int64_t rows = row_count(y), columns = rows ? y.numel() / rows : 0;
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t i = 0; i < rows; ++i) {
            const T* pa = a.data<T>() + i * a.row_stride();
            const T* pb = b.data<T>() + i * b.row_stride();
            T* py = y.data<T>() + i * columns;
            for (int64_t j = 0; j < columns; ++j)
                py[j] = static_cast<T>(static_cast<Wide>(pa[j]) + static_cast<Wide>(pb[j]));
        }
    });
}

void scale(const Tensor& x, double factor, const Tensor& y) {
    dispatch_storage(y.dtype(), [&]<typename T>() {
        using Wide = Accumulation<T>;
        const int64_t rows = row_count(y), columns = rows ? y.numel() / rows : 0;
        const auto f = static_cast<Wide>(factor);
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
        for (int64_t i = 0; i < rows; ++i) {
            const T* px = x.data<T>() + i * x.row_stride();
            T* py = y.data<T>() + i * columns;
            for (int64_t j = 0; j < columns; ++j) py[j] = static_cast<T>(f * static_cast<Wide>(px[j]));
        }
    });
}

void cast(const Tensor& x, const Tensor& y) {
    dispatch_storage(x.dtype(), [&]<typename From>() {
        dispatch_storage(y.dtype(), [&]<typename To>() {
            const int64_t rows = row_count(y), columns = rows ? y.numel() / rows : 0;
#pragma omp parallel for schedule(static) if (y.numel() > 1 << 14)
            for (int64_t i = 0; i < rows; ++i) {
                const From* px = x.data<From>() + i * x.row_stride();
                To* py = y.data<To>() + i * columns;
                for (int64_t j = 0; j < columns; ++j)
                    py[j] = static_cast<To>(static_cast<Accumulation<From>>(px[j]));
            }
        });
    });
}

} // namespace braid::ops::cpu
