#include "data/json_choices.h"

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "data/json_errors.h"

namespace braid {
namespace {

/// Keeps context, choices and answer of an object, and never builds the rest.
class ChoiceFields : public nlohmann::json_sax<nlohmann::json> {
  public:
    explicit ChoiceFields(ChoiceItem& item) : item_(item) {}

    bool null() override { return other("null"); }
    bool boolean(bool) override { return other("a boolean"); }
    bool number_integer(number_integer_t value) override {
        return wanted_ == Wanted::answer ? answer(value) : other("a number");
    }
    bool number_unsigned(number_unsigned_t value) override {
        if (wanted_ == Wanted::answer && value > INT64_MAX) return other("a number of more than 64 bits");
        return number_integer(static_cast<number_integer_t>(value));
    }
    bool number_float(number_float_t, const string_t&) override {
        return other("a number that is not whole");
    }
    bool binary(binary_t&) override { return other("binary data"); }
    bool string(string_t& value) override {
        if (depth_ == 1 && wanted_ == Wanted::context) {
            item_.context = std::move(value);
        } else if (depth_ == 2 && wanted_ == Wanted::choices) {
            item_.choices.push_back(std::move(value));
            return true;
        } else {
            return other("a text");
        }
        wanted_ = Wanted::nothing;
        return true;
    }
    bool start_object(std::size_t) override {
        if (wanted_ != Wanted::nothing) return other("an object");
        ++depth_;
        return true;
    }
    bool end_object() override {
        --depth_;
        return true;
    }
    bool start_array(std::size_t) override {
        if (depth_ == 0 || (wanted_ != Wanted::nothing && !(depth_ == 1 && wanted_ == Wanted::choices)))
            return other("a list");
        ++depth_;
        return true;
    }
    bool end_array() override {
        if (--depth_ == 1) wanted_ = Wanted::nothing;
        return true;
    }
    bool key(string_t& name) override {
        if (depth_ != 1) return true;
        for (size_t k = 0; k < std::size(kKeys); ++k) {
            if (name != kKeys[k]) continue;
            wanted_ = static_cast<Wanted>(k);
            if (seen_[k]) return fail(fmt::format("the key '{}' appears twice", name));
            seen_[k] = true;
        }
        return true;
    }
    bool parse_error(std::size_t position, const std::string&,
                     const nlohmann::detail::exception& error) override {
        return fail(json_problem(position, error.what()));
    }

    void check_whole() {
        for (size_t k = 0; k < std::size(kKeys); ++k)
            if (!seen_[k]) return void(fail(fmt::format("expected the key '{}', found none", kKeys[k])));
        const auto count = static_cast<int64_t>(item_.choices.size());
        if (count < 2)
            fail(fmt::format("'choices': expected two texts at least, found {}", count));
        else if (item_.answer < 0 || item_.answer >= count)
            fail(fmt::format("'answer': expected 0 to {}, the number of a choice, found {}", count - 1,
                             item_.answer));
    }

  private:
    enum class Wanted { context, choices, answer, nothing };
    static constexpr const char* kKeys[] = {"context", "choices", "answer"};
    static constexpr const char* kKinds[] = {"a text", "a list of texts", "a whole number"};

    bool answer(int64_t value) {
        item_.answer = value;
        wanted_ = Wanted::nothing;
        return true;
    }
    /// A value that is none of the three, which does no harm where it belongs to another key.
    bool other(const char* kind) {
        if (depth_ == 0) return fail(fmt::format("expected a JSON object, found {}", kind));
        if (wanted_ == Wanted::nothing) return true;
        const auto k = static_cast<size_t>(wanted_);
        return fail(fmt::format("'{}': expected {}, found {}{}", kKeys[k], kKinds[k], kind,
                                depth_ > 1 ? " in it" : ""));
    }
    bool fail(const std::string& problem) {
        item_.problem = problem;
        return false;
    }

    ChoiceItem& item_;
    bool seen_[3] = {};
    Wanted wanted_ = Wanted::nothing; // whose value comes next, or whose list is open
    int depth_ = 0;
};

} // namespace

ChoiceItem read_choice_item(std::string_view text) {
    ChoiceItem item;
    ChoiceFields fields(item);
    if (nlohmann::json::sax_parse(text.begin(), text.end(), &fields)) fields.check_whole();
    return item;
}

} // namespace braid
