#include "tensor/memory/stream_marks.h"

#include <cmath>

#include "base/error.h"

namespace braid {

int64_t StreamMarks::mark() {
    try {
        marks_.emplace_back().record_timed(stream_);
    } catch (const Error&) {
        // The device has failed, which whoever uses it next says; scopes end in destructors.
    }
    return static_cast<int64_t>(marks_.size()) - 1;
}

std::vector<int64_t> StreamMarks::take_ns() {
    stream_.synchronize();
    std::vector<int64_t> at;
    double seconds = 0;
    // From one mark to the next, as the driver tells differences in single precision.
    for (size_t i = 0; i < marks_.size(); ++i) {
        if (i > 0) seconds += marks_[i].seconds_since(marks_[i - 1]);
        at.push_back(std::llround(1e9 * seconds));
    }
    marks_.clear();
    return at;
}

} // namespace braid
