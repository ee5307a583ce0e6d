#include "ablation/report/thin_curve.h"

#include <cmath>

namespace braid::report {

void CurveBucket::add(const CurveBucket& later) {
    step = later.step;
    sum += later.sum;
    if (later.low.value < low.value) low = later.low;
    if (later.high.value > high.value) high = later.high;
    count += later.count;
    missing += later.missing;
}

void ThinCurve::add(int64_t step, double value, double tokens) {
    CurveBucket one{.step = step};
    if (std::isfinite(value)) {
        one.sum = value;
        one.low = one.high = {value, step, tokens};
        one.count = 1;
        last_ = value;
    } else {
        one.missing = 1;
        if (!first_missing_) first_missing_ = step;
    }
    if (!buckets_.empty() && buckets_.back().count + buckets_.back().missing < width_) {
        buckets_.back().add(one);
        return;
    }
    if (buckets_.size() == max_buckets_) {
        // Pairs of full buckets become one; an odd one at the end is half full and goes on to be filled.
        size_t kept = 0;
        for (size_t i = 0; i < buckets_.size(); i += 2, ++kept) {
            buckets_[kept] = buckets_[i];
            if (i + 1 < buckets_.size()) buckets_[kept].add(buckets_[i + 1]);
        }
        buckets_.resize(kept);
        width_ *= 2;
        add(step, value, tokens);
        return;
    }
    buckets_.push_back(one);
}

} // namespace braid::report
