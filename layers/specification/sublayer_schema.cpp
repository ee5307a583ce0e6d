#include <sstream>

#include "base/suggest.h"
#include "layers/specification/model_schema.h"
#include "layers/specification/sublayer_type.h"

namespace braid {

namespace {

const Schema<NormOverride>& norm_override_schema() {
    static const Schema<NormOverride> schema =
        Schema<NormOverride>()
            .key("type", &NormOverride::type,
                 {.help = "instead of model.norm.type", .default_text = "model.norm.type"})
            .key("placement", &NormOverride::placement,
                 {.help = "instead of model.norm.placement", .default_text = "model.norm.placement"})
            .key("zero_centered", &NormOverride::zero_centered,
                 {.help = "instead of model.norm.zero_centered", .default_text = "model.norm.zero_centered"})
            .key("eps", &NormOverride::eps,
                 {.help = "instead of model.norm.eps",
                  .above = 0,
                  .max = 1,
                  .default_text = "model.norm.eps"});
    return schema;
}

const Schema<InitOverride>& init_override_schema() {
    static const Schema<InitOverride> schema =
        Schema<InitOverride>()
            .key("std", &InitOverride::std,
                 {.help = "instead of model.init.std",
                  .above = 0,
                  .max = 100,
                  .default_text = "model.init.std"})
            .key("distribution", &InitOverride::distribution,
                 {.help = "instead of model.init.distribution", .default_text = "model.init.distribution"})
            .key("output", &InitOverride::output,
                 {.help = "instead of model.init.output", .default_text = "model.init.output"})
            .key("decay", &InitOverride::decay,
                 {.help = "of recurrences that decay: time steps start at about 1.3 with bias 1, or "
                          "log-uniform from "
                          "0.001 to 0.1",
                  .default_text = "log_uniform_dt; of gated_delta_net constant_dt"})
            .key("a_range", &InitOverride::a_range,
                 {.help = "of recurrences that decay: A, which the decay is exp(-A dt) of, starts uniform "
                          "between these",
                  .above = 0,
                  .max = 1e6,
                  .default_text = "[1, 16]; of gated_delta_net [0.01, 16]",
                  .example = "[1, 16]"});
    return schema;
}

/// "gated_delta_net": the types whose time steps have a start of their own.
std::string types_that_decay() {
    std::vector<std::string> names;
    for (const SublayerType& type : sublayer_types())
        if (type.decays) names.push_back(type.name);
    return join_choices(names);
}

void check_init(const SublayerConfig& sublayer, SectionCheck& check) {
    const InitOverride& init = sublayer.init;
    for (const auto& [key, given] : {std::pair("init.decay", init.decay.has_value()),
                                     std::pair("init.a_range", init.a_range.has_value())})
        if (given && !type_of(sublayer).decays)
            check.fail(key, fmt::format("has no effect: only sublayers of type {} decay; remove it ({}=null)",
                                        types_that_decay(), key));
    if (init.a_range && (*init.a_range)[0] > (*init.a_range)[1])
        check.fail("init.a_range", "expected the smaller number first");
}

/// "mha=attention gqa=attention": what others call the types.
const std::string& type_synonyms() {
    static const std::string text = [] {
        std::string all;
        for (const SublayerType& type : sublayer_types()) {
            std::istringstream words(type.synonyms);
            for (std::string word; words >> word;) all += word + "=" + type.name + " ";
        }
        return all;
    }();
    return text;
}

} // namespace

const Schema<SublayerConfig>& sublayer_schema() {
    using S = SublayerConfig;
    static const Schema<S> schema = [] {
        Schema<S> all;
        std::vector<std::pair<std::string, AnyStruct>> types;
        for (const SublayerType& type : sublayer_types()) types.emplace_back(type.name, type.initial);
        all.type_key("type", &S::kind, types,
                     {.help = "what the sublayer computes", .synonyms = type_synonyms()});
        for (const SublayerType& type : sublayer_types()) type.add_keys(all);
        return all
            .documented("like", "name of another sublayer",
                        "copy its keys; the keys beside `like` change the copy")
            .section("norm", &S::norm, norm_override_schema(), "changes to model.norm for this sublayer")
            .section("init", &S::init, init_override_schema(), "changes to model.init for this sublayer")
            .rule(fmt::format("init.decay and init.a_range are of type {}; a_range has the smaller number "
                              "first",
                              types_that_decay()),
                  check_init)
            .example("{type: mlp, size: 512}");
    }();
    return schema;
}

} // namespace braid
