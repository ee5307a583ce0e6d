// Braid against Hugging Face transformers: the files of tests/golden/models, which make_golden.py writes.

#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "base/hdf5_file.h"
#include "layers/model/model.h"
#include "layers/specification/model_schema.h"
#include "optim/adamw.h"
#include "optim/optimizer_schema.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

const std::vector<std::string> kFamilies = {"bailing_hybrid", "deepseek_v2",   "deepseek_v3", "gemma2",
                                            "glm4_moe",       "glm4_moe_lite", "kimi_linear", "lfm2",
                                            "llama",          "mistral4",      "mixtral",     "nemotron_h",
                                            "olmo2",          "olmo3",         "olmo_hybrid", "olmoe",
                                            "qwen3_5",        "qwen3_5_moe",   "qwen3_moe",   "qwen3_next"};
const std::filesystem::path kFolder = std::filesystem::path(BRAID_SOURCE_DIR) / "tests/golden/models";

struct GoldenConfig {
    ModelConfig model;
    OptimizerConfig optimizer;
};

GoldenConfig read_config(const Hdf5File& file) {
    static const Schema<GoldenConfig> schema =
        Schema<GoldenConfig>()
            .section("model", &GoldenConfig::model, model_schema(), "the model", true)
            .section("optimizer", &GoldenConfig::optimizer, optimizer_schema(), "the optimizer");
    YamlNode tree = parse_yaml(file.read_string("/", "config"), file.path());
    resolve_copies(*tree.find("model")->find("sublayers"));
    GoldenConfig config;
    ReadLog log;
    schema.read(tree, "", config, log);
    SchemaDocs docs;
    schema.describe("", docs);
    log.throw_faults(docs, tree);
    return config;
}

std::vector<int64_t> dims(const Shape& shape) {
    return {shape.dims().begin(), shape.dims().end()};
}

double norm(const std::vector<double>& x) {
    double sum = 0;
    for (const double value : x) sum += value * value;
    return std::sqrt(sum);
}

std::vector<double> difference(const std::vector<double>& a, const std::vector<double>& b) {
    EXPECT_EQ(a.size(), b.size());
    std::vector<double> result(a.size());
    for (size_t i = 0; i < a.size(); ++i) result[i] = a[i] - b[i];
    return result;
}

/// |a - b| / |b|; |a| where b is 0.
double relative_norm(const std::vector<double>& a, const std::vector<double>& b) {
    const double size = norm(b);
    return norm(difference(a, b)) / (size > 0 ? size : 1);
}

/// The model of a file, with its parameters, computed in `dtype`. InternalError where either side has a
/// parameter that the other lacks, or of another shape.
class GoldenModel {
    TestContext t_; // before all that takes memory from it

  public:
    GoldenModel(const std::string& family, DType dtype)
        : file(Hdf5File::open(kFolder / (family + ".h5"), ExitCode::data)),
          config(read_config(file)),
          model_(config.model, store) {
        store.allocate(t_.allocator, dtype, true);
        std::vector<std::string> names, buffers;
        for (const PlacedSection& section : store.sections()) names.push_back(section->spec.name);
        std::sort(names.begin(), names.end());
        if (file.names("parameters") != names)
            throw InternalError("{}: parameters {}; Braid's are {}", file.path(),
                                fmt::join(file.names("parameters"), " "), fmt::join(names, " "));
        for (const PlacedSection& section : store.sections())
            copy(stored("parameters/" + section->spec.name, section->spec.shape, DType::f32),
                 values(section).view(section->spec.shape));
        for (const auto& unit : store.units())
            for (const Buffer* buffer : unit->buffers) {
                buffers.push_back(buffer->name);
                copy(stored("buffers/" + buffer->name, buffer->shape, DType::f32), buffer->value);
            }
        std::sort(buffers.begin(), buffers.end());
        EXPECT_EQ(file.contains("buffers") ? file.names("buffers") : std::vector<std::string>(), buffers);
        store.values_changed();

        const std::vector<int64_t> lengths = file.read_i64_list("/", "documents");
        t_.set_documents({lengths.begin(), lengths.end()});
        tokens_ = ids("tokens");
        labels_ = ids("labels");
    }

    /// All logits [T, V], in order.
    std::vector<double> logits() { return to_vector(model_.logits(t_.ctx, model_.hidden(t_.ctx, tokens_))); }

    /// The mean loss; leaves the gradients in the store.
    double run() {
        int64_t valid = 0;
        for (const double label : to_vector(labels_)) valid += label >= 0;
        Tape tape;
        LayerContext ctx = t_.ctx;
        ctx.tape = &tape;
        Values values = {tokens_};
        const auto segments = model_.segments(false);
        for (const LayerSegment& segment : segments) {
            if (&segment == &segments.back()) values.push_back(labels_);
            values = segment.function()(ctx, values);
        }
        tape.seed(values[0], 1 / static_cast<double>(valid));
        Gradients gradients(t_.allocator);
        ctx.tape = nullptr;
        tape.backward(ctx, gradients);
        return *values[0].data<double>() / static_cast<double>(valid);
    }

    /// One update of all parameters.
    void update() {
        AdamW optimizer(config.optimizer, store, t_.allocator);
        for (size_t unit = 0; unit < store.units().size(); ++unit)
            optimizer.update(static_cast<int>(unit), 1, config.optimizer.lr, 1);
    }

    Tensor values(const PlacedSection& section) { return flat(section, store.unit(section.unit).values); }
    std::vector<double> gradient(const PlacedSection& section) {
        return to_vector(flat(section, store.unit(section.unit).gradients));
    }
    /// What the file has in a group for a parameter, in f64.
    std::vector<double> expected(const std::string& group, const PlacedSection& section) {
        std::vector<double> x(static_cast<size_t>(section->spec.shape.numel()));
        file.read(group + "/" + section->spec.name, DType::f64, dims(section->spec.shape), x.data());
        return x;
    }
    std::vector<double> expected_logits() {
        std::vector<double> x(static_cast<size_t>(tokens_.numel() * config.model.vocab_size));
        file.read("logits", DType::f64, {tokens_.numel(), config.model.vocab_size}, x.data());
        return x;
    }

    Hdf5File file;
    GoldenConfig config;
    ParameterStore store;

  private:
    static Tensor flat(const PlacedSection& section, const Tensor& unit) {
        return unit.rows(section->unit_offset, section->spec.shape.numel());
    }
    Tensor stored(const std::string& path, const Shape& shape, DType dtype) {
        Tensor x = Tensor::empty(t_.allocator, shape, dtype);
        file.read(path, dtype, dims(shape), x.raw_data());
        return converted(t_.allocator, x, store.dtype());
    }
    Tensor ids(const std::string& path) {
        const auto x = file.read_vector<int32_t>(path, 1 << 20);
        return from_vector(t_.allocator, {static_cast<int64_t>(x.size())}, DType::i32, {x.begin(), x.end()});
    }

    Model model_;
    Tensor tokens_, labels_;
};

class golden : public ::testing::TestWithParam<std::string> {};

// Both sides round each number to 1e-16 a few thousand times, and the logits are of size one.
TEST_P(golden, logits) {
    GoldenModel model(GetParam(), DType::f64);
    const std::vector<double> found = model.logits(), expected = model.expected_logits();
    double worst = 0;
    for (const double d : difference(found, expected)) worst = std::max(worst, std::abs(d));
    RecordProperty("worst", fmt::format("{:.1e}", worst));
    EXPECT_LE(worst, 1e-9);
    EXPECT_NEAR(model.run(), model.file.read_f64("/", "loss"), 1e-9);
}

TEST_P(golden, gradients) {
    GoldenModel model(GetParam(), DType::f64);
    model.run();
    double worst = 0;
    for (const PlacedSection& section : model.store.sections()) {
        const double error = relative_norm(model.gradient(section), model.expected("gradients", section));
        worst = std::max(worst, error);
        EXPECT_LE(error, 1e-8) << section->spec.name;
    }
    RecordProperty("worst", fmt::format("{:.1e}", worst));
}

// A first step goes lr g / (|g| + eps) far, whose slope is at most lr / eps, so a gradient's error reaches
// the parameter at most that many times larger. The rest is some ten roundings of numbers up to |p| and lr.
TEST_P(golden, update) {
    GoldenModel model(GetParam(), DType::f64);
    model.run();
    model.update();
    const OptimizerConfig& adamw = model.config.optimizer;
    for (const PlacedSection& section : model.store.sections()) {
        const std::vector<double> found = to_vector(model.values(section)),
                                  expected = model.expected("updated", section),
                                  gradient_error = difference(model.gradient(section),
                                                              model.expected("gradients", section));
        for (size_t i = 0; i < found.size(); ++i)
            ASSERT_NEAR(found[i], expected[i],
                        adamw.lr / adamw.eps * std::abs(gradient_error[i]) +
                            16 * 0x1p-53 * (std::abs(expected[i]) + adamw.lr))
                << section->spec.name << ", element " << i;
    }
}

// The file has the largest error of transformers over sixteen orders of summation, as one run of either is
// off by luck; twice that. The norm of n errors strays from what is expected by one part in sqrt(2n), and
// three times that is allowed on top: much for the four numbers of an a_log, little for a matrix. Where
// theirs is next to nothing, four roundings are.
TEST_P(golden, f32) {
    GoldenModel model(GetParam(), DType::f32);
    const auto share = [](const std::vector<double>& found, const std::vector<double>& expected,
                          double theirs) {
        const double chance = 3 / std::sqrt(2 * static_cast<double>(found.size()));
        return relative_norm(found, expected) / (2 * (1 + chance) * std::max(theirs, 4 * 0x1p-24));
    };
    const double of_logits =
        share(model.logits(), model.expected_logits(), model.file.read_f64("/", "f32_error"));
    EXPECT_LE(of_logits, 1);
    model.run();
    double worst = 0;
    for (const PlacedSection& section : model.store.sections()) {
        const double of_gradient = share(model.gradient(section), model.expected("gradients", section),
                                         model.file.read_f64("gradients/" + section->spec.name, "f32_error"));
        worst = std::max(worst, of_gradient);
        EXPECT_LE(of_gradient, 1) << section->spec.name;
    }
    RecordProperty("logits", fmt::format("{:.2f}", of_logits));
    RecordProperty("worst", fmt::format("{:.2f}", worst));
}

INSTANTIATE_TEST_SUITE_P(models, golden, ::testing::ValuesIn(kFamilies),
                         [](const auto& info) { return info.param; });

TEST(golden_files, are_those_that_are_tested) {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(kFolder))
        if (entry.path().extension() == ".h5") found.push_back(entry.path().stem());
    std::sort(found.begin(), found.end());
    EXPECT_EQ(found, kFamilies);
}

} // namespace
} // namespace braid::testing
