#pragma once

#include <functional>
#include <map>
#include <span>
#include <vector>

#include "base/profiler.h"
#include "tensor/context.h"
#include "tensor/tensor.h"

namespace braid {

/// The gradients of values met so far in a backward run, keyed by value id.
class Gradients {
  public:
    explicit Gradients(Allocator& allocator) : allocator_(allocator) {}

    /// Adds dx (packed, as many elements as x, the same dtype) to the gradient of x. Contributions are summed
    /// in the order of the calls, bf16 in f32 with one rounding a call. Never writes into memory that another
    /// tensor shares.
    void add(const ValueRef& x, Tensor dx);
    /// The gradient of y in y's shape, which leaves the table; an undefined tensor if none arrived.
    Tensor take(const ValueRef& y);

  private:
    Allocator& allocator_;
    std::map<ValueId, Tensor> table_;
};

/// What the backward function of one operation works with.
struct Backward {
    Context& ctx;
    std::span<const Tensor> saved; // as recorded
    std::span<const Tensor> dy;    // one per output, in its shape; undefined where no gradient arrived
    Gradients* gradients;          // null in a weight gradient
    ProfileScope* profile;

    /// Gives the gradient of an input.
    void add(const ValueRef& x, Tensor dx) const { gradients->add(x, std::move(dx)); }
    /// Counts floating-point operations done, for the profile.
    void count_flops(double flops) const { profile->count_flops(flops); }
};

/// One executed operation. Its data gradient gives the gradients of inputs; its weight gradient adds to
/// parameter gradients and nothing else. Both see the same Backward.
struct OpRecord {
    const char* name;
    std::vector<ValueRef> outputs;
    std::vector<Tensor> saved;
    std::function<void(const Backward&)> data_gradient;
    std::function<void(const Backward&)> weight_gradient = nullptr;
};

/// The operations of one forward run in order. Backward walks them from the last to the first: no graph
/// search, no recursion. It gives up each operation's saved tensors as soon as it has run.
class Tape {
  public:
    void record(OpRecord record) { records_.push_back(std::move(record)); }
    /// Starts the gradient of y (one element, a loss that this run itself adds to the total) at `factor`.
    void seed(const Tensor& y, double factor);

    /// Consumes the tape. `gradients` holds the gradients of the run's outputs and receives those of its
    /// inputs.
    void backward(Context& ctx, Gradients& gradients);

    /// Bytes of memory held for backward, each storage counted once.
    int64_t saved_bytes() const;
    size_t size() const { return records_.size(); }

  private:
    struct Seed {
        ValueRef value;
        double factor;
    };
    std::vector<OpRecord> records_;
    std::vector<Seed> seeds_;
};

} // namespace braid
