#include "ablation/report/sample_texts.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

#include "ablation/report/json_numbers.h"
#include "base/error.h"

namespace braid::report {
namespace {

/// Cuts a text that is too long, not inside a character. True where it did.
bool shorten(std::string& text) {
    if (text.size() <= SampleTexts::kMostBytes) return false;
    size_t end = SampleTexts::kMostBytes;
    while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;
    text.resize(end);
    text += "…";
    return true;
}

} // namespace

SampleTexts read_samples(const std::string& path) {
    SampleTexts samples;
    std::set<int64_t> left_out;
    LineReader lines(path);
    lines.read([&](std::string_view line, int64_t number) {
        const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
        const auto has = [&](const char* key, auto is) {
            return object.contains(key) && (object[key].*is)();
        };
        if (!object.is_object() || !has("step", &nlohmann::json::is_number_integer) ||
            !has("prompt", &nlohmann::json::is_string) || !has("text", &nlohmann::json::is_string))
            throw DataError("{}:{}: expected an object with step, prompt and text, found {:.60}", path,
                            number, line);
        const auto step = object["step"].get<int64_t>();
        SampleText sample{object["prompt"].get<std::string>(), object["text"].get<std::string>()};
        const bool prompt_cut = shorten(sample.prompt), text_cut = shorten(sample.text);
        samples.texts_cut += prompt_cut || text_cut;
        samples.by_step[step].push_back(std::move(sample));
        if (samples.by_step.size() <= SampleTexts::kMostSteps) return;
        left_out.insert(samples.by_step.begin()->first);
        samples.by_step.erase(samples.by_step.begin());
    });
    samples.steps_left_out = static_cast<int64_t>(left_out.size());
    return samples;
}

} // namespace braid::report
