#include "ops/attention/attention.h"

#include <algorithm>

#include "ops/attention/attention_kernels.h"
#include "ops/compose/prefix.h"

namespace braid::ops {
namespace {

void expect_heads(const Tensor& q, const Tensor& k, const AttentionOptions& options) {
    check(q.rank() == 3 && k.rank() == 3 && q.dim(2) == k.dim(2),
          "attention: expected q [T, Hq, d] and k [S, Hkv, d], found {} and {}", to_string(q.shape()),
          to_string(k.shape()));
    check(k.dim(1) > 0 && q.dim(1) % k.dim(1) == 0, "attention: {} query heads over {} key heads", q.dim(1),
          k.dim(1));
    check(options.window >= 0, "attention: a window of {}", options.window);
}

AttentionProblem problem_of(Allocator& allocator, const Documents& documents, const Documents& keys,
                            const AttentionOptions& options) {
    check(keys.num_documents() == documents.num_documents(), "attention: keys of {} documents for {}",
          keys.num_documents(), documents.num_documents());
    AttentionProblem problem{{}, options.scale, options.window};
    for (size_t i = 1; i < documents.offsets.size(); ++i) {
        const int64_t begin = documents.offsets[i - 1], count = documents.offsets[i] - begin,
                      key_begin = keys.offsets[i - 1], num_keys = keys.offsets[i] - key_begin;
        check(num_keys >= count, "attention: a document of {} keys for {} queries", num_keys, count);
        if (num_keys > 0) problem.spans.push_back({begin, count, key_begin, num_keys});
    }
    problem.upload(allocator);
    return problem;
}

/// The pairs of a query token and a key it sees, by which the work is counted.
double visible_pairs(const AttentionProblem& problem) {
    double pairs = 0;
    for (const auto& span : problem.spans) {
        // Positions 0, 1, ... see 1, 2, ... keys until the window is full.
        const auto sum_up_to = [&](int64_t positions) {
            const int64_t growing = problem.window ? std::min(positions, problem.window) : positions;
            return 0.5 * static_cast<double>(growing) * static_cast<double>(growing + 1) +
                   static_cast<double>(positions - growing) * static_cast<double>(problem.window);
        };
        pairs += sum_up_to(span.num_keys) - sum_up_to(span.num_keys - span.num_queries);
    }
    return pairs;
}

} // namespace

void AttentionProblem::upload(Allocator& allocator) {
    if (allocator.device().kind == DeviceKind::cpu) return;
    const auto blocks = [](int64_t count) { return (count + kSpanBlock - 1) / kSpanBlock; };
    std::vector<int64_t> numbers;
    for (const AttentionSpan& span : spans) {
        for (const int64_t number : {span.query_begin, span.num_queries, span.key_begin, span.num_keys,
                                     num_query_blocks, num_key_blocks})
            numbers.push_back(number);
        num_query_blocks += blocks(span.num_queries);
        num_key_blocks += blocks(span.num_keys);
    }
    span_table = braid::upload(allocator, std::span<const int64_t>(numbers));
}

Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                 const DocumentsPtr& documents, const AttentionOptions& options) {
    return attention(ctx, q, k, v, documents, documents, options);
}

Tensor attention(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                 const DocumentsPtr& documents, const DocumentsPtr& key_documents,
                 const AttentionOptions& options) {
    const int64_t tokens = documents->num_tokens(), num_keys = key_documents->num_tokens(),
                  num_heads = q.dim(1), value_size = v.dim(-1);
    expect_heads(q, k, options);
    expect_shape(q, {tokens, num_heads, q.dim(2)}, "attention q");
    expect_shape(k, {num_keys, k.dim(1), q.dim(2)}, "attention k");
    expect_shape(v, {num_keys, k.dim(1), value_size}, "attention v");
    ProfileScope scope(ctx.profiler, "attention");
    AttentionProblem problem = problem_of(*ctx.allocator, *documents, *key_documents, options);
    const double pairs = visible_pairs(problem) * static_cast<double>(num_heads);
    const auto d = static_cast<double>(q.dim(2)), dv = static_cast<double>(value_size);
    scope.count_flops(pairs * (2 * d + 2 * dv));

    Tensor o = Tensor::empty(*ctx.allocator, {tokens, num_heads, value_size}, q.dtype());
    const DType wide = accumulation_dtype(q.dtype());
    Tensor row_max = Tensor::empty(*ctx.allocator, {tokens, num_heads}, wide);
    Tensor row_sum = Tensor::empty(*ctx.allocator, {tokens, num_heads}, wide);
    device::attention_forward(*ctx.allocator, problem, q, k, v, o, row_max, row_sum);
    if (ctx.tape)
        ctx.tape->record(
            {"attention",
             {o.ref()},
             {q, k, v, o, row_max, row_sum},
             [problem = std::move(problem), flops = pairs * (6 * d + 4 * dv)](const Backward& run) {
                 const auto& s = run.saved;
                 const auto gradient_of = [&](const Tensor& x) {
                     return Tensor::empty(*run.ctx.allocator, x.shape(), x.dtype());
                 };
                 Tensor dq = gradient_of(s[0]), dk = gradient_of(s[1]), dv = gradient_of(s[2]);
                 device::attention_backward(*run.ctx.allocator, problem, s[0], s[1], s[2], s[3], s[4], s[5],
                                            run.dy[0], dq, dk, dv);
                 run.count_flops(flops);
                 run.add(s[0].ref(), dq);
                 run.add(s[1].ref(), dk);
                 run.add(s[2].ref(), dv);
             }});
    return o;
}

AttentionStatistics attention_statistics(Context& ctx, const Tensor& q, const Tensor& k,
                                         const DocumentsPtr& documents, const AttentionOptions& options) {
    expect_heads(q, k, options);
    expect_shape(q, {documents->num_tokens(), q.dim(1), q.dim(2)}, "attention_statistics q");
    expect_shape(k, {documents->num_tokens(), k.dim(1), q.dim(2)}, "attention_statistics k");
    ProfileScope scope(ctx.profiler, "attention_statistics", ProfilePhase::other);
    AttentionStatistics statistics{Tensor::empty(*ctx.allocator, {q.dim(1)}, DType::f64),
                                   Tensor::empty(*ctx.allocator, {q.dim(1)}, DType::f64)};
    device::attention_statistics(*ctx.allocator, problem_of(*ctx.allocator, *documents, *documents, options),
                                 q, k, statistics.max_logit, statistics.mean_entropy);
    return statistics;
}

AttentionContinued attention_continued(Context& ctx, const Tensor& q, const Tensor& k, const Tensor& v,
                                       const DocumentsPtr& documents, const AttentionState& earlier,
                                       const AttentionOptions& options) {
    const Prefixed both(*ctx.allocator, *documents, earlier.length);
    const auto joined = [&](const Tensor& before, const Tensor& x) {
        expect_shape(before, {both.documents()->num_tokens() - documents->num_tokens(), x.dim(1), x.dim(2)},
                     "attention_continued, earlier");
        return both.join(ctx, before, x);
    };
    AttentionContinued result{{}, {joined(earlier.keys, k), joined(earlier.values, v), {}}};
    for (size_t d = 0; d + 1 < both.documents()->offsets.size(); ++d)
        result.state.length.push_back(both.documents()->offsets[d + 1] - both.documents()->offsets[d]);
    result.o =
        attention(ctx, q, result.state.keys, result.state.values, documents, both.documents(), options);
    return result;
}

} // namespace braid::ops
