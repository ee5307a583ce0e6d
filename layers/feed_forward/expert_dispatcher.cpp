#include "layers/feed_forward/expert_dispatcher.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "ops/moe/expert_ranks.h"
#include "parallel/agreement.h"
#include "parallel/collectives.h"
#include "parallel/mesh.h"
#include "tensor/host_values.h"

namespace braid {
namespace {

/// Every rank's counts, as many on each, in rank order.
RowCounts gather_counts(Communicator& comm, const RowCounts& mine) {
    RowCounts counts(mine.size() * static_cast<size_t>(comm.size()));
    const std::vector<int64_t> bytes(static_cast<size_t>(comm.size()),
                                     static_cast<int64_t>(mine.size() * sizeof(int64_t)));
    comm.all_gather(mine.data(), counts.data(), bytes)->wait();
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

ExpertDispatcher::Dispatched ExpertDispatcher::dispatch(LayerContext& ctx, const Tensor& h,
                                                        const Tensor& weight, const Tensor& expert,
                                                        const std::function<void()>& meanwhile) const {
    if (!distributed_) {
        meanwhile();
        return {h, weight, expert, {}};
    }
    Communicator& ranks = ctx.mesh->axis(Axis::expert);
    Communicator& parts = ctx.mesh->axis(Axis::expert_tensor);
    const int64_t per_rank = num_experts_ / ranks.size();
    // A copy of a token is a "choice" of a rank; copies are sorted by rank as rows are sorted by expert.
    const ops::ExpertPlan copies =
        ops::make_expert_plan(ctx, ops::ranks_of_choices(ctx, expert, per_rank, ranks.size()), ranks.size());
    const RowCounts offsets = host_values<int64_t>(copies.offsets);
    RowCounts sent;
    for (size_t r = 0; r + 1 < offsets.size(); ++r) sent.push_back(offsets[r + 1] - offsets[r]);
    const auto [received, gathered] = plan_rows(ctx, expert, sent);
    Dispatched out;
    out.expert = exchange_integers(*ctx.allocator, ranks,
                                   ops::choices_on_ranks(ctx, expert, copies, per_rank), sent, received);
    RowExchange weights(ctx, ranks, ops::permute(ctx, weight, copies), sent, received);
    RowExchange rows(ctx, ranks, ops::permute(ctx, h, copies), sent, received);
    meanwhile();
    out.weight = weights.finish(ctx);
    out.rows = rows.finish(ctx);
    if (parts.size() > 1) {
        out.expert = all_gather_integers(*ctx.allocator, parts, out.expert, gathered);
        out.weight = all_gather_rows(ctx, parts, out.weight, gathered);
        out.rows = all_gather_rows(ctx, parts, out.rows, gathered);
    }
    out.returns = {copies.order,
                   copies.row_of_slot,
                   copies.offsets,
                   tensor_of(*ctx.allocator, sent),
                   tensor_of(*ctx.allocator, received),
                   tensor_of(*ctx.allocator, gathered)};
    return out;
}

ExpertDispatcher::RowPlan ExpertDispatcher::plan_rows(LayerContext& ctx, const Tensor& expert,
                                                      const RowCounts& sent) const {
    if (receive_tokens_ > 0) return plan_bounded_rows(ctx, expert, sent);
    RowPlan plan{.received = exchange_counts(ctx.mesh->axis(Axis::expert), sent), .gathered = {}};
    const int64_t rows = std::accumulate(plan.received.begin(), plan.received.end(), int64_t{0});
    plan.gathered = gather_counts(ctx.mesh->axis(Axis::expert_tensor), {rows});
    return plan;
}

// All ranks of the job must stop together, so all learn all counts. That one gather stands for the two
// collectives of plan_rows.
ExpertDispatcher::RowPlan ExpertDispatcher::plan_bounded_rows(LayerContext& ctx, const Tensor& expert,
                                                              const RowCounts& sent) const {
    const RankGrid& grid = ctx.mesh->grid();
    const int ranks = grid.expert.size, parts = grid.expert_tensor.size;
    const RowCounts all = gather_counts(ctx.mesh->world(), sent);
    const auto count = [&](int copy, int from, int part, int to) {
        return all[static_cast<size_t>(grid.rank_at(copy, from, part) * ranks + to)];
    };
    RowCounts worst;
    int worst_copy = 0;
    for (int copy = 0; copy < grid.expert_data.size; ++copy) {
        RowCounts tokens(static_cast<size_t>(ranks), 0);
        for (int to = 0; to < ranks; ++to)
            for (int from = 0; from < ranks; ++from)
                for (int part = 0; part < parts; ++part)
                    tokens[static_cast<size_t>(to)] += count(copy, from, part, to);
        if (!worst.empty() &&
            *std::max_element(tokens.begin(), tokens.end()) <= *std::max_element(worst.begin(), worst.end()))
            continue;
        worst = std::move(tokens);
        worst_copy = copy;
    }
    if (*std::max_element(worst.begin(), worst.end()) > receive_tokens_)
        refuse_load(ctx, expert, worst_copy, worst);

    RowPlan plan{.received = {}, .gathered = RowCounts(static_cast<size_t>(parts), 0)};
    for (int from = 0; from < ranks; ++from) {
        plan.received.push_back(
            count(grid.expert_data.index, from, grid.expert_tensor.index, grid.expert.index));
        for (int part = 0; part < parts; ++part)
            plan.gathered[static_cast<size_t>(part)] +=
                count(grid.expert_data.index, from, part, grid.expert.index);
    }
    return plan;
}

void ExpertDispatcher::refuse_load(LayerContext& ctx, const Tensor& expert, int copy,
                                   const RowCounts& tokens) const {
    const RankGrid& grid = ctx.mesh->grid();
    std::vector<int64_t> choices(static_cast<size_t>(num_experts_), 0);
    if (grid.expert_data.index == copy)
        for (const int32_t e : host_values<int32_t>(expert)) ++choices[static_cast<size_t>(e)];
    all_reduce_sum(ctx.mesh->world(), std::span(choices));

    std::string table = fmt::format("{:>9} {:>9}  {}", "rank", "tokens", "expert: choices");
    const int64_t per_rank = num_experts_ / grid.expert.size;
    for (int place = 0; place < grid.expert.size; ++place) {
        const int first = grid.rank_at(copy, place, 0), last = first + grid.expert_tensor.size - 1;
        table += fmt::format("\n{:>9} {:>9}  ",
                             first == last ? std::to_string(first) : fmt::format("{} to {}", first, last),
                             tokens[static_cast<size_t>(place)]);
        for (int64_t e = place * per_rank; e < (place + 1) * per_rank; ++e)
            table +=
                fmt::format("{}{}: {}", e % per_rank == 0 ? "" : ", ", e, choices[static_cast<size_t>(e)]);
    }
    const auto most = std::max_element(tokens.begin(), tokens.end());
    throw AgreedError(
        ExitCode::non_finite,
        fmt::format("layers.{}.{}: expected at most {} tokens (model.sublayers.{}.receive_tokens) for the "
                    "experts of a rank in one micro-batch, found {} for rank {}\n{}",
                    layer_, sublayer_, receive_tokens_, sublayer_, *most,
                    grid.rank_at(copy, static_cast<int>(most - tokens.begin()), 0), table));
}

Tensor ExpertDispatcher::combine(LayerContext& ctx, const Tensor& y, const Values& returns) const {
    if (returns.empty()) return y;
    check(returns.size() == kNumReturns, "combine: {} values came with the rows", returns.size());
    Communicator& ranks = ctx.mesh->axis(Axis::expert);
    const ops::ExpertPlan copies{returns[kOrder], returns[kRowOfSlot], returns[kOffsets],
                                 std::min<int64_t>(experts_per_token_, ranks.size())};
    const Tensor rows = reduce_scatter_rows(ctx, ctx.mesh->axis(Axis::expert_tensor), y,
                                            host_values<int64_t>(returns[kGathered]));
    RowExchange back(ctx, ranks, rows, host_values<int64_t>(returns[kReceived]),
                     host_values<int64_t>(returns[kSent]));
    return ops::combine(ctx, back.finish(ctx), {}, copies);
}

} // namespace braid
