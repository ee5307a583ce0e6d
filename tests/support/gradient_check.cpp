#include "tests/support/gradient_check.h"

#include <cmath>
#include <cstring>

#include "tests/support/sanitized.h"

namespace braid::testing {
namespace {

struct Analytic {
    Values inputs; // undefined for inputs without gradient
    Values units;  // flat gradients per unit of the store
};

class Checker {
  public:
    Checker(const std::string& what, Context& ctx, const Segment::Forward& forward, const Values& inputs,
            ParameterStore* store, const GradientCheckOptions& options)
        : what_(what), ctx_(ctx), forward_(forward), inputs_(inputs), store_(store), options_(options) {
        ctx_.tape = nullptr;
        for (const Tensor& y : forward_(ctx_, inputs_)) {
            cotangents_.push_back(
                is_floating(y.dtype())
                    ? random_tensor(*ctx_.allocator, y.shape(), y.dtype(),
                                    what + " cotangent " + std::to_string(cotangents_.size()))
                    : Tensor());
        }
    }

    void run() {
        const Analytic kept = analytic(Segment::Policy::keep);
        expect_same(kept, analytic(Segment::Policy::recompute), "recomputation");
        for (size_t i = 0; i < inputs_.size(); ++i)
            if (inputs_[i].dtype() == DType::f64)
                compare(inputs_[i], kept.inputs[i], what_ + " input " + std::to_string(i));
        if (!store_) return;
        for (size_t u = 0; u < store_->units().size(); ++u)
            for (const Parameter* parameter : store_->units()[u]->parameters)
                for (const auto& section : parameter->sections())
                    compare(store_->units()[u]->values.rows(section.unit_offset, section.spec.shape.numel()),
                            kept.units[u].rows(section.unit_offset, section.spec.shape.numel()),
                            what_ + " " + section.spec.name);
    }

  private:
    Analytic analytic(Segment::Policy policy) {
        if (store_) store_->zero_gradients();
        const Segment segment(what_, 0, policy, forward_);
        Segment::Saved saved;
        const Values outputs = segment.forward(ctx_, inputs_, &saved);
        Gradients gradients(*ctx_.allocator);
        for (size_t k = 0; k < outputs.size(); ++k)
            if (cotangents_[k].defined())
                gradients.add(outputs[k].ref(), cotangents_[k].view(outputs[k].shape()));
        segment.backward(ctx_, saved, gradients);
        Analytic result;
        for (const Tensor& input : inputs_) result.inputs.push_back(gradients.take(input.ref()));
        if (store_)
            for (const auto& unit : store_->units())
                result.units.push_back(from_vector(*ctx_.allocator, unit->gradients.shape(), DType::f64,
                                                   to_vector(unit->gradients)));
        return result;
    }

    void expect_same(const Analytic& a, const Analytic& b, const std::string& how) {
        for (size_t i = 0; i < a.inputs.size(); ++i) {
            ASSERT_EQ(a.inputs[i].defined(), b.inputs[i].defined()) << what_ << ", " << how;
            if (a.inputs[i].defined()) expect_identical(b.inputs[i], a.inputs[i], what_ + ", " + how);
        }
        for (size_t u = 0; u < a.units.size(); ++u)
            expect_identical(b.units[u], a.units[u], what_ + ", " + how);
    }

    double objective() {
        double sum = 0;
        const Values outputs = forward_(ctx_, inputs_);
        for (size_t k = 0; k < outputs.size(); ++k) {
            if (!cotangents_[k].defined()) continue;
            const auto y = to_vector(outputs[k]), c = to_vector(cotangents_[k]);
            for (size_t i = 0; i < y.size(); ++i) sum += y[i] * c[i];
        }
        return sum;
    }

    /// The derivative at 0 of the objective after move(shift), by the 4-point stencil, whose error is of
    /// fourth order: normalised vectors that happen to be short make the third derivative large.
    template <typename Move>
    double derivative(double step, Move&& move) {
        const auto at = [&](double shift) {
            move(shift);
            return objective();
        };
        return (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step);
    }

    void compare(const Tensor& x, const Tensor& dx, const std::string& name) {
        ASSERT_TRUE(x.rank() == 0 || x.is_contiguous())
            << name << ": give packed inputs to the gradient check";
        double* values = x.data<double>();
        const std::vector<double> gradient =
            dx.defined() ? to_vector(dx) : std::vector<double>(static_cast<size_t>(x.numel()), 0.0);
        double size =
            1e-3; // a gradient that is zero up to rounding is compared with differences of rounding size
        for (double g : gradient) size = std::max(size, std::abs(g));
        const int64_t most =
            test::kSanitized ? std::max<int64_t>(1, options_.max_elements / 10) : options_.max_elements;
        const int64_t stride = std::max<int64_t>(1, (x.numel() + most - 1) / most);
        for (int64_t i = 0; i < x.numel(); i += stride) {
            const double kept = values[i], step = options_.step * std::max(1.0, std::abs(kept));
            const double numeric = derivative(step, [&](double shift) { values[i] = kept + shift; });
            values[i] = kept;
            ASSERT_NEAR(gradient[static_cast<size_t>(i)] / size, numeric / size, options_.bound)
                << name << ", element " << i << " of " << x.numel() << ", largest gradient " << size;
        }
        if (stride > 1) compare_direction(x, gradient, name);
    }

    void compare_direction(const Tensor& x, const std::vector<double>& gradient, const std::string& name) {
        double* values = x.data<double>();
        const std::vector<double> kept(values, values + x.numel());
        const auto direction =
            to_vector(random_tensor(*ctx_.allocator, {x.numel()}, DType::f64, name + " direction"));
        const double step = options_.step / std::sqrt(static_cast<double>(x.numel()));
        double expected = 0, size = 1e-3;
        for (size_t i = 0; i < kept.size(); ++i) {
            expected += gradient[i] * direction[i];
            size += gradient[i] * gradient[i]; // the size of the sum of random terms is the root of this
        }
        const double numeric = derivative(step, [&](double shift) {
            for (size_t i = 0; i < kept.size(); ++i) values[i] = kept[i] + shift * direction[i];
        });
        std::memcpy(values, kept.data(), kept.size() * sizeof(double));
        const double root = std::sqrt(size) * std::sqrt(static_cast<double>(x.numel()));
        EXPECT_NEAR(expected / root, numeric / root, options_.bound) << name << ", random direction";
    }

    const std::string what_;
    Context ctx_;
    const Segment::Forward& forward_;
    const Values inputs_;
    ParameterStore* store_;
    const GradientCheckOptions options_;
    Values cotangents_;
};

} // namespace

void check_gradients(const std::string& what, Context& ctx, const Segment::Forward& forward,
                     const Values& inputs, ParameterStore* store, const GradientCheckOptions& options) {
    Checker(what, ctx, forward, inputs, store, options).run();
}

} // namespace braid::testing
