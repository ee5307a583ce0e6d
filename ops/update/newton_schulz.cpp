#include "ops/update/newton_schulz.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "ops/update/newton_schulz_kernels.h"

namespace braid::ops {
namespace {

// Optimal quintics for singular values from 0.001 on with the paper's cushion; the last one repeats.
constexpr std::array<NewtonSchulzStep, 8> kPolarExpress{
    {{8.28721201814563, -23.595886519098837, 17.300387312530933},
     {4.107059111542203, -2.9478499167379106, 0.5448431082926601},
     {3.9486908534822946, -2.908902115962949, 0.5518191394370137},
     {3.3184196573706015, -2.488488024314874, 0.51004894012372},
     {2.300652019954817, -1.6689039845747493, 0.4188073119525673},
     {1.891301407787398, -1.2679958271945868, 0.37680408948524835},
     {1.8750014808534479, -1.2500016453999487, 0.3750001645474248},
     {1.875, -1.25, 0.375}}};
// Rounding may push a singular value above 1: all but the last quintic are made for values this much larger.
constexpr double kSafety = 1.01;

} // namespace

std::vector<NewtonSchulzStep> quintic_steps(int count) {
    return std::vector<NewtonSchulzStep>(static_cast<size_t>(count), {3.4445, -4.7750, 2.0315});
}

std::vector<NewtonSchulzStep> polar_express_steps(int count) {
    std::vector<NewtonSchulzStep> steps;
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
        NewtonSchulzStep step = kPolarExpress[std::min(i, kPolarExpress.size() - 1)];
        if (i + 1 < kPolarExpress.size())
            step = {step.a / kSafety, step.b / std::pow(kSafety, 3), step.c / std::pow(kSafety, 5)};
        steps.push_back(step);
    }
    return steps;
}

double newton_schulz_slope(const std::vector<NewtonSchulzStep>& steps) {
    double slope = 1;
    for (const NewtonSchulzStep& step : steps) slope *= step.a;
    return slope;
}

Tensor newton_schulz(Allocator& allocator, const Tensor& x, const std::vector<NewtonSchulzStep>& steps) {
    check(x.rank() == 3 && x.is_contiguous(), "newton_schulz: expected packed matrices [n, rows, columns]");
    const Tensor norms = Tensor::empty(allocator, {x.dim(0)}, DType::f64);
    device::newton_schulz(allocator, x, steps, norms);
    return norms;
}

double newton_schulz_flops(int64_t rows, int64_t columns, int num_steps) {
    const double m = static_cast<double>(std::min(rows, columns)),
                 n = static_cast<double>(std::max(rows, columns));
    return num_steps * (4 * m * m * n + 2 * m * m * m);
}

} // namespace braid::ops
