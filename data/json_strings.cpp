#include "data/json_strings.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "data/json_errors.h"

namespace braid {
namespace {

/// Keeps the strings that are wanted from an object, and never builds the rest.
class StringFields : public nlohmann::json_sax<nlohmann::json> {
  public:
    StringFields(const std::vector<std::string>& keys, const std::vector<std::string>& forbidden)
        : keys_(keys), forbidden_(forbidden), values_(keys.size()) {}

    const std::string& problem() const { return problem_; }
    /// The strings; a key that never came becomes the problem.
    std::vector<std::string> take() {
        std::vector<std::string> values;
        for (size_t i = 0; i < keys_.size(); ++i) {
            if (!values_[i]) {
                fail(fmt::format("expected the key '{}', found none", keys_[i]));
                break;
            }
            values.push_back(std::move(*values_[i]));
        }
        return values;
    }

    bool null() override { return scalar("null"); }
    bool boolean(bool) override { return scalar("a boolean"); }
    bool number_integer(number_integer_t) override { return scalar("a number"); }
    bool number_unsigned(number_unsigned_t) override { return scalar("a number"); }
    bool number_float(number_float_t, const string_t&) override { return scalar("a number"); }
    bool binary(binary_t&) override { return scalar("binary data"); }
    bool string(string_t& value) override {
        if (depth_ == 0) return scalar("a string");
        if (wanted_ == kNone) return true;
        values_[wanted_] = std::move(value);
        wanted_ = kNone;
        return true;
    }
    bool start_object(std::size_t) override { return open("an object"); }
    bool start_array(std::size_t) override { return depth_ == 0 ? scalar("a list") : open("a list"); }
    bool end_object() override { return close(); }
    bool end_array() override { return close(); }
    bool key(string_t& name) override {
        wanted_ = kNone;
        if (depth_ != 1) return true;
        if (std::find(forbidden_.begin(), forbidden_.end(), name) != forbidden_.end())
            return fail(fmt::format("the key '{}' is kept for what is written here", name));
        const auto found = std::find(keys_.begin(), keys_.end(), name);
        if (found == keys_.end()) return true;
        wanted_ = static_cast<size_t>(found - keys_.begin());
        return !values_[wanted_] || fail(fmt::format("the key '{}' appears twice", name));
    }
    bool parse_error(std::size_t position, const std::string&,
                     const nlohmann::detail::exception& error) override {
        return fail(json_problem(position, error.what()));
    }

  private:
    static constexpr size_t kNone = SIZE_MAX;

    bool open(const char* kind) {
        if (wanted_ != kNone) return scalar(kind);
        ++depth_;
        return true;
    }
    bool close() {
        --depth_;
        return true;
    }
    bool scalar(const char* kind) {
        if (depth_ == 0) return fail(fmt::format("expected a JSON object, found {}", kind));
        return wanted_ == kNone ||
               fail(fmt::format("'{}': expected a string, found {}", keys_[wanted_], kind));
    }
    bool fail(const std::string& problem) {
        problem_ = problem;
        return false;
    }

    const std::vector<std::string>& keys_;
    const std::vector<std::string>& forbidden_;
    std::vector<std::optional<std::string>> values_;
    std::string problem_;
    size_t wanted_ = kNone; // the key whose value comes next
    int depth_ = 0;
};

} // namespace

JsonStrings read_json_strings(std::string_view text, const std::vector<std::string>& keys,
                              const std::vector<std::string>& forbidden) {
    StringFields fields(keys, forbidden);
    JsonStrings result;
    if (nlohmann::json::sax_parse(text.begin(), text.end(), &fields)) result.values = fields.take();
    result.problem = fields.problem();
    return result;
}

} // namespace braid
