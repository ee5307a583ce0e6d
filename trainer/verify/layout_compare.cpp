#include "trainer/verify/layout_compare.h"

#include <algorithm>
#include <cmath>

namespace braid {
namespace {

/// The root mean square of all elements.
double root_mean_square(const GlobalTensors& tensors) {
    double squares = 0, count = 0;
    for (const auto& [name, values] : tensors) {
        for (const double value : values) squares += value * value;
        count += static_cast<double>(values.size());
    }
    return std::sqrt(squares / std::max(count, 1.0));
}

/// What may explain a difference but a wrong sum.
struct Allowance {
    double amplification = 1;                  // errors are divided by this, at least 1
    const GlobalTensors* rounding = nullptr;   // differences of elements are less by this
    std::map<std::string, double> differences; // of these tensors so much passes, and nothing is divided
};

/// Keeps the larger error; NaN is larger than any.
void note(double error, const std::string& name, size_t step, LayoutDifference& worst) {
    if (error <= worst.error || std::isnan(worst.error)) return;
    worst.set(error, name, step);
}

/// What the updates of whole matrices differ by because their gradients do.
std::map<std::string, double> passed_on_by_matrices(const LayoutStep& a, const LayoutStep& b) {
    std::map<std::string, double> differences;
    for (const auto& [name, slope] : b.matrix_slopes) {
        const std::vector<double>&found = a.gradients.at("gradient/" + name),
              &expected = b.gradients.at("gradient/" + name);
        double squares = 0;
        for (size_t i = 0; i < expected.size(); ++i) squares += std::pow(found.at(i) - expected[i], 2);
        differences["model/" + name] = slope * std::sqrt(squares);
    }
    return differences;
}

void compare_kind(const GlobalTensors& a, const GlobalTensors& b, size_t step, LayoutDifference& worst,
                  const Allowance& allowance = {}) {
    const double floor = 1e-3 * root_mean_square(b);
    check(a.size() == b.size(), "{} and {} tensors are compared", a.size(), b.size());
    for (const auto& [name, expected] : b) {
        const std::vector<double>& found = a.at(name);
        check(found.size() == expected.size(), "{}: {} and {} elements are compared", name, found.size(),
              expected.size());
        const std::vector<double>* rounding = allowance.rounding ? &allowance.rounding->at(name) : nullptr;
        double difference = 0, largest = floor;
        for (size_t i = 0; i < found.size(); ++i) {
            const double d = std::abs(found[i] - expected[i]) - (rounding ? (*rounding)[i] : 0);
            if (!(d <= difference) && !std::isnan(difference)) difference = d; // NaN stays
            largest = std::max(largest, std::abs(expected[i]));
        }
        double amplification = std::max(allowance.amplification, 1.0);
        if (const auto passed = allowance.differences.find(name); passed != allowance.differences.end()) {
            amplification = 1;
            difference = difference <= passed->second ? 0 : difference - passed->second;
        }
        note(difference == 0 ? 0 : difference / largest / amplification, name, step, worst);
    }
}

/// What storing the updated parameters may add to an update.
GlobalTensors rounding_of_parameters(const LayoutStep& step, double unit_roundoff) {
    GlobalTensors rounding = step.updates;
    for (auto& [name, values] : rounding) {
        const std::vector<double>& before = step.state.at(name);
        for (size_t i = 0; i < values.size(); ++i)
            values[i] = unit_roundoff * std::abs(before[i] + values[i]);
    }
    return rounding;
}

void compare_number(double a, double b, const char* name, size_t step, LayoutDifference& worst) {
    const double error = a == b ? 0 : std::abs(a - b) / std::abs(b);
    note(error, name, step, worst);
}

/// Sequences with equal losses may stand in another order, and the last of one list be missing in the other.
void compare_sequences(const std::vector<SequenceLoss>& a, const std::vector<SequenceLoss>& b, size_t step,
                       LayoutDifference& worst) {
    compare_number(static_cast<double>(a.size()), static_cast<double>(b.size()), "number of worst sequences",
                   step, worst);
    if (a.empty()) return;
    for (const SequenceLoss& expected : b) {
        const auto found =
            std::find_if(a.begin(), a.end(), [&](const auto& s) { return s.sample == expected.sample; });
        compare_number(found == a.end() ? a.back().loss : found->loss, expected.loss,
                       "loss of a worst sequence", step, worst);
    }
}

} // namespace

LayoutDifference compare(const std::vector<LayoutStep>& a, const std::vector<LayoutStep>& b,
                         double unit_roundoff) {
    LayoutDifference worst;
    check(a.size() == b.size(), "{} and {} steps are compared", a.size(), b.size());
    for (size_t s = 0; s < b.size(); ++s) {
        compare_number(a[s].loss, b[s].loss, "loss", s, worst);
        compare_number(a[s].aux_loss, b[s].aux_loss, "aux_loss", s, worst);
        compare_number(a[s].router_z_loss, b[s].router_z_loss, "router z-loss", s, worst);
        compare_number(a[s].grad_norm, b[s].grad_norm, "grad_norm", s, worst);
        compare_sequences(a[s].worst_sequences, b[s].worst_sequences, s, worst);
        compare_kind(a[s].gradients, b[s].gradients, s, worst);
        // In one precision both round to the same parameters, or to neighbours, which is judged.
        GlobalTensors parameters;
        if (unit_roundoff > 0) parameters = rounding_of_parameters(b[s], unit_roundoff);
        const GlobalTensors* rounding = unit_roundoff > 0 ? &parameters : nullptr;
        const double updates = root_mean_square(b[s].updates);
        const double slope = updates > 0 ? b[s].update_slope * root_mean_square(b[s].gradients) / updates : 1;
        compare_kind(a[s].updates, b[s].updates, s, worst,
                     {slope, rounding, passed_on_by_matrices(a[s], b[s])});
        LayoutDifference reported;
        compare_kind(a[s].reported_updates, b[s].reported_updates, s, reported, {1, rounding, {}});
        if (!(reported.error <= worst.reported_error)) worst.reported_error = reported.error;
        compare_kind(a[s].buffers, b[s].buffers, s, worst);
    }
    return worst;
}

} // namespace braid
