#include "ablation/plan/sweep_schema.h"

#include <algorithm>
#include <set>

#include "base/suggest.h"

namespace braid {
namespace {

constexpr int64_t kMostSeeds = 1000, kMostLevels = 1000;

/// The text of a value as a label: scalars without quotes.
std::string label_of(const YamlNode& value) {
    return value.is_scalar() ? value.scalar : to_flow_yaml(value);
}

SweepAxis read_axis(const YamlEntry& entry) {
    const auto fail = [&](const std::string& message) { throw ValueFault(entry.key + ": " + message); };
    if (!is_config_name(entry.key)) fail("expected a name of letters, digits, _ and -");
    if (!entry.value.is_map())
        fail("expected {key: K, values: [...]} or {variants: {...}}, found " + entry.value.shown());
    for (const YamlEntry& given : entry.value.entries)
        if (given.key != "key" && given.key != "values" && given.key != "variants")
            fail(fmt::format("unknown key {}{}", given.key,
                             did_you_mean(given.key, {"key", "values", "variants"}, "")));
    const YamlNode *const key = entry.value.find("key"), *const values = entry.value.find("values"),
                          *const variants = entry.value.find("variants");
    SweepAxis axis{.name = entry.key, .levels = {}};
    if (variants && !key && !values) {
        if (!variants->is_map() || variants->entries.empty())
            fail("variants: expected a map of labels, each a map of keys, found " + variants->shown());
        for (const YamlEntry& level : variants->entries) {
            AxisLevel made{.label = level.key, .settings = {}};
            // An empty map is the run file as it is.
            if (!level.value.is_map())
                fail(level.key + ": expected a map of keys, found " + level.value.shown());
            made.settings = ConfigValue<Settings>::read(level.value, {});
            axis.levels.push_back(std::move(made));
        }
    } else if (key && values && !variants) {
        if (!key->is_scalar()) fail("key: expected a key of the run file, found " + key->shown());
        if (!values->is_list() || values->items.empty())
            fail("values: expected a list of values, found " + values->shown());
        for (const YamlNode& value : values->items)
            axis.levels.push_back(
                {label_of(value), {{key->scalar, value.is_null() ? "null" : to_flow_yaml(value)}}});
    } else {
        fail("expected key and values, or variants");
    }
    if (axis.levels.size() > kMostLevels) fail(fmt::format("expected at most {} levels", kMostLevels));
    std::set<std::string> labels;
    for (const AxisLevel& level : axis.levels)
        if (!labels.insert(level.label).second) fail(level.label + " is there twice");
    return axis;
}

/// Whether `levels` are the values of one key, labelled by them.
bool are_values(const SweepAxis& axis) {
    return std::all_of(axis.levels.begin(), axis.levels.end(), [&](const AxisLevel& level) {
        return level.settings.size() == 1 &&
               level.settings.begin()->first == axis.levels[0].settings.begin()->first &&
               level.label == label_of(parse_yaml(level.settings.begin()->second, axis.name));
    });
}

const Schema<OutcomeConfig>& outcome_schema() {
    using O = OutcomeConfig;
    static const Schema<O> schema =
        Schema<O>()
            .key("metric", &O::metric,
                 {.help =
                      "of metrics.jsonl, a loss or bits per byte: eval/NAME/loss, eval/NAME/bits_per_byte, "
                      "task/NAME/bits_per_byte, eval_loss or loss",
                  .default_text = "eval_loss"})
            .key("at", &O::at, {.help = "the last evaluation, or the best of all"})
            .example("{metric: eval/web/loss, at: last}");
    return schema;
}

const Schema<TuneConfig>& tune_schema() {
    using T = TuneConfig;
    static const Schema<T> schema =
        Schema<T>()
            .key("key", &T::key,
                 {.help = "what is tuned for each variant, as optimizer.lr", .required = true})
            .key("values", &T::values,
                 {.help = "the grid, the same for all variants; extended while the best lies at an edge",
                  .above = 0,
                  .required = true,
                  .example = "[0.001, 0.002, 0.004]"})
            .key("seeds", &T::seeds,
                 {.help = "seeds that tune, none of which judges: a number or a list", .required = true})
            .key("method", &T::method,
                 {.help =
                      "every value in whole runs, or in short ones whose better half goes on in runs twice "
                      "as long; that needs schedule wsd"})
            .rule("values are distinct",
                  [](const T& t, SectionCheck& check) {
                      const std::set<double> distinct(t.values.begin(), t.values.end());
                      if (distinct.size() < t.values.size()) check.fail("values", "a value is there twice");
                  })
            .example("{key: optimizer.lr, values: [0.001, 0.002, 0.004], seeds: 2}");
    return schema;
}

const Schema<MatchConfig>& match_schema() {
    using M = MatchConfig;
    static const Schema<M> schema =
        Schema<M>()
            .key("quantity", &M::quantity,
                 {.help =
                      "what all variants shall have as much of as the reference; FLOPs are those of a token"})
            .key("adjust", &M::adjust,
                 {.help = "the key of a whole number that is changed for it", .required = true})
            .key("tolerance", &M::tolerance,
                 {.help = "the largest difference, as a part of the reference's", .above = 0, .max = 1})
            .key("multiple_of", &M::multiple_of, {.help = "of the adjusted number", .min = 1, .max = 65536})
            .example("{quantity: active_parameters, adjust: model.sublayers.mlp.size}");
    return schema;
}

void check_seeds(const SweepConfig& sweep, SectionCheck& check) {
    const auto& [count, seeds] = sweep.seeds;
    if (sweep.seeds.size() % (seeds.empty() ? 1 : sweep.looks) != 0)
        check.fail("seeds", fmt::format("expected a multiple of looks ({}), found {} seeds", sweep.looks,
                                        seeds.size()));
    const int64_t at_first_look = seeds.empty() ? count : sweep.seeds.size() / sweep.looks;
    if (at_first_look < 2)
        check.fail("seeds",
                   fmt::format("expected at least 2 for each look, as one run shows no noise, found {}",
                               at_first_look));
}

void check_reference(const SweepConfig& sweep, SectionCheck& check) {
    const auto check_levels = [&](const std::string& key, const Settings& levels) {
        for (const auto& [name, label] : levels) {
            const auto axis = std::find_if(sweep.axes.begin(), sweep.axes.end(),
                                           [&](const SweepAxis& a) { return a.name == name; });
            if (axis == sweep.axes.end()) {
                check.fail(key, name + ": no axis has this name");
                continue;
            }
            std::vector<std::string> labels;
            for (const AxisLevel& level : axis->levels) labels.push_back(level.label);
            if (std::find(labels.begin(), labels.end(), label) == labels.end())
                check.fail(
                    key, fmt::format("{}: expected one of {}, found {}", name, join_choices(labels), label));
        }
    };
    check_levels("reference", sweep.reference);
    for (const SweepAxis& axis : sweep.axes)
        if (!sweep.reference.contains(axis.name))
            check.fail("reference",
                       fmt::format("expected a level of every axis, found none of {}", axis.name));
    for (const Settings& combination : sweep.exclude) check_levels("exclude", combination);
}

/// Levels are named by labels: quotes are of the file alone.
void strip_quotes(SweepConfig& sweep, SectionCheck&) {
    const auto strip = [](Settings& levels) {
        for (auto& [axis, label] : levels) label = label_of(parse_yaml(label, axis));
    };
    strip(sweep.reference);
    for (Settings& combination : sweep.exclude) strip(combination);
    if (sweep.outcome.metric.empty()) sweep.outcome.metric = "eval_loss";
}

} // namespace

std::vector<SweepAxis> ConfigValue<std::vector<SweepAxis>>::read(const YamlNode& node, const KeySpec&) {
    if (!node.is_map() || node.entries.empty())
        throw ValueFault("expected a map of axes, found " + node.shown());
    std::vector<SweepAxis> axes;
    for (const YamlEntry& entry : node.entries) axes.push_back(read_axis(entry));
    return axes;
}

YamlNode ConfigValue<std::vector<SweepAxis>>::write(const std::vector<SweepAxis>& axes, const KeySpec&) {
    YamlNode node = YamlNode::map();
    for (const SweepAxis& axis : axes) {
        YamlNode written = YamlNode::map();
        if (are_values(axis)) {
            YamlNode values = YamlNode::list();
            for (const AxisLevel& level : axis.levels)
                values.items.push_back(parse_yaml(level.settings.begin()->second, axis.name));
            written.add("key", YamlNode::string(axis.levels[0].settings.begin()->first));
            written.add("values", std::move(values));
        } else {
            YamlNode variants = YamlNode::map();
            for (const AxisLevel& level : axis.levels) {
                variants.add(level.label, ConfigValue<Settings>::write(level.settings, {}));
            }
            written.add("variants", std::move(variants));
        }
        node.add(axis.name, std::move(written));
    }
    return node;
}

Settings ConfigValue<Settings>::read(const YamlNode& node, const KeySpec& spec) {
    if (!node.is_map())
        throw ValueFault(fmt::format("expected a map{}, found {}", example_note(spec.example), node.shown()));
    Settings settings;
    for (const YamlEntry& entry : node.entries)
        settings[entry.key] = entry.value.is_null() ? "null" : to_flow_yaml(entry.value);
    return settings;
}

YamlNode ConfigValue<Settings>::write(const Settings& settings, const KeySpec&) {
    YamlNode node = YamlNode::map();
    for (const auto& [key, text] : settings) node.add(key, parse_yaml(text, key));
    return node;
}

SeedList ConfigValue<SeedList>::read(const YamlNode& node, const KeySpec&) {
    SeedList list;
    if (!node.is_list()) {
        list.count = read_integer(node, {.min = 1, .max = kMostSeeds});
        return list;
    }
    for (const YamlNode& item : node.items) {
        const uint64_t seed = read_seed(item);
        if (std::find(list.seeds.begin(), list.seeds.end(), seed) != list.seeds.end())
            throw ValueFault(fmt::format("{} is there twice", seed));
        list.seeds.push_back(seed);
    }
    if (list.seeds.empty()) throw ValueFault("expected a number or a list of seeds, found an empty list");
    if (list.seeds.size() > kMostSeeds)
        throw ValueFault(fmt::format("expected at most {} seeds", kMostSeeds));
    return list;
}

YamlNode ConfigValue<SeedList>::write(const SeedList& value, const KeySpec&) {
    if (value.seeds.empty()) return YamlNode::plain(std::to_string(value.count));
    YamlNode node = YamlNode::list();
    for (const uint64_t seed : value.seeds) node.items.push_back(YamlNode::plain(std::to_string(seed)));
    return node;
}

const Schema<SweepConfig>& sweep_schema() {
    using S = SweepConfig;
    static const Schema<S> schema =
        Schema<S>()
            .key("name", &S::name,
                 {.help = "of the sweep and its folder, sweeps/NAME", .default_text = "the file's name"})
            .key("extends", &S::extends,
                 {.help = "the run file that all runs change, relative to this file", .required = true})
            .key("set", &S::set,
                 {.help = "keys of the run file, for all runs", .example = "{train.steps: 200}"})
            .key("axes", &S::axes,
                 {.help = "what varies, by a name of your own",
                  .required = true,
                  .example = "{placement: {key: model.norm.placement, values: [pre, post]}}"})
            .key(
                "design", &S::design,
                {.help = "all combinations of levels, or the reference and what differs from it in one axis"})
            .key("exclude", &S::exclude,
                 {.help = "combinations of levels that make no sense",
                  .example = "[{placement: post, qk_norm: none}]"})
            .key("reference", &S::reference,
                 {.help = "what all others are compared with: a level of every axis",
                  .required = true,
                  .example = "{placement: pre}"})
            .key("seeds", &S::seeds,
                 {.help = "runs of a variant that judge it, at each look: a number, counted from the run "
                          "file's seed, or a list for all looks together",
                  .required = true})
            .section("outcome", &S::outcome, outcome_schema(), "what decides")
            .key("matters", &S::matters,
                 {.help = "the smallest difference that would matter, in the metric's unit",
                  .above = 0,
                  .required = true})
            .key("looks", &S::looks,
                 {.help = "how often the verdict may be taken, each time with as many further seeds; the "
                          "chance of a false verdict is divided over them",
                  .min = 1,
                  .max = 10})
            .section("tune", &S::tune, tune_schema(), "what is tuned for each variant before it is judged")
            .section("match", &S::match, match_schema(),
                     "what is made equal between the variants, and by which key")
            .pointless("tune", "tune.key is empty", [](const S& s) { return s.tune.key.empty(); })
            .pointless("match", "match.adjust is empty", [](const S& s) { return s.match.adjust.empty(); })
            .finish(strip_quotes)
            .rule("each look has at least 2 seeds", check_seeds, {"seeds", "looks"})
            .rule("reference names a level of every axis, and exclude levels that exist", check_reference,
                  {"axes", "reference", "exclude"});
    return schema;
}

const SchemaDocs& sweep_docs() {
    static const SchemaDocs docs = [] {
        SchemaDocs all;
        sweep_schema().describe("", all);
        return all;
    }();
    return docs;
}

} // namespace braid
