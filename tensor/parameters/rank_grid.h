#pragma once

#include <compare>
#include <cstdint>

namespace braid {

/// The axes along which ranks share out the work. Dense parameters see the ranks as data x tensor, experts
/// see the same ranks as expert_data x expert x expert_tensor; in both, the last axis has neighbouring ranks.
enum class Axis : uint8_t { data, tensor, expert_data, expert, expert_tensor };

/// Whose gradients of a parameter are parts of one sum: the data ranks of `replicas` neighbouring tensor
/// ranks that hold the same elements and see different tokens, or, for experts, the expert_data ranks.
struct ReductionGroup {
    bool expert = false;
    int replicas = 1;
    auto operator<=>(const ReductionGroup&) const = default;
};

/// The size of every axis and a rank's place on it. One rank by default.
struct RankGrid {
    struct Place {
        int size = 1, index = 0;
    };
    Place data, tensor, expert_data, expert, expert_tensor;
    // Between sublayers, whether tensor ranks hold a share of the tokens each, or all of them (Korthikanti et
    // al., arXiv:2205.05198).
    bool sequence = true;

    const Place& operator[](Axis axis) const {
        switch (axis) {
            case Axis::data:
                return data;
            case Axis::tensor:
                return tensor;
            case Axis::expert_data:
                return expert_data;
            case Axis::expert:
                return expert;
            case Axis::expert_tensor:
                return expert_tensor;
        }
        return data;
    }

    int num_ranks() const { return data.size * tensor.size; }
    /// The rank at a place of the experts' grid.
    int rank_at(int expert_data_index, int expert_index, int expert_tensor_index) const {
        return (expert_data_index * expert.size + expert_index) * expert_tensor.size + expert_tensor_index;
    }
    /// A rank's place in a reduction group, ordered as in the world.
    Place place_in(const ReductionGroup& group) const {
        if (group.expert) return expert_data;
        return {data.size * group.replicas, data.index * group.replicas + tensor.index % group.replicas};
    }
};

/// Splits `count` elements over the ranks of a group: rank r owns [first(r), first(r + 1)), as even as whole
/// elements allow.
struct EvenSplit {
    int64_t count;
    int size;

    int64_t first(int rank) const { return count * rank / size; }
    int64_t length(int rank) const { return first(rank + 1) - first(rank); }
};

} // namespace braid
