#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tensor/parameter_role.h"
#include "tensor/tensor.h"

namespace braid {

/// How a parameter starts. Every element is a pure function of (seed, global name, global element index), so
/// that all layouts start from the same weights.
struct Initializer {
    enum class Kind : uint8_t {
        constant,         // a
        normal,           // standard deviation a
        truncated_normal, // standard deviation a, cut at three deviations of the normal it is cut from
        uniform,          // between a and b
        log_uniform,      // the logarithm of a number uniform between a and b (A_log of gated DeltaNet and
                          // Mamba-2)
    };
    Kind kind = Kind::constant;
    double a = 0, b = 0;

    /// The element with this global index.
    double value(const RngStream& stream, int64_t index) const;
    /// The standard deviation of the elements, for reports.
    double standard_deviation() const;
};

/// All that is said about a parameter, once, by the layer that owns it. Reduction, optimizer groups,
/// checkpoint layout, clipping and initialisation follow from it; nothing else matches on names.
struct ParameterSpec {
    std::string name; // global and unique, such as "layers.3.attn.q.weight"
    Shape shape;      // of the whole model's tensor
    ParameterRole role = ParameterRole::matrix;
    int64_t fan_in = 0; // inputs that one output element sums over
    Initializer init;
    std::string sublayer; // the config's name of the sublayer; empty for embedding, head and final norm
    int layer = -1;       // -1 outside the layers
};

/// A parameter as layers use it: one tensor made of sections that follow each other in dimension 0. Sections
/// are separate global tensors (q, k, v of one fused projection) that share a buffer so that one GEMM serves
/// them all.
class Parameter {
  public:
    struct Section {
        ParameterSpec spec;
        int64_t first_row;   // in the fused tensor
        int64_t unit_offset; // of its first element in the unit's flat buffers
    };

    const std::vector<Section>& sections() const { return sections_; }
    /// The fused shape.
    const Shape& shape() const { return shape_; }
    int unit() const { return unit_; }
    /// The values, in shape(); undefined before ParameterStore::allocate.
    const Tensor& value() const { return value_; }
    /// The sum of gradients so far, in shape(); undefined in a store without gradients. Backward functions
    /// add to it.
    const Tensor& gradient() const { return gradient_; }

  private:
    friend class ParameterStore;
    std::vector<Section> sections_;
    Shape shape_;
    int unit_ = 0;
    int64_t unit_offset_ = 0;
    Tensor value_, gradient_;
};

/// State of a layer that training changes without gradients and a checkpoint keeps: router biases, expert
/// counts.
struct Buffer {
    std::string name; // global and unique
    Shape shape;
    DType dtype;  // a floating one stands for the dtype of the store
    Tensor value; // zeros at first
};

/// The parameters of a model in units (the embedding, one per layer, the head), each with one flat buffer of
/// values and one of gradients. Declared first, so that shapes and counts can be reported without memory;
/// then allocated.
class ParameterStore {
  public:
    struct Unit {
        std::string name;
        std::vector<Parameter*> parameters;
        std::vector<Buffer*> buffers;
        int64_t numel = 0; // of a flat buffer, alignment gaps included (gaps are zero)
        Tensor values, gradients;
    };

    /// Starts a new unit; following declarations go there. Returns its index.
    int begin_unit(std::string name);
    /// Declares a parameter of one or more sections, equal in all dimensions but the first. The pointer stays
    /// valid.
    const Parameter* declare(std::vector<ParameterSpec> sections);
    const Parameter* declare(ParameterSpec spec) {
        return declare(std::vector<ParameterSpec>{std::move(spec)});
    }
    Buffer* declare_buffer(std::string name, const Shape& shape, DType dtype);

    /// Takes memory for all units; values are uninitialised, buffers and gradients zero.
    void allocate(Allocator& allocator, DType dtype, bool with_gradients);
    /// Fills the values as declared.
    void initialize(uint64_t seed);
    void zero_gradients();

    std::span<const std::unique_ptr<Unit>> units() const { return units_; }
    Unit& unit(int index) { return *units_[static_cast<size_t>(index)]; }
    /// Parameter elements of all sections, gaps not counted.
    int64_t num_elements() const;
    DType dtype() const { return dtype_; }

  private:
    void expect_new_name(const std::string& name) const;

    std::vector<std::unique_ptr<Unit>> units_;
    std::vector<std::unique_ptr<Parameter>> parameters_;
    std::vector<std::unique_ptr<Buffer>> buffers_;
    DType dtype_ = DType::f32;
};

} // namespace braid
