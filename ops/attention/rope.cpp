#include "ops/attention/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ops/attention/rope_kernels.h"

namespace braid::ops {
namespace {

/// Elements of a head that turn.
int64_t rotary_size(int64_t head_size, double fraction) {
    const double size = fraction * static_cast<double>(head_size);
    const int64_t rounded = std::llround(size);
    check(std::abs(size - static_cast<double>(rounded)) < 1e-6 && rounded >= 0 && rounded <= head_size &&
              rounded % 2 == 0,
          "rope: fraction {} of a head of {} is not an even number of elements", fraction, head_size);
    return rounded;
}

/// The positions of all tokens: that of token t is first + t - offsets[d], where offsets[d] is the last at or
/// before t; all of them are in [first, first + count).
struct Positions {
    int64_t first = 0, count = 0;
    std::vector<int32_t> offsets;

    explicit Positions(const Documents& documents) : offsets(documents.offsets) {
        // A table from 0 on would grow with what has been generated.
        if (documents.num_documents() == 1) first = documents.first_position;
        offsets[0] = static_cast<int32_t>(first - documents.first_position);
        for (size_t i = 1; i < offsets.size(); ++i)
            count = std::max<int64_t>(count, offsets[i] - offsets[i - 1]);
    }
};

/// Which of r/2 frequencies turns so often within a length, as a number between them.
double index_of_turns(double turns, double theta, int64_t rotary, double length) {
    return static_cast<double>(rotary) * std::log(length / (turns * 2 * std::numbers::pi)) /
           (2 * std::log(theta));
}

/// How much of each frequency stays as it is, in [0, 1].
double kept_by_yarn(int64_t i, double theta, int64_t rotary, const RopeScaling& scaling) {
    const auto length = static_cast<double>(scaling.original_length);
    double low = index_of_turns(scaling.beta_fast, theta, rotary, length),
           high = index_of_turns(scaling.beta_slow, theta, rotary, length);
    if (scaling.round_ramp) {
        low = std::floor(low);
        high = std::ceil(high);
    }
    low = std::max(low, 0.0);
    high = std::min(high, static_cast<double>(rotary - 1));
    if (low == high) high += 0.001; // a step
    return 1 - std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
}

double kept_by_llama3(double frequency, const RopeScaling& scaling) {
    const double turns = static_cast<double>(scaling.original_length) * frequency / (2 * std::numbers::pi);
    return std::clamp(
        (turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor), 0.0, 1.0);
}

Tensor rotate(Allocator& allocator, const Tensor& x, const Documents& documents, int64_t rotary,
              const RopeOptions& options, bool inverse) {
    Tensor y = Tensor::empty(allocator, x.shape(), x.dtype());
    const Positions positions(documents);
    const Tensor table =
        Tensor::empty(allocator, {positions.count, 2, rotary / 2}, accumulation_dtype(x.dtype()));
    device::rope_table(rope_frequencies(options.theta, rotary, options.scaling),
                       rope_amplitude(options.scaling), positions.first, table);
    device::rope(x, positions.offsets, table,
                 {options.offset, options.pairing == RopePairing::interleaved, inverse}, y);
    return y;
}

} // namespace

std::vector<double> rope_frequencies(double theta, int64_t rotary, const RopeScaling& scaling) {
    std::vector<double> frequencies;
    for (int64_t i = 0; i < rotary / 2; ++i) {
        const double frequency = std::pow(theta, -static_cast<double>(i) / (static_cast<double>(rotary) / 2));
        double kept = 1;
        if (scaling.type == RopeScalingType::linear) kept = 0;
        if (scaling.type == RopeScalingType::yarn) kept = kept_by_yarn(i, theta, rotary, scaling);
        if (scaling.type == RopeScalingType::llama3) kept = kept_by_llama3(frequency, scaling);
        frequencies.push_back(kept == 1 ? frequency
                                        : kept * frequency + (1 - kept) * frequency / scaling.factor);
    }
    return frequencies;
}

double rope_amplitude(const RopeScaling& scaling) {
    if (scaling.type != RopeScalingType::yarn) return 1;
    return scaling.attention_factor.value_or(scaling.factor > 1 ? 0.1 * std::log(scaling.factor) + 1 : 1);
}

Tensor rope(Context& ctx, const Tensor& x, const DocumentsPtr& documents, const RopeOptions& options) {
    check(x.rank() == 3, "rope: expected [T, H, d], found {}", to_string(x.shape()));
    check(x.dim(0) == documents->num_tokens(), "rope: {} tokens, but documents of {}", x.dim(0),
          documents->num_tokens());
    const int64_t rotary = rotary_size(x.dim(2), options.fraction);
    check(options.offset >= 0 && options.offset + rotary <= x.dim(2),
          "rope: {} elements from {} on of a head of {}", rotary, options.offset, x.dim(2));
    if (rotary == 0) return x;
    ProfileScope scope(ctx.profiler, "rope");
    Tensor y = rotate(*ctx.allocator, x, *documents, rotary, options, false);
    if (ctx.tape)
        ctx.tape->record(
            {"rope", {y.ref()}, {}, [x = x.ref(), documents, rotary, options](const Backward& run) {
                 run.add(x, rotate(*run.ctx.allocator, run.dy[0], *documents, rotary, options, true));
             }});
    return y;
}

} // namespace braid::ops
