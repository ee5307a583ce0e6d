#pragma once

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "base/enum_names.h"
#include "ops/documents.h"
#include "tensor/tape.h"

namespace braid::ops {

/// Which elements of a head turn together: i and i + r/2, or 2i and 2i + 1.
enum class RopePairing { half, interleaved };
constexpr auto enum_names(RopePairing) {
    return std::array<std::string_view, 2>{"half", "interleaved"};
}

enum class RopeScalingType { none, linear, yarn, llama3 };
constexpr auto enum_names(RopeScalingType) {
    return std::array<std::string_view, 4>{"none", "linear", "yarn", "llama3"};
}

/// How frequencies are changed for texts longer than `original_length`.
struct RopeScaling {
    RopeScalingType type = RopeScalingType::none;
    double factor = 1;
    int64_t original_length = 0; // tokens, before the scaling
    // yarn: what turns more than beta_fast times within original_length keeps its frequency, what turns fewer
    // than beta_slow times is divided by the factor; between them a ramp, of whole indices if it is rounded.
    double beta_fast = 32, beta_slow = 1;
    bool round_ramp = true;
    std::optional<double> attention_factor; // yarn: of sines and cosines; none: 0.1 ln(factor) + 1
    // llama3: the same with the turns high_freq_factor and low_freq_factor, and a ramp in turns.
    double low_freq_factor = 1, high_freq_factor = 4;
    bool operator==(const RopeScaling&) const = default;
};

struct RopeOptions {
    double theta = 10000; // base of the wavelengths
    double fraction = 1;  // the part of each head that turns; fraction * d is an even integer
    int64_t offset = 0;   // the first element of it
    RopePairing pairing = RopePairing::half;
    RopeScaling scaling = {};
};

/// Rotary position embedding (Su et al., 2021, arXiv:2104.09864) of x [T, H, d], pairing element i with
/// i + r/2 in r = fraction * d elements of each head. At position p of its document
///     y_i       = x_i cos(p w_i) - x_{i+r/2} sin(p w_i)
///     y_{i+r/2} = x_{i+r/2} cos(p w_i) + x_i sin(p w_i),    w_i = theta^(-2i/r), i < r/2,
/// or the same of the elements 2i and 2i + 1. The other elements pass. Angles are exact to f64 whatever the
/// type of x; sines and cosines are f32 for x in bf16.
Tensor rope(Context& ctx, const Tensor& x, const DocumentsPtr& documents, const RopeOptions& options);

/// w_i of r elements, scaled: linear position interpolation (Chen et al., arXiv:2306.15595) divides all of
/// them by the factor, YaRN (Peng et al., arXiv:2309.00071, equations 17 to 23) and Llama 3
/// (arXiv:2407.21783) the slow ones.
std::vector<double> rope_frequencies(double theta, int64_t rotary, const RopeScaling& scaling);
/// What sines and cosines are multiplied with.
double rope_amplitude(const RopeScaling& scaling);

} // namespace braid::ops
