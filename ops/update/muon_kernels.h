#pragma once

#include "ops/on_device.h"
#include "ops/update/muon.h"

namespace braid::ops {

/// p = keep p - step o.
template <typename T>
struct MuonCoefficients {
    T keep, step;
    MuonCoefficients(const MuonFactors& factors, double lr) {
        const double fragment_lr = lr * factors.lr_scale;
        keep = static_cast<T>(1 - fragment_lr * factors.weight_decay);
        step = static_cast<T>(fragment_lr * factors.scale);
    }
};

} // namespace braid::ops

namespace braid::ops::cpu {

/// As in ops/update/muon.h.
void muon_momentum(const Tensor& momentum, const Tensor& gradients, const Tensor& ahead, double beta,
                   double gradient_scale);
void muon_apply(const Tensor& values, const Tensor& updates, const MuonFragments& fragments, double lr);

} // namespace braid::ops::cpu

namespace braid::ops {

BRAID_KERNEL(muon_momentum)
BRAID_KERNEL(muon_apply)

} // namespace braid::ops
