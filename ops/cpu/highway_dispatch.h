#pragma once

#include "hwy/highway.h"

/// For the part of a per-target file that is compiled once (HWY_ONCE): defines get<T>(arguments), which gives
/// what functions_f32(arguments) or functions_f64(arguments) of the best target on this processor give; the
/// file has both in its HWY_NAMESPACE.
#define BRAID_HIGHWAY_FUNCTIONS(get, functions_f32, functions_f64)    \
    HWY_EXPORT(functions_f32);                                        \
    HWY_EXPORT(functions_f64);                                        \
    template <typename T, typename... Arguments>                      \
    decltype(auto) get(Arguments... arguments) {                      \
        if constexpr (sizeof(T) == 4)                                 \
            return HWY_DYNAMIC_DISPATCH(functions_f32)(arguments...); \
        else                                                          \
            return HWY_DYNAMIC_DISPATCH(functions_f64)(arguments...); \
    }
