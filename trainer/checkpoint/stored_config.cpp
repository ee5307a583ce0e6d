#include "trainer/checkpoint/stored_config.h"

#include "base/error.h"

namespace braid {

RunConfig stored_run_config(const Manifest& manifest, const std::string& checkpoint) {
    try {
        return parse_stored_config(manifest.config, checkpoint + ", its config");
    } catch (const ConfigError& error) {
        throw CheckpointError("{}", error.what());
    }
}

} // namespace braid
