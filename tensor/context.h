#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "tensor/memory/allocator.h"
#include "tensor/memory/device.h"
#include "tensor/tensor.h"

namespace braid {

class Tape;
class Profiler;
class DecodeState;
class Recorder;
class Mesh;
struct Documents;
struct RoutingTrace;

/// What the sums of one training step are divided by, agreed by all ranks before its first forward. Every
/// loss is a sum over tokens or sequences times one of these, which makes gradients plain sums whatever the
/// layout.
struct StepTotals {
    int64_t valid_labels = 1; // labels of the global batch that count
    int64_t tokens = 1;       // all tokens of the global batch
    int64_t sequences = 1;    // all sequences of the global batch
};

/// The surroundings of a forward or backward run, handed down as an argument: no layer or operation keeps any
/// of it, so that several ranks, micro-batches and models live side by side in one process.
struct Context {
    Allocator* allocator = nullptr;
    Stream stream;
    Tape* tape = nullptr;            // records what backward needs; null when no gradient is wanted
    Profiler* profiler = nullptr;    // times operations; null when off
    Recorder* recorder = nullptr;    // takes losses, expert counts and diagnostics; null in a recomputation
    RoutingTrace* routing = nullptr; // takes down or gives out expert choices; null in ordinary runs
    DecodeState* decode = nullptr;   // keys, values and recurrent states of earlier tokens; null in training
    const Mesh* mesh = nullptr;      // the groups of ranks this one works with; null where it is alone
    std::shared_ptr<const Documents> documents; // where documents and sequences begin
    Tensor labels; // i32 [T], the next token of each, -1 where it does not count; undefined outside training
    std::optional<StepTotals> totals; // absent outside training: no auxiliary losses then

    Device device() const { return stream.device(); }
};

} // namespace braid
