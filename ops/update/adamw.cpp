#include "ops/update/adamw.h"

#include "ops/update/adamw_kernels.h"
#include "tensor/host_values.h"

namespace braid::ops {

AdamWSections::AdamWSections(Allocator& allocator, std::span<const AdamWSection> sections)
    : sections_(sections.begin(), sections.end()) {
    std::vector<int64_t> counts = {0}, firsts;
    std::vector<double> factors;
    for (const AdamWSection& section : sections_) {
        num_elements_ += section.last - section.first;
        counts.push_back(num_elements_);
        firsts.push_back(section.first);
        factors.insert(factors.end(), {section.lr_scale, section.weight_decay});
    }
    if (allocator.device().kind == DeviceKind::cpu) return;
    counts_ = tensor_of(allocator, counts);
    firsts_ = tensor_of(allocator, firsts);
    factors_ = tensor_of(allocator, factors);
}

void adamw(const Tensor& values, const Tensor& first_moment, const Tensor& second_moment,
           const Tensor& gradients, const AdamWSections& sections, const AdamWStep& step) {
    device::adamw(values, first_moment, second_moment, gradients, sections, step);
}

} // namespace braid::ops
