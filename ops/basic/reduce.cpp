#include "ops/basic/reduce.h"

#include "ops/basic/reduce_kernels.h"
#include "tensor/host_values.h"

namespace braid::ops {

void sum_of_squares(const Tensor& x, const Tensor& sum) {
    device::sum_of_squares(x, sum);
}

double sum_of_squares(const Tensor& x) {
    const Tensor sum = Tensor::empty(x.allocator(), {1}, DType::f64);
    device::sum_of_squares(x, sum);
    return host_values<double>(sum)[0];
}

double max_abs(const Tensor& x) {
    const Tensor largest = Tensor::empty(x.allocator(), {1}, DType::f64);
    device::max_abs(x, largest);
    return host_values<double>(largest)[0];
}

} // namespace braid::ops
