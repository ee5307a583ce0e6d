#include "ops/loss/cross_entropy.h"

#include <cmath>

#include "ops/basic/split.h"
#include "ops/loss/cross_entropy_kernels.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

using ops::LogitOptions;

OpCase loss_case(Allocator& allocator, const std::vector<double>& labels, int64_t width, int64_t vocabulary,
                 const LogitOptions& options) {
    const auto tokens = static_cast<int64_t>(labels.size());
    return {"cross_entropy",
            {{{vocabulary, width}}},
            {random_tensor(allocator, {tokens, width}, DType::f64, "h"),
             from_vector(allocator, {tokens}, DType::i32, labels)},
            [options](Context& ctx, const Values& x, const OpCase::Weights& w) {
                const auto loss = ops::linear_cross_entropy(ctx, x[0], w[0], x[1], options);
                return Values{loss.cross_entropy, loss.z_loss};
            }};
}

/// Spread over the vocabulary; every fifth token has no label.
std::vector<double> make_labels(int64_t tokens, int64_t vocabulary) {
    std::vector<double> labels;
    for (int64_t t = 0; t < tokens; ++t)
        labels.push_back(static_cast<double>(t % 5 == 3 ? -1 : t * 7 % vocabulary));
    return labels;
}

const LogitOptions kOptions[] = {{}, {0.7, 0}, {1.3, 2.5}};

TEST(cross_entropy, gradients) {
    TestContext t;
    for (const LogitOptions& options : kOptions) {
        check_op_gradients(loss_case(t.allocator, make_labels(7, 11), 5, 11, options));
        check_op_gradients(loss_case(t.allocator, {0}, 1, 1, options));
        check_op_gradients(loss_case(t.allocator, {-1, -1}, 3, 4, options)); // nothing counts
        check_op_gradients(loss_case(t.allocator, {}, 3, 4, options));
    }
}

TEST(cross_entropy, each_loss_alone_has_its_gradient) {
    TestContext t;
    for (const int which : {0, 1}) {
        OpCase op = loss_case(t.allocator, make_labels(6, 5), 3, 5, kOptions[2]);
        op.forward = [which, all = op.forward](Context& ctx, const Values& x, const OpCase::Weights& w) {
            return Values{all(ctx, x, w)[static_cast<size_t>(which)]};
        };
        check_op_gradients(op);
    }
}

TEST(cross_entropy, strided_hidden_states) {
    TestContext t;
    OpCase op = loss_case(t.allocator, make_labels(6, 5), 3, 5, {});
    op.inputs[0] = random_tensor(t.allocator, {6, 8}, DType::f64, "wide");
    op.forward = [all = op.forward](Context& ctx, const Values& x, const OpCase::Weights& w) {
        const int64_t sizes[] = {4, 3, 1};
        return all(ctx, {ops::split_columns(ctx, x[0], sizes)[1], x[1]}, w);
    };
    check_op_gradients(op);
}

TEST(cross_entropy, matches_the_definition) { // sums of 40 terms of size about 4
    TestContext t, tested(test_device());
    for (const LogitOptions& options : kOptions) {
        const auto labels = make_labels(40, 9);
        const OpCase op = loss_case(t.allocator, labels, 6, 9, options);
        const Values results = run_op(op, tested, DType::f64);
        const auto h = to_vector(op.inputs[0]);
        const auto w = to_vector(random_tensor(t.allocator, {9, 6}, DType::f64, "cross_entropy parameter 0"));
        double cross_entropy = 0, z_loss = 0;
        for (size_t i = 0; i < 40; ++i) {
            if (labels[i] < 0) continue;
            double total = 0, at_label = 0;
            for (size_t v = 0; v < 9; ++v) {
                double logit = 0;
                for (size_t j = 0; j < 6; ++j) logit += options.logit_scale * h[i * 6 + j] * w[v * 6 + j];
                if (options.softcap > 0) logit = options.softcap * std::tanh(logit / options.softcap);
                total += std::exp(logit);
                if (static_cast<double>(v) == labels[i]) at_label = logit;
            }
            cross_entropy += std::log(total) - at_label;
            z_loss += std::log(total) * std::log(total);
        }
        EXPECT_NEAR(to_vector(results[0])[0], cross_entropy, 1e-11);
        EXPECT_NEAR(to_vector(results[1])[0], z_loss, 1e-11);
    }
}

TEST(cross_entropy, chunks_change_nothing_but_rounding) {
    TestContext t, tested(test_device());
    LogitOptions small;
    small.chunk_bytes = 1; // sixteen tokens at a time
    const auto labels = make_labels(90, 13);
    const Values whole = run_op(loss_case(t.allocator, labels, 7, 13, {}), tested, DType::f64);
    const Values pieces = run_op(loss_case(t.allocator, labels, 7, 13, small), tested, DType::f64);
    // losses and dh are made token by token; dw adds the chunks in another order
    for (size_t i = 0; i < whole.size(); ++i) expect_close(pieces[i], whole[i], 1e-13, "chunked result");
}

TEST(cross_entropy, the_chunk_follows_from_the_kind_of_device_its_memory_and_the_words) {
    constexpr int64_t kGiB = int64_t{1} << 30, kRow = 152064 * 4;
    const auto tokens = [](DeviceKind kind, int64_t memory, int64_t row_bytes, int64_t chunk_bytes = 0) {
        return ops::head_chunk_tokens({.chunk_bytes = chunk_bytes}, kind, memory, row_bytes);
    };
    EXPECT_EQ(tokens(DeviceKind::cpu, 0, kRow), (64 << 20) / kRow);
    EXPECT_EQ(tokens(DeviceKind::cpu, 0, kGiB), 16);
    EXPECT_EQ(tokens(DeviceKind::cuda, 80 * kGiB, kRow), kGiB / kRow / 128 * 128);
    EXPECT_LE(tokens(DeviceKind::cuda, 1000 * kGiB, kRow) * kRow, kGiB);
    // 16384 tokens read the weights ten times, not 150
    EXPECT_LE(16384 / tokens(DeviceKind::cuda, 80 * kGiB, kRow), 9);
    // what a driver keeps for itself changes no bits
    EXPECT_EQ(tokens(DeviceKind::cuda, 24 * kGiB - (700 << 20), kRow),
              tokens(DeviceKind::cuda, 23 * kGiB, kRow));
    EXPECT_EQ(tokens(DeviceKind::cuda, 24 * kGiB, kRow), kGiB / 2 / kRow / 128 * 128);
    EXPECT_EQ(tokens(DeviceKind::cuda, 80 * kGiB, 32 << 20), 32); // less than a tile
    EXPECT_EQ(tokens(DeviceKind::cuda, 80 * kGiB, kGiB), 16);
    for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::cuda})
        EXPECT_EQ(tokens(kind, 80 * kGiB, 1000, 200000), 200);
}

TEST(cross_entropy, logits_never_exist_all_at_once) {
    const int64_t tokens = 400, vocabulary = 3000, width = 4;
    LogitOptions options;
    options.chunk_bytes = 32 * vocabulary * 4;
    TestContext t, tested(test_device());
    const OpCase op = loss_case(t.allocator, make_labels(tokens, vocabulary), width, vocabulary, options);
    Allocator& allocator = *tested.ctx.allocator;
    allocator.reset_peaks();
    const int64_t before = allocator.statistics().used_bytes;
    run_op(op, tested, DType::f32);
    // the chunk, the weight with its gradient (and the test's copy of it), and a few rows per token; all
    // logits would be 4.8 MB
    const int64_t bound =
        2 * options.chunk_bytes + 4 * vocabulary * width * 4 + tokens * width * 4 * 8 + (1 << 16);
    EXPECT_LT(allocator.statistics().peak_used_bytes - before, bound);
    EXPECT_LT(bound, tokens * vocabulary * 4);
}

TEST(cross_entropy, token_losses_and_logits_agree_with_the_sum) {
    TestContext t, tested(test_device());
    const auto labels = make_labels(23, 9);
    OpCase op = loss_case(t.allocator, labels, 6, 9, kOptions[2]);
    op.forward = [](Context& ctx, const Values& x, const OpCase::Weights& w) {
        const LogitOptions& options = kOptions[2];
        const ops::LossOutputs outputs = ops::linear_cross_entropy(ctx, x[0], w[0], x[1], options);
        return Values{outputs.cross_entropy, outputs.token_losses, ops::logits(ctx, x[0], w[0], options)};
    };
    const Values results = run_op(op, tested, DType::f64);
    const auto losses = to_vector(results[1]), logits = to_vector(results[2]);
    double sum = 0;
    for (size_t i = 0; i < losses.size(); ++i) {
        sum += losses[i];
        double total = 0;
        for (size_t v = 0; v < 9; ++v) total += std::exp(logits[i * 9 + v]);
        const double expected =
            labels[i] < 0 ? 0 : std::log(total) - logits[i * 9 + static_cast<size_t>(labels[i])];
        EXPECT_NEAR(losses[i], expected, 1e-13);
    }
    if (test_device().kind == DeviceKind::cpu) {
        EXPECT_EQ(to_vector(results[0])[0], sum);
    } else {
        EXPECT_NEAR(to_vector(results[0])[0], sum, 1e-13); // 23 terms in another order
    }
}

TEST(cross_entropy, large_logits_do_not_overflow) {
    TestContext t, tested(test_device());
    OpCase op = loss_case(t.allocator, {1, 0}, 2, 3, {1e4, 0});
    for (const double loss : to_vector(run_op(op, tested, DType::f32)[0]))
        EXPECT_TRUE(std::isfinite(loss)) << loss;
}

TEST(cross_entropy, a_part_of_the_head_takes_its_share) {
    TestContext t, tested(test_device());
    const Tensor labels = from_vector(t.allocator, {5}, DType::i32, {0, -1, 4, 7, 5});
    const Tensor local = Tensor::empty(*tested.ctx.allocator, {5}, DType::i32);
    ops::device::local_labels(to_device(*tested.ctx.allocator, labels), 4, 3, local);
    EXPECT_EQ(to_vector(to_device(t.allocator, local)), (std::vector<double>{-2, -1, 0, -2, 1}));
}

TEST(cross_entropy, f32_and_threads) {
    TestContext t;
    // logits are sums of 70 products; p has a relative error of a few epsilon times the logit's size (about
    // 30), and weight gradients are sums of 300 tokens
    const OpCase op = loss_case(t.allocator, make_labels(300, 257), 70, 257, kOptions[0]);
    expect_f32_close_to_f64(op, 300 * std::numeric_limits<float>::epsilon());
    expect_same_bits_for_any_threads(op);
    // the gradients of the logits are rounded, so dw is off by at most one unit and dh by two
    expect_bf16_close_to_f32(op, {.rounded = 2, .wide = 1});
}

TEST(cross_entropy, capped_logits_in_f32_and_bf16) {
    TestContext t;
    // as above with logits below 2.5, 11 products each and 21 tokens; the cap's slope is made of its value
    const OpCase op = loss_case(t.allocator, make_labels(21, 17), 11, 17, kOptions[2]);
    expect_f32_close_to_f64(op, 100 * std::numeric_limits<float>::epsilon());
    expect_bf16_close_to_f32(op, {.rounded = 2, .wide = 1});
}

TEST(cross_entropy, refuses_labels_outside_the_vocabulary) { // on the CPU; the host does not see a GPU's
    TestContext t;
    for (const double bad : {4.0, -2.0}) {
        try {
            run_op(loss_case(t.allocator, {0, -1, bad}, 3, 4, {}), t, DType::f32);
            FAIL() << "label " << bad << " was taken";
        } catch (const DataError& error) {
            EXPECT_NE(std::string(error.what()).find("position 2"), std::string::npos) << error.what();
        }
    }
}

} // namespace
} // namespace braid::testing
