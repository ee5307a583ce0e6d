#include "ops/update/rectangles.h"

#include <utility>

#include "ops/update/rectangles_kernels.h"
#include "tensor/host_values.h"

namespace braid::ops {

Rectangles::Rectangles(Allocator& allocator, std::vector<Rectangle> rectangles)
    : rectangles_(std::move(rectangles)) {
    std::vector<int64_t> counts = {0}, places;
    for (const Rectangle& r : rectangles_) {
        num_elements_ += r.numel();
        counts.push_back(num_elements_);
        places.insert(places.end(), {r.from, r.from_stride, r.to, r.to_stride, r.columns});
    }
    if (allocator.device().kind == DeviceKind::cpu) return;
    counts_ = tensor_of(allocator, counts);
    places_ = tensor_of(allocator, places);
}

void copy_rectangles(const Tensor& x, const Tensor& y, const Rectangles& rectangles) {
    check(x.rank() == 1 && y.rank() == 1 && x.dtype() == y.dtype(), "copy_rectangles: {} {} to {} {}",
          name_of(x.dtype()), to_string(x.shape()), name_of(y.dtype()), to_string(y.shape()));
    device::copy_rectangles(x, y, rectangles);
}

} // namespace braid::ops
