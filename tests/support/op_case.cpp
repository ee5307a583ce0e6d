#include "tests/support/op_case.h"

#include <cstring>

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
    store.allocate(t.allocator, dtype, true);
    for (size_t i = 0; i < weights.size(); ++i) {
        const auto values = to_vector(random_tensor(t.allocator, weights[i]->shape(), DType::f64,
                                                    op.name + " parameter " + std::to_string(i),
                                                    op.parameters[i].scale, op.parameters[i].shift));
        dispatch_float(dtype, [&]<typename T>() {
            for (size_t j = 0; j < values.size(); ++j)
                weights[i]->value().data<T>()[j] = static_cast<T>(values[j]);
        });
    }
    return weights;
}

} // namespace

Values run_op(const OpCase& op, TestContext& t, DType dtype) {
    ParameterStore store;
    const auto weights = make_parameters(op, t, store, dtype);
    Values inputs;
    for (const Tensor& x : op.inputs)
        inputs.push_back(is_floating(x.dtype()) ? converted(t.allocator, x, dtype) : x);
    const Segment segment(op.name, 0, Segment::Policy::keep,
                          [&](Context& ctx, const Values& in) { return op.forward(ctx, in, weights); });
    Segment::Saved saved;
    Values results = segment.forward(t.ctx, inputs, &saved);
    Gradients gradients(t.allocator);
    for (size_t k = 0; k < results.size(); ++k)
        if (is_floating(results[k].dtype()))
            gradients.add(results[k].ref(), random_tensor(t.allocator, results[k].shape(), results[k].dtype(),
                                                          op.name + " output " + std::to_string(k)));
    segment.backward(t.ctx, saved, gradients);
    for (const Tensor& x : inputs)
        if (Tensor dx = gradients.take(x.ref()); dx.defined()) results.push_back(dx);
    for (const Parameter* w : weights) {
        Tensor dw = Tensor::empty(t.allocator, w->shape(), dtype); // a copy: the store goes
        std::memcpy(dw.raw_data(), w->gradient().raw_data(), dw.bytes());
        results.push_back(dw);
    }
    return results;
}

void check_op_gradients(const OpCase& op, const GradientCheckOptions& options) {
    TestContext t;
    ParameterStore store;
    const auto weights = make_parameters(op, t, store, DType::f64);
    check_gradients(
        op.name, t.ctx, [&](Context& ctx, const Values& in) { return op.forward(ctx, in, weights); },
        op.inputs, weights.empty() ? nullptr : &store, options);
}

void expect_f32_close_to_f64(const OpCase& op, double bound) {
    TestContext t;
    const Values exact = run_op(op, t, DType::f64), rounded = run_op(op, t, DType::f32);
    ASSERT_EQ(exact.size(), rounded.size()) << op.name;
    for (size_t i = 0; i < exact.size(); ++i)
        expect_close(rounded[i], exact[i], bound, op.name + " result " + std::to_string(i));
}

void expect_same_bits_for_any_threads(const OpCase& op) {
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
