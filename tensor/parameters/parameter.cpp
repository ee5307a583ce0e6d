#include "tensor/parameters/parameter.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <set>
#include <tuple>

#include "base/glob.h"
#include "base/normal_quantile.h"
#include "tensor/cuda/arithmetic.h"
#include "tensor/memory/build_cuda.h"

namespace braid {
namespace {

// Every parameter starts on a cache line of its flat buffer, for f32 and f64 alike.
constexpr int64_t kAlignmentElements = 16;
constexpr double kTruncation = 3; // standard deviations

int64_t aligned(int64_t elements) {
    return (elements + kAlignmentElements - 1) / kAlignmentElements * kAlignmentElements;
}

/// The standard deviation of a standard normal cut at +-c: sqrt(1 - 2 c phi(c) / (2 Phi(c) - 1)).
double truncated_deviation() {
    const double density = std::exp(-0.5 * kTruncation * kTruncation) / std::sqrt(2 * std::acos(-1.0));
    return std::sqrt(1 - 2 * kTruncation * density / std::erf(kTruncation / std::sqrt(2.0)));
}

/// One draw an element: the uniform number is mapped into the part of the distribution that is kept.
struct Truncation {
    double cut = 0.5 * std::erfc(kTruncation / std::sqrt(2.0)), deviation = truncated_deviation();
    double kept(double uniform) const { return cut + (1 - 2 * cut) * uniform; }
};

const Truncation& truncation() {
    static const Truncation made;
    return made;
}

/// Elements first to first + values.size(), with the bits of Initializer::value.
void fill_block(const Initializer& init, const RngStream& stream, int64_t first, std::span<double> values) {
    using enum Initializer::Kind;
    if (init.kind != normal && init.kind != truncated_normal) {
        for (size_t i = 0; i < values.size(); ++i)
            values[i] = init.value(stream, first + static_cast<int64_t>(i));
        return;
    }
    const bool cut = init.kind == truncated_normal;
    const Truncation& t = truncation();
    stream.uniforms(static_cast<uint64_t>(first), values);
    if (cut)
        for (double& value : values) value = t.kept(value);
    inverse_normal_cdf(values);
    const double scale = cut ? init.a / t.deviation : init.a;
    for (double& value : values) value *= scale;
}

/// A run of elements, by all threads. Rounded to f32 in every precision, so that f64 runs start from the
/// weights of f32 runs.
template <typename T>
void fill_run(const Initializer& init, const RngStream& stream, int64_t first, int64_t count, T* out) {
    constexpr int64_t kBlock = 1024;
#pragma omp parallel for schedule(static) if (count > 4 * kBlock)
    for (int64_t begin = 0; begin < count; begin += kBlock) {
        std::array<double, kBlock> buffer;
        const auto size = static_cast<size_t>(std::min(kBlock, count - begin));
        fill_block(init, stream, first + begin, std::span(buffer.data(), size));
        for (size_t i = 0; i < size; ++i)
            out[begin + static_cast<int64_t>(i)] = static_cast<T>(static_cast<float>(buffer[i]));
    }
}

/// x with softplus(x) = ln(1 + e^x) = a (b / a)^uniform.
double inverse_softplus_at(double a, double b, double uniform) {
    const double y = std::exp(std::log(a) + (std::log(b) - std::log(a)) * uniform);
    return y + std::log(-std::expm1(-y)); // ln(e^y - 1)
}

} // namespace

double Initializer::value(const RngStream& stream, int64_t index) const {
    const auto element = static_cast<uint64_t>(index);
    switch (kind) {
        case Kind::constant:
            return a;
        case Kind::normal:
            return a * stream.normal(element);
        case Kind::truncated_normal: {
            const Truncation& t = truncation();
            return a / t.deviation * inverse_normal_cdf(t.kept(stream.uniform(element)));
        }
        case Kind::uniform:
            return a + (b - a) * stream.uniform(element);
        case Kind::log_uniform:
            return std::log(a + (b - a) * stream.uniform(element));
        case Kind::inverse_softplus:
            return inverse_softplus_at(a, b, stream.uniform(element));
    }
    return 0;
}

double Initializer::standard_deviation() const {
    switch (kind) {
        case Kind::constant:
            return 0;
        case Kind::normal:
        case Kind::truncated_normal:
            return a;
        case Kind::uniform:
            return (b - a) / std::sqrt(12.0);
        case Kind::log_uniform: {
            const auto moment1 = [](double x) { return x > 0 ? x * (std::log(x) - 1) : 0; };
            const auto moment2 = [](double x) { return x > 0 ? x * (std::pow(std::log(x) - 1, 2) + 1) : 0; };
            const double mean = (moment1(b) - moment1(a)) / (b - a);
            return std::sqrt(std::max(0.0, (moment2(b) - moment2(a)) / (b - a) - mean * mean));
        }
        case Kind::inverse_softplus: {
            constexpr int kPoints = 1000; // midpoints: no closed form
            double sum = 0, squares = 0;
            for (int i = 0; i < kPoints; ++i) {
                const double x = inverse_softplus_at(a, b, (i + 0.5) / kPoints);
                sum += x, squares += x * x;
            }
            return std::sqrt(std::max(0.0, squares / kPoints - sum / kPoints * sum / kPoints));
        }
    }
    return 0;
}

std::vector<ReductionGroup> reduction_groups(const ParameterStore& store) {
    std::set<ReductionGroup> groups;
    for (const auto& unit : store.units())
        for (const Parameter* parameter : unit->parameters) groups.insert(parameter->reduction());
    return {groups.begin(), groups.end()};
}

int ParameterStore::begin_unit(std::string name) {
    units_.push_back(std::make_unique<Unit>());
    units_.back()->name = std::move(name);
    return static_cast<int>(units_.size()) - 1;
}

int64_t Parameter::num_global_elements() const {
    int64_t count = 0;
    for (const Section& section : sections_) count += section.spec.shape.numel();
    return count;
}

const Parameter* ParameterStore::declare(std::vector<ParameterSpec> sections) {
    check(!units_.empty(), "a parameter needs a unit");
    for (const ParameterSpec& spec : sections) take_name(spec.name);
    return add(std::move(sections));
}

FlatRange overlap(const FlatRange& a, const FlatRange& b) {
    const int64_t first = std::max(a.first, b.first);
    return {first, std::max(first, std::min(a.last, b.last))};
}

ParameterStore ParameterStore::at(const RankGrid& grid) const {
    ParameterStore other(grid);
    for (const auto& unit : units_) {
        other.begin_unit(unit->name);
        for (const Parameter* parameter : unit->parameters) {
            std::vector<ParameterSpec> specs;
            for (const Parameter::Section& section : parameter->sections()) specs.push_back(section.spec);
            other.add(std::move(specs));
        }
        other.place_in_buckets(*other.units_.back());
    }
    return other;
}

std::vector<std::string> ParameterStore::freeze(std::span<const std::string> globs) {
    std::vector<std::string> unmatched;
    for (const std::string& glob : globs) {
        bool matched = false;
        for (const auto& parameter : parameters_)
            for (Parameter::Section& section : parameter->sections_)
                if (matches_glob(glob, section.spec.name)) section.spec.frozen = matched = true;
        if (!matched) unmatched.push_back(glob);
    }
    return unmatched;
}

const Parameter* ParameterStore::add(std::vector<ParameterSpec> sections) {
    check(!units_.empty() && !sections.empty(), "a parameter needs a unit and at least one section");
    auto parameter = std::make_unique<Parameter>();
    parameter->unit_ = static_cast<int>(units_.size()) - 1;
    int64_t rows = 0;
    for (ParameterSpec& spec : sections) {
        check(spec.shape.rank() == sections[0].shape.rank() && spec.shape.rank() > 0,
              "{}: the sections of a parameter have one rank, at least 1", spec.name);
        const Partition partition(spec.shape, spec.splits, grid_);
        // Experts that no axis shares out are as any parameter that all ranks hold.
        const bool expert = spec.expert && grid_.expert.size * grid_.expert_tensor.size > 1;
        const int replicas = expert ? 1 : partition.tensor_replicas();
        const ReductionGroup group{expert, spec.partial_over_tensor ? replicas : 1};
        const bool counted = expert || spec.partial_over_tensor || grid_.tensor.index % replicas == 0;
        if (parameter->sections_.empty()) {
            parameter->shape_ = partition.local();
            parameter->reduction_ = group;
            parameter->counted_ = counted;
        }
        check(parameter->reduction_ == group, "{}: the sections of a parameter are summed by one group",
              spec.name);
        check(is_rounded(spec.role) == is_rounded(sections[0].role),
              "{}: the sections of a parameter are computed in one precision", spec.name);
        for (int i = 1; i < spec.shape.rank(); ++i)
            check(partition.local()[i] == parameter->shape_[i],
                  "{}: the sections of a parameter differ in dimension {}", spec.name, i);
        const int64_t first_row = rows;
        rows += partition.local()[0];
        parameter->sections_.push_back({std::move(spec), partition, first_row});
    }
    std::vector<int64_t> dims(parameter->shape_.dims().begin(), parameter->shape_.dims().end());
    dims[0] = rows;
    parameter->shape_ = Shape(dims);
    units_.back()->parameters.push_back(parameter.get());
    parameters_.push_back(std::move(parameter));
    return parameters_.back().get();
}

Buffer* ParameterStore::declare_buffer(std::string name, const Shape& shape, DType dtype) {
    check(!units_.empty(), "a buffer needs a unit");
    take_name(name);
    buffers_.push_back(std::make_unique<Buffer>(Buffer{std::move(name), shape, dtype, {}}));
    units_.back()->buffers.push_back(buffers_.back().get());
    return buffers_.back().get();
}

void ParameterStore::take_name(const std::string& name) {
    check(names_.insert(name).second, "two parameters or buffers are named {}", name);
}

void ParameterStore::place_in_buckets(Unit& unit) const {
    std::vector<Parameter*> order = unit.parameters;
    std::stable_sort(order.begin(), order.end(), [](const Parameter* a, const Parameter* b) {
        return std::tuple(a->reduction_, !a->counted_) < std::tuple(b->reduction_, !b->counted_);
    });
    unit.buckets.clear();
    unit.numel = 0;
    for (Parameter* parameter : order) {
        const Bucket* last = unit.buckets.empty() ? nullptr : &unit.buckets.back();
        if (!last || last->group != parameter->reduction_ || last->counted != parameter->counted_)
            unit.buckets.push_back({parameter->reduction_, parameter->counted_, unit.numel, 0});
        int64_t offset = unit.numel;
        for (Parameter::Section& section : parameter->sections_) {
            section.unit_offset = offset;
            offset += section.numel();
        }
        unit.numel += aligned(parameter->shape_.numel());
        unit.buckets.back().numel = unit.numel - unit.buckets.back().first;
    }
}

std::vector<PlacedSection> ParameterStore::sections(int unit) const {
    std::vector<PlacedSection> sections;
    for (const Parameter* parameter : units_[static_cast<size_t>(unit)]->parameters)
        for (const Parameter::Section& section : parameter->sections())
            sections.push_back({unit, sections.size(), parameter, &section});
    return sections;
}

std::vector<PlacedSection> ParameterStore::sections() const {
    std::vector<PlacedSection> all;
    for (size_t unit = 0; unit < units_.size(); ++unit) {
        const std::vector<PlacedSection> of_unit = sections(static_cast<int>(unit));
        all.insert(all.end(), of_unit.begin(), of_unit.end());
    }
    return all;
}

FlatRange ParameterStore::owned_range(const Bucket& bucket) const {
    const auto [size, index] = grid_.place_in(bucket.group);
    const EvenSplit split{bucket.numel, size};
    return {bucket.first + split.first(index), bucket.first + split.first(index + 1)};
}

void ParameterStore::allocate(Allocator& allocator, DType precision, bool with_gradients) {
    const DType dtype = dtype_ = accumulation_dtype(precision);
    for (auto& unit : units_) {
        place_in_buckets(*unit);
        unit->values = Tensor::zeros(allocator, {unit->numel}, dtype);
        if (with_gradients) unit->gradients = Tensor::zeros(allocator, {unit->numel}, dtype);
        for (Parameter* parameter : unit->parameters) {
            const int64_t first = parameter->sections_[0].unit_offset, count = parameter->shape_.numel();
            parameter->value_ = unit->values.rows(first, count).view(parameter->shape_);
            if (with_gradients)
                parameter->gradient_ = unit->gradients.rows(first, count).view(parameter->shape_);
            if (precision == DType::bf16 && is_rounded(parameter->sections_[0].spec.role))
                parameter->rounded_ = Tensor::empty(allocator, parameter->shape_, DType::bf16);
        }
        for (Buffer* buffer : unit->buffers) {
            if (is_floating(buffer->dtype)) buffer->dtype = dtype;
            buffer->value = Tensor::zeros(allocator, buffer->shape, buffer->dtype);
        }
    }
}

void ParameterStore::initialize(uint64_t seed) {
    Allocator host;
    dispatch_float(dtype_, [&]<typename T>() {
        for (const PlacedSection& section : sections()) {
            const RngStream stream(seed, RngPurpose::initialization, section->spec.name);
            const Tensor tensor = unit(section.unit).values.rows(section->unit_offset, section->numel());
            // Made on the host, on every device: the same bits everywhere.
            const Tensor made = tensor.device().kind == DeviceKind::cpu
                                    ? tensor
                                    : Tensor::empty(host, tensor.shape(), tensor.dtype());
            T* values = made.data<T>();
            section->partition.for_each_run([&](int64_t local, int64_t global, int64_t count) {
                fill_run(section->spec.init, stream, global, count, values + local);
            });
            if (made.device() != tensor.device()) copy(made, tensor);
        }
    });
    values_changed();
}

void ParameterStore::values_changed() {
    for (size_t unit = 0; unit < units_.size(); ++unit) values_changed(static_cast<int>(unit));
}

void ParameterStore::values_changed(int unit) {
    for (Parameter* parameter : units_[static_cast<size_t>(unit)]->parameters) {
        parameter->derived_.reset();
        if (!parameter->rounded_.defined()) continue;
        if constexpr (kBuildCuda)
            if (parameter->value_.device().kind == DeviceKind::cuda) {
                cuda::round(parameter->value_, parameter->rounded_);
                continue;
            }
        const float* value = parameter->value_.data<float>();
        bf16* rounded = parameter->rounded_.data<bf16>();
#pragma omp parallel for simd schedule(static) if (parameter->value_.numel() > 1 << 14)
        for (int64_t i = 0; i < parameter->value_.numel(); ++i) rounded[i] = bf16(value[i]);
    }
}

void ParameterStore::zero_gradients() {
    for (auto& unit : units_)
        if (unit->gradients.defined()) unit->gradients.fill_zero();
}

void ParameterStore::zero_frozen_gradients() {
    for (const auto& parameter : parameters_)
        for (const Parameter::Section& section : parameter->sections_)
            if (section.spec.frozen)
                unit(parameter->unit_).gradients.rows(section.unit_offset, section.numel()).fill(0);
}

int64_t ParameterStore::num_elements() const {
    int64_t count = 0;
    for (const auto& parameter : parameters_) count += parameter->num_global_elements();
    return count;
}

int64_t ParameterStore::num_local_elements() const {
    int64_t count = 0;
    for (const auto& parameter : parameters_) count += parameter->shape_.numel();
    return count;
}

} // namespace braid
