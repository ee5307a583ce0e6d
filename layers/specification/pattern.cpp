#include "layers/specification/pattern.h"

#include <algorithm>
#include <charconv>
#include <set>

#include "base/error.h"

namespace braid {

namespace {

/// Sublayers of all layers together; a pattern of many names per layer is bounded by it.
constexpr int64_t kMaxNames = 4 * kMaxLayers;
constexpr int kMaxGroupDepth = 32;

/// Recursive descent over: pattern = item {"," item}; item = (layer | "(" pattern ")") ["*" count];
/// layer = name {"+" name}.
class PatternParser {
  public:
    explicit PatternParser(std::string_view text) : text_(text) {}

    std::vector<LayerNames> parse() {
        skip_spaces();
        if (at_ == text_.size()) return {};
        std::vector<LayerNames> layers = pattern(0);
        if (at_ != text_.size()) fail("',' or the end");
        return layers;
    }

  private:
    [[noreturn]] void fail(std::string_view expected) const {
        if (at_ >= text_.size())
            throw ConfigError("column {}: expected {}, found the end", at_ + 1, expected);
        throw ConfigError("column {}: expected {}, found '{}'", at_ + 1, expected, text_[at_]);
    }

    void skip_spaces() {
        while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n')) ++at_;
    }

    bool take(char c) {
        skip_spaces();
        if (at_ >= text_.size() || text_[at_] != c) return false;
        ++at_;
        skip_spaces();
        return true;
    }

    std::vector<LayerNames> pattern(int depth) {
        if (depth > kMaxGroupDepth)
            throw ConfigError("column {}: groups nest more than {} deep", at_ + 1, kMaxGroupDepth);
        std::vector<LayerNames> layers;
        do {
            for (LayerNames& layer : item(depth)) layers.push_back(std::move(layer));
            bound(layers, 1);
        } while (take(','));
        return layers;
    }

    std::vector<LayerNames> item(int depth) {
        std::vector<LayerNames> layers;
        if (take('(')) {
            layers = pattern(depth + 1);
            if (!take(')')) fail("',' or ')'");
        } else {
            layers.push_back(layer());
        }
        return take('*') ? repeat(layers, count()) : layers;
    }

    LayerNames layer() {
        LayerNames names{name()};
        while (take('+')) {
            const size_t column = at_ + 1;
            names.push_back(name());
            if (std::find(names.begin(), names.end() - 1, names.back()) != names.end() - 1)
                throw ConfigError(
                    "column {}: {} is twice in one layer: give the second a name of its own with like",
                    column, names.back());
        }
        return names;
    }

    std::string name() {
        const auto is_letter = [](char c) {
            return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
        };
        const auto is_inner = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '-'; };
        if (at_ >= text_.size() || !is_letter(text_[at_])) fail("a sublayer's name or '('");
        const size_t begin = at_;
        while (at_ < text_.size() && is_inner(text_[at_])) ++at_;
        return std::string(text_.substr(begin, at_ - begin));
    }

    int64_t count() {
        int64_t value = 0;
        const char* const begin = text_.data() + at_;
        const auto result = std::from_chars(begin, text_.data() + text_.size(), value);
        if (result.ec == std::errc::result_out_of_range || value > kMaxLayers)
            throw ConfigError("column {}: expected a repetition of at most {}", at_ + 1, kMaxLayers);
        if (result.ec != std::errc() || value < 0) fail("a whole number after '*'");
        at_ += static_cast<size_t>(result.ptr - begin);
        return value;
    }

    std::vector<LayerNames> repeat(const std::vector<LayerNames>& layers, int64_t times) const {
        bound(layers, times);
        std::vector<LayerNames> repeated;
        if (layers.empty()) return repeated;
        for (int64_t i = 0; i < times; ++i) repeated.insert(repeated.end(), layers.begin(), layers.end());
        return repeated;
    }

    /// Refuses what `times` copies would take before the copies are made. Neither factor passes 10^6.
    void bound(const std::vector<LayerNames>& layers, int64_t times) const {
        int64_t names = 0;
        for (const LayerNames& layer : layers) names += static_cast<int64_t>(layer.size());
        if (static_cast<int64_t>(layers.size()) * times > kMaxLayers || names * times > kMaxNames)
            throw ConfigError("column {}: expected at most {} layers with {} sublayers", at_ + 1, kMaxLayers,
                              kMaxNames);
    }

    std::string_view text_;
    size_t at_ = 0;
};

} // namespace

std::vector<LayerNames> parse_pattern(std::string_view text) {
    return PatternParser(text).parse();
}

} // namespace braid
