#include "trainer/config/resolve_run.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <regex>

#include "base/suggest.h"
#include "layers/specification/pattern.h"
#include "trainer/config/run_schema.h"

namespace braid {

namespace {

int64_t divide_up(int64_t a, int64_t b) {
    return a / b + (a % b != 0);
}

/// Exactly one of a key and its form in tokens must be there.
bool has_one_of(const std::string& key, const std::string& in_tokens, SectionCheck& check) {
    const bool both = check.given(key) && check.given(in_tokens),
               none = !check.given(key) && !check.given(in_tokens);
    if (both)
        check.fail(in_tokens,
                   fmt::format("says the same as {}: give one of them ({}=null removes that one)", key, key));
    if (none) check.fail(key, fmt::format("required, and left out (or give {})", in_tokens));
    return !both && !none;
}

void resolve_batch(TrainConfig& train, SectionCheck& check) {
    if (!has_one_of("train.global_batch", "train.global_batch_tokens", check)) return;
    if (check.given("train.global_batch_tokens")) {
        const int64_t tokens = check.count("train.global_batch_tokens"), length = train.sequence_length;
        train.global_batch = tokens / length;
        if (tokens % length != 0)
            check.fail(
                "train.global_batch_tokens",
                fmt::format("expected a multiple of train.sequence_length ({}), found {}; nearest: {}{}",
                            length, tokens,
                            tokens > length ? fmt::format("{} or ", tokens / length * length) : "",
                            (tokens / length + 1) * length));
    }
    if (train.micro_batch == 0) train.micro_batch = train.global_batch;
}

void resolve_steps(RunConfig& run, SectionCheck& check) {
    TrainConfig& train = run.train;
    if (train.global_batch == 0) return; // reported already
    const int64_t step_tokens = train.global_batch * train.sequence_length;
    if (!has_one_of("train.steps", "train.tokens", check)) return;
    if (check.given("train.tokens")) train.steps = divide_up(check.count("train.tokens"), step_tokens);
    if (check.given("optimizer.schedule.warmup_tokens"))
        run.optimizer.schedule.warmup_steps =
            divide_up(check.count("optimizer.schedule.warmup_tokens"), step_tokens);
    int64_t all = 0;
    if (__builtin_mul_overflow(train.steps, step_tokens, &all) || all > int64_t{1} << 60)
        check.fail("train.steps",
                   fmt::format("expected at most 2^60 tokens in all, found {} steps of {} tokens",
                               train.steps, step_tokens));
}

/// The text of a scalar by dotted path, or nullptr.
const std::string* find_scalar(const YamlNode& root, const std::string& path) {
    const YamlNode* node = &root;
    for (size_t begin = 0; node && begin <= path.size();) {
        const size_t dot = std::min(path.find('.', begin), path.size());
        node = node->find(path.substr(begin, dot - begin));
        begin = dot + 1;
    }
    return node && node->is_scalar() ? &node->scalar : nullptr;
}

/// The run's name with every {key.path} replaced by its value; nothing, and a fault, where that is not
/// possible.
std::optional<std::string> fill_name(const RunConfig& run, SectionCheck& check) {
    const YamlNode tree = run_schema().write(run);
    std::string filled;
    for (size_t i = 0; i < run.name.size(); ++i) {
        if (run.name[i] != '{') {
            filled += run.name[i];
            continue;
        }
        const size_t end = run.name.find('}', i);
        const std::string key = end == std::string::npos ? "" : run.name.substr(i + 1, end - i - 1);
        const std::string* const value = key == "name" ? nullptr : find_scalar(tree, key);
        if (!value) {
            std::vector<std::string> keys;
            for (const KeyDoc& doc : run_docs().keys) keys.push_back(doc.path);
            check.fail("name", fmt::format("expected {{key.path}} of one value, found {}{}",
                                           run.name.substr(i, std::min<size_t>(end - i + 1, 100)),
                                           did_you_mean(key, keys)));
            return std::nullopt;
        }
        filled += *value;
        i = end;
    }
    return filled;
}

void resolve_name(RunConfig& run, SectionCheck& check) {
    if (!check.given("name")) run.name = std::filesystem::path(check.source()).stem().string();
    const std::optional<std::string> filled = fill_name(run, check);
    if (!filled) return;
    run.name = *filled;
    static const std::regex legal("[A-Za-z0-9_][A-Za-z0-9_.+=-]{0,199}");
    if (!std::regex_match(run.name, legal))
        check.fail(
            "name",
            fmt::format("expected up to 200 letters, digits and _ . + = - as a folder's name, found \"{}\"",
                        run.name.substr(0, 200)));
}

} // namespace

void resolve_counts(RunConfig& run, SectionCheck& check) {
    resolve_batch(run.train, check);
    resolve_steps(run, check);
}

void resolve_run(RunConfig& run, SectionCheck& check) {
    if (!check.given("data.seed")) run.data.seed = run.seed;
    resolve_name(run, check);
    if (!check.given("run_dir")) run.run_dir = "runs/" + run.name;
    if (run.run_dir.empty()) check.fail("run_dir", "expected the path of a folder, found an empty text");
}

void check_steps(const RunConfig& run, SectionCheck& check) {
    const ScheduleConfig& schedule = run.optimizer.schedule;
    if (run.train.stop_at > run.train.steps)
        check.fail("train.stop_at", fmt::format("expected at most train.steps ({}), found {}",
                                                run.train.steps, run.train.stop_at));
    const int64_t decay = schedule.type == ScheduleType::wsd ? schedule.decay_steps : 0;
    if (schedule.warmup_steps + decay <= run.train.steps) return;
    check.fail("optimizer.schedule.warmup_steps",
               fmt::format("expected warm-up and decay within train.steps ({}), found {} + {}; nearest: {}",
                           run.train.steps, schedule.warmup_steps, decay,
                           std::max<int64_t>(0, run.train.steps - decay)));
}

void check_eval(const RunConfig& run, SectionCheck& check) {
    const bool nothing = run.data.validation.empty() && run.eval.tasks.empty() && run.eval.prompts.empty();
    const bool never = run.eval.every == 0 && !run.eval.at_start;
    if (nothing && run.eval.every > 0)
        check.fail("eval.every",
                   "has no effect: data.validation names no set, eval.tasks and eval.prompts are "
                   "empty; remove it (eval.every=null)");
    if (nothing && run.eval.at_start)
        check.fail("eval.at_start",
                   "has no effect: data.validation names no set, eval.tasks and eval.prompts "
                   "are empty; remove it (eval.at_start=null)");
    if (never && !run.eval.tasks.empty())
        check.fail("eval.tasks", "has no effect: eval.every is 0 and eval.at_start false");
    for (const std::string& prompt : run.eval.prompts)
        if (prompt.empty()) check.fail("eval.prompts", "expected at least one character each, found \"\"");
    if (never && !run.eval.prompts.empty())
        check.fail("eval.prompts", "has no effect: eval.every is 0 and eval.at_start false");
}

void check_skipped(const RunConfig& run, SectionCheck& check) {
    const auto step_tokens = static_cast<double>(run.train.global_batch * run.train.sequence_length);
    auto steps = static_cast<double>(run.train.steps);
    for (const auto& [first, last] : run.data.skip) {
        if (first > run.train.steps)
            return check.fail("data.skip", fmt::format("expected steps up to train.steps ({}), found {}",
                                                       run.train.steps, first));
        steps += static_cast<double>(last - first + 1);
        if (steps * step_tokens > 0x1p60)
            return check.fail(
                "data.skip",
                fmt::format("expected at most 2^60 tokens with those left out, found {:.0f} steps "
                            "of {:.0f} tokens",
                            steps, step_tokens));
    }
}

void check_groups(const RunConfig& run, SectionCheck& check) {
    const auto num_layers = static_cast<int64_t>(expand_layers(run.model).size());
    std::vector<std::string> names;
    for (const auto& [name, config] : run.model.sublayers) names.push_back(name);
    for (size_t i = 0; i < run.optimizer.groups.size(); ++i) {
        const ParameterGroup& group = run.optimizer.groups[i];
        const std::string key = fmt::format("optimizer.groups.{}", i);
        for (const std::string& name : group.sublayer) {
            if (!run.model.sublayers.contains(name))
                check.fail(key + ".sublayer",
                           fmt::format("expected a name in model.sublayers ({}), found {}{}",
                                       join_choices(names), name, did_you_mean(name, names)));
        }
        if (!group.layer.empty() && group.layer.back() >= num_layers)
            check.fail(key + ".layer", fmt::format("expected layers from 0 to {}, found {}", num_layers - 1,
                                                   group.layer.back()));
    }
}

} // namespace braid
