#include "trainer/checkpoint/checkpoint_box.h"

#include <algorithm>

#include "base/error.h"

namespace braid {

namespace {

// The index in packed `box` of the element at `position` of the whole tensor.
int64_t index_in(const Box& box, const std::vector<int64_t>& position) {
    int64_t index = 0;
    for (size_t d = 0; d < position.size(); ++d)
        index = index * box.extent[d] + (position[d] - box.offset[d]);
    return index;
}

// Moves `position` to the next one of `box` in dimensions [0, num_dims), the last of them fastest. False
// after the last position.
bool advance(std::vector<int64_t>& position, const Box& box, size_t num_dims) {
    for (size_t d = num_dims; d-- > 0;) {
        if (++position[d] < box.offset[d] + box.extent[d]) return true;
        position[d] = box.offset[d];
    }
    return false;
}

// A box counted `sign` times.
struct SignedBox {
    const Box* box;
    int64_t sign;
};

// Whether in dimensions from `dim` on the boxes add up to `wanted` on every element of the shape.
bool add_up_to(std::span<const SignedBox> boxes, const Shape& shape, size_t dim, int64_t wanted) {
    if (dim == static_cast<size_t>(shape.rank())) {
        int64_t sum = 0;
        for (const SignedBox& counted : boxes) sum += counted.sign;
        return sum == wanted;
    }
    const int64_t size = shape.dims()[dim];
    const auto is_whole = [&](const SignedBox& counted) { return counted.box->extent[dim] == size; };
    if (std::all_of(boxes.begin(), boxes.end(), is_whole)) return add_up_to(boxes, shape, dim + 1, wanted);
    // Along `dim` the sum only changes where boxes begin and end: by `wanted` at index 0, by nothing after
    // it.
    std::vector<std::pair<int64_t, SignedBox>> edges;
    edges.reserve(2 * boxes.size());
    for (const SignedBox& counted : boxes) {
        const int64_t first = counted.box->offset[dim], last = first + counted.box->extent[dim];
        edges.push_back({first, counted});
        if (last < size) edges.push_back({last, {counted.box, -counted.sign}});
    }
    std::sort(edges.begin(), edges.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    if (wanted != 0 && (edges.empty() || edges.front().first > 0)) return false;
    std::vector<SignedBox> here;
    for (size_t begin = 0, end; begin < edges.size(); begin = end) {
        here.clear();
        for (end = begin; end < edges.size() && edges[end].first == edges[begin].first; ++end)
            here.push_back(edges[end].second);
        if (!add_up_to(here, shape, dim + 1, edges[begin].first == 0 ? wanted : 0)) return false;
    }
    return true;
}

} // namespace

Box whole_box(const Shape& shape) {
    const auto dims = shape.dims();
    return {std::vector<int64_t>(dims.size(), 0), {dims.begin(), dims.end()}};
}

bool lies_within(const Box& box, const Shape& shape) {
    const size_t rank = static_cast<size_t>(shape.rank());
    if (box.offset.size() != rank || box.extent.size() != rank) return false;
    for (size_t d = 0; d < rank; ++d) {
        const int64_t size = shape.dims()[d], offset = box.offset[d], extent = box.extent[d];
        if (offset < 0 || extent < 1 || offset > size || extent > size - offset) return false;
    }
    return true;
}

bool cover_once(std::span<const Box* const> boxes, const Shape& shape) {
    std::vector<SignedBox> once;
    once.reserve(boxes.size());
    for (const Box* box : boxes) once.push_back({box, 1});
    return add_up_to(once, shape, 0, 1);
}

std::optional<Box> intersection(const Box& a, const Box& b) {
    check(a.offset.size() == b.offset.size(), "boxes of {} and of {} dimensions", a.offset.size(),
          b.offset.size());
    Box common;
    for (size_t d = 0; d < a.offset.size(); ++d) {
        const int64_t first = std::max(a.offset[d], b.offset[d]);
        const int64_t last = std::min(a.offset[d] + a.extent[d], b.offset[d] + b.extent[d]);
        if (first >= last) return std::nullopt;
        common.offset.push_back(first);
        common.extent.push_back(last - first);
    }
    return common;
}

void for_each_run(const Box& part, const Box& a, const Box& b,
                  const std::function<void(int64_t, int64_t, int64_t)>& visit) {
    // A run spans the innermost dimensions that the part fills in both boxes, and its share of the next one.
    size_t outer = part.extent.size();
    int64_t run = 1;
    while (outer > 0) {
        const size_t d = --outer;
        run *= part.extent[d];
        if (part.extent[d] != a.extent[d] || part.extent[d] != b.extent[d]) break;
    }
    std::vector<int64_t> position = part.offset;
    do {
        visit(index_in(a, position), index_in(b, position), run);
    } while (advance(position, part, outer));
}

std::vector<Box> split_into_boxes(const Shape& shape, int64_t max_elements) {
    check(max_elements >= 1, "boxes of at most {} elements", max_elements);
    const Box whole = whole_box(shape);
    // Dimensions after `cut` stay whole, those before it are taken one index at a time.
    size_t cut = whole.extent.size();
    int64_t inner = 1;
    while (cut > 0 && whole.extent[cut - 1] <= max_elements / inner) inner *= whole.extent[--cut];
    if (cut == 0) return {whole};
    --cut;
    const int64_t step = std::max<int64_t>(max_elements / inner, 1);
    std::vector<Box> boxes;
    std::vector<int64_t> position(whole.extent.size(), 0);
    do {
        for (position[cut] = 0; position[cut] < whole.extent[cut]; position[cut] += step) {
            Box box{position, whole.extent};
            std::fill(box.extent.begin(), box.extent.begin() + static_cast<int64_t>(cut), 1);
            box.extent[cut] = std::min(step, whole.extent[cut] - position[cut]);
            boxes.push_back(std::move(box));
        }
        position[cut] = 0;
    } while (advance(position, whole, cut));
    return boxes;
}

} // namespace braid
