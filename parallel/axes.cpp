#include "parallel/axes.h"

namespace braid {

static_assert([] {
    for (size_t i = 0; i < kAxes.size(); ++i)
        if (kAxes[i].axis != static_cast<Axis>(i)) return false;
    return true;
}());

MeshSizes mesh_sizes(const ParallelConfig& parallel) {
    MeshSizes sizes{.sequence = parallel.sequence};
    for (const AxisRow& row : kAxes)
        if (row.size) sizes.*row.size = static_cast<int>(parallel.*row.key);
    return sizes;
}

int64_t asked_ranks(const MeshSizes& sizes, bool of_experts) {
    int64_t ranks = 1;
    for (const AxisRow& row : kAxes)
        if (row.size && row.of_experts == of_experts) ranks *= sizes.*row.size;
    return ranks;
}

} // namespace braid
