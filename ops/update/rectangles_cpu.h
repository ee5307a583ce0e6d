#pragma once

#include "ops/update/rectangles.h"

namespace braid::ops::cpu {

/// Calls body(number of the rectangle, first element in x, first in y, columns) for every row.
template <typename Body>
void for_each_row(const Rectangles& rectangles, const Body& body) {
    const auto all = rectangles.all();
#pragma omp parallel for schedule(dynamic, 16) if (rectangles.num_elements() > 1 << 15)
    for (size_t r = 0; r < all.size(); ++r)
        for (int64_t i = 0; i < all[r].rows; ++i)
            body(r, all[r].from + i * all[r].from_stride, all[r].to + i * all[r].to_stride, all[r].columns);
}

} // namespace braid::ops::cpu
