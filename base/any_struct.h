#pragma once

#include <concepts>
#include <memory>
#include <type_traits>
#include <typeinfo>
#include <utility>

#include "base/error.h"

namespace braid {

class AnyStruct;
template <typename A>
concept StructValue = std::is_class_v<A> && !std::same_as<A, AnyStruct>;

/// A value of a struct type that its holder need not know, or none: std::any with equality.
class AnyStruct {
  public:
    AnyStruct() = default;
    template <StructValue A>
    AnyStruct(A value) : value_(std::make_unique<Holder<A>>(std::move(value))) {} // NOLINT: converts
    AnyStruct(const AnyStruct& other) : value_(other.value_ ? other.value_->clone() : nullptr) {}
    AnyStruct(AnyStruct&&) = default;
    AnyStruct& operator=(AnyStruct other) {
        value_ = std::move(other.value_);
        return *this;
    }

    template <typename A>
    const A* get_if() const {
        const auto* holder = dynamic_cast<const Holder<A>*>(value_.get());
        return holder ? &holder->value : nullptr;
    }
    template <typename A>
    A* get_if() {
        return const_cast<A*>(std::as_const(*this).get_if<A>());
    }
    /// InternalError where it holds another type.
    template <typename A>
    const A& get() const {
        const A* value = get_if<A>();
        check(value, "expected a {}", typeid(A).name());
        return *value;
    }
    template <typename A>
    A& get() {
        return const_cast<A&>(std::as_const(*this).get<A>());
    }

    bool has_type_of(const AnyStruct& other) const {
        return value_ && other.value_ ? typeid(*value_) == typeid(*other.value_) : value_ == other.value_;
    }
    /// Equal types and equal values.
    bool operator==(const AnyStruct& other) const {
        return value_ ? other.value_ && value_->equals(*other.value_) : !other.value_;
    }

  private:
    struct Base {
        virtual ~Base() = default;
        virtual std::unique_ptr<Base> clone() const = 0;
        virtual bool equals(const Base& other) const = 0;
    };
    template <typename A>
    struct Holder final : Base {
        explicit Holder(A given) : value(std::move(given)) {}
        std::unique_ptr<Base> clone() const override { return std::make_unique<Holder>(value); }
        bool equals(const Base& other) const override {
            const auto* same = dynamic_cast<const Holder*>(&other);
            return same && same->value == value;
        }
        A value;
    };

    std::unique_ptr<Base> value_;
};

} // namespace braid
