#pragma once

#include "ops/update/rectangles.h"
#include "tensor/cuda/for_each.h"

namespace braid::ops::cuda {

/// Rectangles for kernels, which go through the elements of all of them as one list.
struct RectanglesView {
    const int64_t *counts, *places;
    int64_t num_rectangles;

    explicit RectanglesView(const Rectangles& rectangles)
        : counts(rectangles.counts().data<int64_t>()),
          places(rectangles.places().data<int64_t>()),
          num_rectangles(static_cast<int64_t>(rectangles.all().size())) {}

    struct Place {
        int64_t rectangle, from, to;
    };
    /// Where an element of the list lies.
    __device__ __forceinline__ Place operator[](int64_t index) const {
        int64_t r = 0, end = num_rectangles; // the last one that begins at or before index
        while (end - r > 1) {
            const int64_t middle = (r + end) / 2;
            (counts[middle] <= index ? r : end) = middle;
        }
        const int64_t* place = places + 5 * r;
        const int64_t row = (index - counts[r]) / place[4], column = (index - counts[r]) % place[4];
        return {r, place[0] + row * place[1] + column, place[2] + row * place[3] + column};
    }
};

} // namespace braid::ops::cuda
