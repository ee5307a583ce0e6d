// Rectangles and the elementwise parts of Muon against loops over their elements.

#include "ops/update/rectangles.h"

#include "ops/update/muon.h"
#include "tensor/host_values.h"
#include "tests/support/op_case.h"

namespace braid::testing {
namespace {

using ops::Rectangle;

/// A row, a block out of the midst of a matrix, a column and a packed block; 600 elements, so that several
/// blocks of threads take part.
std::vector<Rectangle> rectangles() {
    return {
        {0, 0, 700, 0, 1, 7}, {13, 40, 0, 20, 11, 20}, {500, 3, 650, 2, 5, 1}, {520, 24, 250, 24, 15, 24}};
}

template <typename Body>
void for_each_element(const Body& body) {
    const auto all = rectangles();
    for (size_t r = 0; r < all.size(); ++r)
        for (int64_t i = 0; i < all[r].rows; ++i)
            for (int64_t j = 0; j < all[r].columns; ++j)
                body(r, static_cast<size_t>(all[r].from + i * all[r].from_stride + j),
                     static_cast<size_t>(all[r].to + i * all[r].to_stride + j));
}

template <typename T>
void check_copies() {
    TestContext t, tested(test_device());
    Allocator& there = *tested.ctx.allocator;
    const Tensor x = random_tensor(t.allocator, {900}, dtype_of<T>(), "x"),
                 y = random_tensor(t.allocator, {720}, dtype_of<T>(), "y"), found = to_device(there, y);
    auto expected = to_vector(y);
    const auto from = to_vector(x);
    for_each_element([&](size_t, size_t source, size_t target) { expected[target] = from[source]; });
    ops::copy_rectangles(to_device(there, x), found, ops::Rectangles(there, rectangles()));
    ops::copy_rectangles(to_device(there, x), found, ops::Rectangles(there, {})); // of none
    EXPECT_EQ(to_vector(to_device(t.allocator, found)), expected);
}

TEST(rectangles, are_copied_and_nothing_else_is_touched) {
    check_copies<float>();
    check_copies<double>();
}

// Each element is made by three operations of rounding u of terms below 8; a GPU fuses two of them.
constexpr double kBound = 3 * 8 * 0x1p-53;

TEST(rectangles, muon_applies_updates_with_the_factors_of_each) {
    TestContext t, tested(test_device());
    Allocator& there = *tested.ctx.allocator;
    const Tensor x = random_tensor(t.allocator, {900}, DType::f64, "x"),
                 p = random_tensor(t.allocator, {720}, DType::f64, "p");
    const std::vector<ops::MuonFactors> factors = {{1, 0, 2}, {0.5, 0.1, 1}, {2, 0.3, 0.2}, {1, 0.1, 0.7}};
    auto expected = to_vector(p);
    const auto update = to_vector(x);
    for_each_element([&](size_t r, size_t source, size_t target) {
        const auto& [lr_scale, decay, scale] = factors[r];
        expected[target] -= 0.3 * lr_scale * (scale * update[source] + decay * expected[target]);
    });
    const Tensor found = to_device(there, converted(t.allocator, p, DType::f64));
    ops::muon_apply(found, to_device(there, x), ops::MuonFragments(there, rectangles(), factors), 0.3);
    const auto values = to_vector(to_device(t.allocator, found));
    for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[i], kBound) << i;
}

TEST(rectangles, muon_averages_gradients_and_looks_ahead) {
    TestContext t, tested(test_device());
    Allocator& there = *tested.ctx.allocator;
    const Tensor m = random_tensor(t.allocator, {700}, DType::f64, "m"),
                 g = random_tensor(t.allocator, {700}, DType::f64, "g");
    const auto before = to_vector(m), gradient = to_vector(g);
    for (const bool nesterov : {true, false}) {
        const Tensor momentum = to_device(there, converted(t.allocator, m, DType::f64)),
                     ahead = nesterov ? Tensor::empty(there, {700}, DType::f64) : Tensor();
        ops::muon_momentum(momentum, to_device(there, g), ahead, 0.9, 0.5);
        const auto after = to_vector(to_device(t.allocator, momentum));
        const auto next = nesterov ? to_vector(to_device(t.allocator, ahead)) : after;
        for (size_t i = 0; i < after.size(); ++i) {
            const double expected = 0.9 * before[i] + 0.1 * 0.5 * gradient[i];
            EXPECT_NEAR(after[i], expected, kBound) << i;
            if (nesterov) {
                EXPECT_NEAR(next[i], 0.9 * expected + 0.1 * 0.5 * gradient[i], kBound) << i;
            }
        }
    }
}

TEST(rectangles, muon_expects_factors_for_every_rectangle) {
    TestContext t(test_device());
    EXPECT_THROW(ops::MuonFragments(*t.ctx.allocator, rectangles(), {{1, 0, 1}}), InternalError);
}

} // namespace
} // namespace braid::testing
