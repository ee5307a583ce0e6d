#include "ops/update/muon.h"

#include <utility>

#include "ops/update/muon_kernels.h"
#include "tensor/host_values.h"

namespace braid::ops {

MuonFragments::MuonFragments(Allocator& allocator, std::vector<Rectangle> rectangles,
                             std::vector<MuonFactors> factors)
    : rectangles_(allocator, std::move(rectangles)), factors_(std::move(factors)) {
    check(factors_.size() == rectangles_.all().size(), "{} factors for {} rectangles", factors_.size(),
          rectangles_.all().size());
    if (allocator.device().kind == DeviceKind::cpu) return;
    std::vector<double> values;
    for (const MuonFactors& f : factors_) values.insert(values.end(), {f.lr_scale, f.weight_decay, f.scale});
    factor_values_ = tensor_of(allocator, values);
}

void muon_momentum(const Tensor& momentum, const Tensor& gradients, const Tensor& ahead, double beta,
                   double gradient_scale) {
    expect_shape(gradients, momentum.shape(), "muon_momentum, gradients");
    if (ahead.defined()) expect_shape(ahead, momentum.shape(), "muon_momentum, ahead");
    device::muon_momentum(momentum, gradients, ahead, beta, gradient_scale);
}

void muon_apply(const Tensor& values, const Tensor& updates, const MuonFragments& fragments, double lr) {
    expect_dtype(updates, values.dtype(), "muon_apply, updates");
    device::muon_apply(values, updates, fragments, lr);
}

} // namespace braid::ops
