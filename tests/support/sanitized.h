#pragma once

namespace braid::test {

/// Whether this is a sanitizer's build. It looks at how the same lines touch memory, ten times slower: a
/// sweep whose cases differ in numbers only needs a part of them there.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
inline constexpr bool kSanitized = true;
#else
inline constexpr bool kSanitized = false;
#endif

} // namespace braid::test
