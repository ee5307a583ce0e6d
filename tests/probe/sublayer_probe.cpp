// sublayer_probe CONFIG.yaml OUT.h5: runs one sublayer in f64 on made numbers and writes what went in and
// what came out, for compare_torch.py. CONFIG has hidden_size, documents (lengths) and sublayer (as in
// model.sublayers). Written: h and dy [T, D], y and dh [T, D], weights/NAME and gradients/NAME, and the
// lengths as documents.

#include <fmt/core.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "base/error.h"
#include "base/hdf5_file.h"
#include "layers/model/registry.h"
#include "layers/specification/model_schema.h"
#include "tests/support/testing_context.h"

namespace braid::testing {
namespace {

struct ProbeConfig {
    int64_t hidden_size = 0;
    std::string documents;
    std::map<std::string, SublayerConfig> sublayer;
};

const Schema<ProbeConfig>& probe_schema() {
    static const Schema<ProbeConfig> schema =
        Schema<ProbeConfig>()
            .key("hidden_size", &ProbeConfig::hidden_size,
                 {.help = "D", .min = 1, .max = 4096, .required = true})
            .key("documents", &ProbeConfig::documents,
                 {.help = "lengths, as \"5,3\"", .required = true, .joins_list = true})
            .map("sublayers", &ProbeConfig::sublayer, sublayer_schema(),
                 {.help = "the sublayer, under the name sub", .required = true, .example = "{sub: {...}}"});
    return schema;
}

ProbeConfig read_config(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    if (!file) throw ConfigError("{}: cannot be read", path);
    const YamlNode tree = parse_yaml(text.str(), path);
    ProbeConfig config;
    ReadLog log;
    probe_schema().read(tree, "", config, log);
    SchemaDocs docs;
    probe_schema().describe("", docs);
    log.throw_faults(docs, tree);
    if (!config.sublayer.contains("sub")) throw ConfigError("{}: sublayers: expected sub", path);
    return config;
}

void write(Hdf5File& file, const std::string& path, const Tensor& x) {
    const auto dims = x.shape().dims();
    const std::vector<double> values = to_vector(x);
    file.write(path, DType::f64, {dims.begin(), dims.end()}, values.data());
}

void probe(const ProbeConfig& config, const std::string& path) {
    std::vector<int32_t> lengths;
    std::istringstream words(config.documents);
    for (std::string word; std::getline(words, word, ',');) lengths.push_back(std::stoi(word));
    LayerContext ctx;
    TestContext t;
    t.set_documents(lengths);
    ctx = t.ctx;

    ModelConfig model;
    model.hidden_size = config.hidden_size;
    const ResolvedSublayer sublayer{
        "sub",
        config.sublayer.at("sub"),
        model.norm,
        {.std = 0.3, .distribution = InitDistribution::normal, .output = InitOutput::same}};
    ParameterStore store;
    store.begin_unit("layers.0");
    int num_moe = 0;
    const auto layer = make_sublayer({store, model, sublayer, 0, 1, 0, num_moe});
    store.allocate(t.allocator, DType::f64, true);
    store.initialize(7);

    const Shape shape = {ctx.documents->num_tokens(), config.hidden_size};
    const Tensor h = random_tensor(t.allocator, shape, DType::f64, "h"),
                 dy = random_tensor(t.allocator, shape, DType::f64, "dy");
    Tape tape;
    ctx.tape = &tape;
    Values values = {h};
    for (const Phase& phase : layer->phases()) values = phase.run(ctx, values);
    Gradients gradients(t.allocator);
    gradients.add(values[0].ref(), dy);
    ctx.tape = nullptr;
    tape.backward(ctx, gradients);

    Hdf5File file = Hdf5File::create(path);
    const std::vector<int64_t> documents(lengths.begin(), lengths.end());
    file.write_attribute("/", "documents", std::span<const int64_t>(documents));
    write(file, "h", h);
    write(file, "dy", dy);
    write(file, "y", values[0]);
    write(file, "dh", gradients.take(h.ref()));
    for (const PlacedSection& section : store.sections()) {
        const auto& unit = *store.units()[0];
        const std::string name = section->spec.name.substr(std::string("layers.0.sub.").size());
        const auto part = [&](const Tensor& flat) {
            return flat.rows(section->unit_offset, section->numel()).view(section->spec.shape);
        };
        write(file, "weights/" + name, part(unit.values));
        write(file, "gradients/" + name, part(unit.gradients));
    }
    file.close();
}

} // namespace
} // namespace braid::testing

int main(int argc, char** argv) {
    try {
        if (argc != 3) throw braid::ConfigError("expected CONFIG.yaml OUT.h5");
        braid::testing::probe(braid::testing::read_config(argv[1]), argv[2]);
        return 0;
    } catch (const braid::Error& error) {
        fmt::print(stderr, "sublayer_probe: {}\n", error.what());
        return static_cast<int>(error.exit_code());
    }
}
