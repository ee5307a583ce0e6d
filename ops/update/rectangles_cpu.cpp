#include "ops/update/rectangles_kernels.h"

#include <algorithm>

#include "ops/update/rectangles_cpu.h"

namespace braid::ops::cpu {

void copy_rectangles(const Tensor& x, const Tensor& y, const Rectangles& rectangles) {
    dispatch_float(x.dtype(), [&]<typename T>() {
        const T* from = x.data<T>();
        T* to = y.data<T>();
        for_each_row(rectangles, [=](size_t, int64_t source, int64_t target, int64_t columns) {
            std::copy_n(from + source, columns, to + target);
        });
    });
}

} // namespace braid::ops::cpu
