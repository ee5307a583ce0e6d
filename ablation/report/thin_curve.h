#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <vector>

namespace braid::report {

/// A value of a curve where it lies: the first of its part that is so small, or so great.
struct CurvePoint {
    double value = 0;
    int64_t step = 0;
    double tokens = -1; // -1: not known
};

/// A part of a curve: all values of the steps up to `step` that the part before does not hold.
struct CurveBucket {
    int64_t step = 0;
    double sum = 0;
    CurvePoint low{.value = std::numeric_limits<double>::infinity()};
    CurvePoint high{.value = -std::numeric_limits<double>::infinity()};
    int64_t count = 0;   // finite values
    int64_t missing = 0; // values that were not finite

    double mean() const { return sum / static_cast<double>(count); }
    void add(const CurveBucket& later);
};

/// A curve of any length in at most `max_buckets` parts of equally many values, each with mean and extremes,
/// so that no spike is lost, nor where it was. It is thinned while it grows: memory does not depend on the
/// length.
class ThinCurve {
  public:
    explicit ThinCurve(size_t max_buckets = 200) : max_buckets_(max_buckets) {}

    /// Steps ascend. A value that is not finite counts as missing. `tokens` are those trained on by then.
    void add(int64_t step, double value, double tokens = -1);
    const std::vector<CurveBucket>& buckets() const { return buckets_; }
    /// The last finite value.
    std::optional<double> last() const { return last_; }
    /// The first step with a value that was not finite.
    std::optional<int64_t> first_missing() const { return first_missing_; }

  private:
    size_t max_buckets_;
    int64_t width_ = 1; // values to a bucket
    std::vector<CurveBucket> buckets_;
    std::optional<double> last_;
    std::optional<int64_t> first_missing_;
};

} // namespace braid::report
