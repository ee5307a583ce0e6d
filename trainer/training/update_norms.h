#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "parallel/communicator.h"
#include "tensor/parameters/parameter.h"

namespace braid {

/// How far one update moves the parameters of each sublayer, relative to their size. Norms are taken where
/// the parameters are, each element's on the rank that owns it; only the sums come to the host. A unit's
/// values are kept from before() to after(), so that this takes the memory of one unit and not of all.
class UpdateNorms {
  public:
    UpdateNorms(const ParameterStore& store, Allocator& allocator);

    void before(int unit);
    void after(int unit);
    /// ||update|| / ||values before|| by layer and sublayer, 0 where all values were 0. Collective.
    std::map<std::pair<int, std::string>, double> ratios(Communicator& world) const;

  private:
    /// What this rank owns of a section of a parameter.
    struct Share {
        std::pair<int, std::string> site;
        int64_t first = 0, size = 0; // in the unit's values
    };

    void add_squares(int unit, const Tensor& values, const Tensor& sums) const;

    const ParameterStore& store_;
    Allocator& allocator_;
    std::vector<std::vector<Share>> shares_; // by unit
    std::vector<int64_t> first_share_;       // of a unit, among all
    Tensor update_squares_, value_squares_;  // f64, by share
    Tensor kept_;
};

} // namespace braid
