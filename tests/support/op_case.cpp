#include "tests/support/op_case.h"

#include <cstdlib>
#include <cstring>
#include <string_view>

#if BRAID_OPENMP
#include <omp.h>
#endif

namespace braid::testing {
namespace {

OpCase::Weights make_parameters(const OpCase& op, TestContext& t, ParameterStore& store, DType dtype) {
    store.begin_unit("unit");
    OpCase::Weights weights;
    for (size_t i = 0; i < op.parameters.size(); ++i) {
        ParameterSpec spec;
        spec.name = fmt::format("w{}", i);
        spec.shape = op.parameters[i].shape;
        weights.push_back(store.declare(spec));
    }
    store.allocate(*t.ctx.allocator, dtype, true);
    for (size_t i = 0; i < weights.size(); ++i) {
        const Tensor values = random_tensor(t.allocator, weights[i]->shape(), DType::f64,
                                            op.name + " parameter " + std::to_string(i),
                                            op.parameters[i].scale, op.parameters[i].shift);
        copy(converted(t.allocator, values, dtype), weights[i]->value());
    }
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

} // namespace

Device test_device() {
    const char* wanted = std::getenv("BRAID_TEST_DEVICE");
    return {wanted && std::string_view(wanted) == "cuda" ? DeviceKind::cuda : DeviceKind::cpu, 0};
}

Values run_op(const OpCase& op, TestContext& t, DType dtype) {
    ParameterStore store;
    const auto weights = make_parameters(op, t, store, dtype);
    Values inputs;
    for (const Tensor& x : op.inputs)
        inputs.push_back(
            to_device(*t.ctx.allocator, is_floating(x.dtype()) ? converted(t.allocator, x, dtype) : x));
    const Segment segment(op.name, 0, Segment::Policy::keep,
                          [&](Context& ctx, const Values& in) { return op.forward(ctx, in, weights); });
    Segment::Saved saved;
    Values results = segment.forward(t.ctx, inputs, &saved);
    Gradients gradients(*t.ctx.allocator);
    for (size_t k = 0; k < results.size(); ++k)
        if (is_floating(results[k].dtype()))
            gradients.add(
                results[k].ref(),
                to_device(*t.ctx.allocator, random_tensor(t.allocator, results[k].shape(), results[k].dtype(),
                                                          op.name + " output " + std::to_string(k))));
    segment.backward(t.ctx, saved, gradients);
    for (const Tensor& x : inputs)
        if (Tensor dx = gradients.take(x.ref()); dx.defined()) results.push_back(dx);
    for (Tensor& y : results) y = on_host(t, y);
    for (const Parameter* w : weights) {
        Tensor dw = Tensor::empty(t.allocator, w->shape(), dtype); // a copy: the store goes
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

void expect_same_bits_for_any_threads(const OpCase& op) {
    if (test_device().kind != DeviceKind::cpu) {
        TestContext t(test_device());
        const Values one = run_op(op, t, DType::f32), two = run_op(op, t, DType::f32);
        for (size_t i = 0; i < one.size(); ++i)
            expect_identical(two[i], one[i], op.name + " result " + std::to_string(i) + " once more");
        return;
    }
#if BRAID_OPENMP
    TestContext t;
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1);
    const Values one = run_op(op, t, DType::f32);
    for (const int count : {2, 3}) {
        omp_set_num_threads(count);
        const Values many = run_op(op, t, DType::f32);
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
