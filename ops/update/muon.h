#pragma once

#include <vector>

#include "ops/update/rectangles.h"

namespace braid::ops {

// The elementwise parts of Muon (optim/muon.h), in f32 or f64.

/// m = b m + (1 - b) g for g = gradient_scale times `gradients`, and, where `ahead` is defined, ahead = b m +
/// (1 - b) g of the new m. All flat and of one length.
void muon_momentum(const Tensor& momentum, const Tensor& gradients, const Tensor& ahead, double beta,
                   double gradient_scale);

/// What the update of a matrix is multiplied by beside the learning rate.
struct MuonFactors {
    double lr_scale, weight_decay, scale;
};

/// Rectangles of updates that go to parameters, with the factors of each: made once.
class MuonFragments {
  public:
    MuonFragments() = default;
    /// As many factors as rectangles.
    MuonFragments(Allocator& allocator, std::vector<Rectangle> rectangles, std::vector<MuonFactors> factors);

    const Rectangles& rectangles() const { return rectangles_; }
    const std::vector<MuonFactors>& factors() const { return factors_; }
    /// On the allocator's device, f64 [rectangles, 3]: lr_scale, weight_decay, scale. Undefined on the CPU.
    const Tensor& factor_values() const { return factor_values_; }

  private:
    Rectangles rectangles_;
    std::vector<MuonFactors> factors_;
    Tensor factor_values_;
};

/// p = (1 - lr weight_decay) p - lr scale o with lr times the rectangle's lr_scale, for the elements o of
/// `updates` and p of `values` that the fragments pair; both flat and of one dtype.
void muon_apply(const Tensor& values, const Tensor& updates, const MuonFragments& fragments, double lr);

} // namespace braid::ops
