#pragma once

#include "tensor/memory/allocator.h"
#include "tensor/memory/device.h"

namespace braid {

class Tape;
class Profiler;

/// The surroundings of a forward or backward run, handed down as an argument: no layer or operation keeps any
/// of it, so that several ranks, micro-batches and models live side by side in one process. What layers need
/// beyond operations is in a LayerContext.
struct Context {
    Allocator* allocator = nullptr;
    Stream stream;
    Tape* tape = nullptr;         // records what backward needs; null when no gradient is wanted
    Profiler* profiler = nullptr; // times operations; null when off
    bool recomputing = false;     // repeats a forward run of which all but its tape has been taken

    Device device() const { return stream.device(); }
};

} // namespace braid
