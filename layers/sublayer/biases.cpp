#include "layers/sublayer/biases.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace braid {

void check_bias_names(const std::vector<std::string>& list,
                      const std::function<std::string(const std::string&)>& missing, SectionCheck& check) {
    std::vector<std::string> fitting;
    std::string fault;
    for (const std::string& name : list) {
        if (const std::string why = missing(name); !why.empty())
            fault = fmt::format("expected projections that are there, found {}, although {}", name, why);
        else if (std::find(fitting.begin(), fitting.end(), name) != fitting.end())
            fault = fmt::format("expected each projection once, found {} twice", name);
        else
            fitting.push_back(name);
    }
    if (!fault.empty()) check.fail("bias", fmt::format("{}; nearest: [{}]", fault, fmt::join(fitting, ", ")));
}

} // namespace braid
