#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace braid {

/// Divides a stream of samples among sources in proportion to weights, as a pure function of the sample's
/// index. Every block of kBlock samples holds the same fixed number of each source: its weight's share,
/// rounded by largest remainder (ties to the lower source), and at least 1. Within a block the sources
/// interleave evenly: sample j of a source with q samples stands at the time (j + 1/2) / q, and samples are
/// sorted by time, ties to the lower source.
class Blend {
  public:
    static constexpr int64_t kBlock = 1 << 16;
    static constexpr size_t kMaxSources = 4096;

    struct Draw {
        int source;
        int64_t index; // how many samples of this source came before
    };

    /// Weights are positive and finite; between 1 and kMaxSources of them.
    explicit Blend(const std::vector<double>& weights);
    Draw operator()(int64_t sample) const;
    /// How many of the first `samples` samples come of each source.
    std::vector<int64_t> counts(int64_t samples) const;

  private:
    std::vector<int64_t> quota_; // samples of each source per block
    std::vector<Draw> block_;    // empty for a single source
};

} // namespace braid
