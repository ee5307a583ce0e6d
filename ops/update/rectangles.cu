#include "ops/update/rectangles_cuda.h"

#include "ops/update/rectangles_kernels.h"

namespace braid::ops::cuda {
namespace {

template <typename T>
void copy_all(const Tensor& x, const Tensor& y, const Rectangles& rectangles) {
    const T* from = x.data<T>();
    T* to = y.data<T>();
    const RectanglesView view(rectangles);
    braid::cuda::for_each(y, rectangles.num_elements(), [=] __device__(int64_t index) {
        const RectanglesView::Place place = view[index];
        to[place.to] = from[place.from];
    });
}

} // namespace

void copy_rectangles(const Tensor& x, const Tensor& y, const Rectangles& rectangles) {
    dispatch_float(x.dtype(), [&]<typename T>() { copy_all<T>(x, y, rectangles); });
}

} // namespace braid::ops::cuda
