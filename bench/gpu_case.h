#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ops/documents.h"
#include "tensor/parameters/parameter.h"
#include "tensor/segment.h"

namespace braid::bench {

/// What one measured case works with: memory of the GPU, a context, and numbers. All of it goes with the rig.
class Rig {
  public:
    explicit Rig(const Stream& stream);
    Rig(const Rig&) = delete;
    Rig& operator=(const Rig&) = delete;

    Allocator allocator;
    Context ctx; // without a tape

    /// Uniform numbers of mean `shift` and standard deviation `scale`, f32 or bf16. They have random digits,
    /// since a GPU works on equal numbers with less power and so faster, and repeat after a million or so.
    Tensor random(const Shape& shape, DType dtype, double scale = 1, double shift = 0);
    /// i32 [count] in [0, size).
    Tensor random_ids(int64_t count, int64_t size);
    /// The same as often as words of text: n about as 1 / (n + 1) (Zipf's law).
    Tensor random_words(int64_t count, int64_t size);
    /// A parameter of a store of its own, of precision bf16 and with gradients.
    const Parameter* parameter(const Shape& shape, ParameterRole role, double scale = 0.02, double shift = 0);

  private:
    void fill(const Tensor& x, double scale, double shift);

    std::vector<std::unique_ptr<ParameterStore>> stores_;
    uint64_t seed_ = 0; // of the tensor that was filled last
};

/// What is run in a repetition: `before` untimed, then `timed`.
struct Measured {
    std::function<void()> before, timed;
};

/// The least work that an operation's result takes, whatever its kernels do: floating-point operations, and
/// bytes of the memory of the GPU if every input is read once and every output written once.
struct Work {
    double flops = 0, bytes = 0;
    DType precision = DType::bf16; // the yardstick of the operations: the GEMM rate of bf16 or f32
    int64_t tokens = 0;            // where tokens per second are of interest
};

/// One operation at one shape.
struct GpuCase {
    std::string name, shape;
    Work work;
    std::function<Measured(Rig&)> prepare;
};

/// An operation as a layer calls it; the context tells whether a tape records it.
using Operation = std::function<Values(Context&)>;

/// The forward run as in training, with a tape that records what backward needs.
Measured forward_of(Rig& rig, Operation operation);
/// The backward run from random gradients of all floating outputs (1 for those in f64, which are losses),
/// weight gradients included; the forward run comes before, untimed.
Measured backward_of(Rig& rig, Operation operation);

/// `count` documents of `length` tokens, each a sequence.
DocumentsPtr equal_documents(int64_t count, int64_t length);

/// An operation with its work forward and backward, as two cases NAME.forward and NAME.backward. `make` is
/// called for each with a rig of its own.
void add_both(std::vector<GpuCase>& cases, const std::string& name, const std::string& shape,
              const Work& forward, const Work& backward, const std::function<Operation(Rig&)>& make);

} // namespace braid::bench
