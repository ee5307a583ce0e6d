#include "ops/attention/rope.h"

#include <algorithm>
#include <cmath>

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

Tensor rotate(Allocator& allocator, const Tensor& x, const Documents& documents, int64_t rotary,
              const RopeOptions& options, bool inverse) {
    Tensor y = Tensor::empty(allocator, x.shape(), x.dtype());
    const Positions positions(documents);
    const Tensor table =
        Tensor::empty(allocator, {positions.count, 2, rotary / 2}, accumulation_dtype(x.dtype()));
    device::rope_table(options.theta, positions.first, table);
    device::rope(x, positions.offsets, table, inverse, y);
    return y;
}

} // namespace

Tensor rope(Context& ctx, const Tensor& x, const DocumentsPtr& documents, const RopeOptions& options) {
    check(x.rank() == 3, "rope: expected [T, H, d], found {}", to_string(x.shape()));
    check(x.dim(0) == documents->num_tokens(), "rope: {} tokens, but documents of {}", x.dim(0),
          documents->num_tokens());
    const int64_t rotary = rotary_size(x.dim(2), options.fraction);
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
