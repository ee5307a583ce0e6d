#include "layers/expert_dispatcher.h"

#include <algorithm>

#include "parallel/mesh.h"
#include "parallel/row_collectives.h"

namespace braid {
namespace {

Tensor to_tensor(Allocator& allocator, const RowCounts& counts) {
    Tensor tensor = Tensor::empty(allocator, {static_cast<int64_t>(counts.size())}, DType::i64);
    std::copy(counts.begin(), counts.end(), tensor.data<int64_t>());
    return tensor;
}

RowCounts to_counts(const Tensor& tensor) {
    const auto values = tensor.span<int64_t>();
    return {values.begin(), values.end()};
}

/// How many rows each rank of the group has.
RowCounts gather_counts(Communicator& comm, int64_t mine) {
    RowCounts counts(static_cast<size_t>(comm.size()));
    const std::vector<int64_t> bytes(counts.size(), sizeof(int64_t));
    comm.all_gather(&mine, counts.data(), bytes)->wait();
    return counts;
}

// The places in Dispatched::returns.
enum : size_t { kOrder, kRowOfSlot, kOffsets, kSent, kReceived, kGathered, kNumReturns };

} // namespace

Values ExpertDispatcher::Dispatched::pack() const {
    Values values = {rows, weight, expert};
    values.insert(values.end(), returns.begin(), returns.end());
    return values;
}

ExpertDispatcher::Dispatched ExpertDispatcher::Dispatched::unpack(const Values& values, size_t first) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(first);
    return {begin[0], begin[1], begin[2], Values(begin + 3, values.end())};
}

bool ExpertDispatcher::is_distributed(const Context& ctx) {
    return ctx.mesh && ctx.mesh->grid().expert.size * ctx.mesh->grid().expert_tensor.size > 1;
}

ExpertDispatcher::Dispatched ExpertDispatcher::dispatch(Context& ctx, const Tensor& h, const Tensor& weight,
                                                        const Tensor& expert,
                                                        const std::function<void()>& meanwhile) const {
    if (!is_distributed(ctx)) {
        meanwhile();
        return {h, weight, expert, {}};
    }
    Communicator& ranks = ctx.mesh->axis(Axis::expert);
    Communicator& parts = ctx.mesh->axis(Axis::expert_tensor);
    // A copy of a token is a "choice" of a rank; copies are sorted by rank as rows are sorted by expert.
    const ops::ExpertPlan copies =
        ops::make_expert_plan(ctx, destinations(ctx, expert, ranks.size()), ranks.size());
    RowCounts sent;
    for (int r = 0; r < ranks.size(); ++r)
        sent.push_back(copies.offsets.data<int64_t>()[r + 1] - copies.offsets.data<int64_t>()[r]);
    const RowCounts received = exchange_counts(ranks, sent);
    Dispatched out;
    out.expert = exchange_integers(*ctx.allocator, ranks, expert_rows(ctx, expert, copies), sent, received);
    RowExchange weights(ctx, ranks, ops::permute(ctx, weight, copies), sent, received);
    RowExchange rows(ctx, ranks, ops::permute(ctx, h, copies), sent, received);
    meanwhile();
    out.weight = weights.finish(ctx);
    out.rows = rows.finish(ctx);
    const RowCounts gathered = gather_counts(parts, out.rows.dim(0));
    if (parts.size() > 1) {
        out.expert = all_gather_integers(*ctx.allocator, parts, out.expert, gathered);
        out.weight = all_gather_rows(ctx, parts, out.weight, gathered);
        out.rows = all_gather_rows(ctx, parts, out.rows, gathered);
    }
    out.returns = {copies.order,
                   copies.row_of_slot,
                   copies.offsets,
                   to_tensor(*ctx.allocator, sent),
                   to_tensor(*ctx.allocator, received),
                   to_tensor(*ctx.allocator, gathered)};
    return out;
}

Tensor ExpertDispatcher::destinations(Context& ctx, const Tensor& expert, int num_ranks) const {
    const int64_t tokens = expert.dim(0), k = experts_per_token_, per_rank = num_experts_ / num_ranks;
    const int64_t most = std::min<int64_t>(k, num_ranks);
    Tensor result = Tensor::empty(*ctx.allocator, {tokens, most}, DType::i32);
    std::vector<int32_t> ranks;
    for (int64_t t = 0; t < tokens; ++t) {
        ranks.clear();
        for (int64_t j = 0; j < k; ++j)
            ranks.push_back(static_cast<int32_t>(expert.data<int32_t>()[t * k + j] / per_rank));
        std::sort(ranks.begin(), ranks.end());
        ranks.erase(std::unique(ranks.begin(), ranks.end()), ranks.end());
        ranks.resize(static_cast<size_t>(most), -1);
        std::copy(ranks.begin(), ranks.end(), result.data<int32_t>() + t * most);
    }
    return result;
}

Tensor ExpertDispatcher::expert_rows(Context& ctx, const Tensor& expert,
                                     const ops::ExpertPlan& copies) const {
    const int64_t k = experts_per_token_, num_ranks = copies.offsets.numel() - 1;
    const int64_t per_rank = num_experts_ / num_ranks;
    Tensor result = Tensor::empty(*ctx.allocator, {copies.num_rows(), k}, DType::i32);
    for (int64_t rank = 0; rank < num_ranks; ++rank)
        for (int64_t r = copies.offsets.data<int64_t>()[rank]; r < copies.offsets.data<int64_t>()[rank + 1];
             ++r) {
            const int64_t token = copies.order.data<int32_t>()[r] / copies.k;
            for (int64_t j = 0; j < k; ++j) {
                const int64_t local = expert.data<int32_t>()[token * k + j] - rank * per_rank;
                const bool here = local >= 0 && local < per_rank;
                result.data<int32_t>()[r * k + j] = here ? static_cast<int32_t>(local) : -1;
            }
        }
    return result;
}

Tensor ExpertDispatcher::combine(Context& ctx, const Tensor& y, const Values& returns) const {
    if (returns.empty()) return y;
    check(returns.size() == kNumReturns, "combine: {} values came with the rows", returns.size());
    Communicator& ranks = ctx.mesh->axis(Axis::expert);
    const ops::ExpertPlan copies{returns[kOrder], returns[kRowOfSlot], returns[kOffsets],
                                 std::min<int64_t>(experts_per_token_, ranks.size())};
    const Tensor rows =
        reduce_scatter_rows(ctx, ctx.mesh->axis(Axis::expert_tensor), y, to_counts(returns[kGathered]));
    RowExchange back(ctx, ranks, rows, to_counts(returns[kReceived]), to_counts(returns[kSent]));
    return ops::combine(ctx, back.finish(ctx), {}, copies);
}

} // namespace braid
