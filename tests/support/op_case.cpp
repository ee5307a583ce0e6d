#include "tests/support/op_case.h"

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <string_view>

#if BRAID_OPENMP
#include <omp.h>
#endif

#include "base/highway_targets.h"
#include "ops/cpu/bf16_gemm.h"

// After ours, which says what targets there are.
#include <hwy/targets.h>

namespace braid::testing {
namespace {

/// With BRAID_TEST_HIGHWAY_TARGET our vector code runs as on a processor of that kind (numerics.kernels).
class ChosenHighwayTarget : public ::testing::Environment {
  public:
    void SetUp() override {
        const char* wanted = std::getenv("BRAID_TEST_HIGHWAY_TARGET");
        if (!wanted) return;
        for (const int64_t target : hwy::SupportedAndGeneratedTargets())
            if (std::string_view(wanted) == hwy::TargetName(target))
                return hwy::SetSupportedTargetsForTest(target);
        GTEST_FAIL() << "BRAID_TEST_HIGHWAY_TARGET: " << wanted << " is not built or not on this processor";
    }
};
const auto* const chosen_highway_target = ::testing::AddGlobalTestEnvironment(new ChosenHighwayTarget);

/// The numbers of x in another dtype, rounded to bf16 on the way if asked for.
Tensor in_dtype(Allocator& allocator, const Tensor& x, DType dtype, bool representable) {
    if (!is_floating(x.dtype())) return x;
    const Tensor numbers = representable ? converted(allocator, x, DType::bf16) : x;
    return converted(allocator, numbers, dtype);
}

OpCase::Weights make_parameters(const OpCase& op, TestContext& t, ParameterStore& store, DType precision,
                                bool representable = false) {
    store.begin_unit("unit");
    OpCase::Weights weights;
    for (size_t i = 0; i < op.parameters.size(); ++i) {
        ParameterSpec spec;
        spec.name = fmt::format("w{}", i);
        spec.shape = op.parameters[i].shape;
        weights.push_back(store.declare(spec));
    }
    store.allocate(*t.ctx.allocator, precision, true);
    for (size_t i = 0; i < weights.size(); ++i) {
        const Tensor numbers = random_tensor(t.allocator, weights[i]->shape(), DType::f64,
                                             op.name + " parameter " + std::to_string(i),
                                             op.parameters[i].scale, op.parameters[i].shift);
        copy(in_dtype(t.allocator, numbers, store.dtype(), representable), weights[i]->value());
    }
    store.values_changed();
    return weights;
}

/// The same on the host, packed.
Tensor on_host(TestContext& t, const Tensor& x) {
    if (x.device().kind == DeviceKind::cpu) return x;
    Tensor y = Tensor::empty(t.allocator, x.shape(), x.dtype());
    copy(x, y);
    return y;
}

// The CPU's kernels and a GPU's add in other orders and round exponentials otherwise; in f64 that is a few
// hundred units in the last place of the largest element for the sizes of these cases.
constexpr double kDeviceBound = 1e-12;

void expect_device_agrees(const OpCase& op) {
    TestContext host, gpu(test_device());
    const Values expected = run_op(op, host, DType::f64), found = run_op(op, gpu, DType::f64);
    ASSERT_EQ(found.size(), expected.size()) << op.name;
    for (size_t i = 0; i < expected.size(); ++i) {
        if (is_floating(expected[i].dtype()))
            expect_close(found[i], expected[i], kDeviceBound, op.name + " result " + std::to_string(i));
        else
            expect_identical(found[i], expected[i], op.name + " result " + std::to_string(i));
    }
}

/// gtest would not call cases skipped that never start; ctest looks for the words.
class SkipsWithoutGpu : public ::testing::Environment {
    void SetUp() override {
        if (test_device().kind == DeviceKind::cuda && num_cuda_devices() == 0)
            GTEST_SKIP() << "[  SKIPPED ] BRAID_TEST_DEVICE=cuda, but there is no GPU";
    }
};
[[maybe_unused]] const auto* const skips_without_gpu =
    ::testing::AddGlobalTestEnvironment(new SkipsWithoutGpu); // gtest deletes it

/// |found - exact| <= units * unit + sums times the largest of exact, element by element.
void expect_elements_close(const Tensor& found, const Tensor& exact, const std::vector<double>& units,
                           double unit, double sums, const std::string& what) {
    const auto a = to_vector(found), b = to_vector(exact);
    ASSERT_EQ(a.size(), b.size()) << what;
    ASSERT_EQ(a.size(), units.size()) << what;
    double largest = 0;
    for (const double x : b) largest = std::max(largest, std::abs(x));
    for (size_t i = 0; i < a.size(); ++i)
        ASSERT_LE(std::abs(a[i] - b[i]), units[i] * unit + sums * largest)
            << what << ", element " << i << " is " << a[i] << ", in f32 " << b[i];
}

std::atomic<int> times_asked_for_gpu = 0; // ranks on threads ask at once

/// A case that runs once more on a GPU and does not touch it would only seem to test something there.
class AsksForGpu : public ::testing::EmptyTestEventListener {
    void OnTestStart(const ::testing::TestInfo&) override { before_ = times_asked_for_gpu; }
    void OnTestEnd(const ::testing::TestInfo& test) override {
        if (!std::getenv("BRAID_TEST_DEVICE") || test.result()->Skipped() || times_asked_for_gpu > before_)
            return;
        if (std::getenv("OMPI_COMM_WORLD_SIZE")) return; // ranks run suites whole
        ADD_FAILURE() << "BRAID_TEST_DEVICE is set, and this case asks for no test_device(): name it in "
                         "tests/ops/host_cases.txt";
    }
    int before_ = 0;
};
[[maybe_unused]] const bool watches_cases = [] {
    ::testing::UnitTest::GetInstance()->listeners().Append(new AsksForGpu); // gtest deletes it
    return true;
}();

} // namespace

Device test_device() {
    const char* wanted = std::getenv("BRAID_TEST_DEVICE");
    ++times_asked_for_gpu;
    return {wanted && std::string_view(wanted) == "cuda" ? DeviceKind::cuda : DeviceKind::cpu, 0};
}

Values run_op(const OpCase& op, TestContext& t, DType precision, bool representable) {
    ParameterStore store;
    const auto weights = make_parameters(op, t, store, precision, representable);
    Values inputs;
    for (size_t i = 0; i < op.inputs.size(); ++i) {
        const bool wide = std::count(op.wide_inputs.begin(), op.wide_inputs.end(), i) > 0;
        inputs.push_back(
            to_device(*t.ctx.allocator,
                      in_dtype(t.allocator, op.inputs[i], wide ? store.dtype() : precision, representable)));
    }
    const Segment segment(op.name, 0, Segment::Policy::keep,
                          [&](Context& ctx, const Values& in) { return op.forward(ctx, in, weights); });
    Segment::Saved saved;
    Values results = segment.forward(t.ctx, inputs, &saved);
    Gradients gradients(*t.ctx.allocator);
    for (size_t k = 0; k < results.size(); ++k)
        if (is_floating(results[k].dtype())) {
            const Tensor dy = random_tensor(t.allocator, results[k].shape(), results[k].dtype(),
                                            op.name + " output " + std::to_string(k));
            gradients.add(results[k].ref(),
                          to_device(*t.ctx.allocator, in_dtype(t.allocator, dy, dy.dtype(), representable)));
        }
    segment.backward(t.ctx, saved, gradients);
    for (const Tensor& x : inputs)
        if (Tensor dx = gradients.take(x.ref()); dx.defined()) results.push_back(dx);
    for (Tensor& y : results) y = on_host(t, y);
    for (const Parameter* w : weights) {
        Tensor dw = Tensor::empty(t.allocator, w->shape(), store.dtype()); // a copy: the store goes
        copy(w->gradient(), dw);
        results.push_back(dw);
    }
    return results;
}

void check_op_gradients(const OpCase& op, const GradientCheckOptions& options) {
    if (test_device().kind != DeviceKind::cpu) return expect_device_agrees(op);
    TestContext t;
    ParameterStore store;
    const auto weights = make_parameters(op, t, store, DType::f64);
    check_gradients(
        op.name, t.ctx, [&](Context& ctx, const Values& in) { return op.forward(ctx, in, weights); },
        op.inputs, weights.empty() ? nullptr : &store, options);
}

void expect_f32_close_to_f64(const OpCase& op, double bound) {
    TestContext t, tested(test_device());
    const Values exact = run_op(op, t, DType::f64), rounded = run_op(op, tested, DType::f32);
    ASSERT_EQ(exact.size(), rounded.size()) << op.name;
    for (size_t i = 0; i < exact.size(); ++i)
        expect_close(rounded[i], exact[i], bound, op.name + " result " + std::to_string(i));
}

void expect_bf16_close_to_f32(const OpCase& op, const Bf16Bound& bound) {
    TestContext t;
    const Values exact = run_op(op, t, DType::f32, true);
    const auto expect_close_in = [&](TestContext& tested) {
        const Values found = run_op(op, tested, DType::bf16, true);
        EXPECT_EQ(exact.size(), found.size()) << op.name;
        for (size_t i = 0; i < std::min(exact.size(), found.size()); ++i) {
            // The sums of both runs are f32, but not always in the same order.
            constexpr double kUnit = 0x1p-8, kSums = 1e-5;
            const std::string what = op.name + " in bf16, result " + std::to_string(i);
            if (!bound.elements.empty()) {
                expect_elements_close(found[i], exact[i], bound.elements.at(i), kUnit, kSums, what);
                continue;
            }
            const double units = found[i].dtype() == DType::bf16 ? bound.rounded : bound.wide;
            expect_close(found[i], exact[i], units * kUnit + kSums, what);
        }
        expect_same_bits_for_any_threads(op, DType::bf16);
    };
    if (test_device().kind != DeviceKind::cpu) {
        TestContext gpu(test_device());
        return expect_close_in(gpu);
    }
    const auto chosen = ops::cpu::bf16_gemm();
    for (const auto gemm : {ops::cpu::Bf16Gemm::widened, ops::cpu::Bf16Gemm::onednn}) {
        if (gemm == ops::cpu::Bf16Gemm::onednn && !ops::cpu::can_use_onednn()) continue;
        ops::cpu::set_bf16_gemm(gemm);
        expect_close_in(t);
        if (op.parameters.empty()) break; // no product with weights
    }
    ops::cpu::set_bf16_gemm(chosen);
}

void expect_same_bits_for_any_threads(const OpCase& op, DType precision) {
    if (test_device().kind != DeviceKind::cpu) {
        TestContext t(test_device());
        const Values one = run_op(op, t, precision), two = run_op(op, t, precision);
        for (size_t i = 0; i < one.size(); ++i)
            expect_identical(two[i], one[i], op.name + " result " + std::to_string(i) + " once more");
        return;
    }
#if BRAID_OPENMP
    TestContext t;
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    const Values one = run_op(op, t, precision);
    for (const int count : {2, 3}) {
        omp_set_num_threads(count);
        const Values many = run_op(op, t, precision);
        for (size_t i = 0; i < one.size(); ++i)
            if (one[i].is_contiguous())
                expect_identical(
                    many[i], one[i],
                    op.name + " result " + std::to_string(i) + " with " + std::to_string(count) + " threads");
    }
    omp_set_num_threads(threads);
#endif
}

} // namespace braid::testing
