#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/error.h"

namespace braid {

/// Brain floating point: the upper 16 bits of an f32. A storage type only; arithmetic happens in float.
struct bf16 {
    uint16_t bits = 0;

    constexpr bf16() = default;
    /// Rounds to nearest, ties to even; NaN stays NaN.
    constexpr explicit bf16(float value) {
        uint32_t word = std::bit_cast<uint32_t>(value);
        const bool is_nan = (word & 0x7fffffffu) > 0x7f800000u;
        bits = is_nan ? static_cast<uint16_t>((word >> 16) | 0x40u)
                      : static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
    }
    constexpr explicit operator float() const {
        return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
    }
};

enum class DType : uint8_t { f32, f64, bf16, u8, u16, i32, i64 };

constexpr size_t size_of(DType dtype) {
    switch (dtype) {
        case DType::u8:
            return 1;
        case DType::u16:
        case DType::bf16:
            return 2;
        case DType::f32:
        case DType::i32:
            return 4;
        case DType::f64:
        case DType::i64:
            return 8;
    }
    return 0;
}

constexpr std::string_view name_of(DType dtype) {
    switch (dtype) {
        case DType::u8:
            return "u8";
        case DType::u16:
            return "u16";
        case DType::bf16:
            return "bf16";
        case DType::f32:
            return "f32";
        case DType::i32:
            return "i32";
        case DType::f64:
            return "f64";
        case DType::i64:
            return "i64";
    }
    return "?";
}

constexpr bool is_floating(DType dtype) {
    return dtype == DType::f32 || dtype == DType::f64 || dtype == DType::bf16;
}

/// What a computation on values of this dtype adds up in, and holds statistics, weights and gradients in: f32
/// for bf16, else the dtype itself.
constexpr DType accumulation_dtype(DType dtype) {
    return dtype == DType::bf16 ? DType::f32 : dtype;
}

/// The same for C++ types.
template <typename T>
using Accumulation = std::conditional_t<std::is_same_v<T, bf16>, float, T>;

template <typename T>
constexpr DType dtype_of() {
    if constexpr (std::is_same_v<T, float>) return DType::f32;
    if constexpr (std::is_same_v<T, double>) return DType::f64;
    if constexpr (std::is_same_v<T, bf16>) return DType::bf16;
    if constexpr (std::is_same_v<T, uint8_t>) return DType::u8;
    if constexpr (std::is_same_v<T, uint16_t>) return DType::u16;
    if constexpr (std::is_same_v<T, int32_t>) return DType::i32;
    if constexpr (std::is_same_v<T, int64_t>) return DType::i64;
}

/// Calls body.template operator()<T>() with the C++ type of a computing dtype (f32 or f64).
template <typename Body>
decltype(auto) dispatch_float(DType dtype, Body&& body) {
    switch (dtype) {
        case DType::f32:
            return body.template operator()<float>();
        case DType::f64:
            return body.template operator()<double>();
        default:
            throw InternalError("this operation computes in f32 or f64, not in {}", name_of(dtype));
    }
}

/// The same with the C++ type of a stored dtype (f32, f64 or bf16).
template <typename Body>
decltype(auto) dispatch_storage(DType dtype, Body&& body) {
    if (dtype == DType::bf16) return body.template operator()<bf16>();
    return dispatch_float(dtype, std::forward<Body>(body));
}

} // namespace braid
