#include "bench/gpu_case.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "tensor/cuda/runtime.h"
#include "tensor/host_values.h"

namespace braid::bench {
namespace {

// Elements that random numbers repeat after: odd, so that rows of a matrix differ.
constexpr int64_t kRandomElements = (1 << 20) + 7;

template <typename T>
void fill_repeating(const Tensor& x, uint64_t seed, double scale, double shift) {
    std::mt19937_64 random(seed);
    std::vector<T> block(static_cast<size_t>(std::min(x.numel(), kRandomElements)));
    const double half_width = std::sqrt(3.0) * scale; // of a uniform distribution
    for (T& value : block) {
        const double uniform = static_cast<double>(random() >> 11) * 0x1p-53;
        value = static_cast<T>(static_cast<float>(shift + half_width * (2 * uniform - 1)));
    }
    const Stream& stream = x.allocator().stream();
    const size_t block_bytes = block.size() * sizeof(T);
    for (size_t at = 0; at < x.bytes(); at += block_bytes)
        cuda::copy(static_cast<std::byte*>(x.raw_data()) + at, block.data(),
                   std::min(block_bytes, x.bytes() - at), stream.native());
    stream.synchronize();
}

struct BackwardRun {
    Operation operation;
    Values dy; // made in the first run
    Tape tape;
    std::unique_ptr<Gradients> gradients;
};

bool takes_gradient(const Tensor& y) {
    return y.defined() && is_floating(y.dtype());
}

void run_forward(Rig& rig, BackwardRun& run) {
    run.gradients.reset(); // of the repetition before, whose memory this one takes
    run.tape = Tape();
    Context ctx = rig.ctx;
    ctx.tape = &run.tape;
    const Values outputs = run.operation(ctx);
    if (run.dy.empty())
        for (const Tensor& y : outputs) {
            if (!takes_gradient(y)) {
                run.dy.emplace_back();
            } else if (y.dtype() == DType::f64) {
                run.dy.push_back(Tensor::empty(rig.allocator, y.shape(), y.dtype()));
                run.dy.back().fill(1);
            } else {
                run.dy.push_back(rig.random(y.shape(), y.dtype()));
            }
        }
    run.gradients = std::make_unique<Gradients>(rig.allocator);
    for (size_t i = 0; i < outputs.size(); ++i)
        if (run.dy[i].defined()) run.gradients->add(outputs[i].ref(), run.dy[i]);
}

} // namespace

Rig::Rig(const Stream& stream) : allocator(stream) {
    ctx.allocator = &allocator;
    ctx.stream = stream;
}

void Rig::fill(const Tensor& x, double scale, double shift) {
    ++seed_;
    if (x.dtype() == DType::bf16)
        fill_repeating<bf16>(x, seed_, scale, shift);
    else
        fill_repeating<float>(x, seed_, scale, shift);
}

Tensor Rig::random(const Shape& shape, DType dtype, double scale, double shift) {
    check(dtype == DType::bf16 || dtype == DType::f32, "random numbers of {}", name_of(dtype));
    const Tensor x = Tensor::empty(allocator, shape, dtype);
    fill(x, scale, shift);
    return x;
}

Tensor Rig::random_ids(int64_t count, int64_t size) {
    std::mt19937_64 random(++seed_);
    std::vector<int32_t> ids(static_cast<size_t>(count));
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % static_cast<uint64_t>(size));
    return tensor_of(allocator, ids);
}

Tensor Rig::random_words(int64_t count, int64_t size) {
    std::mt19937_64 random(++seed_);
    std::vector<int32_t> ids(static_cast<size_t>(count));
    for (int32_t& id : ids) {
        const double part = static_cast<double>(random() >> 11) * 0x1p-53; // in [0, 1)
        id = static_cast<int32_t>(std::pow(static_cast<double>(size + 1), part)) - 1;
    }
    return tensor_of(allocator, ids);
}

const Parameter* Rig::parameter(const Shape& shape, ParameterRole role, double scale, double shift) {
    ParameterStore& store = *stores_.emplace_back(std::make_unique<ParameterStore>());
    store.begin_unit("bench");
    ParameterSpec spec;
    spec.name = "weight";
    spec.shape = shape;
    spec.role = role;
    const Parameter* parameter = store.declare(spec);
    store.allocate(allocator, DType::bf16, true);
    fill(parameter->value(), scale, shift);
    store.values_changed();
    return parameter;
}

Measured forward_of(Rig& rig, Operation operation) {
    const auto tape = std::make_shared<Tape>();
    return {[tape] { *tape = Tape(); },
            [&rig, tape, operation = std::move(operation)] {
                Context ctx = rig.ctx;
                ctx.tape = tape.get();
                operation(ctx);
            }};
}

Measured backward_of(Rig& rig, Operation operation) {
    const auto run = std::make_shared<BackwardRun>();
    run->operation = std::move(operation);
    return {[&rig, run] { run_forward(rig, *run); },
            [&rig, run] {
                Context ctx = rig.ctx;
                run->tape.backward(ctx, *run->gradients);
            }};
}

DocumentsPtr equal_documents(int64_t count, int64_t length) {
    Documents documents;
    documents.offsets = {0};
    for (int64_t i = 1; i <= count; ++i) documents.offsets.push_back(static_cast<int32_t>(i * length));
    documents.num_sequences = count;
    return std::make_shared<const Documents>(documents);
}

void add_both(std::vector<GpuCase>& cases, const std::string& name, const std::string& shape,
              const Work& forward, const Work& backward, const std::function<Operation(Rig&)>& make) {
    cases.push_back(
        {name + ".forward", shape, forward, [make](Rig& rig) { return forward_of(rig, make(rig)); }});
    cases.push_back(
        {name + ".backward", shape, backward, [make](Rig& rig) { return backward_of(rig, make(rig)); }});
}

} // namespace braid::bench
