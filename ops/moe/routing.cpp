#include "ops/moe/routing.h"

#include <algorithm>

#include "ops/basic/elementwise_kernels.h"
#include "ops/moe/routing_kernels.h"

namespace braid::ops {
namespace {

Tensor scalar(Context& ctx) {
    return Tensor::empty(*ctx.allocator, {1}, DType::f64);
}

/// sum over tokens and experts of coefficient times probability, the probabilities of a token normalised to
/// one.
Tensor weighted_probabilities(Context& ctx, const char* name, const Tensor& probabilities,
                              const Tensor& coefficients, const TokenRows& rows) {
    ProfileScope scope(ctx.profiler, name);
    Tensor y = scalar(ctx);
    device::weighted_probabilities(probabilities, coefficients, rows, y);
    if (ctx.tape)
        ctx.tape->record({name,
                          {y.ref()},
                          {probabilities, coefficients},
                          [rows, p = probabilities.ref()](const Backward& run) {
                              Tensor dp = Tensor::empty(*run.ctx.allocator, p.shape, p.dtype);
                              device::weighted_probabilities_backward(run.dy[0], run.saved[0], run.saved[1],
                                                                      rows, dp);
                              run.add(p, dp);
                          }});
    return y;
}

void check_options(const RoutingOptions& o, int64_t experts) {
    check(o.k >= 1 && o.k <= experts, "route: {} of {} experts cannot be chosen", o.k, experts);
    if (o.num_groups == 1) return;
    check(o.num_groups >= 1 && experts % o.num_groups == 0, "route: {} experts are no {} equal groups",
          experts, o.num_groups);
    const int64_t size = experts / o.num_groups;
    check(o.group_topk >= 1 && o.group_topk <= o.num_groups, "route: {} of {} groups cannot be chosen",
          o.group_topk, o.num_groups);
    check(o.k <= o.group_topk * size, "route: {} experts cannot be chosen in {} groups of {}", o.k,
          o.group_topk, size);
    check(size >= 2 || o.group_score != RoutingGroupScore::top2_sum,
          "route: groups of one expert have no two scores to add");
}

} // namespace

Routing route(Context& ctx, const Tensor& logits, const Tensor& bias, const RoutingOptions& options,
              const Tensor& given) {
    check(logits.rank() == 2, "route: logits of shape {} are not [tokens, experts]",
          to_string(logits.shape()));
    const int64_t tokens = logits.dim(0), experts = logits.dim(1);
    check_options(options, experts);
    if (bias.defined()) expect_shape(bias, {experts}, "route, bias");
    if (given.defined()) expect_shape(given, {tokens, options.k}, "route, given experts");
    ProfileScope scope(ctx.profiler, "route");
    Routing out{Tensor::empty(*ctx.allocator, {tokens, options.k}, DType::i32),
                Tensor::empty(*ctx.allocator, {tokens, options.k}, logits.dtype()),
                Tensor::empty(*ctx.allocator, {tokens, experts}, logits.dtype())};
    out.num_flips = device::route(logits, bias, options, given, out.expert, out.weight, out.probabilities);
    if (ctx.tape)
        ctx.tape->record({"route",
                          {out.weight.ref(), out.probabilities.ref()},
                          {out.expert, out.probabilities},
                          [options, logits = logits.ref()](const Backward& run) {
                              Tensor dlogits = Tensor::empty(*run.ctx.allocator, logits.shape, logits.dtype);
                              device::route_backward(run.dy[0], run.dy[1], run.saved[0], run.saved[1],
                                                     options, dlogits);
                              run.add(logits, dlogits);
                          }});
    return out;
}

Tensor count_experts_by_sequence(Context& ctx, const Tensor& expert, int64_t num_experts,
                                 const Documents& documents, int64_t first_token) {
    check(first_token >= 0 && first_token + expert.dim(0) <= documents.num_tokens(),
          "count_experts_by_sequence: tokens {} to {} of {}", first_token, first_token + expert.dim(0),
          documents.num_tokens());
    Tensor counts = Tensor::zeros(*ctx.allocator, {documents.num_sequences, num_experts}, DType::i64);
    device::count_experts(expert, {first_token, documents.sequence_length()}, counts);
    return counts;
}

Tensor balance_loss_sequence(Context& ctx, const Tensor& probabilities, const Tensor& counts, int64_t k,
                             const Documents& documents, int64_t first_token) {
    const int64_t experts = probabilities.dim(1), length = documents.sequence_length();
    expect_shape(counts, {documents.num_sequences, experts}, "balance_loss_sequence, counts");
    check(documents.num_tokens() == length * documents.num_sequences,
          "balance_loss_sequence: {} tokens in {} sequences", documents.num_tokens(),
          documents.num_sequences);
    const Tensor coefficients = Tensor::empty(*ctx.allocator, counts.shape(), DType::f64);
    device::balance_coefficients(counts, k, length, coefficients);
    return weighted_probabilities(ctx, "balance_loss", probabilities, coefficients, {first_token, length});
}

Tensor balance_loss_given_fractions(Context& ctx, const Tensor& probabilities, const Tensor& fractions) {
    const int64_t experts = probabilities.dim(1);
    expect_shape(fractions, {experts}, "balance_loss_given_fractions, fractions");
    const Tensor coefficients = Tensor::empty(*ctx.allocator, {1, experts}, DType::f64);
    device::scale(fractions, static_cast<double>(experts), coefficients);
    return weighted_probabilities(ctx, "balance_loss", probabilities, coefficients,
                                  {0, probabilities.dim(0)});
}

Tensor router_z_loss(Context& ctx, const Tensor& logits) {
    ProfileScope scope(ctx.profiler, "router_z_loss");
    Tensor y = scalar(ctx);
    device::router_z_loss(logits, y);
    if (ctx.tape)
        ctx.tape->record({"router_z_loss", {y.ref()}, {logits}, [logits = logits.ref()](const Backward& run) {
                              Tensor dlogits = Tensor::empty(*run.ctx.allocator, logits.shape, logits.dtype);
                              device::router_z_loss_backward(run.dy[0], run.saved[0], dlogits);
                              run.add(logits, dlogits);
                          }});
    return y;
}

Tensor count_experts(Context& ctx, const Tensor& expert, int64_t num_experts) {
    Tensor counts = Tensor::zeros(*ctx.allocator, {1, num_experts}, DType::i64);
    device::count_experts(expert, {0, std::max<int64_t>(expert.dim(0), 1)}, counts);
    return counts.view({num_experts});
}

void update_router_bias(const Tensor& bias, const Tensor& counts, double rate) {
    expect_shape(counts, {bias.dim(0)}, "update_router_bias, counts");
    device::update_router_bias(bias, counts, rate);
}

} // namespace braid::ops
