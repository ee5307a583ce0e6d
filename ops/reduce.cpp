#include "ops/reduce.h"

#include "ops/kernels/reduce.h"

namespace braid::ops {

double sum_of_squares(const Tensor& x) {
    return device::sum_of_squares(x);
}
double max_abs(const Tensor& x) {
    return device::max_abs(x);
}

} // namespace braid::ops
