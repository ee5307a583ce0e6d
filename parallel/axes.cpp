#include "parallel/axes.h"

namespace braid {

static_assert([] {
    for (size_t i = 0; i < kAxes.size(); ++i)
        if (kAxes[i].axis != static_cast<Axis>(i)) return false;
    return true;
}());

int64_t asked_ranks(const ParallelConfig& asked, bool of_experts) {
    int64_t ranks = 1;
    for (const AxisRow& row : kAxes)
        if (!row.is_rest && row.of_experts == of_experts) ranks *= asked.*row.key;
    return ranks;
}

} // namespace braid
