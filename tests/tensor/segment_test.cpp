#include "tensor/segment.h"

#include "ops/basic/activation.h"
#include "ops/basic/elementwise.h"
#include "ops/basic/linear.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

/// y = silu(x W) + x with a weight of its own: something is saved, used twice, and has a weight gradient.
struct SegmentCase {
    TestContext t;
    ParameterStore store;
    const Parameter* weight;

    SegmentCase() {
        store.begin_unit("layers.0");
        weight = store.declare(
            ParameterSpec{"w", {6, 6}, ParameterRole::matrix, 6, {Initializer::Kind::normal, 0.4}, "", -1});
        store.allocate(t.allocator, DType::f64, true);
        store.initialize(2);
    }
    Segment segment(Segment::Policy policy) const {
        return Segment("layers.0", 0, policy, [this](Context& ctx, const Values& in) {
            return Values{ops::add(ctx, ops::silu(ctx, ops::linear(ctx, in[0], weight)), in[0])};
        });
    }
    /// The gradient of x for output gradients of one, and that of the weight.
    std::pair<Tensor, Tensor> gradients(Segment::Policy policy) {
        store.zero_gradients();
        const Segment run = segment(policy);
        const Tensor x = random_tensor(t.allocator, {5, 6}, DType::f64, "x");
        Segment::Saved saved;
        const Values y = run.forward(t.ctx, {x}, &saved);
        Gradients table(t.allocator);
        table.add(y[0].ref(), random_tensor(t.allocator, {5, 6}, DType::f64, "dy"));
        run.backward(t.ctx, saved, table);
        return {table.take(x.ref()), converted(t.allocator, weight->gradient(), DType::f64)};
    }
};

TEST(segment, recomputation_gives_the_same_bits) {
    SegmentCase c;
    const auto [dx, dw] = c.gradients(Segment::Policy::keep);
    const auto [dx_again, dw_again] = c.gradients(Segment::Policy::recompute);
    expect_identical(dx, dx_again, "dx");
    expect_identical(dw, dw_again, "dw");
}

TEST(segment, recomputation_holds_inputs_only) {
    SegmentCase c;
    const Tensor x = random_tensor(c.t.allocator, {5, 6}, DType::f64, "x");
    Segment::Saved kept, recomputed;
    c.segment(Segment::Policy::keep).forward(c.t.ctx, {x}, &kept);
    c.segment(Segment::Policy::recompute).forward(c.t.ctx, {x}, &recomputed);
    EXPECT_EQ(recomputed.bytes(), static_cast<int64_t>(x.storage_bytes()));
    EXPECT_GT(kept.bytes(), recomputed.bytes());
}

TEST(segment, backward_gives_its_memory_back) {
    SegmentCase c;
    const int64_t before = c.t.allocator.statistics().used_bytes;
    c.gradients(Segment::Policy::keep);
    c.gradients(Segment::Policy::recompute);
    EXPECT_EQ(c.t.allocator.statistics().used_bytes, before);
}

TEST(segment, a_shared_gradient_is_not_written_into) {
    TestContext t;
    Gradients table(t.allocator);
    const Tensor x = random_tensor(t.allocator, {3}, DType::f64, "x");
    const Tensor dy = from_vector(t.allocator, {3}, DType::f64, {1, 2, 3});
    table.add(x.ref(), dy);
    table.add(x.ref(), from_vector(t.allocator, {3}, DType::f64, {10, 20, 30}));
    EXPECT_EQ(to_vector(table.take(x.ref())), (std::vector<double>{11, 22, 33}));
    EXPECT_EQ(to_vector(dy), (std::vector<double>{1, 2, 3}));
    EXPECT_FALSE(table.take(x.ref()).defined());
}

TEST(segment, a_gradient_of_another_size_is_refused) {
    TestContext t;
    Gradients table(t.allocator);
    const Tensor x = random_tensor(t.allocator, {3}, DType::f64, "x");
    EXPECT_THROW(table.add(x.ref(), random_tensor(t.allocator, {4}, DType::f64, "dx")), InternalError);
    EXPECT_THROW(table.add(x.ref(), random_tensor(t.allocator, {3}, DType::f32, "dx")), InternalError);
}

} // namespace
} // namespace braid::testing
