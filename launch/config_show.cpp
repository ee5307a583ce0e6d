#include "launch/config_show.h"

#include <fmt/format.h>

#include <algorithm>

#include "ablation/plan/model_size.h"
#include "base/suggest.h"
#include "layers/model/model.h"
#include "layers/specification/model_schema.h"
#include "layers/specification/pattern.h"
#include "layers/specification/sublayer_type.h"
#include "optim/matrix_plan.h"
#include "tensor/parameters/parameter.h"

namespace braid {

namespace {

/// "2.5 x" for a factor of 2.5, "x" for 1.
std::string scaled(double factor, const std::string& term) {
    return factor == 1 ? term : fmt::format("{} {}", factor, term);
}

/// The settings of a sublayer on one line, without its type and what the other columns say.
std::string settings_of(const ResolvedSublayer& sublayer) {
    YamlNode node = sublayer_schema().write(sublayer.config);
    for (const std::string key : {"type", "norm", "init"}) node.remove(key);
    const std::string text = to_flow_yaml(node);
    return text.substr(1, text.size() - 2);
}

struct Row {
    std::string layer, name, type, formula, settings;
};

std::vector<Row> rows_of(const RunConfig& run) {
    std::vector<Row> rows{{"layer", "sublayer", "type", "computes", "settings"}};
    const std::vector<LayerConfig> layers = expand_layers(run.model);
    for (size_t i = 0; i < layers.size(); ++i) {
        for (const ResolvedSublayer& sublayer : layers[i].sublayers)
            rows.push_back({std::to_string(i), sublayer.name, type_of(sublayer.config).name,
                            residual_formula(sublayer.norm.placement, run.model.residual),
                            settings_of(sublayer)});
    }
    return rows;
}

/// "adamw", or "muon:8x[16, 64]" for eight matrices of 16 rows.
std::string updated_by(const ParameterSpec& spec, const SectionSettings& settings,
                       const OptimizerConfig& optimizer) {
    if (!settings.matrix) return "adamw";
    const MatrixShape matrix = matrix_shape(spec, optimizer.muon.split_heads);
    return fmt::format("muon:{}x[{}, {}]", spec.shape.numel() / (matrix.rows * matrix.columns), matrix.rows,
                       matrix.columns);
}

std::string table(const std::vector<Row>& rows) {
    size_t name = 0, type = 0, formula = 0;
    for (const Row& row : rows) {
        name = std::max(name, row.name.size());
        type = std::max(type, row.type.size());
        formula = std::max(formula, row.formula.size());
    }
    std::string text;
    for (const Row& row : rows)
        text += fmt::format("{:>5}  {:<{}}  {:<{}}  {:<{}}  {}\n", row.layer, row.name, name, row.type, type,
                            row.formula, formula, row.settings);
    return text;
}

} // namespace

std::string residual_formula(NormPlacement placement, const ResidualConfig& residual) {
    const std::string x = scaled(residual.stream_scale, "x");
    const auto plus = [&](const std::string& branch) {
        return x + " + " + scaled(residual.branch_scale, branch);
    };
    switch (placement) {
        case NormPlacement::pre:
            return plus("F(N(x))");
        case NormPlacement::post:
            return plus("N(F(x))");
        case NormPlacement::sandwich:
            return plus("N2(F(N1(x)))");
        case NormPlacement::residual_post:
            return "N(" + plus("F(x)") + ")";
        case NormPlacement::none:
            return plus("F(x)");
    }
    throw InternalError("a norm placement without a formula");
}

std::string describe_model(const RunConfig& run) {
    ParameterStore store;
    const Model model(run.model, store);
    std::string text =
        fmt::format("run {}: hidden size {}, vocabulary {}, {} norm{}\n\n", run.name, run.model.hidden_size,
                    run.model.vocab_size, to_string(run.model.norm.type),
                    run.model.norm.zero_centered ? " (zero-centered)" : "");
    text += table(rows_of(run)) + "\n";
    const std::vector<std::string> unused = unused_sublayers(run.model);
    if (!unused.empty()) text += fmt::format("in no layer: {}\n\n", fmt::join(unused, ", "));
    text += fmt::format("total_parameters: {}\nactive_parameters: {}\n", model.num_parameters(),
                        model.num_active_parameters());
    return text;
}

std::string describe_sizes(const RunConfig& a, const RunConfig& b) {
    const ModelSize before = model_size(a), after = model_size(b);
    return fmt::format(
        "  total_parameters: {} -> {}\n  active_parameters: {} -> {}\n"
        "  flops_per_token: {:.0f} -> {:.0f}\n",
        before.total_parameters, after.total_parameters, before.active_parameters, after.active_parameters,
        before.flops_per_token, after.flops_per_token);
}

std::string describe_tensors(const RunConfig& run) {
    ParameterStore store;
    const Model model(run.model, store);
    const std::vector<UnitSettings> settings = resolve_groups(run.optimizer, store);
    std::string text = "\ntensor  shape  role  initial_std  weight_decay  lr_scale  updated_by\n";
    for (const PlacedSection& section : store.sections()) {
        const ParameterSpec& spec = section->spec;
        const SectionSettings& setting = settings_of(settings, section);
        text += fmt::format("{}  {}  {}  {:.6g}  {}  {}  {}\n", spec.name, to_string(spec.shape),
                            to_string(spec.role), spec.init.standard_deviation(), setting.weight_decay,
                            setting.lr_scale, updated_by(spec, setting, run.optimizer));
    }
    return text;
}

} // namespace braid
