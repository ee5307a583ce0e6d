#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/support/config_text.h"
#include "trainer/config/run_config.h"

namespace braid {
namespace {

/// Whatever the text is, reading ends with a run or a ConfigError.
void expect_run_or_error(const std::string& text, const std::vector<std::string>& overrides,
                         const std::string& what) {
    try {
        const RunConfig run = parse_run_config(text, "fuzz.yaml", overrides);
        EXPECT_EQ(parse_run_config(to_yaml(run), "again.yaml"), run) << what;
    } catch (const ConfigError& error) {
        EXPECT_STRNE(error.what(), "") << what;
    }
}

TEST(config_fuzz, random_bytes_never_crash_the_reader) {
    const uint64_t seed = 20'261'123;
    std::mt19937_64 random(seed);
    const std::string alphabet = "ab:,[]{}-?&*!|>'\"%@`#~= \n\t01.\\\xC3\xA9";
    for (int i = 0; i < 2'000; ++i) {
        std::string text(random() % 200, ' ');
        for (char& c : text)
            c = i % 2 == 0 ? alphabet[random() % alphabet.size()] : static_cast<char>(random());
        expect_run_or_error(text, {}, "seed " + std::to_string(seed) + " case " + std::to_string(i));
    }
}

TEST(config_fuzz, mutated_runs_never_crash_the_reader) {
    const uint64_t seed = 20'261'124;
    std::mt19937_64 random(seed);
    const std::vector<std::string> pieces{
        "null", "-1", "0",   "999999999999", "[",  "]",     "{",         "}",         ": ", "\n",
        "  ",   "*",  "&a ", "!!int ",       "\"", "1e999", "like: moe", "type: mlp", "(",  ")*9999",
        "+",    ",",  "${",  "true"};
    for (int i = 0; i < 1'500; ++i) {
        std::string text = testing::kHybridRun;
        const uint64_t num_changes = 1 + random() % 4;
        for (uint64_t k = 0; k < num_changes; ++k) {
            const size_t at = random() % text.size();
            const uint64_t kind = random() % 4;
            if (kind == 0) text.erase(at, random() % 20);
            if (kind == 1) text.insert(at, pieces[random() % pieces.size()]);
            if (kind == 2) text[at] = static_cast<char>(random() % 256);
            if (kind == 3) text.insert(at, text.substr(random() % text.size(), random() % 60));
            if (text.empty()) text = "a";
        }
        expect_run_or_error(text, {}, "seed " + std::to_string(seed) + " case " + std::to_string(i));
    }
}

TEST(config_fuzz, mutated_overrides_never_crash_the_reader) {
    const uint64_t seed = 20'261'125;
    std::mt19937_64 random(seed);
    const std::vector<std::string> keys{"model.pattern",
                                        "model.layers",
                                        "model.sublayers.moe",
                                        "model.sublayers.moe.like",
                                        "train.tokens",
                                        "optimizer.groups",
                                        "optimizer.groups.0.layer",
                                        "data.train.0",
                                        "name",
                                        "model.num_layers",
                                        "seed",
                                        "model.sublayers.attn.rope.fraction",
                                        "model.hidden_size",
                                        "train"};
    const std::vector<std::string> values{"null",
                                          "[]",
                                          "{}",
                                          "gdn+moe",
                                          "(((gdn)*99)*99)*99",
                                          "1e18",
                                          "{like: attn}",
                                          "-0.0",
                                          "0.333",
                                          "[{at: 0-9999, set: {moe.expert_size: 3}}]",
                                          "[{role: norm, lr_scale: 0}]",
                                          "{seed}-{x}",
                                          "9223372036854775807",
                                          "\"\"",
                                          "[[[]]]",
                                          "moe",
                                          "*x",
                                          "1048576"};
    for (int i = 0; i < 1'500; ++i) {
        std::vector<std::string> overrides;
        for (uint64_t k = random() % 3 + 1; k > 0; --k)
            overrides.push_back(keys[random() % keys.size()] + "=" + values[random() % values.size()]);
        expect_run_or_error(testing::kHybridRun, overrides,
                            "seed " + std::to_string(seed) + " case " + std::to_string(i));
    }
}

} // namespace
} // namespace braid
