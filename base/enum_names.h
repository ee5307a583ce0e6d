#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

namespace braid {

/// An enumeration with spelled values: beside `enum class E {a, b}` stands
/// `constexpr auto enum_names(E) { return std::array<std::string_view, 2>{"a", "b"}; }`, in declaration
/// order.
template <typename E>
concept NamedEnum = requires(E value) {
    enum_names(value).size();
};

template <NamedEnum E>
constexpr std::string_view to_string(E value) {
    return enum_names(value)[static_cast<size_t>(value)];
}

/// The value spelled `name`, or nothing.
template <NamedEnum E>
constexpr std::optional<E> from_name(std::string_view name) {
    const auto names = enum_names(E{});
    for (size_t i = 0; i < names.size(); ++i) {
        if (names[i] == name) return static_cast<E>(i);
    }
    return std::nullopt;
}

} // namespace braid
