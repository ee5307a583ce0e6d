#pragma once

#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/rng.h"
#include "tensor/parameters/parameter_role.h"
#include "tensor/parameters/partition.h"
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
        inverse_softplus, // that of a number whose logarithm is uniform between ln a and ln b (dt_bias of
                          // both)
    };
    Kind kind = Kind::constant;
    double a = 0, b = 0;

    /// The element with this global index.
    double value(const RngStream& stream, int64_t index) const;
    /// The standard deviation of the elements, for reports.
    double standard_deviation() const;
};

/// What an optimizer of whole matrices (Muon) takes for one matrix. The last two dimensions of a parameter
/// are [out, in] and all before them count matrices (experts); rows and columns are cut further into equal
/// blocks.
struct MatrixBlocks {
    int64_t row_parts = 1; // tensors of their own that share one, such as gate and up
    // Heads: matrices of their own where the optimizer works head by head, parts of one where it does not.
    int64_t row_heads = 1, column_heads = 1;
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

    std::vector<Split> splits; // none: every rank holds it whole
    bool expert = false;       // belongs to the expert view of the ranks
    // Of tensor ranks that hold the same elements: whether each sees a share of the tokens, so that its
    // gradient is a part of a sum, or all see the same.
    bool partial_over_tensor = true;
    std::optional<MatrixBlocks> matrices; // none: no matrix, each number is updated by itself
    bool frozen = false;                  // held still: see ParameterStore::freeze
};

/// The base of what backends derive from the values of a parameter.
class DerivedValues {
  public:
    virtual ~DerivedValues() = default;
};

/// Elements [first, last) of a unit's flat buffers.
struct FlatRange {
    int64_t first = 0, last = 0;
    int64_t numel() const { return last - first; }
    bool operator==(const FlatRange&) const = default;
};
/// What two ranges have in common; of no element where that is nothing.
FlatRange overlap(const FlatRange& a, const FlatRange& b);

/// A parameter as layers use it: one tensor made of sections that follow each other in dimension 0. Sections
/// are separate global tensors (q, k, v of one fused projection) that share a buffer so that one GEMM serves
/// them all.
class Parameter {
  public:
    struct Section {
        ParameterSpec spec;
        Partition partition;     // what of it this rank holds
        int64_t first_row;       // in the fused tensor
        int64_t unit_offset = 0; // of its first element in the unit's flat buffers, once allocated

        int64_t numel() const { return partition.local().numel(); }
        FlatRange flat() const { return {unit_offset, unit_offset + numel()}; }
    };

    const std::vector<Section>& sections() const { return sections_; }
    /// The fused shape of what this rank holds.
    const Shape& shape() const { return shape_; }
    /// Elements of the whole model's tensors.
    int64_t num_global_elements() const;
    int unit() const { return unit_; }
    /// The values, in shape(), f32 or f64; undefined before ParameterStore::allocate.
    const Tensor& value() const { return value_; }
    /// The values as operations read them that compute in the store's precision: value(), or its rounded copy
    /// where the store is of precision bf16 and the role is computed in it.
    const Tensor& compute_value() const { return rounded_.defined() ? rounded_ : value_; }
    /// What a backend derives from the values and keeps until they change, such as weights in the layout of
    /// its GEMM. Empty when they have changed.
    std::unique_ptr<DerivedValues>& derived() const { return derived_; }
    /// The sum of gradients so far, in shape(); undefined in a store without gradients. Backward functions
    /// add to it.
    const Tensor& gradient() const { return gradient_; }
    const ReductionGroup& reduction() const { return reduction_; }

  private:
    friend class ParameterStore;
    std::vector<Section> sections_;
    Shape shape_;
    int unit_ = 0;
    ReductionGroup reduction_;
    bool counted_ = true;
    Tensor value_, gradient_;
    Tensor rounded_; // bf16
    mutable std::unique_ptr<DerivedValues> derived_;
};

/// State of a layer that training changes without gradients and a checkpoint keeps: router biases, expert
/// counts.
struct Buffer {
    std::string name; // global and unique
    Shape shape;
    DType dtype;  // a floating one stands for the dtype of the store
    Tensor value; // zeros at first
};

/// A range of a unit's flat buffers whose gradients are summed by one group of ranks.
struct Bucket {
    ReductionGroup group;
    // Whether these elements are counted here in norms and written to checkpoints. Tensor ranks that hold the
    // same elements and have the same gradients are several such groups; the first counts.
    bool counted = true;
    int64_t first = 0, numel = 0;
    FlatRange flat() const { return {first, first + numel}; }
};

/// A section where a store has it: one global tensor. (unit, index) is the same on all ranks.
struct PlacedSection {
    int unit;
    size_t index; // among the sections of the unit
    const Parameter* parameter;
    const Parameter::Section* section;
    const Parameter::Section* operator->() const { return section; }
    const Parameter::Section& operator*() const { return *section; }
};

class ParameterStore;
/// The groups that sum gradients of a store, in an order that is the same on all ranks.
std::vector<ReductionGroup> reduction_groups(const ParameterStore& store);

/// The parameters of a model in units (the embedding, one per layer, the head), each with one flat buffer of
/// values and one of gradients. Declared first, so that shapes and counts can be reported without memory;
/// then allocated.
class ParameterStore {
  public:
    struct Unit {
        std::string name;
        std::vector<Parameter*> parameters;
        std::vector<Buffer*> buffers;
        // From here on known once allocated.
        std::vector<Bucket> buckets; // in memory order, covering the flat buffers
        int64_t numel = 0;           // of a flat buffer, alignment gaps included (gaps are zero)
        Tensor values, gradients;
    };

    explicit ParameterStore(const RankGrid& grid = {}) : grid_(grid) {}
    const RankGrid& grid() const { return grid_; }

    /// Starts a new unit; following declarations go there. Returns its index.
    int begin_unit(std::string name);
    /// Declares a parameter of one or more sections, equal in all dimensions but the first. The pointer stays
    /// valid.
    const Parameter* declare(std::vector<ParameterSpec> sections);
    const Parameter* declare(ParameterSpec spec) {
        return declare(std::vector<ParameterSpec>{std::move(spec)});
    }
    Buffer* declare_buffer(std::string name, const Shape& shape, DType dtype);
    /// The parameters as the rank at another place of the mesh holds them: laid out, without memory.
    ParameterStore at(const RankGrid& grid) const;
    /// Holds parameters still whose global name matches one of the globs (base/glob.h): optimizers keep no
    /// state for them and leave them as they are, and they count in no gradient norm. Before an optimizer is
    /// made. Returns the globs that match nothing.
    std::vector<std::string> freeze(std::span<const std::string> globs);

    /// Takes memory for all units; values are uninitialised, buffers and gradients zero. Values, gradients
    /// and floating buffers are f32 or f64; with precision bf16 they are f32, and matrices (is_rounded in
    /// parameter_role.h) have copies in bf16 for operations to read.
    void allocate(Allocator& allocator, DType precision, bool with_gradients);
    /// Fills the values as declared.
    void initialize(uint64_t seed);
    /// To be called by whoever wrote values, of one unit or of all, before the next operation reads them:
    /// makes the copies in bf16 anew and drops what backends derived.
    void values_changed(int unit);
    void values_changed();
    void zero_gradients();
    /// Of what freeze() holds still.
    void zero_frozen_gradients();

    std::span<const std::unique_ptr<Unit>> units() const { return units_; }
    Unit& unit(int index) { return *units_[static_cast<size_t>(index)]; }
    /// The sections of all units, or of one, in the order of their declaration.
    std::vector<PlacedSection> sections() const;
    std::vector<PlacedSection> sections(int unit) const;
    /// The part of a bucket that this rank owns among its group: every element has one owner.
    FlatRange owned_range(const Bucket& bucket) const;

    /// Parameter elements of the whole model, gaps not counted; and of what this rank holds.
    int64_t num_elements() const;
    int64_t num_local_elements() const;
    /// Of values, gradients and floating buffers.
    DType dtype() const { return dtype_; }

  private:
    void take_name(const std::string& name);
    const Parameter* add(std::vector<ParameterSpec> sections);
    void place_in_buckets(Unit& unit) const;

    const RankGrid grid_;
    std::vector<std::unique_ptr<Unit>> units_;
    std::vector<std::unique_ptr<Parameter>> parameters_;
    std::vector<std::unique_ptr<Buffer>> buffers_;
    std::set<std::string> names_; // of both, as declared
    DType dtype_ = DType::f32;
};

} // namespace braid
